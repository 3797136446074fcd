"""`Baseline`: a trained method on disk, ready to predict on ONNX Runtime alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from mris.cohort.cohort import Cohort
from mris.cohort.origin import Origin
from mris.cohort.training_subjects import TrainingSubjects, read_training_subjects
from mris.errors import BundleError, CohortError, ImageError
from mris.images.arrays import read_mask
from mris.images.extent import alike
from mris.images.write import write_json, write_npz
from mris.records import read_record
from mris.training.card import NetworkCard
from mris.training.onnx_network import OnnxNetwork
from mris.types import AtlasMask, Sources, Targets

BASELINE_FOLDER, CARD_FILE, GRAPH_FILE, MASK_FILE = "baseline", "baseline.json", "network.onnx", "atlas_mask.npz"
_ANEW = "train the baseline again"


class BaselineCard(NetworkCard):
    """All about a baseline but its weights, as ``baseline.json`` says it.

    Attributes:
        method: such as "unet".
        n_parameters: trained numbers.
        training_seconds: wall time of the training, validation included.
        sha256: SHA-256 (hex) of the network's file.
        format_version: of the file.
    """

    method: str
    n_parameters: int
    training_seconds: float
    sha256: str
    format_version: Literal[1] = 1


class Baseline:
    """A method from prepared sources to targets, with the ``predict`` of every other method.

    Args:
        card: what it is.
        network: its exported network.
        mask: (r, h, w) where a target can have a value; the answer is NaN elsewhere.
        training_subjects: people it was trained on; None where that is unknown.
    """

    def __init__(
        self,
        card: BaselineCard,
        network: OnnxNetwork,
        mask: AtlasMask,
        training_subjects: TrainingSubjects | None = None,
    ) -> None:
        self.card, self.network, self.mask = card, network, mask
        self.training_subjects = training_subjects

    @property
    def regions(self) -> tuple[str, ...]:
        """Target regions, in the order of the answer's channels."""
        return self.card.regions

    @property
    def origin(self) -> Origin:
        """Whether it was trained on images of people or simulated ones."""
        return self.card.origin

    def predict(self, sources: Sources, *, subjects: Sequence[str] = ()) -> Targets:  # noqa: ARG002
        """Predict one target a source, (n, r, h, w) in the unit, NaN outside the atlas mask.

        Args:
            sources: (n, c, h, w) prepared.
            subjects: not needed: nothing is retrieved.

        Raises:
            ImageError: the shape is not the network's.
            BundleError: the network is damaged.
        """
        answers = self.network.run(sources) * np.float32(self.card.target_scale)
        answers[:, ~self.mask] = np.nan
        return answers

    def check_fits(self, cohort: Cohort) -> None:
        """Refuse a cohort that was prepared otherwise than the one the baseline was trained on.

        Raises:
            CohortError: regions, sizes, unit or preparation differ.
        """
        header, card = cohort.header, self.card
        pairs: list[tuple[str, object, object]] = [
            ("regions", card.regions, header.regions),
            ("source size", card.source_shape, header.source_shape),
            ("target size", card.target_shape, header.target_shape),
            ("unit", card.unit, header.unit),
            ("preparation", self.card.preparation, header.source),
        ]
        extents = self.card.preparation.extent_mm, header.source.extent_mm
        if not alike(*extents):
            pairs.append(("sources that show (mm)", *extents))
        for what, ours, theirs in pairs:
            if ours != theirs:
                raise CohortError(
                    f"baseline {card.method!r} was trained with {what} {ours}, cohort {cohort.path.name!r} has "
                    f"{theirs}; prepare the cohort as the training's"
                )


def write_card(folder: Path, card: BaselineCard, mask: AtlasMask) -> None:
    """Write the card, and the mask beside it; the card comes last, so that where it is the rest is."""
    write_npz(folder / MASK_FILE, mask=mask)
    write_json(folder / CARD_FILE, card)


def baseline_folder(run: str | Path) -> Path:
    """Find the folder of a finished baseline, given a run's folder or that one itself.

    Raises:
        BundleError: there is none.
    """
    folder = Path(run)
    if not (folder / CARD_FILE).is_file():
        folder = folder / BASELINE_FOLDER
    if not (folder / CARD_FILE).is_file():
        raise BundleError(f"{str(run)!r} holds no finished baseline; train one with mris baseline train")
    return folder


def open_baseline(run: str | Path) -> Baseline:
    """Open the baseline of a finished run (the run's folder, or its ``baseline`` folder).

    Raises:
        BundleError: there is none, or a file is damaged or of another version.

    Example:
        >>> open_baseline("no such run")
        Traceback (most recent call last):
        ...
        mris.errors.BundleError: 'no such run' holds no finished baseline; train one with mris baseline train
    """
    folder = baseline_folder(run)
    card = read_record(folder / CARD_FILE, BaselineCard, BundleError, _ANEW)
    try:
        mask = read_mask(folder / MASK_FILE, card.target_shape)
    except ImageError as error:
        raise BundleError(f"{folder} is damaged ({error}); {_ANEW}") from error
    network = OnnxNetwork(folder / GRAPH_FILE, "source", card.source_shape, card.target_shape, checksum=card.sha256)
    return Baseline(card, network, mask, read_training_subjects(folder))
