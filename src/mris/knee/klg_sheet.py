"""The OAI study's public sheet of Kellgren-Lawrence grades (KLG): two reading projects, seven visits."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from mris.cohort.names import normal_form, subject_findings
from mris.cohort.report import RowFinding
from mris.knee.choices import check_choice
from mris.knee.sheets import read_sheet, refuse_bad_rows

WORST_GRADE = 4
"""The highest grade, above which none can rise."""

VISIT_MONTHS: Mapping[str, int] = {"V00": 0, "V01": 12, "V03": 24, "V05": 36, "V06": 48, "V08": 72, "V10": 96}
"""Months of the OAI study's visits with a radiograph of the knees."""

Reading = Literal["15-first", "37-first", "15-only", "37-only"]

_PROJECTS = ("15", "37")
_SIDE_CODES = {"1": "right", "2": "left"}
_GRADE_CODES = {"NA": np.nan, **{str(grade): float(grade) for grade in range(WORST_GRADE + 1)}}
_SHEET_COLUMNS = ("ID", "SIDE", "READPRJ", *(f"{visit}XRKL" for visit in VISIT_MONTHS))
_Reads = dict[tuple[tuple[str, str], str], Float64[np.ndarray, " v"]]


class GradedVisits(NamedTuple):
    """Visits of knees with their grades: the first four arguments of `progression_labels`.

    Attributes:
        subjects: Subject of each visit; shape (n,), strings.
        sides: "left" or "right"; shape (n,), strings.
        months: Month of the visit; shape (n,).
        grades: KLG, NaN where it was not read; shape (n,).
    """

    subjects: Shaped[np.ndarray, " n"]
    sides: Shaped[np.ndarray, " n"]
    months: Int64[np.ndarray, " n"]
    grades: Float64[np.ndarray, " n"]


def read_klg_sheet(path: str | Path, reading: Reading = "15-first") -> GradedVisits:
    """Read the OAI's sheet of grades: one row a knee and reading project, one column a visit, "NA" where not read.

    Two projects read the radiographs. Project 15 read nearly all knees up to month 48; project 37 read some knees,
    mainly of low grade, at months 0, 48, 72 and 96. All reads at month 72 are of project 37.

    Args:
        path: A CSV with columns ID, SIDE (1 right, 2 left), READPRJ (15 or 37) and V00XRKL to V10XRKL.
        reading: Which read stands for a visit. "15-first" takes project 15 where it read that visit, else project
            37, and so holds a baseline of one project against a horizon of the other; "37-first" prefers the other.
            "15-only" and "37-only" hold the knees of one project.

    Returns:
        Seven rows a knee, one for each of `VISIT_MONTHS`, in the order of the sheet.

    Raises:
        ManifestError: The file cannot be read or has no rows, lacks a column, or has rows that break a rule (all are
            named): cells missing, as at the end of a file that was cut; an unknown side, project or grade; a
            knee twice in one project; a subject at fault (see `subject_findings`).
        SettingsError: `reading` is unknown.

    Example:
        >>> from mris.knee.progression import progression_labels
        >>> visits = read_klg_sheet("KLG_score.csv")           # doctest: +SKIP
        >>> progression_labels(*visits).base_rate              # doctest: +SKIP
        0.20936...
    """
    check_choice("reading", reading, Reading)
    sheet = _sheet_reads(Path(path))
    first, rule = reading.split("-")
    wanted = (first, *(other for other in _PROJECTS if other != first and rule == "first"))
    knees = list(dict.fromkeys(knee for knee, project in sheet if project in wanted))
    unread = np.full(len(VISIT_MONTHS), np.nan)
    chosen = [[sheet.get((knee, project), unread) for project in wanted] for knee in knees]
    grades = [np.where(np.isnan(reads[0]), reads[-1], reads[0]) for reads in chosen]
    n_visits = len(VISIT_MONTHS)
    return GradedVisits(
        subjects=np.repeat(np.array([subject for subject, _ in knees], dtype=np.str_), n_visits),
        sides=np.repeat(np.array([side for _, side in knees], dtype=np.str_), n_visits),
        months=np.tile(np.array(list(VISIT_MONTHS.values()), dtype=np.int64), len(knees)),
        grades=np.concatenate([np.empty(0), *grades]),
    )


def _sheet_reads(file: Path) -> _Reads:
    """Grades by knee and project; all bad rows are named at once."""
    cells = read_sheet(file, _SHEET_COLUMNS)
    columns = {name: cells.text(name) for name in _SHEET_COLUMNS}
    columns["ID"] = tuple(map(normal_form, columns["ID"]))
    faults = subject_findings(columns["ID"])
    sheet: _Reads = {}
    findings: list[RowFinding] = []
    for index, row in enumerate(cells.row_numbers):
        text = {name: values[index] for name, values in columns.items()}
        key = f"{text['ID']}/{text['SIDE']}/{text['READPRJ']}"
        found = _findings_of(text, cells.damage[index])
        found += [("ID", faults[text["ID"]])] if text["ID"] in faults else []
        knee = (text["ID"], _SIDE_CODES.get(text["SIDE"], ""))
        if not found and (knee, text["READPRJ"]) in sheet:
            found = [("ID", f"knee {text['ID']}/{knee[1]} is in project {text['READPRJ']} twice; keep one row")]
        findings += [RowFinding(reason, "bad row", row=row, key=key, column=column) for column, reason in found]
        if not found:
            grades = [_GRADE_CODES[text[name]] for name in _SHEET_COLUMNS[3:]]
            sheet[knee, text["READPRJ"]] = np.array(grades)
    refuse_bad_rows(file, len(cells), findings)
    return sheet


def _findings_of(text: Mapping[str, str], damage: str) -> list[tuple[str, str]]:
    """Column and reason of each thing wrong with one row of the sheet."""
    if damage:
        return [("(row)", f"{damage}; in the last row, the file was cut")]
    found = [] if text["ID"] else [("ID", "the cell is empty; every row needs a subject")]
    for column, known in (("SIDE", tuple(_SIDE_CODES)), ("READPRJ", _PROJECTS)):
        if text[column] not in known:
            found.append((column, f"{text[column]!r} is unknown; it must be one of {', '.join(known)}"))
    rule = f"it must be 0 to {WORST_GRADE}, or NA where not read"
    grades = ((column, text[column]) for column in _SHEET_COLUMNS[3:])
    return found + [(column, f"{grade!r} is no grade; {rule}") for column, grade in grades if grade not in _GRADE_CODES]
