"""The sheets of visits and joint centers: what a cell means, and every way in which a row can be wrong."""

import ast
import csv
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mris.errors import ManifestError
from mris.knee.oai_sheets import (
    KEYPOINTS_SHEET,
    OFFICIAL_FOLDS,
    VISITS_SHEET,
    PlateKeypoints,
    VisitPaths,
    month_name,
    month_number,
    read_folds,
    read_keypoints,
    read_visits,
)

CENTERS = "patient_id,month,keypoint_right,keypoint_left"
VISITS = "patient_id,month,mri_left,mri_right,xray"
GOOD_CENTER = '9000798,00_MONTH,"[631, 648]","[1917, 642]"'
GOOD_VISIT = "9000798,00_MONTH,0.C.2/9000798/1/2,0.C.2/9000798/1/3,0.C.2/9000798/1/4"


def sheet(path: Path, header: str, *rows: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_a_cell_holds_the_column_first_and_an_entry_the_row(tmp_path: Path) -> None:
    found = read_keypoints(sheet(tmp_path / "k.csv", CENTERS, GOOD_CENTER))
    assert found == (PlateKeypoints("9000798", "00_MONTH", right=(648.0, 631.0), left=(642.0, 1917.0)),)


@pytest.mark.parametrize("cell", ["", "[]", "nan", "NA", '"[nan, nan]"'])
def test_a_knee_without_a_center_is_none_and_the_other_one_stays(tmp_path: Path, cell: str) -> None:
    rows = (f'0901,12_MONTH,{cell},"[1917, 642]"', f'0902,12_MONTH,"[631, 648.5]",{cell}')
    first, second = read_keypoints(sheet(tmp_path / "k.csv", CENTERS, *rows))
    assert (first.right, first.left) == (None, (642.0, 1917.0))
    assert (second.right, second.left) == ((648.5, 631.0), None)
    assert first.patient == "0901", "a number keeps its zeros"


@given(st.integers(0, 999))
def test_a_month_is_read_as_it_was_written(month: int) -> None:
    assert month_number(month_name(month)) == month


@pytest.mark.parametrize("text", ["", "12", "V00", "12_MONTHS", "-1_MONTH", "ENROLLMENT"])
def test_other_texts_are_no_month(text: str) -> None:
    with pytest.raises(ManifestError, match="is no month of a visit; write it as 00_MONTH"):
        month_number(text)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('1,00_MONTH,"[-3, 10]","[20, 10]"', r"row 3 \(1/00_MONTH\), keypoint_right: \[-3, 10\] has a negative number"),
        ('1,00_MONTH,"[3, 10]","[20, -1]"', r"keypoint_left: \[20, -1\] has a negative number; pixels count from 0"),
        ('1,00_MONTH,"[20, 10]","[3, 10]"', r"right knee is at column 20 and the left one at 3.*columns swapped"),
        ('1,00_MONTH,"[3]","[20, 10]"', r"'\[3\]' is no center; write \[column, row\]"),
        ('1,00_MONTH,"[3, 10, 4]","[20, 10]"', r"'\[3, 10, 4\]' is no center"),
        ('1,00_MONTH,"[3, x]","[20, 10]"', r"'\[3, x\]' is no center"),
        ('1,00_MONTH,"[3, inf]","[20, 10]"', r"'\[3, inf\]' is no center"),
        ("1,00_MONTH,,", r"no knee has a center; give one, or remove the row"),
        ('1,V00,"[3, 10]","[20, 10]"', r"month: 'V00' is no month of a visit"),
        (',00_MONTH,"[3, 10]","[20, 10]"', r"patient_id: '' is no number of a patient"),
        ('../1,00_MONTH,"[3, 10]","[20, 10]"', r"patient_id: '../1' is no number of a patient"),
        (GOOD_CENTER, r"row 3 .* patient_id: the same visit as row 2; keep one"),
        ('1,00_MONTH,"[3, 10]"', r"3 cells under 4 columns; .* the file was cut"),
        ("1,00_MONTH,[3, 10],[20, 10]", r"6 cells under 4 columns; quote a cell with commas"),
    ],
)
def test_a_bad_row_of_centers_is_named_with_its_rule(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message) as caught:
        read_keypoints(sheet(tmp_path / "k.csv", CENTERS, GOOD_CENTER, row))
    assert str(caught.value).startswith(f"{tmp_path / 'k.csv'}: 1 of 2 rows cannot be used")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,00_MONTH,a/1,a/2,", r"xray: the cell is empty; every visit needs a plate"),
        ("1,00_MONTH,,,a/3", r"neither knee has an MR scan"),
        ("1,00_MONTH,a/1,a/2,../a/3", r"'../a/3' is no relative path below the folder of images"),
        ("1,00_MONTH,a/1,/a/2,a/3", r"mri_right: '/a/2' is no relative path"),
        ("1,00_MONTH,a\\1,a/2,a/3", r"mri_left: 'a\\\\1' is no relative path"),
        ("1,00_MONTH,a/1,a/2,0.C.2/9000798/1/4", r"is also the plate of 9000798/00_MONTH; a plate is of one visit"),
        (GOOD_VISIT, r"the same visit as row 2"),
        ("1,0_MONTHS,a/1,a/2,a/3", r"month: '0_MONTHS' is no month"),
    ],
)
def test_a_bad_row_of_visits_is_named_with_its_rule(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        read_visits(sheet(tmp_path / "v.csv", VISITS, GOOD_VISIT, row))


def test_a_knee_without_a_scan_is_none(tmp_path: Path) -> None:
    found = read_visits(sheet(tmp_path / "v.csv", VISITS, "1,24_MONTH,,a/2,a/3"))
    assert found == (VisitPaths("1", "24_MONTH", xray="a/3", mri_left=None, mri_right="a/2"),)


def test_all_bad_rows_are_named_at_once(tmp_path: Path) -> None:
    rows = ('1,00_MONTH,"[-3, 10]","[-2, 10]"', GOOD_CENTER, '2,month,"[3, 10]","[20, 10]"')
    with pytest.raises(ManifestError, match=r"2 of 3 rows cannot be used") as caught:
        read_keypoints(sheet(tmp_path / "k.csv", CENTERS, *rows))
    assert [line.split(",")[0].strip() for line in str(caught.value).splitlines()[1:]] == [
        "row 2 (1/00_MONTH)",
        "row 2 (1/00_MONTH)",
        "row 4 (2/month)",
    ]


@pytest.mark.parametrize(("header", "reader"), [(CENTERS, read_keypoints), (VISITS, read_visits)])
def test_a_missing_column_is_named_and_the_order_does_not_matter(tmp_path: Path, header: str, reader) -> None:
    row = next(csv.reader([GOOD_CENTER if header == CENTERS else GOOD_VISIT]))
    names = header.split(",")
    whole = reader(write(tmp_path / "whole.csv", names, row))
    assert reader(write(tmp_path / "turned.csv", names[::-1], row[::-1])) == whole
    for place, name in enumerate(names):
        lacking = write(tmp_path / "x.csv", names[:place] + names[place + 1 :], row[:place] + row[place + 1 :])
        with pytest.raises(ManifestError, match=rf"lacks the columns \['{name}'\]"):
            reader(lacking)


def write(path: Path, *rows: Sequence[str]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def test_a_folder_holds_the_folds_it_holds(tmp_path: Path) -> None:
    for fold in ("train_set/fold2", "train_set/fold1", "test_set"):
        sheet(tmp_path / fold / KEYPOINTS_SHEET, CENTERS, GOOD_CENTER)
        sheet(tmp_path / fold / VISITS_SHEET, VISITS, GOOD_VISIT)
    assert [fold.name for fold in read_folds(tmp_path)] == ["test_set", "fold1", "fold2"]
    (tmp_path / "train_set" / "fold2" / KEYPOINTS_SHEET).unlink()
    with pytest.raises(ManifestError, match=rf"fold2.*{KEYPOINTS_SHEET}' cannot be read: No such file"):
        read_folds(tmp_path)


def test_a_folder_without_sheets_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(
        ManifestError, match=r"holds no sheets of the OAI study; it needs test_set/ or train_set/fold1/"
    ):
        read_folds(tmp_path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.one_of(st.binary(max_size=200), st.text(alphabet='0123456789_MONTH,[]"-. \n/', max_size=200)))
@pytest.mark.parametrize(("header", "reader"), [(CENTERS, read_keypoints), (VISITS, read_visits)])
def test_any_bytes_are_rows_or_one_clear_error(tmp_path: Path, header: str, reader, body: bytes | str) -> None:
    path = tmp_path / "any.csv"
    path.write_bytes(header.encode() + b"\n" + (body if isinstance(body, bytes) else body.encode()))
    try:
        assert reader(path)
    except ManifestError as error:
        assert str(path) in str(error)


@pytest.mark.data
def test_the_official_sheets_hold_what_the_csv_module_finds_in_them(data_dir: Path) -> None:
    folds = read_folds(data_dir / "oai_sheets")
    assert tuple(fold.name for fold in folds) == OFFICIAL_FOLDS
    counts = [(len({visit.patient for visit in fold.visits}), len(fold.visits), len(fold.keypoints)) for fold in folds]
    place = data_dir / "oai_sheets"
    tables = [
        (rows_of(folder / VISITS_SHEET), rows_of(folder / KEYPOINTS_SHEET))
        for folder in (place / "test_set", *sorted((place / "train_set").iterdir()))
    ]
    assert counts == [
        (len({row["patient_id"] for row in visits}), len(visits), len(centers)) for visits, centers in tables
    ]
    for fold, (_, centers) in zip(folds, tables, strict=True):
        for entry, row in zip(fold.keypoints, centers, strict=True):
            assert entry.right == tuple(reversed(ast.literal_eval(row["keypoint_right"])))
            assert entry.left == tuple(reversed(ast.literal_eval(row["keypoint_left"])))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
