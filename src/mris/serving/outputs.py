"""A synthesis on disk: maps as NIfTI, NPZ and PNG, spread and intervals, and where it came from as JSON."""

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

import mris
from mris.cohort.lance_library import lance
from mris.errors import OutputError, SettingsError
from mris.images.write import write_json, write_nifti, write_npz
from mris.serving.pictures import Look, write_maps_picture
from mris.synthesis.synthesis import Contribution, Synthesis
from mris.training.onnx_runtime import onnxruntime

Format = Literal["nifti", "npz", "png"]
FORMATS: tuple[Format, ...] = ("nifti", "npz", "png")


@dataclass(frozen=True)
class Query:
    """What a synthesis was asked for, as the provenance tells it.

    Attributes:
        name: How the query is called: a file's name, or a key.
        sha256: SHA-256 (hex) of the file, or None.
        side: Side of the body, or None.
        side_source: What names the side: "given", "header", "sheet" or "position"; None if nothing does.
        center: Row and column of the region's center in pixels of the file; None for its middle, or for no region.
        center_source: What names the center: "given", "sheet" or "detector"; None if nothing does.
        confidence: The detector's, 0 to 1, or None.
        spacing_source: Where the pixel spacing comes from: "given", "file" or a DICOM element; None if it is unknown.
        outside: Share of the region that is cut that lies outside the picture, 0 to 1; None where none is cut.
        region_mm: Edge of the square in mm that was cut out, or that whole images show in the encoders' cohort; None if
            that is unknown.
        view: View that a DICOM header names; None if it names none.
        notes: What deserves a look.
    """

    name: str
    sha256: str | None = None
    side: str | None = None
    side_source: str | None = None
    center: tuple[float, float] | None = None
    center_source: str | None = None
    confidence: float | None = None
    spacing_source: str | None = None
    outside: float | None = None
    region_mm: float | None = None
    view: str | None = None
    notes: tuple[str, ...] = ()


def write_synthesis(
    synthesis: Synthesis,
    out_dir: str | Path,
    stem: str,
    formats: Sequence[Format] = ("nifti", "png"),
    *,
    query: Query | None = None,
    look: Look | None = None,
    beside: Sequence[str] = (),
) -> tuple[Path, ...]:
    """Write a synthesis; every file is whole or absent, and a file of the same name is replaced.

    - ``nifti``: ``STEM.nii.gz`` and ``STEM_spread.nii.gz``, pixel size in mm, NaN outside; of a calibrated bundle also
      ``STEM_lower.nii.gz`` and ``STEM_upper.nii.gz``, the ends of each pixel's interval;
    - ``npz``: ``STEM.npz`` with ``image``, ``spread``, ``regions``, ``unit`` and ``spacing``, and ``lower``, ``upper``
      and their ``level``;
    - ``png``: ``STEM.png``, a picture of image and spread (and widths of intervals) with color bars in the unit;
    - always ``STEM_provenance.json``, written last.

    Args:
        synthesis: What to write.
        out_dir: Folder; made if absent.
        stem: Beginning of the files' names; no folder in it.
        formats: Of "nifti", "npz" and "png".
        query: What was asked.
        look: Colors and edges of the picture; its own if None.
        beside: Names of further files of this synthesis that stand in the folder; the provenance lists them too.

    Returns:
        The files written; the provenance is the last.

    Raises:
        SettingsError: A format is unknown, or the stem is no file name.
        OutputError: The disk refuses.
    """
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown or isinstance(formats, str):
        raise SettingsError(f"formats has {unknown or formats!r}; give some of {', '.join(FORMATS)}")
    if not stem or Path(stem).name != stem or stem in (".", "..") or "\\" in stem or "\0" in stem:
        raise SettingsError(f"stem is {stem!r}; it must be a plain file name without a folder")
    out = _made_folder(Path(out_dir))
    written: list[Path] = []
    if "nifti" in formats:
        maps = {"": synthesis.image, "_spread": synthesis.spread, "_lower": synthesis.lower, "_upper": synthesis.upper}
        for ending, array in maps.items():
            if array is None:  # that of an earlier call would stand beside a map it does not belong to
                (out / f"{stem}{ending}.nii.gz").unlink(missing_ok=True)
                continue
            written.append(out / f"{stem}{ending}.nii.gz")
            write_nifti(written[-1], array, synthesis.spacing)
    if "npz" in formats:
        spacing = (np.nan, np.nan) if synthesis.spacing is None else synthesis.spacing
        bounds = {"lower": synthesis.lower, "upper": synthesis.upper, "level": synthesis.level}
        write_npz(
            out / f"{stem}.npz",
            image=synthesis.image,
            spread=synthesis.spread,
            regions=np.array(synthesis.regions),
            unit=np.array(synthesis.unit),
            spacing=np.array(spacing, dtype=np.float64),
            **{name: np.asarray(values) for name, values in bounds.items() if values is not None},
        )
        written.append(out / f"{stem}.npz")
    if "png" in formats:
        write_maps_picture(out / f"{stem}.png", synthesis, look=look)
        written.append(out / f"{stem}.png")
    record = provenance(synthesis, query) | {"files": [*(path.name for path in written), *beside]}
    write_json(out / f"{stem}_provenance.json", record)
    return (*written, out / f"{stem}_provenance.json")


def dicom_names(stem: str) -> tuple[str, str]:
    """Names of the Secondary Capture and the Parametric Map of a query.

    Example:
        >>> dicom_names("hand")
        ('hand_capture.dcm', 'hand_map.dcm')
    """
    return f"{stem}_capture.dcm", f"{stem}_map.dcm"


def provenance(synthesis: Synthesis, query: Query | None = None) -> dict[str, Any]:
    """Tell where a synthesis came from, in plain JSON values.

    The neighbors' keys and subjects are people of the database: treat the record as personal data.

    Args:
        synthesis: What was made.
        query: What was asked.
    """
    return {
        "format_version": 1,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "query": None if query is None else asdict(query),
        "bundle": synthesis.bundle_id,
        "origin": synthesis.origin,
        "excluded_subject": synthesis.excluded_subject,
        "regions": synthesis.regions,
        "unit": synthesis.unit,
        "spacing_mm": synthesis.spacing,
        "mirrored": synthesis.mirrored,
        "contributions": [_contribution_record(part) for part in synthesis.contributions],
        "software": {
            "mris": mris.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "onnxruntime": onnxruntime.__version__,
            "lance": lance.__version__,
        },
    }


def _contribution_record(part: Contribution) -> dict[str, Any]:
    count = part.n_neighbors
    columns = zip(
        part.neighbors.keys[0, :count].tolist(),
        part.neighbors.subjects[0, :count].tolist(),
        part.neighbors.similarities[0, :count].tolist(),
        part.weights[:count].tolist(),
        strict=True,
    )
    return {
        "regions": part.regions,
        "readout": part.readout.to_json(),
        "encoder": part.fingerprint,
        "database_version": part.database_version,
        "n_neighbors": count,
        "neighbors": [
            {"key": key, "subject": subject, "similarity": similarity, "weight": weight}
            for key, subject, similarity, weight in columns
        ],
        "n_contributors": part.n_contributors,
        "weight_of_others": float(part.all_weights.sum() - part.weights[:count].sum()),
        "shown_share": part.shown_share,
        "intervals": None if part.intervals is None else asdict(part.intervals),
        "strangeness": None if part.strangeness is None else asdict(part.strangeness),
    }


def _made_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot make the folder {folder} ({error.strerror or error}); choose another place"
        ) from error
    return folder
