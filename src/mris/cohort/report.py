"""What was kept of a manifest, what was not, and why."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mris.errors import CohortError
from mris.finding import Finding
from mris.reading import LARGEST_LIST
from mris.records import Record, read_record
from mris.storage.folder import Folder
from mris.wording import counted

MISSING_FILE = "missing file"
MALFORMED_ROW = "malformed row"
EXCLUDED = "excluded by list"
"""The rules of a cell that names a file which is not there, of a row whose cells cannot be trusted, and of one that the
user's list leaves out."""

SHOWN = 20
"""Findings that are listed one by one where nobody asks for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFinding(Finding):
    """One thing that was found in one row of a table.

    Attributes:
        row: Row as a spreadsheet numbers it: the header is row 1, the first pair is row 2.
        key: The pair's key ("subject/timepoint" or "subject/timepoint/side"), as far as it is known.
        column: The column where the trouble is.
    """

    row: int
    key: str
    column: str

    def __str__(self) -> str:
        return f"row {self.row} ({self.key}), {self.column}: {self.reason}"

    @property
    def excludes(self) -> bool:
        """Whether the row is left out for no fault: a list says so."""
        return self.rule == EXCLUDED

    @property
    def drops(self) -> bool:
        """Whether the row is not kept."""
        return self.severity == "error" or self.excludes


class PrepareReport(Record):
    """The account of a preparation or a check: every row is kept, or dropped with a reason.

    Attributes:
        n_rows: Rows of the manifest.
        n_kept: Rows that are in the cohort (for a check: that would be).
        findings: In the order of the rows; a dropped row has at least one of severity "error", or
            one of the rule `EXCLUDED`.
        rows_by_split: Kept rows of each split.
        subjects_by_split: Subjects of the kept rows of each split.
        notes: Remarks on the whole that concern no single row.
    """

    n_rows: int
    n_kept: int
    findings: tuple[RowFinding, ...] = ()
    rows_by_split: Mapping[str, int] = {}
    subjects_by_split: Mapping[str, int] = {}
    notes: tuple[str, ...] = ()

    @property
    def n_dropped(self) -> int:
        """Rows that are not kept."""
        return self.n_rows - self.n_kept

    @property
    def n_excluded(self) -> int:
        """Rows that are dropped because a list says so, and for no fault."""
        return sum(finding.excludes for finding in self.findings)

    @property
    def counts_by_rule(self) -> dict[str, int]:
        """Number of dropped rows for each rule (a row counts under each that it breaks)."""
        kinds = {(finding.rule, finding.row) for finding in self.findings if finding.drops}
        return dict(Counter(rule for rule, _ in kinds).most_common())

    def summary(self, most: int | None = SHOWN) -> str:
        """Tell the whole in a few lines of text.

        Args:
            most: Findings to list, one line each (see `listed`); the others are counted. None lists all.

        Returns:
            Counts, notes and findings.
        """
        lines = [f"{self.n_kept:,} of {counted(self.n_rows, 'row')} kept, {self.n_dropped:,} dropped"]
        lines += [
            f"  {name}: {counted(count, 'row')}, {counted(self.subjects_by_split.get(name, 0), 'subject')}"
            for name, count in self.rows_by_split.items()
        ]
        lines += [f"  dropped, {rule}: {count}" for rule, count in self.counts_by_rule.items()]
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines + listed(self.findings, most, n_rows=self.n_rows))

    def to_json(self) -> dict[str, Any]:
        """Give the report as plain JSON values, with counts for those who read the file."""
        return {**super().to_json(), "n_dropped": self.n_dropped, "counts_by_rule": self.counts_by_rule}


def listed(findings: Sequence[RowFinding], most: int | None = SHOWN, *, n_rows: int | None = None) -> list[str]:
    """Give one line for each finding, up to `most` (None: all), and one that tells how many more there are.

    Args:
        findings: In the order of the rows.
        most: Lines to give.
        n_rows: Rows of the whole table: a column of which every file is missing then costs one line, since the cause
            is one. None lists each.
    """
    lines = list(_lines(findings, {} if n_rows is None else _columns_without_files(findings, n_rows)))
    return lines if most is None or len(lines) <= most else [*lines[:most], f"... and {len(lines) - most} more"]


def _lines(findings: Sequence[RowFinding], without_files: Mapping[str, int]) -> Iterator[str]:
    told: set[str] = set()
    for finding in findings:
        if finding.rule != MISSING_FILE or finding.column not in without_files:
            yield ("" if finding.severity == "error" else f"{finding.severity}: ") + str(finding)
        elif finding.column not in told:
            told.add(finding.column)
            count = without_files[finding.column]
            yield f"all {count:,} files of column {finding.column!r} are missing; is the folder right? First: {finding}"


def _columns_without_files(findings: Sequence[RowFinding], n_rows: int) -> dict[str, int]:
    """Count the missing files of each column of which no file is there; more than one, for one is told as it is."""
    missing = Counter(finding.column for finding in findings if finding.rule == MISSING_FILE)
    found = {}
    for column, count in missing.items():
        # Nobody looked for the file of a row that is torn or excluded, or of an empty cell.
        unseen = {
            finding.row
            for finding in findings
            if finding.excludes or finding.rule in (MALFORMED_ROW, f"empty {column}")
        }
        if 1 < count == n_rows - len(unseen):
            found[column] = count
    return found


def read_report(path: Folder) -> PrepareReport:
    """Read a saved report.

    Raises:
        CohortError: The file is absent or damaged.
    """
    return read_record(path, PrepareReport, CohortError, "prepare the cohort again with --overwrite", most=LARGEST_LIST)


def rows_with_errors(findings: Iterable[RowFinding]) -> frozenset[int]:
    """Give the manifest rows that at least one finding of severity "error" drops."""
    return frozenset(finding.row for finding in findings if finding.severity == "error")


def dropped_rows(findings: Iterable[RowFinding]) -> frozenset[int]:
    """Give the manifest rows that are not kept, for a fault or because a list says so."""
    return frozenset(finding.row for finding in findings if finding.drops)
