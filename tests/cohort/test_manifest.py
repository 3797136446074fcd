"""A manifest is checked before any image is opened, and every fault costs one clear line."""

import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from mris.cohort.labels import label_kind
from mris.cohort.manifest import Manifest, read_manifest
from mris.cohort.report import rows_with_errors
from mris.errors import ManifestError, SubjectLeakError
from mris.evaluation.results import COMBINED

HEADER = "subject,timepoint,side,source,target,klg,split"
GOOD = ["007,V00,L,x.npy,y.npy,2,train", "007,V00,R,x.npy,y.npy,3,train", "008,V00,right,x.npy,y.npy,,test"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("x.npy", "y.npy"):
        np.save(tmp_path / name, np.ones((2, 2)))
    return tmp_path


def _written(folder: Path, *lines: str) -> Path:
    path = folder / "manifest.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _found(manifest: Manifest) -> list[tuple[int, str, str]]:
    return [(finding.row, finding.column, finding.rule) for finding in manifest.findings]


def test_a_sound_manifest_gives_its_rows_as_they_stand(folder: Path) -> None:
    manifest = read_manifest(_written(folder, HEADER, *GOOD))
    assert manifest.findings == ()
    assert [row.key for row in manifest.rows] == ["007/V00/left", "007/V00/right", "008/V00/right"]
    assert [row.row for row in manifest.rows] == [2, 3, 4]
    assert manifest.rows[0].source == str(folder / "x.npy")
    assert manifest.regions == ("target",)
    assert manifest.labels == {"klg": "int"}
    assert [row.labels for row in manifest.rows] == [(2,), (3,), (None,)]
    manifest.require_sound()


@pytest.mark.parametrize(
    ("line", "column", "rule"),
    [
        (",V10,L,x.npy,y.npy,2,train", "subject", "empty subject"),
        ("009,,L,x.npy,y.npy,2,train", "timepoint", "empty timepoint"),
        ("009,V10,L,,y.npy,2,train", "source", "empty source"),
        ("009,V10,L,x.npy,,2,train", "target", "empty target"),
        ("009,V10,L,x.npy,y.npy,2,", "split", "empty split"),
        ("009,V10,,x.npy,y.npy,2,train", "side", "unknown side"),
        ("009,V10,both,x.npy,y.npy,2,train", "side", "unknown side"),
        ("009,V10,L,no.npy,y.npy,2,train", "source", "missing file"),
        ("009,V10,L,x.npy,no.npz::y,2,train", "target", "missing file"),
        ("009,V10,L,.,y.npy,2,train", "source", "missing file"),
        ("007,V00,left,x.npy,y.npy,2,train", "subject", "duplicate key"),
        ("0/9,V10,L,x.npy,y.npy,2,train", "subject", "bad name"),
        ("009,V10,L,x.npy,y.npy", "(row)", "malformed row"),
        ("009,V10,L,x.npy,y.npy,2,train,more", "(row)", "malformed row"),
    ],
)
def test_a_faulty_row_costs_one_line_that_names_row_column_and_rule(
    folder: Path, line: str, column: str, rule: str
) -> None:
    manifest = read_manifest(_written(folder, HEADER, *GOOD, line))
    assert _found(manifest) == [(5, column, rule)]
    assert [row.row for row in manifest.rows] == [2, 3, 4]
    with pytest.raises(ManifestError, match=r"1 of 4 rows cannot be used.*\n  row 5 \("):
        manifest.require_sound()


def test_a_subject_in_two_splits_loses_all_its_rows(folder: Path) -> None:
    manifest = read_manifest(_written(folder, HEADER, *GOOD, "007,V10,L,x.npy,y.npy,2,test"))
    assert _found(manifest) == [(row, "split", "subject in two splits") for row in (2, 3, 5)]
    assert [row.subject for row in manifest.rows] == ["008"]
    with pytest.raises(SubjectLeakError, match="subject 007 is in 'test' and 'train'; give each subject one split"):
        manifest.require_sound()


def test_two_spellings_of_a_name_are_one_person_one_visit_and_one_split(folder: Path) -> None:
    rows = [f"{unicodedata.normalize(form, 'Amélie,début')},L,x.npy,y.npy,2,train" for form in ("NFC", "NFD")]
    rows += [f"{unicodedata.normalize(form, 'José')},V00,L,x.npy,y.npy,2,{form}" for form in ("NFC", "NFD")]
    manifest = read_manifest(_written(folder, HEADER, *rows))
    assert [row.subject for row in manifest.all_rows] == ["Am\u00e9lie"] * 2 + ["Jos\u00e9"] * 2
    assert _found(manifest) == [
        (3, "subject", "duplicate key"),
        (4, "split", "subject in two splits"),
        (5, "subject", "duplicate key"),
        (5, "split", "subject in two splits"),
    ]


def test_an_empty_split_or_side_column_is_none(folder: Path) -> None:
    header = "subject,timepoint,side,source,target,split"
    manifest = read_manifest(_written(folder, header, "1,0,,x.npy,y.npy,", "2,0,,x.npy,y.npy,"))
    assert (manifest.has_side, manifest.has_split, manifest.findings) == (False, False, ())
    assert [row.key for row in manifest.rows] == ["1/0", "2/0"]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("separator", ["/", "\\"])
def test_paths_find_their_files_as_windows_and_macos_write_them(folder: Path, form: str, separator: str) -> None:
    stored = "NFD" if form == "NFC" else "NFC"
    (folder / unicodedata.normalize(stored, "Köln")).mkdir()
    file = folder / unicodedata.normalize(stored, "Köln") / unicodedata.normalize(stored, "rö 1.npy")
    np.save(file, np.ones((2, 2)))
    written = unicodedata.normalize(form, separator.join(["Köln", "rö 1.npy"]))
    manifest = read_manifest(_written(folder, "subject,timepoint,source,target", f"1,0,{written},x.npy"))
    assert manifest.findings == ()
    assert Path(manifest.rows[0].source).samefile(file)


def test_a_file_that_is_there_as_written_goes_before_another_spelling(folder: Path) -> None:
    (folder / "a").mkdir()
    for name in ("a\\x.npy", "a/x.npy"):
        np.save(folder / name, np.ones((2, 2)))
    manifest = read_manifest(_written(folder, "subject,timepoint,source,target", "1,0,a\\x.npy,no\\y.npy"))
    assert manifest.all_rows[0].source == str(folder / "a\\x.npy")
    assert manifest.findings[0].reason == f"there is no file {folder / 'no'}\\y.npy"


def test_a_leak_is_found_even_where_the_other_row_has_lost_its_file(folder: Path) -> None:
    manifest = read_manifest(_written(folder, HEADER, *GOOD, "007,V10,L,no.npy,y.npy,2,test"))
    assert {rule for _, _, rule in _found(manifest)} == {"missing file", "subject in two splits"}


def test_row_numbers_are_those_of_a_spreadsheet_also_after_blank_lines(folder: Path) -> None:
    manifest = read_manifest(
        _written(folder, HEADER, GOOD[0], "", '"00\n8",V0,L,x.npy,y.npy,2,test', "9,V0,L,no,y.npy,2,test")
    )
    assert [row.row for row in manifest.all_rows] == [2, 4, 5]
    assert _found(manifest) == [(5, "source", "missing file")]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            "subject,timepoint,source",
            r"lacks the column 'target or target_<region>'\. Found: subject, timepoint, source",
        ),
        ("Subject,timepoint,source,target", "did you mean 'Subject' for 'subject'"),
        ("subject,timepoint,sorce,target", "did you mean 'sorce' for 'source'"),
        ("a,b", "lacks the columns 'subject', 'timepoint', 'source', 'target or"),
        ("subject,timepoint,source,target,target", "has the column 'target' twice"),
        (",subject,timepoint,source,target", r"column 1 has no name; .*index=False"),
        ("subject,timepoint,source,target,target_a", "has both 'target' and 'target_a'"),
        ("subject,timepoint,source,target_", "without a region's name"),
        ("subject,timepoint,source,target_a,target_spacing", "'target_spacing', which is no region"),
        ("subject,timepoint,source,target_a/b", "'target_a/b': a region's name is also that of a folder; .*rename it"),
        ("subject,timepoint,source,target_a,target_../b", "'target_../b': a region's name"),
        ("subject,timepoint,source,target_a\\b", "'target_a.+b': a region's name"),
        ("subject,timepoint,source,target_..", "'target_..': a region's name"),
        (f"subject,timepoint,source,target_{COMBINED}", "'combined' names what results say of all regions together"),
        ("subject,timepoint,source,target,key", "'key' bears a reserved name; rename it"),
        ("subject,timepoint,source,target,_rowid", "'_rowid' bears a reserved name"),
        ("subject,timepoint,source,target,a.b,a_b", "'a.b' and 'a_b' collide"),
    ],
)
def test_a_wrong_header_is_refused_with_the_columns_found_and_wanted(folder: Path, header: str, message: str) -> None:
    cells = ",".join(["x.npy"] * len(header.split(",")))
    with pytest.raises(ManifestError, match=message):
        read_manifest(_written(folder, header, cells))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty; it needs a header and rows"),
        (b" \n\n ", "is empty"),
        (b"subject,timepoint,source,target\n", "has a header and no rows"),
        (b"PK\x03\x04rest of an xlsx", "is a spreadsheet or an archive; save it as CSV"),
        (b"subject,timepoint,source,target\nM\xfcller,1,x.npy,y.npy", r"not UTF-8 text \(byte 33 is 0xfc\)"),
        (b'subject,timepoint,source,target\n"a,1,x.npy,y.npy', "unclosed quote"),
        (b"PAR1 torn", "damaged Parquet file"),
        (b"PAR1", "damaged Parquet file"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "m.csv").write_bytes(data)
    with pytest.raises(ManifestError, match=message):
        read_manifest(tmp_path / "m.csv")


def test_a_missing_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"no\.csv' cannot be read: No such file"):
        read_manifest(tmp_path / "no.csv")
    with pytest.raises(ManifestError, match="it is a folder"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_dialects_of_csv_are_read_alike(folder: Path, delimiter: str, mark: str, line_end: str) -> None:
    text = line_end.join(line.replace(",", delimiter) for line in [HEADER, *GOOD])
    (folder / "m.csv").write_bytes((mark + text).encode())
    assert [row.key for row in read_manifest(folder / "m.csv").rows] == [
        "007/V00/left",
        "007/V00/right",
        "008/V00/right",
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("line", ["sep={}\n", "SEP={}\r\n", '\ufeff"sep={}"\n'])
def test_a_first_line_for_excel_names_the_delimiter_and_is_no_row(folder: Path, delimiter: str, line: str) -> None:
    table = [row.replace(",", delimiter) for row in [HEADER, *GOOD, "009,V00,L,no.npy,y.npy,2,test"]]
    (folder / "m.csv").write_bytes((line.format(delimiter) + "\n".join(table)).encode())
    manifest = read_manifest(folder / "m.csv")
    assert [row.key for row in manifest.rows] == ["007/V00/left", "007/V00/right", "008/V00/right"]
    assert _found(manifest) == [(5, "source", "missing file")]  # Excel shows the header as row 1


def test_parquet_says_the_same_as_csv(folder: Path) -> None:
    table = pa.table(
        {
            "subject": pa.array([7.0, 7.0, 8.0]),  # as pandas writes a column of whole numbers that once had a gap
            "timepoint": pa.array([0, 12, 0]),
            "source": pa.array(["x.npy"] * 3).dictionary_encode(),
            "target_a": ["y.npy"] * 3,
            "target_b": ["y.npy"] * 3,
            "age": pa.array([61.5, None, 70.0]),
            "man": pa.array([True, False, None]),
        }
    )
    pa.parquet.write_table(table, folder / "m.parquet")
    manifest = read_manifest(folder / "m.parquet")
    assert [row.key for row in manifest.rows] == ["7/0", "7/12", "8/0"]
    assert manifest.regions == ("a", "b")
    assert manifest.labels == {"age": "float", "man": "int"}
    assert [row.labels for row in manifest.rows] == [(61.5, 1), (None, 0), (70.0, None)]


def test_spacing_and_center_are_numbers_or_a_problem_of_the_row(folder: Path) -> None:
    header = "subject,timepoint,source,target,spacing,center_row,center_col"
    lines = [
        "1,0,x.npy,y.npy,0.15,10,20.5",
        "2,0,x.npy,y.npy,0.15 x 0.2,,",
        "3,0,x.npy,y.npy,,,",
        "4,0,x.npy,y.npy,-1,,",
        "5,0,x.npy,y.npy,1 x 2 x 3,,",
        "6,0,x.npy,y.npy,,5,",
        "7,0,x.npy,y.npy,nan,,",
    ]
    manifest = read_manifest(_written(folder, header, *lines))
    assert [row.spacing for row in manifest.rows] == [(0.15, 0.15), (0.15, 0.2), None]
    assert [row.center for row in manifest.rows] == [(10.0, 20.5), None, None]
    assert [finding.column for finding in manifest.findings] == ["spacing", "spacing", "center_row", "spacing"]


def test_paths_may_be_absolute_or_relative_and_name_an_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", a=np.ones((2, 2)))
    line = f"1,0,all.npz::a,{tmp_path}/all.npz::a"
    (row,) = read_manifest(_written(tmp_path, "subject,timepoint,source,target", line)).rows
    assert row.source == row.targets[0] == f"{tmp_path}/all.npz::a"


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "-2", ""], "int"),
        (["1", "NA", "nan"], "int"),
        (["1", "2.5"], "float"),
        (["1e3", "N/A"], "float"),
        (["", ""], "float"),
        (["007", "008"], "text"),
        (["1", "two"], "text"),
        (["inf"], "text"),
        (["1_000"], "text"),
        (["99999999999999999999"], "float"),
    ],
)
def test_the_type_of_a_label_is_that_of_all_its_values(cells: list[str], kind: str) -> None:
    assert label_kind(cells) == kind


@given(st.binary(max_size=300))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_a_manifest_or_one_manifest_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "any.csv"
    path.write_bytes(data)
    try:
        read_manifest(path)
    except ManifestError as error:
        assert "any.csv" in str(error)


cell = st.one_of(
    st.sampled_from(
        ["", "S1", "S2", "L", "r", "x.npy", "y.npy", "train", "test", "0.5", '"', "::", "~x", "n" * 300, "\0"]
    ),
    st.text(alphabet=st.characters(codec="utf-8"), max_size=5),
)


@given(st.lists(st.lists(cell, min_size=1, max_size=9), max_size=12))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_cells_hold_each_row_is_sound_or_has_a_problem(folder: Path, table: list[list[str]]) -> None:
    path = _written(folder, HEADER + ",spacing", *(",".join(row) for row in table))
    try:
        manifest = read_manifest(path)
    except ManifestError:
        return
    sound, faulty = {row.row for row in manifest.rows}, rows_with_errors(manifest.findings)
    assert sound | faulty == {row.row for row in manifest.all_rows}
    assert not sound & faulty
    assert len({row.key for row in manifest.rows}) == len(manifest.rows)
