"""A list leaves pairs out: each one counted, nobody else moved, and a cohort knows which list made it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mris.cohort import prepare
from mris.cohort.cohort import Cohort
from mris.cohort.exclusion import read_exclusions
from mris.cohort.prepare import PrepareSettings, check_cohort, prepare_cohort
from mris.cohort.writer import PairWriter
from mris.errors import CohortError, ManifestError

Study = Any  # of conftest.py
MakeStudy = Callable[..., Study]
RULE = "excluded by list"


def _listed(folder: Path, text: str) -> tuple[str, ...]:
    path = folder / "list.txt"
    path.write_text(text, encoding="utf-8")
    return read_exclusions(path)


def test_a_list_has_a_name_a_line_and_comments(tmp_path: Path) -> None:
    text = "\ufeff# broken maps\nP2/12/L   # noisy\n\n  P1\nP2/12/left\nP3 / V10\nP#4\n"
    assert _listed(tmp_path, text) == ("P#4", "P1", "P2/12/left", "P3/V10")


@pytest.mark.parametrize("name", ["Am\u00e9lie", "Ame\u0301lie"])
def test_a_listed_person_is_left_out_however_list_and_table_spell_the_name(
    make_study: MakeStudy, settings: PrepareSettings, name: str
) -> None:
    study = make_study()
    study.rows[0]["subject"], study.rows[1]["subject"] = "Am\u00e9lie", "Ame\u0301lie"
    report = check_cohort(study.manifest, replace(settings, exclude=_listed(study.folder, name)), progress=False)
    assert report.n_excluded == 2


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_of_scores_leaves_out_its_flagged_rows(tmp_path: Path, delimiter: str) -> None:
    rows = [
        ("key", "flagged", "reason"),
        ("P1/0", "1", "a # b"),
        ("P2/0", "0", ""),
        ("P3/0", "TRUE", "x"),
        ("P4/0", "", ""),
    ]
    text = "".join(delimiter.join(row) + "\n" for row in rows)
    assert _listed(tmp_path, text) == ("P1/0", "P3/0")
    assert _listed(tmp_path, "key,note\nP1/0,\nP2/0,\n") == ("P1/0", "P2/0")


def test_a_first_line_for_excel_is_no_name_and_no_header(tmp_path: Path) -> None:
    assert _listed(tmp_path, "sep=;\nkey;flagged\nP1/0;1\nP2/0;0\n") == ("P1/0",)
    assert _listed(tmp_path, "sep=;\nP1/0\nP2/0\n") == ("P1/0", "P2/0")


def test_a_list_of_comments_is_a_list_of_nothing_but_an_empty_file_is_a_mishap(tmp_path: Path) -> None:
    assert _listed(tmp_path, "# none stands out\n") == ()
    with pytest.raises(ManifestError, match="is empty; give one key a line"):
        _listed(tmp_path, "\n")
    with pytest.raises(ManifestError, match="row 3: flagged is 'perhaps'; give 1 or 0"):
        _listed(tmp_path, "key,flagged\nP1/0,1\nP2/0,perhaps\n")
    with pytest.raises(ManifestError, match="cannot be read"):
        read_exclusions(tmp_path / "no.txt")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match="cannot be read"):
        read_exclusions(tmp_path / "bytes.txt")


def test_a_short_row_of_a_list_is_told_by_its_own_number_and_what_it_lacks(tmp_path: Path) -> None:
    text = "# scores\n\nkey,reason,flagged\nP1/0,noise,1\n\n# and\nP2/0,noise\n"
    with pytest.raises(ManifestError, match="row 7 has 2 of 3 cells, and 'flagged' is missing; complete the row"):
        _listed(tmp_path, text)
    with pytest.raises(ManifestError, match="row 3 has 1 of 2 cells, and 'key' is missing"):
        _listed(tmp_path, 'note,key\n"two\nlines"\n'.replace('"two\nlines"', "b,P1/0\nb"))
    with pytest.raises(ManifestError, match="row 4: flagged is 'maybe'"):
        _listed(tmp_path, 'key,reason,flagged\nP1/0,"two\nlines",1\nP2/0,,maybe\n')


def test_excluded_rows_are_counted_and_are_no_faults(make_study: MakeStudy, settings: PrepareSettings) -> None:
    study = make_study()
    (study.folder / study.rows[0]["target_femoral"]).unlink()  # stops a preparation, but not one without this row
    with pytest.raises(ManifestError, match="there is no file"):
        prepare_cohort(study.manifest, study.out, settings, progress=False)
    without = replace(settings, exclude=("000/V00", "003"))
    report = prepare_cohort(study.manifest, study.out, without, progress=False)
    assert (report.n_rows, report.n_kept, report.n_dropped, report.n_excluded) == (20, 17, 3, 3)
    assert report.counts_by_rule == {RULE: 3}
    assert [(finding.row, finding.severity) for finding in report.findings] == [(n, "note") for n in (2, 8, 9)]
    assert "dropped, excluded by list: 3" in report.summary()
    assert "note: row 8 (003/V00), key: left out, as the list names '003'" in report.summary()
    keys = Cohort.open(study.out).keys.tolist()
    expected = [f"{row['subject']}/{row['timepoint']}" for row in study.rows]
    assert keys == [key for key in expected if key not in ("000/V00", "003/V00", "003/V10")]
    saved = json.loads((study.out / "report.json").read_text())
    assert saved["counts_by_rule"] == {RULE: 3}


def test_a_check_gives_the_account_of_the_preparation(make_study: MakeStudy, settings: PrepareSettings) -> None:
    study, without = make_study(), replace(settings, exclude=("001", "002/V10"))
    checked = check_cohort(study.manifest, without, progress=False)
    assert checked == prepare_cohort(study.manifest, study.out, without, progress=False)


@pytest.mark.parametrize("stratify", [None, "klg"])
def test_who_leaves_maps_out_moves_nobody_to_another_split(
    make_study: MakeStudy, settings: PrepareSettings, stratify: str | None
) -> None:
    study, whole = make_study(n_subjects=15), replace(settings, stratify=stratify)
    prepare_cohort(study.manifest, study.folder / "whole", whole, progress=False)
    names = ("000", "004/V00", "007", "011", "013/V10")
    prepare_cohort(study.manifest, study.out, replace(whole, exclude=names), progress=False)
    before, after = (Cohort.open(folder) for folder in (study.folder / "whole", study.out))
    place = dict(zip(before.keys.tolist(), before.splits.tolist(), strict=True))
    assert len(after) == len(before) - 8
    assert after.splits.tolist() == [place[key] for key in after.keys.tolist()]


def test_an_excluded_row_is_neither_a_duplicate_nor_in_two_splits(
    make_study: MakeStudy, settings: PrepareSettings
) -> None:
    study = make_study()
    study.rows = [{**row, "split": "test" if row["subject"] == "001" else "train"} for row in study.rows]
    study.rows[3]["split"] = "train"  # subject 001 is in two splits
    assert check_cohort(study.manifest, settings, progress=False).counts_by_rule == {"subject in two splits": 2}
    report = check_cohort(study.manifest, replace(settings, exclude=("001/V10",)), progress=False)
    assert report.counts_by_rule == {RULE: 1}
    study.rows[3] = dict(study.rows[5])
    report = check_cohort(study.manifest, replace(settings, exclude=("002/V10",)), progress=False)
    assert report.counts_by_rule == {RULE: 2}


def test_a_name_that_matches_no_row_is_refused(make_study: MakeStudy, settings: PrepareSettings) -> None:
    study = make_study()
    for name, guess in (("003/V01", "003/V10"), ("0003", "003"), ("000/V00/left", None)):
        with pytest.raises(ManifestError, match=f"names '{name}', which no row of .* has") as caught:
            check_cohort(study.manifest, replace(settings, exclude=("001", name)), progress=False)
        assert guess is None or f"did you mean {guess!r}?" in str(caught.value)


def test_another_list_is_another_preparation(make_study: MakeStudy, settings: PrepareSettings) -> None:
    study, with_list = make_study(), replace(settings, exclude=("001", "002/V10"))
    prepare_cohort(study.manifest, study.out, with_list, progress=False)
    same = replace(settings, exclude=("002/V10", "001", "001"))
    assert "already finished" in prepare_cohort(study.manifest, study.out, same, progress=False).summary()
    for other in ((), ("001",)):
        with pytest.raises(CohortError, match="begun with other input: exclude was 'a list of 2 names"):
            prepare_cohort(study.manifest, study.out, replace(settings, exclude=other), progress=False)


def test_an_interrupted_preparation_goes_on_with_its_list_alone(
    make_study: MakeStudy, settings: PrepareSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, with_list = make_study(), replace(settings, exclude=("001", "007/V00"))
    whole = prepare_cohort(study.manifest, study.folder / "whole", with_list, progress=False)
    monkeypatch.setattr(prepare, "ROWS_PER_APPEND", 6)
    append, calls = PairWriter.append, []

    def stopping(self: PairWriter, *arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        append(self, *arguments)

    monkeypatch.setattr(PairWriter, "append", stopping)
    with pytest.raises(KeyboardInterrupt):
        prepare_cohort(study.manifest, study.out, with_list, progress=False)
    with pytest.raises(CohortError, match="exclude was"):
        prepare_cohort(study.manifest, study.out, settings, progress=False)
    assert prepare_cohort(study.manifest, study.out, with_list, progress=False) == whole
    keys = [Cohort.open(folder).keys.tolist() for folder in (study.out, study.folder / "whole")]
    assert keys[0] == keys[1]


def test_a_cohort_from_before_there_were_lists_counts_as_made_without_one(
    make_study: MakeStudy, settings: PrepareSettings
) -> None:
    study = make_study()
    prepare_cohort(study.manifest, study.out, settings, progress=False)
    state = json.loads((study.out / "prepare.json").read_text())
    assert state["assignment"]["settings"].pop("exclude") is None
    (study.out / "prepare.json").write_text(json.dumps(state))
    assert "already finished" in prepare_cohort(study.manifest, study.out, settings, progress=False).summary()
    with pytest.raises(CohortError, match="exclude was None and is 'a list of 1 names"):
        prepare_cohort(study.manifest, study.out, replace(settings, exclude=("001",)), progress=False)
