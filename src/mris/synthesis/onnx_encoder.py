"""`OnnxEncoder`: trained encoders that run on ONNX Runtime alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mris.cohort.origin import Origin, read_origin
from mris.cohort.training_subjects import read_training_subjects
from mris.errors import BundleError, SettingsError
from mris.images.transforms import SourcePreparation
from mris.reading import read_json
from mris.training.onnx_network import OnnxNetwork
from mris.types import Embeddings, Sources, Targets

FORMAT_VERSION = 1
CARD_FILE = "encoder.json"
GRAPH_FILES = ("source.onnx", "target.onnx")


@dataclass(frozen=True)
class EncoderCard:
    """All about a pair of encoders but their weights, as ``encoder.json`` says it.

    Attributes:
        fingerprint: SHA-256 (hex) of weights and settings.
        regions: Target regions, in the order of the target encoder's channels.
        source_shape: (c, h, w) of a prepared source.
        target_shape: (r, h, w) of a target.
        target_scale: Targets are divided by this before the network sees them.
        embedding_dim: Length of an embedding.
        unit: Unit of the targets.
        target_spacing: Size of a target pixel (row, column) in mm, or None.
        preparation: How an image becomes a prepared source.
        origin: Whether it was trained on images of people or simulated ones.
    """

    fingerprint: str
    regions: tuple[str, ...]
    source_shape: tuple[int, int, int]
    target_shape: tuple[int, int, int]
    target_scale: float
    embedding_dim: int
    unit: str
    target_spacing: tuple[float, float] | None
    preparation: SourcePreparation
    origin: Origin = "unknown"


def read_card(folder: Path) -> EncoderCard:
    """Read ``encoder.json`` of an exported encoder.

    Raises:
        BundleError: It is missing, damaged or of another version.
    """
    path = folder / CARD_FILE
    try:
        values: Any = read_json(path)
    except FileNotFoundError as error:
        raise BundleError(
            f"{str(folder)!r} is no exported encoder (no {CARD_FILE}); `mris index` exports one"
        ) from error
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read ({error}); restore a copy, or run `mris index` again") from error
    version = values.get("format_version") if isinstance(values, Mapping) else None
    if version != FORMAT_VERSION:
        raise BundleError(f"{path} has format_version {version!r}; this software reads {FORMAT_VERSION}")
    try:
        spacing = values["target_spacing"]
        card = EncoderCard(
            fingerprint=str(values["fingerprint"]),
            regions=tuple(str(name) for name in values["regions"]),
            source_shape=_shape(values["source_shape"]),
            target_shape=_shape(values["target_shape"]),
            target_scale=float(values["target_scale"]),
            embedding_dim=int(values["embedding_dim"]),
            unit=str(values["unit"]),
            target_spacing=None if spacing is None else (float(spacing[0]), float(spacing[1])),
            preparation=SourcePreparation.from_dict(values["preparation"]),
            origin=read_origin(values.get("origin")),
        )
    except (KeyError, TypeError, ValueError, IndexError, SettingsError) as error:
        raise BundleError(f"{path} is damaged ({type(error).__name__}: {error}); run `mris index` again") from error
    if len(card.regions) != card.target_shape[0] or not card.target_scale > 0:
        raise BundleError(f"{path} names regions {card.regions} for targets {card.target_shape}, which contradict")
    return card


class OnnxEncoder:
    """Encoders exported by `mris.metric.export.export_encoder`; satisfies `mris.types.Encoder` without torch.

    Networks are loaded when they are first used: a synthesis never loads the target's.

    Attributes:
        card: All about the encoders but their weights.
        training_subjects: Whom they were trained on; None where that is unknown.
    """

    def __init__(
        self, folder: str | Path, *, checksums: Mapping[str, str] | None = None, threads: int | None = None
    ) -> None:
        """Read the card of an exported encoder.

        Args:
            folder: Holds ``encoder.json``, ``source.onnx`` and ``target.onnx``.
            checksums: SHA-256 (hex) of the networks' files; a network is refused if its bytes differ.
            threads: Threads of one network; as many as this process may use cores if None.

        Raises:
            BundleError: The card is missing or damaged, or a network's file is missing.
        """
        self.folder = Path(folder)
        self.card = read_card(self.folder)
        self.training_subjects = read_training_subjects(self.folder)
        card, known = self.card, dict(checksums or {})
        shapes = {"source": card.source_shape, "target": card.target_shape}
        self._networks = {
            name: OnnxNetwork(
                self.folder / f"{name}.onnx",
                name,
                shape,
                (card.embedding_dim,),
                checksum=known.get(f"{name}.onnx"),
                threads=threads,
            )
            for name, shape in shapes.items()
        }

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of weights and settings."""
        return self.card.fingerprint

    @property
    def regions(self) -> tuple[str, ...]:
        """Names of the target regions, in the order of the target encoder's channels."""
        return self.card.regions

    @property
    def origin(self) -> Origin:
        """Whether it was trained on images of people or simulated ones."""
        return self.card.origin

    @property
    def preparation(self) -> SourcePreparation:
        """How an image becomes a prepared source."""
        return self.card.preparation

    def encode_sources(self, sources: Sources) -> Embeddings:
        """Embed prepared source images.

        Args:
            sources: (n, c, h, w).

        Returns:
            (n, d) unit vectors.

        Raises:
            ImageError: The shape is not the encoder's.
            BundleError: The network cannot be loaded or run.
        """
        return self._networks["source"].run(sources)

    def encode_targets(self, targets: Targets) -> Embeddings:
        """Embed targets of the encoder's regions; NaN becomes 0 for the network only.

        Args:
            targets: (n, r, h, w) in the encoder's unit.

        Returns:
            (n, d) unit vectors.

        Raises:
            ImageError: The shape is not the encoder's.
            BundleError: The network cannot be loaded or run.
        """
        scaled = np.nan_to_num(np.asarray(targets, dtype=np.float32), nan=0.0) / np.float32(self.card.target_scale)
        return self._networks["target"].run(scaled)


def _shape(values: Any) -> tuple[int, int, int]:
    first, second, third = (int(value) for value in values)
    return first, second, third
