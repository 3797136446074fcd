"""The sheet of grades: both reading projects, the rule for a visit read twice, and files that are broken."""

import csv
from pathlib import Path

import numpy as np
import pytest

from mris.errors import ManifestError, SettingsError
from mris.knee.klg_sheet import VISIT_MONTHS, read_klg_sheet

HEADER = "ID,SIDE,READPRJ,V00XRKL,V01XRKL,V03XRKL,V05XRKL,V06XRKL,V08XRKL,V10XRKL"
ROWS = (
    "0901,1,15,2,2,NA,2,3,NA,NA",
    "0901,1,37,1,NA,NA,NA,NA,3,4",
    "0901,2,15,0,0,0,0,0,NA,NA",
    "0702,2,37,1,NA,NA,NA,1,NA,NA",
)
NAN = float("nan")


def sheet(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "KLG_score.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.mark.parametrize(
    ("reading", "grades_by_knee"),
    [
        ("15-first", {"0901/right": [2, 2, NAN, 2, 3, 3, 4], "0702/left": [1, NAN, NAN, NAN, 1, NAN, NAN]}),
        ("37-first", {"0901/right": [1, 2, NAN, 2, 3, 3, 4], "0702/left": [1, NAN, NAN, NAN, 1, NAN, NAN]}),
        ("15-only", {"0901/right": [2, 2, NAN, 2, 3, NAN, NAN]}),
        ("37-only", {"0901/right": [1, NAN, NAN, NAN, NAN, 3, 4], "0702/left": [1, NAN, NAN, NAN, 1, NAN, NAN]}),
    ],
)
def test_a_visit_has_the_read_of_the_project_that_was_asked_first(
    reading: str, grades_by_knee: dict[str, list[float]], tmp_path: Path
) -> None:
    visits = read_klg_sheet(sheet(tmp_path, *ROWS), reading)  # type: ignore[arg-type]
    if reading != "37-only":
        grades_by_knee = {**grades_by_knee, "0901/left": [0, 0, 0, 0, 0, NAN, NAN]}
    assert len(visits.grades) == 7 * len(grades_by_knee)
    for knee, grades in grades_by_knee.items():
        mine = np.array([f"{a}/{b}" == knee for a, b in zip(visits.subjects, visits.sides, strict=True)])
        assert visits.months[mine].tolist() == list(VISIT_MONTHS.values())
        np.testing.assert_array_equal(visits.grades[mine], grades)


def test_the_order_of_the_columns_and_further_columns_do_not_matter(tmp_path: Path) -> None:
    plain = read_klg_sheet(sheet(tmp_path, *ROWS))
    turned = [",".join(["x", *reversed(line.split(","))]) for line in (HEADER, *ROWS)]
    other = read_klg_sheet(sheet(tmp_path, *turned[1:], header=turned[0]))
    for one, two in zip(plain, other, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0901,3,15,2,2,2,2,2,NA,NA", r"row 6 \(0901/3/15\), SIDE: '3' is unknown; it must be one of 1, 2"),
        ("0901,1,16,2,2,2,2,2,NA,NA", r"READPRJ: '16' is unknown; it must be one of 15, 37"),
        ("0903,1,15,5,2,2,2,2,NA,NA", r"V00XRKL: '5' is no grade; it must be 0 to 4, or NA"),
        ("0903,1,15,2,2,2,2,2,NA,1.5", r"V10XRKL: '1.5' is no grade"),
        (",1,15,2,2,2,2,2,NA,NA", r"ID: the cell is empty"),
        ("0901,1,37,1,NA,NA,NA,NA,3,4", r"row 6 .* ID: knee 0901/right is in project 37 twice"),
        ("0903,1,15,2,2,2", r"row 6 .* 6 cells under 10 columns; .* the file was cut"),
    ],
)
def test_a_bad_row_is_named_with_its_rule(row: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=message) as caught:
        read_klg_sheet(sheet(tmp_path, *ROWS, row))
    assert "1 of 5 rows cannot be used" in str(caught.value)


def test_all_bad_rows_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"2 of 6 rows") as caught:
        read_klg_sheet(sheet(tmp_path, *ROWS, "1,9,9,7,0,0,0,0,0,0", "2,1,15,0"))
    assert [line.split(",")[0].strip() for line in str(caught.value).splitlines()[1:]] == [
        "row 6 (1/9/9)",
        "row 6 (1/9/9)",
        "row 6 (1/9/9)",
        "row 7 (2/1/15)",
    ]


@pytest.mark.parametrize("column", HEADER.split(","))
def test_a_missing_column_is_named(column: str, tmp_path: Path) -> None:
    place = HEADER.split(",").index(column)
    lines = [",".join(cell for i, cell in enumerate(line.split(",")) if i != place) for line in (HEADER, *ROWS)]
    with pytest.raises(ManifestError, match=rf"lacks the columns \['{column}'\]"):
        read_klg_sheet(sheet(tmp_path, *lines[1:], header=lines[0]))


def test_a_file_cut_inside_a_row_is_refused_wherever_it_was_cut(tmp_path: Path) -> None:
    whole = sheet(tmp_path, *ROWS).read_bytes()
    ends = {place for place, byte in enumerate(whole) if byte == ord("\n")}
    between_rows = {*ends, *(end + 1 for end in ends)} - {len(HEADER), len(HEADER) + 1}
    cut = tmp_path / "cut.csv"
    for length in range(len(whole)):
        cut.write_bytes(whole[:length])
        if length in between_rows:
            assert read_klg_sheet(cut).grades.size % 7 == 0
        else:
            with pytest.raises(ManifestError, match=r"cut\.csv"):
                read_klg_sheet(cut)


def test_an_absent_file_and_an_unknown_reading_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"nothing\.csv' cannot be read"):
        read_klg_sheet(tmp_path / "nothing.csv")
    with pytest.raises(SettingsError, match=r"reading is '15'; choose one of 15-first, 37-first, 15-only, 37-only"):
        read_klg_sheet(sheet(tmp_path, *ROWS), "15")  # type: ignore[arg-type]


@pytest.mark.data
def test_what_the_two_projects_of_the_real_sheet_read_and_where_they_disagree(data_dir: Path) -> None:
    path = data_dir / "oai_sheets" / "KLG_score.csv"
    first, second, both = (read_klg_sheet(path, reading) for reading in ("15-only", "37-only", "15-first"))
    assert [len(visits.grades) // 7 for visits in (first, second, both)] == [8984, 3834, 9016]
    table = [dict(_by_knee(visits)) for visits in (first, second)]
    reads = [np.sum([~np.isnan(row) for row in rows.values()], axis=0).tolist() for rows in table]
    assert reads == [[8921, 8364, 7859, 7497, 7017, 0, 0], [3830, 43, 32, 211, 3635, 3571, 3660]]
    shared = sorted(table[0].keys() & table[1].keys())
    one, two = (np.array([rows[knee] for knee in shared]) for rows in table)
    twice = ~np.isnan(one) & ~np.isnan(two)
    assert twice.sum(axis=0).tolist() == [3798, 43, 32, 211, 3515, 0, 0]
    assert (twice & (one != two)).sum(axis=0).tolist() == [54, 1, 2, 6, 114, 0, 0]
    expected = np.where(np.isnan(one), two, one)
    chosen = dict(_by_knee(both))
    np.testing.assert_array_equal(np.array([chosen[knee] for knee in shared]), expected)


@pytest.mark.data
def test_the_real_sheet_is_read_as_the_csv_module_reads_it(data_dir: Path) -> None:
    path = data_dir / "oai_sheets" / "KLG_score.csv"
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if row["READPRJ"] == "37"]
    visits = read_klg_sheet(path, "37-only")
    plain = [
        NAN if row[f"{visit}XRKL"] == "NA" else float(row[f"{visit}XRKL"]) for row in rows for visit in VISIT_MONTHS
    ]
    np.testing.assert_array_equal(visits.grades, plain)
    assert visits.sides[::7].tolist() == [{"1": "right", "2": "left"}[row["SIDE"]] for row in rows]


def _by_knee(visits: object) -> list[tuple[tuple[str, str], np.ndarray]]:
    subjects, sides, _, grades = visits  # type: ignore[misc]
    return list(zip(zip(subjects[::7], sides[::7], strict=True), grades.reshape(-1, 7), strict=True))
