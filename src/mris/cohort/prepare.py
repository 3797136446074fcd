"""From a manifest to a cohort: every row is kept, or dropped with a reason; interrupted, it resumes."""

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from mris.cohort import work_folder
from mris.cohort.channels import of_equal_channels
from mris.cohort.file_sizes import FileSizes, notes_on_extents, notes_on_sameness, notes_on_sizes
from mris.cohort.header import ATLAS_MASK_FILE, HEADER_FILE, PROGRESS_FILE, REPORT_FILE, TABLE_FILE, CohortHeader
from mris.cohort.labels import number_with_comma
from mris.cohort.manifest import Manifest, ManifestRow, read_manifest
from mris.cohort.pair import PreparedPair, target_columns
from mris.cohort.plan import Plan, make_plan
from mris.cohort.prepare_settings import PrepareSettings as PrepareSettings
from mris.cohort.published import finished_at, published_folder
from mris.cohort.report import PrepareReport as PrepareReport
from mris.cohort.report import RowFinding as RowFinding
from mris.cohort.report import listed, read_report, rows_with_errors
from mris.cohort.timepoints import begins_with_day
from mris.cohort.workers import prepared_pairs, shown
from mris.cohort.writer import PairWriter
from mris.engines.engine import Engine
from mris.errors import CohortError, TooFewSubjectsError
from mris.images.extent import common_extent
from mris.images.transforms import SourcePreparation
from mris.images.write import write_json, write_npz
from mris.images.written import require_written
from mris.storage.address import Address, local_folder, place_of
from mris.storage.folder import Folder

ROWS_PER_APPEND = 256
BYTES_PER_APPEND = 64 * 2**20
"""An append is as many rows as fit into both; it is what a kill costs at most."""


def prepare_cohort(
    manifest_path: str | Path,
    out: str | Path | Address,
    settings: PrepareSettings,
    progress: bool = True,
    *,
    overwrite: bool = False,
    engine: Engine | None = None,
) -> PrepareReport:
    """Read every pair of a manifest and write the cohort `out`.

    The table grows in atomic appends and the header comes last. Interrupted in any way (Ctrl-C, kill -9, a full
    disk), the same call resumes where it stopped and gives the same table as an uninterrupted one; files are taken
    as unchanged in between.

    Args:
        manifest_path: A CSV or Parquet file, see `read_manifest`.
        out: Its address in a storage, such as "s3://hospital/cohort": the work is done in a folder of this machine (see
            `mris.cohort.published.published_folder`) and published when it is finished. Or a new or empty folder, or
            one in which the same preparation was interrupted or finished; one in which
            any preparation stopped before its first pair was stored counts as empty.
        settings: What to do.
        progress: Show a progress bar on standard error.
        overwrite: Replace a cohort that `out` holds.
        engine: What reads the files; processes of this machine if None.

    Returns:
        The account of all rows (also saved as report.json). A cohort that was already finished is left as it is.

    Raises:
        ManifestError: The manifest, or with on_error="stop" any of its rows, cannot be used; nothing is written.
        SubjectLeakError: A subject is in two splits.
        SettingsError: The subjects cannot be divided as asked.
        CohortError: With on_error="stop" a file cannot be used; or `out` holds another preparation.
        OutputError: `out` cannot be written; what it held is intact.
        StorageError: The storage refuses; the same call goes on with what is prepared.
    """
    manifest_path, place = local_folder(manifest_path, "the manifest"), place_of(out)
    if isinstance(place, Path):
        return _prepared(manifest_path, place, settings, progress, overwrite, engine)
    finished = finished_at(place)
    if finished is not None and not overwrite:
        return _finished_report(finished, work_folder.assignment_of(manifest_path, settings))
    with published_folder(place) as folder:
        return _prepared(manifest_path, folder, settings, progress, overwrite, engine)


def _prepared(
    manifest_path: Path,
    folder: Path,
    settings: PrepareSettings,
    progress: bool,
    overwrite: bool,
    engine: Engine | None,
) -> PrepareReport:
    """Prepare a cohort on this machine."""
    assignment = work_folder.assignment_of(manifest_path, settings)
    if not overwrite and (folder / HEADER_FILE).is_file():
        return _finished_report(folder, assignment)
    manifest = read_manifest(manifest_path, settings.exclude, sources=settings.sources)
    if not (folder / PROGRESS_FILE).is_file() or overwrite:
        # Refuse before the folder is touched; a resumed preparation keeps to the rows it began with.
        _checked_plan(manifest, settings)
    with work_folder.locked(folder):
        work_folder.claim(folder, overwrite)
        if (folder / HEADER_FILE).is_file():  # another process finished it while this one read the manifest
            return _finished_report(folder, assignment)
        earlier = work_folder.earlier_work(folder)
        writer = PairWriter(folder / TABLE_FILE, manifest.labels)
        if earlier is not None and assignment.differences(earlier[0]) and not writer.exists():
            # Not one pair of the earlier work is kept: who mends the manifest after a stop begins anew.
            work_folder.claim(folder, overwrite=True)
            earlier = None
        if earlier is None:
            work_folder.start(folder, assignment, manifest.findings)
        else:
            _require_same(folder, assignment, earlier[0])
            manifest = replace(manifest, findings=earlier[1])
        plan = _checked_plan(manifest, settings)
        work = _Work(folder, plan, replace(settings, origin=plan.origin), writer)
        work.resume()
        work.run(progress, engine)
        return work.finish()


def check_cohort(
    manifest_path: str | Path,
    settings: PrepareSettings,
    progress: bool = True,
    *,
    watch: Callable[[PreparedPair], None] | None = None,
) -> PrepareReport:
    """Do all checks of `prepare_cohort`, also those that open every file, and write nothing.

    Args:
        manifest_path: A CSV or Parquet file.
        settings: What `prepare_cohort` would be given; `on_error` does not matter, all findings are reported.
        progress: Show a progress bar on standard error.
        watch: Is given every pair that would be kept, with its pixels, in the order of the rows.

    Returns:
        The account of all rows.

    Raises:
        ManifestError: The manifest as a whole cannot be used.
        SettingsError: The fractions do not sum to 1, or there is no label to stratify by.
        TooFewSubjectsError: The subjects are too few to be divided as asked; lists all that the checks found.
    """
    manifest = read_manifest(manifest_path, settings.exclude, sources=settings.sources)
    if not manifest.rows:
        return _report(manifest, [], [], manifest.findings, ())
    try:
        plan = make_plan(manifest, settings)
    except TooFewSubjectsError as error:
        # The files first: who adds subjects should not learn of the next fault only then.
        found = replace(manifest, findings=_by_row(_opened(manifest, settings, progress, watch).findings))
        raise TooFewSubjectsError("\n  ".join([str(error).split("\n")[0], *found.told(most=None)])) from error
    opened = _opened(manifest, replace(settings, origin=plan.origin), progress, watch)
    splits = [plan.splits[row.row] for row in opened.kept]
    notes = _notes(plan, settings, splits, opened.sizes)
    return _report(manifest, [row.subject for row in opened.kept], splits, opened.findings, notes)


class _Opened(NamedTuple):
    """What a check finds in the files of a manifest; the findings of its rows are among those."""

    kept: list[ManifestRow]
    sizes: list[FileSizes]
    findings: list[RowFinding]


def _opened(
    manifest: Manifest, settings: PrepareSettings, progress: bool, watch: Callable[[PreparedPair], None] | None
) -> _Opened:
    found = _Opened([], [], list(manifest.findings))
    pairs = prepared_pairs(manifest.rows, manifest.regions, settings, keep_pixels=watch is not None)
    read = shown(pairs, "Checking pairs", len(manifest.rows), progress)
    for pair in of_equal_channels(read, None, _rows_per_append(settings, len(manifest.regions))):
        found.findings.extend(pair.findings)
        if pair.source is not None:
            found.kept.append(pair.row)
            found.sizes.append(FileSizes.of(pair))
            if watch is not None:
                watch(pair)
    return found


@dataclass
class _Work:
    """One preparation under way: what is in the table, what is waiting for the next append."""

    folder: Path
    plan: Plan
    settings: PrepareSettings
    writer: PairWriter
    last_row: int = 0
    n_channels: int | None = None
    findings: list[RowFinding] = field(default_factory=list)
    waiting: list[PreparedPair] = field(default_factory=list)
    found: list[RowFinding] = field(default_factory=list)
    sizes: list[FileSizes] = field(default_factory=list)

    def resume(self) -> None:
        """Find out how far an earlier run came: every row up to the table's last one is decided."""
        done = self.writer.rows_done().tolist() if self.writer.exists() else []
        self.last_row = done[-1] if done else 0
        self.n_channels = self.writer.n_channels(self.settings.source.size)
        self.findings = work_folder.keep_lines(self.folder / work_folder.FINDINGS_FILE, self.last_row, RowFinding)
        self.sizes = work_folder.keep_lines(self.folder / work_folder.SIZES_FILE, self.last_row, FileSizes)
        dropped = rows_with_errors(self.findings)
        decided = [row.row for row in self.plan.manifest.rows if row.row <= self.last_row and row.row not in dropped]
        if decided != done:
            raise CohortError(
                f"the unfinished cohort {str(self.folder)!r} does not fit its manifest ({len(done)} pairs, "
                f"{len(decided)} expected up to row {self.last_row}); choose another OUT, or use --overwrite"
            )

    def run(self, progress: bool, engine: Engine | None) -> None:
        """Read the rows that are left and append them."""
        left = [row for row in self.plan.manifest.rows if row.row > self.last_row]
        pairs = prepared_pairs(left, self.plan.manifest.regions, self.settings, keep_pixels=True, engine=engine)
        with contextlib.closing(pairs):
            since_append = 0
            n_first = _rows_per_append(self.settings, len(self.plan.manifest.regions))
            read = shown(pairs, "Preparing pairs", len(left), progress)
            for pair in of_equal_channels(read, self.n_channels, n_first):
                self.found += pair.findings
                if pair.source is not None and pair.target is not None:
                    self.n_channels = pair.source.shape[0]
                    self.waiting.append(pair)
                since_append += 1
                if since_append >= self._rows_per_append():
                    self._append()
                    since_append = 0
        self._append()

    def finish(self) -> PrepareReport:
        """Write what describes the whole, the header last."""
        if not self.writer.exists():
            raise CohortError("\n  ".join(["no pair is left to make a cohort of", *listed(self._all_findings())]))
        self.writer.tidy()
        splits = self.writer.splits()
        shape = (len(self.plan.manifest.regions), *self.settings.target_size)
        mask = self.writer.valid_pixels("train" if "train" in splits else None).reshape(shape)
        write_npz(self.folder / ATLAS_MASK_FILE, mask=mask)
        notes = _notes(self.plan, self.settings, splits, self.sizes)
        report = _report(self.plan.manifest, self.writer.subjects(), splits, self._all_findings(), notes)
        write_json(self.folder / REPORT_FILE, report)
        write_json(self.folder / HEADER_FILE, self._header(len(splits)))
        work_folder.tidy(self.folder)
        require_written(self.folder / name for name in (HEADER_FILE, REPORT_FILE, ATLAS_MASK_FILE))
        return report

    def _append(self) -> None:
        errors = [finding for finding in self.found if finding.severity == "error"]
        if errors and self.settings.on_error == "stop":
            head = f"{self.plan.manifest.path}: files cannot be used; mend them, or use --on-error skip"
            raise CohortError("\n  ".join([head, *listed(errors)]))
        sizes = [FileSizes.of(pair) for pair in self.waiting]
        # These first: once a row is in the table, all before it must be accounted for.
        work_folder.add_lines(self.folder / work_folder.FINDINGS_FILE, self.found)
        work_folder.add_lines(self.folder / work_folder.SIZES_FILE, sizes)
        if self.waiting:
            self.writer.append(self.waiting, [self.plan.splits[pair.row.row] for pair in self.waiting])
        self.findings += self.found
        self.sizes += sizes
        self.found, self.waiting = [], []

    def _rows_per_append(self) -> int:
        return _rows_per_append(self.settings, len(self.plan.manifest.regions), self.n_channels or 1)

    def _all_findings(self) -> tuple[RowFinding, ...]:
        return _by_row([*self.plan.manifest.findings, *self.findings])

    def _source(self) -> SourcePreparation:
        """How sources were prepared and, where they are whole, how many mm all of them show."""
        source = self.settings.source
        if source.region_mm is not None:
            return source
        return replace(source, extent_mm=common_extent([sizes.extent_mm for sizes in self.sizes]))

    def _header(self, n_pairs: int) -> CohortHeader:
        manifest, settings = self.plan.manifest, self.settings
        return CohortHeader(
            regions=manifest.regions,
            unit=settings.unit,
            source=self._source(),
            source_shape=(self.n_channels or 1, *settings.source.size),
            target_shape=(len(manifest.regions), *settings.target_size),
            target_spacing=self.writer.target_spacing(),
            mirror_targets=settings.mirror_targets,
            labels=tuple(manifest.labels),
            n_pairs=n_pairs,
            n_manifest_rows=manifest.n_rows,
            split_rule=self.plan.split_rule,
            manifest_sha256=manifest.sha256,
            software=f"mris {version('mris')}",
            origin="simulated" if any(sizes.synthetic for sizes in self.sizes) else self.plan.origin,
            has_sources=settings.sources,
        )


def _checked_plan(manifest: Manifest, settings: PrepareSettings) -> Plan:
    if settings.on_error == "stop":
        manifest.require_sound()
    return make_plan(manifest, settings)


def _finished_report(folder: Folder, assignment: work_folder.Assignment) -> PrepareReport:
    earlier = work_folder.earlier_work(folder)
    if earlier is None:
        raise CohortError(f"{str(folder)!r} holds a cohort of unknown origin; choose another OUT, or use --overwrite")
    _require_same(folder, assignment, earlier[0])
    report = read_report(folder / REPORT_FILE)
    return report.model_copy(update={"notes": (*report.notes, "the cohort was already finished; nothing was done")})


def _require_same(folder: Folder, asked: work_folder.Assignment, earlier: work_folder.Assignment) -> None:
    differences = asked.differences(earlier)
    if differences:
        raise CohortError(
            f"{str(folder)!r} was begun with other input: {'; '.join(differences)}; choose another OUT, "
            "or use --overwrite"
        )


def _rows_per_append(settings: PrepareSettings, n_regions: int, n_channels: int = 1) -> int:
    pixels = n_channels * math.prod(settings.source.size) + n_regions * math.prod(settings.target_size)
    return max(1, min(ROWS_PER_APPEND, BYTES_PER_APPEND // (2 * pixels)))


def _by_row(findings: Iterable[RowFinding]) -> tuple[RowFinding, ...]:
    return tuple(sorted(findings, key=lambda finding: finding.row))


def _report(
    manifest: Manifest,
    subjects: Sequence[str],
    splits: Sequence[str],
    findings: Iterable[RowFinding],
    notes: tuple[str, ...],
) -> PrepareReport:
    people = Counter(split for _, split in set(zip(subjects, splits, strict=True)))
    return PrepareReport(
        n_rows=manifest.n_rows,
        n_kept=len(splits),
        findings=_by_row(findings),
        rows_by_split=dict(sorted(Counter(splits).items())),
        subjects_by_split=dict(sorted(people.items())),
        notes=notes,
    )


def _notes(plan: Plan, settings: PrepareSettings, splits: Sequence[str], sizes: Sequence[FileSizes]) -> tuple[str, ...]:
    notes = [f"split {name!r} has lost all its rows" for name in sorted(set(plan.splits.values()) - set(splits))]
    if settings.source.region_mm is None and any(row.center for row in plan.manifest.rows):
        notes.append("center_row and center_col are not used, since no region (region_mm) is cut out")
    if plan.manifest.has_split and settings.stratify:
        notes.append(f"nothing is stratified by {settings.stratify!r}, since the manifest gives the splits")
    if settings.source.region_mm is None and settings.sources:
        notes += notes_on_extents(sizes, settings.source.size)
    columns = target_columns(plan.manifest.regions)
    notes += notes_on_sizes(sizes, columns, settings.target_size)
    notes += notes_on_sameness(sizes, {row.row: row.targets for row in plan.manifest.rows}, columns)
    return (*notes, *_notes_on_rows(plan.manifest))


def _notes_on_rows(manifest: Manifest) -> Iterator[str]:
    """Tell what spreadsheets and habits make of a table that is sound and perhaps not what its author means."""
    given = {row.split for row in manifest.rows} if manifest.has_split else {"train", "val"}
    missing = [repr(name) for name in ("train", "val") if name not in given]
    if given and missing:
        found = ", ".join(map(repr, sorted(given)))
        yield f"the column 'split' holds {found} and no {' or '.join(missing)}, which mris train needs"
    date = next((row.timepoint for row in manifest.rows if begins_with_day(row.timepoint)), None)
    if date:
        yield f"timepoints such as {date!r} are put in order by the day; write dates as 2024-12-31"
    for position, (name, kind) in enumerate(manifest.labels.items()):
        texts = [str(row.labels[position] or "") for row in manifest.rows] if kind == "text" else []
        comma = number_with_comma(texts)
        if comma:
            yield f"label {name!r} is taken as text, since its numbers have a comma ({comma!r}); write a point"
