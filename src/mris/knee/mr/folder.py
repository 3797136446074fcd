"""Segmentations of many scans: a folder of label volumes, doubts, pictures, records, one table and one page.

A knee's record is written last; a knee with a record of the same scan, network and side is kept, so that an interrupted
run goes on where it stopped.
"""

import csv
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

import mris
from mris.cohort.workers import shown
from mris.errors import ImageError, MrisError, OutputError, SettingsError
from mris.finding import Finding
from mris.images.header import Side
from mris.images.result_names import result_stems
from mris.images.write import atomic_write, check_writable_folder, write_json
from mris.images.written import as_text, require_text_name, require_written
from mris.knee.mr.doubts import volumes_ml
from mris.knee.mr.model import Model
from mris.knee.mr.overlays import write_overlay, write_page
from mris.knee.mr.record import METHOD_VERSION, FoundRecord, SegmentationRecord
from mris.knee.mr.resample import require_upright
from mris.knee.mr.segment import KneeSegmentation, segment_scan
from mris.knee.mr.series import Scan, dicom_files, read_scan
from mris.knee.mr.volume_files import write_volume
from mris.knee.segmentation_files import SUFFIXES, KneeFile, knee_files, knee_of_name
from mris.reading import file_sha256
from mris.records import read_record
from mris.wording import counted

TABLE_FILE, PAGE_FILE = "segmentations.csv", "index.html"
COLUMNS = ("file", "subject", "side", "timepoint", "doubt", "findings")

_RECORD, _OVERLAY = "record.json", "overlay.png"
_CAUTION = (
    "the network of the package was trained on digital knees alone and is not good enough to measure with; look at "
    "every picture, or give another one (--model)"
)


@dataclass(frozen=True)
class SegmentSettings:
    """What decides the segmentations of a folder.

    Attributes:
        model: Folder of the network; None for the one of the package.
        side: Of scans that do not say which knee they show.
        index: Table with the columns file, subject, side, timepoint; None to ask headers and names.
        on_error: Stop at a scan that cannot be used, or leave it out and say so.
        overwrite: Segment anew what is there.
    """

    model: Path | None = None
    side: Side | None = None
    index: Path | None = None
    on_error: Literal["stop", "skip"] = "stop"
    overwrite: bool = False


@dataclass(frozen=True)
class ScanResult:
    """What became of one scan.

    Attributes:
        path: The file or folder.
        name: Of its results.
        record: None where there are none.
        error: Why there are none, or "".
        told: What was read of it, for a look before the work.
        reused: Whether they were there.
    """

    path: Path
    name: str
    record: SegmentationRecord | None = None
    error: str = ""
    told: str = ""
    reused: bool = False

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Why there is no segmentation, or doubts about it."""
        if self.record is None:
            return (Finding(self.error),) if self.error else ()
        return tuple(Finding(one.reason, one.rule, one.severity) for one in self.record.findings)


@dataclass(frozen=True)
class SegmentReport:
    """What became of all scans.

    Attributes:
        results: One a scan, in their order.
        table: The table; None if nothing was written.
        caution: What to know of the network before its labels are used, or "".
    """

    results: tuple[ScanResult, ...]
    table: Path | None
    caution: str = ""

    def require_sound(self) -> None:
        """Refuse scans of which one or more cannot be used.

        Raises:
            ImageError: Tells how many.
        """
        failed = sum(bool(one.error) for one in self.results)
        if failed:
            raise ImageError(
                f"{failed:,} of {counted(len(self.results), 'scan')} cannot be used; mend them, or leave them out with "
                "--on-error skip"
            )

    def summary(self) -> str:
        """Counts in and out, a line for each scan that was only read, and one for each finding."""
        n, failed = len(self.results), sum(bool(one.error) for one in self.results)
        doubtful = sum(bool(one.findings) and not one.error for one in self.results)
        have = "has" if n == 1 else "have"
        verb = f"{have} a segmentation" if self.table else "can be read"
        lines = [f"{n - failed:,} of {counted(n, 'scan')} {verb}, {failed} failed, {doubtful} in doubt"]
        reused = sum(one.reused for one in self.results)
        if reused:
            lines.append(f"  {reused} were there before")
        lines += [f"  {as_text(one.name)}: {one.told}" for one in self.results if one.told]
        lines += [f"  {found.severity} {as_text(one.name)}: {found}" for one in self.results for found in one.findings]
        return "\n".join([*lines, *([f"  note: {self.caution}"] if self.caution else [])])


def check_scans(paths: Sequence[Path], settings: SegmentSettings, *, progress: bool = False) -> SegmentReport:
    """Read all scans and say what they are; nothing is segmented or written.

    Raises:
        SettingsError: No scan, or two whose results would have one name.
        BundleError: The network cannot be read.
    """
    Model(settings.model)
    results = []
    named = _named(paths, settings)
    for name, path, knee in shown(named, "Reading scans", len(named), progress):
        try:
            scan, knee = _read(name, path, knee, settings.side)
            require_upright(scan.affine, scan.origin)
            size = " x ".join(map(str, scan.voxels.shape))
            spacing = " x ".join(f"{edge:.2f}" for edge in scan.spacing)
            who = f"subject {as_text(knee.subject)}, {knee.side}, timepoint {knee.timepoint}"
            told = "; ".join((f"{who}, {size} voxels of {spacing} mm", *scan.notes))
            results.append(ScanResult(path, name, told=told))
        except (ImageError, SettingsError) as error:
            results.append(ScanResult(path, name, error=str(error)))
    return SegmentReport(tuple(results), None)


def segment_scans(
    paths: Sequence[Path], out: Path, settings: SegmentSettings, *, progress: bool = False
) -> SegmentReport:
    """Segment the scans of many knees.

    For each scan a folder of its name with ``NAME_seg.nii.gz`` (label numbers of the preset ``nnunet_knee``),
    ``NAME_entropy.nii.gz`` (doubt in percent), a picture and a record; for all of them `TABLE_FILE`, which is an index
    for ``mris thickness``, and `PAGE_FILE`.

    Args:
        paths: Files and folders of scans, see `read_scan`; none means all of the index.
        out: Folder; what it holds of the same scans is kept.
        settings: Network, side, and how to go on.
        progress: Show a bar on stderr.

    Raises:
        ImageError: A scan cannot be used (with ``on_error="stop"``).
        SettingsError: No scan, a name that tells no subject or side, or two whose results would have one name.
        BundleError: The network cannot be read or fails.
        OutputError: The folder cannot be written.
    """
    named = _named(paths, settings)
    model = Model(settings.model)
    check_writable_folder(out)
    results = []
    for name, path, knee in shown(named, "Segmenting", len(named), progress):
        try:
            results.append(_one(name, path, knee, out, settings, model))
        except (ImageError, SettingsError) as error:
            if settings.on_error == "stop":
                raise type(error)(f"{error} (or leave such scans out with --on-error skip)") from error
            results.append(ScanResult(path, name, error=str(error)))
    report = SegmentReport(tuple(results), out / TABLE_FILE, _CAUTION if settings.model is None else "")
    done = [one for one in results if one.record is not None]
    _write_table(out / TABLE_FILE, done)
    write_page(
        out / PAGE_FILE, model.checksum[:8], [(one.name, f"{one.name}/{_OVERLAY}", one.findings) for one in done]
    )
    require_written([out / TABLE_FILE, *(out / one.name / _labels_name(one.name) for one in done)])
    return report


def _named(paths: Sequence[Path], settings: SegmentSettings) -> list[tuple[str, Path, KneeFile | None]]:
    if settings.index is not None:
        knees = knee_files(paths, settings.side, settings.index)
        return [(knee.key, knee.path, knee) for knee in knees]
    if not paths:
        raise SettingsError("no scan was given; name files or folders, or an --index")
    names = result_stems([_with_name(path) for path in paths])
    return [(name, path, None) for name, path in zip(names, paths, strict=True)]


def _with_name(path: Path) -> Path:
    """A path that ends in a name, as ``.`` does not; that of a link is its own."""
    return path.resolve() if path.name in ("", "..") else path.absolute()


def _read(name: str, path: Path, knee: KneeFile | None, side: Side | None) -> tuple[Scan, KneeFile]:
    """Read a scan and say whose it is: by the index, by a file's name, or by the header of DICOM."""
    require_text_name(path)
    if knee is None and not path.is_dir() and path.name.lower().endswith(SUFFIXES):
        knee = knee_of_name(path, side)
    scan = read_scan(path)
    if knee is not None:
        if scan.side is not None and scan.side != knee.side:
            raise ImageError(
                f"scan {path}: its header says {scan.side}, its name or index {knee.side}; mend one of them"
            )
        return scan, knee
    if scan.side is not None and side is not None and scan.side != side:
        raise SettingsError(f"scan {path}: its header says {scan.side}, and --side {side}; leave --side out")
    if (scan.side or side) is None:
        raise SettingsError(
            f"scan {path}: its header does not say which knee it shows, or names both sides; give --side, or an --index"
        )
    if not scan.subject:
        unnamed = f"its header names no person (PatientID): the subject is called {as_text(name)}, as its results are"
        scan = replace(scan, subject=name, notes=(*scan.notes, unnamed))
    return scan, KneeFile(path, scan.subject, cast(Side, scan.side or side), scan.timepoint or "0")


def _one(
    name: str, path: Path, knee: KneeFile | None, out: Path, settings: SegmentSettings, model: Model
) -> ScanResult:
    folder, wanted = out / name, {"scan_sha256": _checksum(path), "model_sha256": model.checksum}
    found = None if settings.overwrite else _finished(folder, name)
    if found is not None and _is_of(found, wanted, knee, settings.side):
        return ScanResult(path, name, found, reused=True)
    start = time.monotonic()
    scan, knee = _read(name, path, knee, settings.side)
    if found is not None and found.scan_sha256 != wanted["scan_sha256"]:
        _require_same_knee(folder, found, knee)
    made = segment_scan(scan, model, knee.side)
    record = _record(path, knee, scan, made, wanted, time.monotonic() - start)
    (folder / _RECORD).unlink(missing_ok=True)  # interrupted, it would stand beside labels of which it does not tell
    write_volume(folder / _labels_name(name), made.labels, made.affine)
    write_volume(folder / f"{name}_entropy.nii.gz", made.entropy, made.affine)
    write_overlay(folder / _OVERLAY, scan.voxels, made.labels, made.affine, f"{as_text(name)}, {knee.side} knee")
    write_json(folder / _RECORD, record)
    return ScanResult(path, name, record)


def _record(
    path: Path, knee: KneeFile, scan: Scan, made: KneeSegmentation, wanted: dict[str, str], seconds: float
) -> SegmentationRecord:
    return SegmentationRecord(
        scan=_with_name(path).name,
        subject=knee.subject,
        side=knee.side,
        timepoint=knee.timepoint,
        shape=cast(tuple[int, int, int], scan.voxels.shape),
        spacing_mm=cast(tuple[float, float, float], tuple(round(edge, 4) for edge in scan.spacing)),
        notes=scan.notes,
        findings=tuple(FoundRecord(reason=one.reason, rule=one.rule, severity=one.severity) for one in made.findings),
        certainty=made.certainty.mean,
        volumes_ml=volumes_ml(made.labels, made.affine),
        seconds=round(seconds, 1),
        software=f"mris {mris.__version__}",
        scan_sha256=wanted["scan_sha256"],
        model_sha256=wanted["model_sha256"],
    )


def _checksum(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of the DICOM files of a folder."""
    try:
        if path.is_file():
            return file_sha256(path)
        lines = "".join(f"{one.relative_to(path)} {file_sha256(one)}\n" for one in dicom_files(path))
    except OSError as error:
        raise ImageError(f"scan {path}: {error.strerror or error}; name a file or folder that can be read") from error
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def _finished(folder: Path, name: str) -> SegmentationRecord | None:
    """The record of a whole result."""
    if not all(
        (folder / one).is_file() and (folder / one).stat().st_size for one in (_RECORD, _labels_name(name), _OVERLAY)
    ):
        return None
    try:
        found = read_record(folder / _RECORD, SegmentationRecord, OutputError, "segment again")
    except MrisError:  # a damaged record is no record
        return None
    return found if found.method == METHOD_VERSION else None


def _is_of(found: SegmentationRecord, wanted: dict[str, str], knee: KneeFile | None, side: Side | None) -> bool:
    """Whether a record is of the scan and network, and of the knee that index and options name now."""
    if any(getattr(found, key) != value for key, value in wanted.items()):
        return False
    if knee is not None:
        return _who(found) == _who(knee)
    return side in (None, found.side)


def _require_same_knee(folder: Path, found: SegmentationRecord, knee: KneeFile) -> None:
    """Refuse to write over what is there of another knee: folders of series often have one name, such as DICOM."""
    if _who(found) != _who(knee):
        raise SettingsError(
            f"{folder} holds the segmentation of another scan, of subject {as_text(found.subject)}, {found.side}, "
            f"timepoint {found.timepoint}; give both scans at once, another --out, or --overwrite"
        )


def _who(knee: KneeFile | SegmentationRecord) -> tuple[str, Side, str]:
    return knee.subject, knee.side, knee.timepoint


def _labels_name(name: str) -> str:
    return f"{name}_seg.nii.gz"


def _write_table(path: Path, done: Sequence[ScanResult]) -> None:
    """One row a knee, as ``mris thickness --index`` takes it."""
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for one in done:
            if one.record is not None:
                worst = next(
                    (s for s in ("error", "warning", "note") if any(f.severity == s for f in one.findings)), ""
                )
                labels = f"{one.name}/{_labels_name(one.name)}"
                writer.writerow((labels, *_who(one.record), worst, "; ".join(map(str, one.findings))))
