"""`FileOptions`: how query files are read and what is written for each, and what contradicts itself in it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mris.errors import SettingsError
from mris.images.header import Side
from mris.images.read import file_of
from mris.serving.means import MEANS_FILE
from mris.serving.outputs import Format, dicom_names
from mris.serving.pictures import Look
from mris.serving.queries import RegionFinder
from mris.synthesis.batch_synthesizer import BatchSynthesizer
from mris.synthesis.parts import Parts

OnStrange = Literal["note", "skip", "stop"]


@dataclass(frozen=True)
class FileOptions:
    """How query files are read and what is written for each.

    Attributes:
        side: Side of the body where a file does not say.
        center: Row and column of the region's center, in pixels; the middle if None.
        spacing: Pixel spacing (row, column) in mm where a file states none.
        finder: How the regions of a plate are found, each of which is a query; None takes each file for one query.
        exclude_subject: Subject whose entries are not used.
        formats: Of "nifti", "npz" and "png".
        pictures: Also draw the neighbors of each query.
        dicom: Also write a Secondary Capture and a Parametric Map into the study of the source, which must be DICOM.
        salt: De-identify these two, with this key of the replacements (`mris.serving.deidentify`).
        on_error: "stop" at a file that cannot be used, or "skip" it.
        on_strange: "note" a query that is unlike anything known, "skip" its file, or "stop" at it.
        look: Colors and edges of the pictures; colors that are left open are those of the first files, for all.
        parts: For a region, parts of its maps whose means are written beside its own.
    """

    side: Side | None = None
    center: tuple[float, float] | None = None
    spacing: tuple[float, float] | None = None
    finder: RegionFinder | None = None
    exclude_subject: str | None = None
    formats: tuple[Format, ...] = ("nifti", "png")
    pictures: bool = True
    dicom: bool = False
    salt: bytes | None = None
    on_error: Literal["stop", "skip"] = "stop"
    on_strange: OnStrange = "note"
    look: Look = field(default_factory=Look)
    parts: Parts = field(default_factory=dict)


def check_options(synthesizer: BatchSynthesizer, options: FileOptions) -> None:
    """Refuse options that contradict each other or the encoders.

    Raises:
        SettingsError: They do.
    """
    preparation = synthesizer.preparation
    if options.center is not None and options.finder is not None:
        anatomy = synthesizer.anatomy
        raise SettingsError(
            f"a center is given, and {anatomy.plural} are to be found; --center is for files of one {anatomy.name}, "
            "--right and --left for plates"
        )
    if options.center is not None and preparation is not None and preparation.region_mm is None:
        raise SettingsError("a center is given, but these encoders see whole images; leave it out")
    if options.salt is not None and not options.dicom:
        raise SettingsError("de-identification is asked for, but it is of DICOM results only; ask for DICOM, too")


def check_results(named: Sequence[tuple[Path, str]], out_dir: Path, options: FileOptions) -> None:
    """Refuse results that would replace a query (OUT is the queries' own folder) or another query's result.

    Args:
        named: Each query's file, and the stem of its results.
        out_dir: Where they are written.
        options: Which are written.

    Raises:
        SettingsError: Some would.
    """
    queries = {file_of(path).resolve(): path for path, _ in named}
    folder = out_dir.resolve()
    makers: dict[str, Path] = {}
    if folder / MEANS_FILE in queries:
        raise SettingsError(f"the table {out_dir / MEANS_FILE} would replace a query; choose another folder")
    for path, stem in named:
        stems = [stem] if options.finder is None else [f"{stem}_{side}" for side in options.finder.sides]
        for name in (name for one in stems for name in result_names(one, options)):
            if folder / name in queries:
                raise SettingsError(f"the result {out_dir / name} would replace a query; choose another folder")
            other = makers.setdefault(name, path)
            if other != path:
                raise SettingsError(f"{other} and {path} would both write {name}; use separate folders")


def result_names(stem: str, options: FileOptions) -> list[str]:
    """Names of all files that are written for a query of that stem."""
    by_format = {
        "nifti": tuple(f"{stem}{ending}.nii.gz" for ending in ("", "_spread", "_lower", "_upper")),
        "npz": (f"{stem}.npz",),
        "png": (f"{stem}.png",),
    }
    names = [name for kind in options.formats for name in by_format.get(kind, ())]
    if options.pictures:
        names.append(f"{stem}_neighbors.png")
    if options.dicom:
        names += dicom_names(stem)
    return [*names, f"{stem}_provenance.json"]
