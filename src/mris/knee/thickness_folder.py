"""Maps of many knees: from segmentation files to a folder of maps, records, pictures and one table.

A knee's record is written last; a knee with a record of the same file, labels, side and method is kept, so that an
interrupted run goes on where it stopped.
"""

import csv
import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

import mris
from mris.cohort.workers import in_processes, shown
from mris.cores import n_cores
from mris.errors import ImageError, OutputError
from mris.finding import Finding
from mris.images.write import atomic_write, check_writable_folder, write_json
from mris.images.written import as_text, require_text_name, require_written
from mris.knee.cartilage_atlas import CHECKSUMS, CartilageAtlas, open_atlas
from mris.knee.label_map import LabelMap
from mris.knee.label_volume import source_files
from mris.knee.segmentation import read_segmentation
from mris.knee.segmentation_files import KneeFile
from mris.knee.thickness_maps import ThicknessMaps, thickness_maps
from mris.knee.thickness_preview import write_preview
from mris.reading import file_sha256, read_json, regular_size
from mris.wording import counted

METHOD_VERSION = 6
"""Raised whenever the same segmentation would give another map or other parts of it."""
FEMORAL_FILE, TIBIAL_FILE = "FC_2d_thickness.npy", "TC_2d_thickness.npy"
TABLE_FILE, REPORT_FILE = "maps.csv", "report.json"

_RECORD, _PREVIEW = "record.json", "preview.png"


@dataclass(frozen=True)
class ThicknessSettings:
    """What decides the maps of a folder.

    Attributes:
        atlas: Folder of the atlas.
        labels: Numbers of the tissues; None to find each file's preset.
        on_error: Stop at a file that cannot be used, or leave it out and say so.
        workers: Processes; None for one a core.
    """

    atlas: Path
    labels: LabelMap | None
    on_error: Literal["stop", "skip"] = "stop"
    workers: int | None = None


@dataclass(frozen=True)
class KneeResult:
    """What became of one file.

    Attributes:
        knee: The file.
        record: What `record.json` holds; None if there are no maps.
        error: Why there are none, or "".
        reused: Whether the maps were there.
    """

    knee: KneeFile
    record: dict[str, Any] | None
    error: str = ""
    reused: bool = False

    @property
    def name(self) -> str:
        """What messages and reports call the file."""
        return as_text(self.knee.key)

    @property
    def preset(self) -> str:
        """By which label numbers the file was read, for summaries; "" if it was not."""
        return "" if self.record is None else self.record["preset"] or "given by hand"

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Why there are no maps, or warnings about them."""
        if self.record is None:
            return (Finding(self.error),)
        return tuple(Finding(reason, severity="warning") for reason in self.record["findings"])


@dataclass(frozen=True)
class ThicknessReport:
    """What became of all files.

    Attributes:
        results: One a file, in the order of the files.
        table: The table of the maps; None if nothing was written.
    """

    results: tuple[KneeResult, ...]
    table: Path | None

    def require_sound(self) -> None:
        """Refuse files of which one or more cannot be used.

        Raises:
            ImageError: Tells how many.
        """
        failed = sum(bool(result.error) for result in self.results)
        if failed:
            raise ImageError(
                f"{failed:,} of {counted(len(self.results), 'file')} cannot be used; mend them, or leave them out with "
                "--on-error skip"
            )

    def summary(self) -> str:
        """Counts in and out, whose knees they are if nothing was written, a line for each finding of a knee."""
        n = len(self.results)
        failed = [result for result in self.results if result.error]
        warned = [result for result in self.results if result.findings and not result.error]
        reused = sum(result.reused for result in self.results)
        have = "has" if n == 1 else "have"
        verb = f"{have} maps" if self.table else "can be read"
        told = f"{len(failed)} failed, {len(warned)} with warnings"
        lines = [f"{n - len(failed):,} of {counted(n, 'knee')} {verb}, {told}"]
        if reused:
            lines.append(f"  {reused} were there before")
        presets = Counter(result.preset for result in self.results if result.preset)
        lines += [f"  labels {preset}: {counted(number, 'knee')}" for preset, number in presets.items()]
        if self.table is None:
            lines += _people(self.results)
        lines += [f"  {one.severity} {r.name}: {one}" for r in (*warned, *failed) for one in r.findings]
        return "\n".join(lines)


def _people(results: Sequence[KneeResult]) -> list[str]:
    """One line a knee: what was read of its name or index, to be looked at before any work."""
    n_subjects = len({result.knee.subject for result in results})
    who = [(result.name, result.knee) for result in results]
    lines = [f"  {name}: subject {knee.subject}, {knee.side}, timepoint {knee.timepoint}" for name, knee in who]
    return [f"  they are of {counted(n_subjects, 'subject')}:", *lines]


def write_thickness_maps(
    knees: Sequence[KneeFile], out: Path, settings: ThicknessSettings, *, progress: bool = False
) -> ThicknessReport:
    """Make the maps of many knees.

    For each file a folder of its name with `FEMORAL_FILE` and `TIBIAL_FILE` (310 x 310, float64, mm, NaN outside), a
    record and a picture; for all of them `maps.csv` (one row a knee) and `report.json`.

    Args:
        knees: The files, each with a name of its own.
        out: Folder; what it holds of the same files is kept.
        settings: Atlas, labels, and how to go on.
        progress: Show a bar on stderr.

    Raises:
        ImageError: A file cannot be used (with ``on_error="stop"``), or the atlas cannot be read.
        OutputError: The folder cannot be written, or a process died.
    """
    check_writable_folder(out)
    open_atlas(settings.atlas)  # a missing atlas is told before any work, not once a knee
    results = []
    made = in_processes(partial(_knee, out, settings), knees, settings.workers or n_cores(), OutputError, "makes maps")
    for result in shown(made, "Making maps", len(knees), progress):
        if result.error and settings.on_error == "stop":
            raise ImageError(f"{result.error} (or leave such files out with --on-error skip)")
        results.append(result)
    report = ThicknessReport(tuple(results), out / TABLE_FILE)
    _write_table(report, out / TABLE_FILE)
    write_json(
        out / REPORT_FILE,
        {
            "n_files": len(results),
            "n_maps": sum(result.record is not None for result in results),
            "findings": {one.name: [asdict(found) for found in one.findings] for one in results if one.findings},
            "settings": _method(settings),
        },
    )
    folders = [out / result.knee.key for result in results if result.record is not None]
    require_written([out / TABLE_FILE, *(folder / name for folder in folders for name in (FEMORAL_FILE, TIBIAL_FILE))])
    return report


def check_segmentations(
    knees: Sequence[KneeFile], settings: ThicknessSettings, *, progress: bool = False
) -> ThicknessReport:
    """Read all segmentations and tell the findings; nothing is registered or written."""
    results = []
    for knee in shown(knees, "Reading segmentations", len(knees), progress):
        try:
            require_text_name(knee.path)
            read = read_segmentation(knee.path, settings.labels, knee.side)
            reasons = [found.reason for found in read.findings]
            results.append(KneeResult(knee, {"preset": read.preset, "findings": reasons}))
        except ImageError as error:
            results.append(KneeResult(knee, None, str(error)))
    return ThicknessReport(tuple(results), None)


def _knee(out: Path, settings: ThicknessSettings, knee: KneeFile) -> KneeResult:
    folder = out / knee.key
    try:
        require_text_name(knee.path)
        regular_size(knee.path)  # a pipe would be waited for
        wanted = {
            "file": knee.path.name,
            "sha256": " ".join(map(file_sha256, source_files(knee.path))),
            "subject": knee.subject,
            "side": knee.side,
            "timepoint": knee.timepoint,
            **_method(settings),
        }
        found = _finished(folder, wanted)
        if found is not None:
            return KneeResult(knee, found, reused=True)
        segmentation = read_segmentation(knee.path, settings.labels, knee.side)
        maps = thickness_maps(_atlas(settings.atlas), segmentation)
    except ImageError as error:
        return KneeResult(knee, None, str(error))
    except OSError as error:
        return KneeResult(knee, None, f"segmentation {knee.path}: {error.strerror or error}")
    record = {**wanted, "preset": segmentation.preset, **_facts(maps)}
    (folder / _RECORD).unlink(missing_ok=True)  # interrupted, it would stand beside maps of which it does not tell
    for name, flat in ((FEMORAL_FILE, maps.femoral), (TIBIAL_FILE, maps.tibial)):
        with atomic_write(folder / name) as temporary, temporary.open("wb") as file:
            np.save(file, flat, allow_pickle=False)
    write_preview(folder / _PREVIEW, maps, knee.key)
    write_json(folder / _RECORD, record)
    return KneeResult(knee, record)


@lru_cache(maxsize=1)
def _atlas(folder: Path) -> CartilageAtlas:
    return open_atlas(folder)


def _method(settings: ThicknessSettings) -> dict[str, Any]:
    atlas = hashlib.sha256("".join(CHECKSUMS.values()).encode()).hexdigest()
    labels = settings.labels and json.loads(json.dumps(asdict(settings.labels)))
    return {"method": METHOD_VERSION, "atlas_sha256": atlas, "labels": labels}


def _finished(folder: Path, wanted: dict[str, Any]) -> dict[str, Any] | None:
    if not all(
        (folder / name).is_file() and (folder / name).stat().st_size for name in (_RECORD, FEMORAL_FILE, TIBIAL_FILE)
    ):
        return None
    try:
        found = read_json(folder / _RECORD)
    except ValueError:  # a damaged record is no record
        return None
    same = "findings" in found and all(found.get(name) == value for name, value in wanted.items())
    return found if same else None


def _facts(maps: ThicknessMaps) -> dict[str, Any]:
    found = maps.registration
    return {
        "findings": [found.reason for found in maps.findings],
        "dice": {name: round(value, 4) for name, value in found.dice.items()},
        "dice_affine": {name: round(value, 4) for name, value in found.dice_affine.items()},
        "residual_mm": round(found.residual_mm, 3),
        "residual_other_side_mm": round(found.residual_other_mm, 3),
        "jacobian_positive": found.jacobian_positive,
        "coverage": {name: round(value, 4) for name, value in maps.coverage.items()},
        "denuded": {name: round(value, 4) for name, value in maps.denuded.items()},
        "subregions_mm": _rounded(maps.subregions),
        "denuded_percent": _rounded(maps.denuded_percent),
        "seconds": dict(maps.seconds),
        "software": f"mris {mris.__version__}",
    }


def _rounded(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: round(value, 4) if math.isfinite(value) else None for name, value in values.items()}


def _write_table(report: ThicknessReport, path: Path) -> None:
    """One row a knee; the columns that a manifest needs come first, so that joining sources gives one."""
    rows = []
    for result in report.results:
        if result.record is None:
            continue
        knee, record = result.knee, result.record
        rows.append(
            {
                "subject": knee.subject,
                "timepoint": knee.timepoint,
                "side": knee.side,
                "target_femoral": f"{knee.key}/{FEMORAL_FILE}",
                "target_tibial": f"{knee.key}/{TIBIAL_FILE}",
                **record["subregions_mm"],
                **{f"dice_{name}": value for name, value in record["dice"].items()},
                **{f"denuded_{name}": value for name, value in record["denuded"].items()},
                **{f"denuded_percent_{name}": value for name, value in record["denuded_percent"].items()},
                "findings": "; ".join(record["findings"]),
            }
        )
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["subject", "timepoint", "side"])
        writer.writeheader()
        writer.writerows(rows)
