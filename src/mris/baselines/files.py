"""From files to files with a baseline: read queries, predict, write maps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np

import mris
from mris.baselines.predictor import Baseline
from mris.errors import ImageError, SettingsError
from mris.finding import Finding
from mris.images.admission import ANY, admit
from mris.images.anatomy import Anatomy
from mris.images.header import Side
from mris.images.read import file_of, read_image
from mris.images.result_names import result_stems
from mris.images.transforms import prepare_source
from mris.images.write import write_json, write_nifti


@dataclass(frozen=True)
class Prediction:
    """What became of one query file: what was written and what deserves a look, or why nothing was."""

    path: Path
    written: tuple[Path, ...] = ()
    finding: Finding | None = None
    notes: tuple[str, ...] = ()


def predict_files(
    baseline: Baseline,
    files: Sequence[Path],
    out_dir: str | Path,
    *,
    anatomy: Anatomy = ANY,
    side: Side | None = None,
    spacing: tuple[float, float] | None = None,
    on_error: Literal["stop", "skip"] = "stop",
) -> Iterator[Prediction]:
    """Predict the target of each file, one at a time.

    Args:
        baseline: the method.
        files: source images; ``file.npz::key`` names an array of an archive.
        out_dir: folder for ``STEM.nii.gz`` (mm spacing, NaN outside the atlas mask) and ``STEM.json``, written last.
        anatomy: the part of the body that they show; it decides which are let in.
        side: side of the body where a file does not say.
        spacing: pixel spacing (row, column) in mm where a file states none.
        on_error: "stop" at a file that cannot be used, or "skip" it.

    Yields:
        One outcome a file, in order.

    Raises:
        SettingsError: two files would write the same results, or a result would replace a query.
        ImageError: a file cannot be used, or is by its header not what the network was made for
            (`mris.images.admission.admit`), and `on_error` is "stop".
        OutputError: the disk refuses.
    """
    out = Path(out_dir)
    stems = result_stems(files)
    queries = {file_of(path).resolve() for path in files}
    for stem in stems:
        if (out / f"{stem}.nii.gz").resolve() in queries:
            raise SettingsError(f"the result {out / stem}.nii.gz would replace a query; choose another folder")
    card, preparation = baseline.card, baseline.card.preparation
    for path, stem in zip(files, stems, strict=True):
        try:
            image = read_image(path, spacing=spacing)
            admitted = admit(image, preparation, anatomy=anatomy, side=side)
            source = prepare_source(image, preparation, side=admitted.side)
            (target,) = baseline.predict(source[np.newaxis])
        except ImageError as error:
            if on_error == "stop":
                raise
            yield Prediction(path, finding=Finding(str(error)))
            continue
        out.mkdir(parents=True, exist_ok=True)
        write_nifti(out / f"{stem}.nii.gz", target, card.target_spacing)
        record = {
            "format_version": 1,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "query": {"name": path.name, "side": admitted.side, "notes": admitted.notes},
            "method": card.method,
            "network_sha256": card.sha256,
            "regions": card.regions,
            "unit": card.unit,
            "origin": card.origin,
            "spacing_mm": card.target_spacing,
            "software": {"mris": mris.__version__},
        }
        write_json(out / f"{stem}.json", record)
        yield Prediction(path, (out / f"{stem}.nii.gz", out / f"{stem}.json"), notes=admitted.notes)
