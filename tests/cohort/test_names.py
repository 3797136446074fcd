"""One person has one spelling in all tables, whatever a spreadsheet made of it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mris.cohort.exclusion import read_exclusions, require_matches
from mris.cohort.manifest import read_manifest
from mris.cohort.names import normal_form, subject_findings
from mris.errors import ManifestError
from mris.knee.klg_sheet import read_klg_sheet
from mris.knee.oai_pairs import pairs_of_folds
from mris.knee.oai_sheets import Fold, read_keypoints, read_visits
from mris.knee.segmentation_files import knee_files

ONE_NUMBER = [("7", "007"), ("9990001", "9.990.001"), ("9990001", "9,990,001"), ("9990001", "9990001.0"),
              ("9990001", "9 990 001"), ("0", "000"), ("1001", "1’001"), ("9.990.001", "9990001.00")]  # fmt: skip


@pytest.mark.parametrize("pair", ONE_NUMBER)
def test_one_number_in_two_spellings_is_a_fault_that_names_both(pair: tuple[str, str]) -> None:
    faults = subject_findings([pair[0], "12", pair[1], "P7"])
    assert set(faults) == set(pair)
    for reason in faults.values():
        assert all(repr(name) in reason for name in pair)


@pytest.mark.parametrize("name", ["2.02411E+14", "2,02411E+14", "2E+14", "2.0e14", "1.5E-05"])
def test_a_number_that_excel_shortened_is_a_fault_that_tells_the_way_out(name: str) -> None:
    assert "import it with this column as text" in subject_findings([name])[name]


@given(st.sets(st.integers(0, 10**12)), st.integers(0, 14))
def test_numbers_of_one_writing_are_never_at_fault(numbers: set[int], width: int) -> None:
    assert subject_findings(f"{number:0{width}d}" for number in numbers) == {}
    assert subject_findings(f"{number:,}".replace(",", ".") for number in numbers) == {}
    assert subject_findings(f"P{number}" for number in numbers) == {}


def test_codes_that_only_resemble_numbers_are_names() -> None:
    assert subject_findings(["12E5", "1E3", "1.2.3", "1-2", "P7", "P07", "7a", "7", "E+5", "٧"]) == {}


@pytest.mark.parametrize("spelling", ["P\u00a07", "\ufeffP 7", "P\u202f7 ", "P\u200b 7", "P 7\u200e"])
def test_signs_without_a_picture_make_no_other_name(spelling: str) -> None:
    assert normal_form(spelling) == "P 7"


@pytest.fixture
def manifest_of(tmp_path: Path) -> Callable[..., Path]:
    np.save(tmp_path / "x.npy", np.ones((2, 2)))

    def make(*subjects: str) -> Path:
        path = tmp_path / "manifest.csv"
        rows = [f'"{subject}",{n},x.npy,x.npy' for n, subject in enumerate(subjects)]
        path.write_text("\n".join(["subject,timepoint,source,target", *rows]), encoding="utf-8")
        return path

    return make


@pytest.mark.parametrize("pair", ONE_NUMBER)
def test_a_manifest_loses_the_rows_of_both_spellings(manifest_of: Callable[..., Path], pair: tuple[str, str]) -> None:
    manifest = read_manifest(manifest_of(pair[0], "12", pair[1], pair[0]))
    assert [(p.row, p.column, p.rule) for p in manifest.findings] == [
        (row, "subject", "doubtful subject") for row in (2, 4, 5)
    ]
    with pytest.raises(ManifestError, match=r"3 of 4 rows cannot be used[\s\S]*are one number, spelled in two ways"):
        manifest.require_sound()
    without = read_manifest(manifest_of(pair[0], "12", pair[1]), exclude=[pair[1]])
    assert [row.subject for row in without.rows] == [pair[0], "12"]


def test_a_manifest_of_people_that_excel_merged_is_refused(manifest_of: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"6 of 6 rows[\s\S]*'2\.02411E\+14' is how Excel shortens a long number"):
        read_manifest(manifest_of(*["2.02411E+14"] * 6)).require_sound()
    table = {"subject": [2.02411e21], "timepoint": ["0"], "source": ["x.npy"], "target": ["x.npy"]}
    pa.parquet.write_table(pa.table(table), tmp_path / "m.parquet")
    with pytest.raises(ManifestError, match=r"2\.02411e\+21' is how Excel"):
        read_manifest(tmp_path / "m.parquet").require_sound()


def test_invisible_signs_in_a_manifest_divide_no_person(manifest_of: Callable[..., Path]) -> None:
    manifest = read_manifest(manifest_of("A 1", "A\u00a01", "\ufeffA 1"))
    assert ({row.subject for row in manifest.rows}, manifest.findings) == ({"A 1"}, ())


def test_a_list_of_exclusions_says_what_excel_did_to_a_subject(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("key\n2.02411E+14/0\n")
    with pytest.raises(ManifestError, match=r"list\.csv': subject '2\.02411E\+14' is how Excel"):
        read_exclusions(path)
    path.write_text("007/1\n7/0\n8\n")
    with pytest.raises(ManifestError, match=r"'007' and '7' are one number, .* a person one name \(2 subjects"):
        read_exclusions(path)


def test_a_listed_number_in_another_spelling_is_refused_with_the_manifests() -> None:
    with pytest.raises(ManifestError, match=r"names '9990001\.0/0', which .* '9990001\.0' and '9990001' are one"):
        require_matches(["9990001.0/0"], [], ["9990001/0/left", "8/0/left"], Path("m.csv"))


def test_an_index_of_segmentations_spells_a_person_in_one_way(tmp_path: Path) -> None:
    index = tmp_path / "index.csv"
    index.write_text("file,subject,side,timepoint\na.nii,9990001,L,0\nb.nii,9990001.0,L,1\n")
    with pytest.raises(ManifestError, match=r"index .*: subject '9990001' and '9990001\.0' are one number"):
        knee_files([], index=index)
    with pytest.raises(ManifestError, match="names of files: subject '7' and '007' are one number"):
        knee_files([Path("7_L_0.nii"), Path("007_R_0.nii")])


VISITS = "patient_id,month,mri_left,mri_right,xray\n{}\n"
CENTERS = 'patient_id,month,keypoint_right,keypoint_left\n{},00_MONTH,"[1, 1]","[9, 1]"\n'
GRADES = "ID,SIDE,READPRJ,V00XRKL,V01XRKL,V03XRKL,V05XRKL,V06XRKL,V08XRKL,V10XRKL\n{},1,15,0,0,0,0,0,NA,NA\n"


def test_sheets_say_what_excel_did_to_a_subject(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    for text, read in (
        (VISITS.format("9.00E+06,00_MONTH,a,b,c"), read_visits),
        (CENTERS.format("9.00E+06"), read_keypoints),
        (GRADES.format("9.00E+06"), read_klg_sheet),
    ):
        path.write_text(text)
        with pytest.raises(ManifestError, match=r"1 of 1 rows[\s\S]*'9\.00E\+06' is how Excel shortens"):
            read(path)
    path.write_text(VISITS.format("900,00_MONTH,a,b,c\n900.0,12_MONTH,a,b,d"))
    with pytest.raises(ManifestError, match=r"2 of 2 rows[\s\S]*'900' and '900\.0' are one number"):
        read_visits(path)


def test_sheets_of_one_study_spell_a_person_in_one_way(tmp_path: Path) -> None:
    def written(name: str, text: str) -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    visits = read_visits(written("visits.csv", VISITS.format("900,00_MONTH,a,b,c")))
    fold = Fold("test_set", visits, read_keypoints(written("centers.csv", CENTERS.format("900"))))
    assert len(pairs_of_folds([fold], read_klg_sheet(written("g.csv", GRADES.format("900"))), "none")) == 2
    with pytest.raises(ManifestError, match=r"study, taken together: subject '900' and '900\.0' are one"):
        pairs_of_folds([fold], read_klg_sheet(written("g.csv", GRADES.format("900.0"))), "none")
