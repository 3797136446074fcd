"""What `prepare` stores is what the files hold; each row is kept, or dropped with a reason."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.plates import pixels_of, write_plate

from mris.cohort.cohort import Cohort
from mris.cohort.prepare import PrepareReport, PrepareSettings, check_cohort, prepare_cohort
from mris.cohort.report import RowFinding
from mris.cohort.writer import PairWriter
from mris.errors import CohortError, ManifestError, SettingsError
from mris.images.read import read_image
from mris.images.transforms import SourcePreparation, prepare_source, resize_target
from mris.images.write import write_nifti

Study = Any  # of conftest.py
MakeStudy = Callable[..., Study]
SKIP: dict[str, Any] = {"on_error": "skip"}


def _prepared(study: Study, settings: PrepareSettings, **options: bool) -> PrepareReport:
    return prepare_cohort(study.manifest, study.out, settings, progress=False, **options)


def test_the_table_holds_each_pair_as_its_files_prepared_one_by_one(
    make_study: MakeStudy, settings: PrepareSettings
) -> None:
    study = make_study()
    report = _prepared(study, settings)
    cohort = Cohort.open(study.out)
    assert report.n_rows == report.n_kept == len(cohort) == 20
    assert cohort.keys.tolist() == [f"{row['subject']}/{row['timepoint']}" for row in study.rows]
    sources, targets = cohort.read_sources(), cohort.read_targets()
    for index, row in enumerate(study.rows):
        source = prepare_source(read_image(study.folder / row["source"]), settings.source)
        np.testing.assert_array_equal(sources[index], source.astype(np.float16))
        for channel, region in enumerate(("femoral", "tibial")):
            pixels = read_image(study.folder / row[f"target_{region}"]).pixels[0]
            expected = resize_target(pixels, settings.target_size)
            np.testing.assert_allclose(targets[index, channel], expected, rtol=1 / 2048, equal_nan=True)


def test_the_header_tells_all_that_the_manifest_and_the_settings_decide(
    make_study: MakeStudy, settings: PrepareSettings
) -> None:
    study = make_study()
    _prepared(study, settings)
    header = Cohort.open(study.out).header
    assert header.regions == ("femoral", "tibial")
    assert header.labels == ("klg", "site")
    assert (header.source_shape, header.target_shape) == ((1, 8, 8), (2, 6, 6))
    assert header.source == settings.source
    assert header.target_spacing is None
    assert header.unit == "mm"
    assert (header.n_pairs, header.n_manifest_rows) == (20, 20)
    assert header.split_rule.startswith("by subject: train 0.7, val 0.1, test 0.2; seed 0")


def test_many_processes_write_what_one_writes(make_study: MakeStudy, settings: PrepareSettings) -> None:
    study = make_study(n_subjects=12)
    _prepared(study, settings)
    alone = Cohort.open(study.out)
    prepare_cohort(study.manifest, study.folder / "two", replace(settings, workers=2), progress=False)
    together = Cohort.open(study.folder / "two")
    assert together.keys.tolist() == alone.keys.tolist()
    np.testing.assert_array_equal(together.read_sources(), alone.read_sources())
    np.testing.assert_array_equal(together.read_targets(), alone.read_targets())
    assert together.header == alone.header


def _break_rows(study: Study) -> dict[int, str]:
    """Put a fault into each of some rows; gives the rule that must be reported for each spreadsheet row."""
    folder = study.folder
    (folder / study.rows[1]["source"]).write_bytes(b"")
    (folder / study.rows[3]["target_tibial"]).write_bytes((folder / study.rows[3]["target_tibial"]).read_bytes()[:90])
    study.put(4, "target_femoral", np.full((8, 8), np.nan))
    study.put(6, "source", np.zeros((12, 10)))
    study.put(8, "target_tibial", np.full((8, 8), 70000.0))
    study.put(9, "target_tibial", np.zeros((3, 8, 8)))
    study.put(10, "source", np.random.default_rng(0).random((2, 12, 10)))
    study.put(11, "source", np.array([["a"]]))
    study.put(12, "target_femoral", np.full((8, 8), np.inf))
    nearly_nothing = np.full((8, 8), np.nan)
    nearly_nothing[2, 2] = 1  # less than half of every pixel of the smaller grid
    study.put(13, "target_femoral", nearly_nothing)
    (folder / study.rows[14]["target_femoral"]).unlink()
    study.rows[15]["timepoint"] = study.rows[14]["timepoint"]
    study.rows[17]["timepoint"] = study.rows[16]["timepoint"]
    return {
        3: "unreadable source",
        5: "unreadable target_tibial",
        6: "unreadable target_femoral",
        8: "source cannot be prepared",
        10: "value too large",
        11: "many channels",
        12: "other number of channels",
        13: "unreadable source",
        14: "unreadable target_femoral",
        15: "NaN-only target",
        16: "missing file",
        19: "duplicate key",
    }


def test_no_row_is_dropped_silently(make_study: MakeStudy, settings: PrepareSettings) -> None:
    study = make_study()
    expected = _break_rows(study)
    report = _prepared(study, replace(settings, **SKIP))
    assert {finding.row: finding.rule for finding in report.findings} == expected
    assert report.n_rows == 20 == report.n_kept + len(expected)
    assert sum(report.rows_by_split.values()) == report.n_kept == len(Cohort.open(study.out))
    assert sum(report.counts_by_rule.values()) == report.n_dropped
    assert PrepareReport.model_validate_json((study.out / "report.json").read_text()) == report
    for finding in report.findings:
        assert f"row {finding.row} (" in report.summary()
        assert "\n" not in str(finding)


def test_an_odd_first_source_is_dropped_alone_since_the_commonest_number_of_channels_counts(
    make_study: MakeStudy, settings: PrepareSettings
) -> None:
    study = make_study()
    colored = np.random.default_rng(0).random((20, 3, 12, 10))
    for row in range(1, 20):
        study.put(row, "source", colored[row])
    (study.folder / study.rows[1]["source"]).write_bytes(b"")
    report = _prepared(study, replace(settings, **SKIP))
    assert report == check_cohort(study.manifest, settings, progress=False)
    assert {finding.row: finding.rule for finding in report.findings} == {
        2: "other number of channels",
        3: "unreadable source",
    }
    assert "has 1 channel; the commonest number among the sources is 3, and all" in report.findings[0].reason
    assert Cohort.open(study.out).header.source_shape == (3, 8, 8)


def test_a_check_reports_what_prepare_reports_and_writes_nothing(
    make_study: MakeStudy, settings: PrepareSettings
) -> None:
    study = make_study()
    _break_rows(study)
    manifest = study.manifest
    before = sorted(study.folder.rglob("*"))
    checked = check_cohort(manifest, settings, progress=False)
    assert sorted(study.folder.rglob("*")) == before
    assert checked == _prepared(study, replace(settings, **SKIP))


def test_a_check_of_a_manifest_without_a_sound_row_still_reports(
    make_study: MakeStudy, settings: PrepareSettings
) -> None:
    study = make_study(n_subjects=3)
    for row in study.rows:
        row["source"] = "no.npy"
    report = check_cohort(study.manifest, settings, progress=False)
    assert (report.n_rows, report.n_kept, report.counts_by_rule) == (6, 0, {"missing file": 6})
    with pytest.raises(ManifestError, match="none of its 6 rows can be used"):
        _prepared(study, replace(settings, **SKIP))
    assert not study.out.exists()


def test_by_default_all_faults_of_the_manifest_are_listed_at_once_and_nothing_is_written(
    make_study: MakeStudy, settings: PrepareSettings
) -> None:
    study = make_study()
    _break_rows(study)
    with pytest.raises(
        ManifestError, match=r"2 of 20 rows cannot be used.*\n.*row 16 .*no file.*\n.*row 19 .*as row 18"
    ):
        _prepared(study, settings)
    assert not study.out.exists()


def test_by_default_faults_of_files_stop_with_a_list_and_a_mended_file_lets_it_go_on(
    make_study: MakeStudy, settings: PrepareSettings
) -> None:
    study = make_study()
    good = np.load(study.folder / study.rows[5]["source"])
    (study.folder / study.rows[5]["source"]).write_bytes(b"")
    study.put(7, "target_tibial", np.full((8, 8), np.nan))
    with pytest.raises(CohortError, match=r"cannot be used.*\n.*row 7 .*empty.*\n.*row 9 .*NaN"):
        _prepared(study, settings)
    with pytest.raises(CohortError, match="not finished; run the same `mris prepare` again"):
        Cohort.open(study.out)
    study.put(5, "source", good)
    study.put(7, "target_tibial", np.ones((8, 8)))
    assert _prepared(study, settings).n_kept == 20
    assert len(Cohort.open(study.out)) == 20


def test_after_a_stop_before_the_first_stored_pair_a_mended_manifest_begins_anew(
    make_study: MakeStudy, settings: PrepareSettings
) -> None:
    study = make_study()
    study.put(5, "source", np.zeros((4, 4)))
    with pytest.raises(CohortError, match="row 7"):
        _prepared(study, settings)
    del study.rows[5]
    report = _prepared(study, replace(settings, seed=3))
    assert (report.n_rows, report.n_kept, report.findings) == (19, 19, ())
    assert len(Cohort.open(study.out)) == 19
    assert not (study.out / "findings.jsonl").exists()
    assert not (study.out / "file_sizes.jsonl").exists()


def test_a_cohort_without_a_usable_file_is_refused(make_study: MakeStudy, settings: PrepareSettings) -> None:
    study = make_study(n_subjects=10)
    for row in range(20):
        study.put(row, "source", np.zeros((4, 4)))
    with pytest.raises(CohortError, match=r"no pair is left.*\n.*row 2"):
        _prepared(study, replace(settings, **SKIP))


def test_a_split_that_lost_all_its_rows_is_told(make_study: MakeStudy, settings: PrepareSettings) -> None:
    study = make_study(n_subjects=10, n_visits=1)
    _prepared(study, settings)
    (val,) = np.flatnonzero(Cohort.open(study.out).splits == "val")
    study.put(int(val), "source", np.zeros((4, 4)))
    report = _prepared(study, replace(settings, **SKIP), overwrite=True)
    assert report.notes == ("split 'val' has lost all its rows",)


def test_oddities_are_noted_and_kept(make_study: MakeStudy, settings: PrepareSettings) -> None:
    study = make_study()
    study.put(2, "target_tibial", np.zeros((8, 8)))
    report = _prepared(study, settings)
    assert report.n_kept == 20
    assert [(finding.row, finding.rule, finding.severity) for finding in report.findings] == [(4, "all zero", "note")]
    assert "note: row 4" in report.summary()


def test_targets_too_small_for_half_precision_are_refused_and_not_stored_coarsely_or_as_zero(
    make_study: MakeStudy, settings: PrepareSettings
) -> None:
    study = make_study()
    study.put(2, "target_tibial", np.full((8, 8), 2.7e-9))
    study.put(3, "target_tibial", np.full((8, 8), -6e-5))
    report = _prepared(study, replace(settings, **SKIP))
    assert [(finding.row, finding.rule) for finding in report.findings] == [
        (4, "values too small"),
        (5, "values too small"),
    ]
    told = "holds at most 2.7e-09; float16 stores less than 6.1e-05 coarsely or as 0; choose a smaller unit"
    assert told in report.findings[0].reason


@pytest.mark.parametrize("largest", [6.2e-5, 2.7e-4, 3.0])
def test_what_is_not_refused_is_stored_as_precisely_as_promised(
    make_study: MakeStudy, settings: PrepareSettings, largest: float
) -> None:
    study = make_study(regions=("map",))
    given = np.geomspace(largest * 1e-6, largest, 36).reshape(6, 6)
    study.put(0, "target_map", given)
    stored = _cohort(study, settings, "small").read_targets([0])[0, 0]
    error = np.abs(stored - given.astype(np.float32))
    assert (error <= np.where(given < 6.1e-5, 3e-8, given / 2048)).all()


def test_regions_of_different_sizes_meet_on_one_grid(make_study: MakeStudy, settings: PrepareSettings) -> None:
    study = make_study()
    study.put(0, "target_tibial", np.full((31, 17), 1.5))
    _prepared(study, settings)
    assert (Cohort.open(study.out).read_targets([0], ["tibial"]) == 1.5).all()


def test_sides_are_mirrored_where_asked_and_targets_only_if_asked(
    make_study: MakeStudy, settings: PrepareSettings
) -> None:
    study = make_study()
    for index, row in enumerate(study.rows):
        row["side"] = "LR"[index % 2]
    plain = _cohort(study, settings, "plain")
    mirrored = replace(settings, source=replace(settings.source, mirror_sides=("right",)))
    sources = _cohort(study, mirrored, "sources")
    both = _cohort(study, replace(mirrored, mirror_targets=True), "both")
    right = plain.sides == "right"
    assert right.sum() == 10
    np.testing.assert_array_equal(sources.read_sources()[right], plain.read_sources()[right][..., ::-1])
    np.testing.assert_array_equal(sources.read_sources()[~right], plain.read_sources()[~right])
    np.testing.assert_array_equal(sources.read_targets(), plain.read_targets())
    np.testing.assert_array_equal(both.read_targets()[right], plain.read_targets()[right][..., ::-1])
    assert both.header.mirror_targets


def test_a_plate_that_says_it_is_mirrored_is_dropped_with_the_reason_and_not_cut_as_it_is(
    make_study: MakeStudy, settings: PrepareSettings
) -> None:
    study = make_study()
    for index, towards in enumerate(("LEFT", "RIGHT")):
        study.rows[index]["source"] = f"{towards}.dcm"
        write_plate(study.folder / f"{towards}.dcm", pixels_of((40, 60)), PatientOrientation=[towards[0], "F"])
    report = _prepared(study, replace(settings, **SKIP))
    (finding,) = report.findings
    assert (finding.row, finding.column, finding.rule) == (3, "source", "source does not fit")
    assert (
        "RIGHT.dcm: its header (PatientOrientation) says that the picture is mirrored; mirror it back" in finding.reason
    )
    assert report.n_kept == 19


def test_a_plate_of_two_rows_is_read_once_and_one_that_has_changed_anew(
    make_study: MakeStudy, settings: PrepareSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, read = make_study(), []
    for index in (0, 1):
        study.rows[index]["source"] = "plate.dcm"
    write_plate(study.folder / "plate.dcm", pixels_of((40, 60)))
    monkeypatch.setattr("mris.cohort.pair.read_image", lambda path: read.append(Path(path).name) or read_image(path))
    first = _cohort(study, replace(settings, workers=1), "first").read_sources()
    assert read.count("plate.dcm") == 1
    np.testing.assert_array_equal(first[0], first[1])
    write_plate(study.folder / "plate.dcm", pixels_of((40, 60), seed=1))
    second = _cohort(study, replace(settings, workers=1), "second").read_sources()
    assert read.count("plate.dcm") == 2
    assert not np.array_equal(first[0], second[0])


def test_a_doubtful_header_is_noted_and_its_row_is_kept(make_study: MakeStudy, settings: PrepareSettings) -> None:
    study = make_study()
    study.rows[0]["source"] = "raw.dcm"
    write_plate(study.folder / "raw.dcm", pixels_of((40, 60)), PresentationIntentType="FOR PROCESSING")
    report = _prepared(study, replace(settings, **SKIP))
    (note,) = report.findings
    assert (note.rule, note.severity) == ("doubtful source", "note") and "FOR PROCESSING" in note.reason
    assert report.n_kept == 20


def _cohort(study: Study, settings: PrepareSettings, name: str) -> Cohort:
    prepare_cohort(study.manifest, study.folder / name, settings, progress=False)
    return Cohort.open(study.folder / name)


def test_a_region_in_mm_needs_a_spacing_that_the_manifest_may_give(
    make_study: MakeStudy, settings: PrepareSettings
) -> None:
    study = make_study()
    cropped = replace(settings, source=replace(settings.source, region_mm=4.0))
    for row in study.rows:
        row |= {"spacing": "0.5", "center_row": "4", "center_col": "5"}
    study.rows[6] |= {"spacing": ""}
    report = _prepared(study, replace(cropped, **SKIP))
    (finding,) = report.findings
    assert (finding.row, finding.rule) == (8, "source cannot be prepared")
    assert "pixel spacing is unknown" in finding.reason
    image = read_image(study.folder / study.rows[0]["source"], spacing=(0.5, 0.5))
    expected = prepare_source(image, cropped.source, center=(4, 5)).astype(np.float16)
    np.testing.assert_array_equal(Cohort.open(study.out).read_sources([0])[0], expected)


def test_the_target_spacing_is_that_of_the_stored_pixels(make_study: MakeStudy, settings: PrepareSettings) -> None:
    study = make_study(regions=("map",))
    given = replace(settings, target_spacing=(0.75, 0.9))
    assert _cohort(study, given, "given").header.target_spacing == pytest.approx((1.0, 1.2))  # 8 pixels become 6
    for index, row in enumerate(study.rows):
        array = np.load(study.folder / row["target_map"])
        row["target_map"] = f"{index}.nii.gz"
        write_nifti(study.folder / row["target_map"], array, (1.5, 3.0))
    cohort = _cohort(study, given, "stated")
    assert cohort.header.target_spacing == pytest.approx((2.0, 4.0)), "what a file says goes before the setting"
    write_nifti(study.folder / study.rows[3]["target_map"], array, (1.5, 3.3))
    assert _cohort(study, given, "mixed").header.target_spacing is None


def test_a_split_is_stratified_by_the_label_of_the_first_visit(
    make_study: MakeStudy, settings: PrepareSettings
) -> None:
    study = make_study(n_subjects=20)
    for index, row in enumerate(study.rows):
        subject, visit = divmod(index, 2)
        row["klg"] = str(subject % 2 if visit == 0 else 4)
    halves = replace(settings, fractions={"train": 0.5, "test": 0.5}, stratify="klg")
    cohort = _cohort(study, halves, "halves")
    train = cohort.split("train")
    assert train.label("klg")[train.is_baseline].mean() == 0.5
    assert "stratified by klg at the first visit" in cohort.header.split_rule
    with pytest.raises(SettingsError, match="no label 'grade' to stratify by; labels are: klg, site"):
        _cohort(study, replace(halves, stratify="grade"), "other")


def test_what_is_given_and_not_used_is_told(make_study: MakeStudy, settings: PrepareSettings) -> None:
    study = make_study()
    for row in study.rows:
        row |= {"center_row": "4", "center_col": "5", "split": "train" if row["subject"] != "000" else "val"}
    report = check_cohort(study.manifest, replace(settings, stratify="klg"), progress=False)
    assert [note.split(",")[0] for note in report.notes] == [
        "center_row and center_col are not used",
        "nothing is stratified by 'klg'",
    ]


def test_what_spreadsheets_make_of_a_table_is_told(make_study: MakeStudy, settings: PrepareSettings) -> None:
    study = make_study(n_visits=1)
    for index, row in enumerate(study.rows):
        row |= {"timepoint": "24.03.2019", "age": f'"{40 + index},5"', "split": ["Training", "Test"][index % 2]}
    report = check_cohort(study.manifest, settings, progress=False)
    assert report.notes == (
        "the column 'split' holds 'Test', 'Training' and no 'train' or 'val', which mris train needs",
        "timepoints such as '24.03.2019' are put in order by the day; write dates as 2024-12-31",
        "label 'age' is taken as text, since its numbers have a comma ('40,5'); write a point",
    )


def test_where_faults_leave_too_few_subjects_for_the_splits_they_are_listed(
    make_study: MakeStudy, settings: PrepareSettings
) -> None:
    study = make_study(n_subjects=4, n_visits=1)
    for row in study.rows[1:]:
        (study.folder / row["source"]).unlink()
    for run in (
        lambda: check_cohort(study.manifest, settings, progress=False),
        lambda: _prepared(study, replace(settings, **SKIP)),
    ):
        with pytest.raises(SettingsError, match=r"1 subject cannot fill 3 splits") as refusal:
            run()
        lines = str(refusal.value).splitlines()
        assert lines[1] == "  3 of 4 rows cannot be used"
        assert [line.split(",")[0] for line in lines[2:]] == [f"  row {n} (00{n - 2}/V00)" for n in (3, 4, 5)]


def test_a_check_opens_all_files_before_it_says_that_subjects_are_too_few(
    make_study: MakeStudy, settings: PrepareSettings
) -> None:
    study = make_study(n_subjects=2)
    study.put(2, "source", np.full((4, 4), np.nan))
    (study.folder / study.rows[3]["target_tibial"]).write_bytes(b"no array")
    with pytest.raises(SettingsError, match=r"2 subjects cannot fill 3 splits") as refusal:
        check_cohort(study.manifest, settings, progress=False)
    lines = str(refusal.value).splitlines()
    assert lines[1] == "  2 of 4 rows cannot be used"
    assert [line.split(":")[0] for line in lines[2:]] == [
        "  row 4 (001/V00), source", "  row 5 (001/V10), target_tibial",
    ]  # fmt: skip


def test_one_subject_cannot_be_split_unless_the_manifest_says_how(
    make_study: MakeStudy, settings: PrepareSettings
) -> None:
    study = make_study(n_subjects=1)
    with pytest.raises(SettingsError, match=r"manifest\.csv: 1 subject cannot fill 3 splits"):
        _prepared(study, settings)
    assert not study.out.exists()
    for row in study.rows:
        row["split"] = "test"
    cohort = _cohort(study, settings, "test_only")
    assert set(cohort.splits) == {"test"}
    assert cohort.atlas_mask.any(), "without a training split, all targets make the mask"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"target_size": (0, 6)}, "target_size"),
        ({"target_size": (6,)}, "target_size"),
        ({"on_error": "ignore"}, "give 'stop' or 'skip'"),
        ({"workers": 0}, "workers is 0"),
        ({"mirror_targets": True}, "no side is mirrored"),
        ({"target_spacing": (1.0, -1.0)}, "target_spacing"),
    ],
)
def test_settings_that_cannot_work_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        PrepareSettings(**{"source": SourcePreparation(size=(8, 8)), "target_size": (6, 6), **values})  # type: ignore[arg-type]


def test_targets_of_another_size_than_the_commonest_of_their_region_are_counted_in_a_note(
    make_study: MakeStudy, settings: PrepareSettings
) -> None:
    study = make_study()
    for row in (0, 7):
        study.put(row, "target_tibial", np.ones((16, 8)))
    study.put(9, "target_tibial", np.ones((4, 8)))
    for row in range(20):
        study.put(row, "target_femoral", np.eye(5))  # a region may have a frame of its own
    study.put(3, "source", np.eye(30, 20))  # sources of all sizes are what people have
    checked = check_cohort(study.manifest, settings, progress=False)
    (note,) = checked.notes
    assert note.startswith("3 of 20 maps in column 'target_tibial' have another size than the commonest, 8x8 pixels;")
    assert "first: row 2 (000/V00) with 16x8; all are stretched to 6x6" in note
    assert checked.n_dropped == 0
    assert _prepared(study, settings) == checked


def test_targets_that_are_one_file_or_flat_are_noted_in_a_check_and_a_preparation(
    make_study: MakeStudy, settings: PrepareSettings
) -> None:
    study = make_study()
    one = study.rows[0]["target_femoral"]
    for index, row in enumerate(study.rows):
        row["target_femoral"] = one
        study.put(index, "target_tibial", np.where(np.eye(8, dtype=bool), np.nan, 0.5 + index))
    report = check_cohort(study.manifest, settings, progress=False)
    assert report.notes == (
        f"all 20 targets in column 'target_femoral' are one file ({study.folder / one}): nothing is to be learned from "
        "them",
        "all 20 targets in column 'target_tibial' have one value throughout: they hold no map",
    )
    assert _prepared(study, settings).notes == report.notes
    study.put(7, "target_tibial", np.arange(64.0).reshape(8, 8))
    study.rows[7]["target_femoral"] = study.rows[7]["target_tibial"]
    assert check_cohort(study.manifest, settings, progress=False).notes == ()


@pytest.mark.parametrize("n_kept", [20, 7])
def test_the_header_tells_how_many_mm_whole_sources_show_also_after_an_interruption(
    make_study: MakeStudy, settings: PrepareSettings, monkeypatch: pytest.MonkeyPatch, n_kept: int
) -> None:
    # what is cut out in mm and stored as a picture has pixels of another size on each plate, and one extent
    study = make_study()
    for index, row in enumerate(study.rows):
        study.put(index, "source", np.random.default_rng(index).random((50 + index % 2, 60)))
        row["spacing"] = f"{100 / (50 + index % 2)} x 2"
    if n_kept < 20:
        monkeypatch.setattr("mris.cohort.prepare.ROWS_PER_APPEND", n_kept)
        keep = PairWriter.append
        monkeypatch.setattr(PairWriter, "append", lambda *a: (keep(*a), (_ for _ in ()).throw(KeyboardInterrupt))[0])
        with pytest.raises(KeyboardInterrupt):
            _prepared(study, settings)
        monkeypatch.setattr(PairWriter, "append", keep)
    report = _prepared(study, settings)
    assert report.n_kept == 20 and not report.notes
    assert Cohort.open(study.out).header.source.extent_mm == (100.0, 120.0)


def test_a_cohort_of_regions_records_their_size_alone(make_study: MakeStudy, settings: PrepareSettings) -> None:
    study = make_study()
    for row in study.rows:
        row["spacing"] = "1"
    _prepared(study, replace(settings, source=SourcePreparation((8, 8), region_mm=7.0)))
    source = Cohort.open(study.out).header.source
    assert (source.region_mm, source.extent_mm, source.edge_mm) == (7.0, None, 7.0)


@pytest.mark.parametrize(
    ("spacing", "note"),
    [
        ("1.4", "sources show areas of different size: 12 x 10 mm (row 2, 000/V00) and 16.8 x 14 mm (row 5, 001/V10)"),
        ("", "the pixel spacing of 1 of 20 sources is unknown, so it is not recorded how many mm they show"),
    ],
)
def test_sources_that_show_areas_of_different_size_are_noted_and_give_no_extent(
    make_study: MakeStudy, settings: PrepareSettings, spacing: str, note: str
) -> None:
    study = make_study()
    for index, row in enumerate(study.rows):
        row["spacing"] = spacing if index == 3 else "1"
    (found,) = _prepared(study, settings).notes
    assert found.startswith(note)
    assert Cohort.open(study.out).header.source.extent_mm is None
    assert "extent_mm" not in json.loads((study.out / "cohort.json").read_text())["source"]  # as older cohorts


def test_a_dropped_pair_says_nothing_of_the_sizes_of_targets(make_study: MakeStudy, settings: PrepareSettings) -> None:
    study = make_study()
    study.put(4, "source", np.zeros((4, 4)))
    study.put(4, "target_tibial", np.ones((16, 8)))
    report = check_cohort(study.manifest, settings, progress=False)
    assert (report.n_dropped, report.notes) == (1, ())


def test_twenty_problems_are_shown_and_the_others_counted() -> None:
    findings = tuple(RowFinding("is gone", "missing file", row=row, key="k", column="source") for row in range(2, 40))
    text = PrepareReport(n_rows=39, n_kept=1, findings=findings).summary()
    assert "dropped, missing file: 38" in text
    assert text.endswith("... and 18 more")
    assert text.count("is gone") == 20


def test_all_problems_are_shown_to_who_asks() -> None:
    findings = tuple(RowFinding("is gone", "missing file", row=row, key="k", column="source") for row in range(2, 40))
    text = PrepareReport(n_rows=39, n_kept=1, findings=findings).summary(most=None)
    assert text.count("is gone") == 38
    assert "more" not in text


def test_a_column_without_a_single_file_costs_one_line_and_every_row_still_counts(
    make_study: MakeStudy, settings: PrepareSettings
) -> None:
    study = make_study(regions=("tibial",))
    for row in study.rows:
        row |= {"source": f"moved/{row['source']}", "target_tibial": f"moved/{row['target_tibial']}"}
    study.rows[4]["source"] = ""
    with pytest.raises(ManifestError) as refused:
        _prepared(study, settings)
    report = check_cohort(study.manifest, settings, progress=False)
    assert (report.n_rows, report.n_kept, len(report.findings)) == (20, 0, 40)
    assert report.counts_by_rule == {"missing file": 20, "empty source": 1}
    moved = study.folder / "moved"
    assert refused.value.args[0].splitlines()[1:] == [
        "  all 19 files of column 'source' are missing; is the folder right? First: row 2 (000/V00), "
        f"source: there is no file {moved / 'source_000_0.npy'}",
        "  all 20 files of column 'target_tibial' are missing; is the folder right? First: row 2 (000/V00), "
        f"target_tibial: there is no file {moved / 'tibial_000_0.npy'}",
        "  row 6 (002/V00), source: the cell is empty; every row needs a value",
    ]
    assert [line.strip() for line in report.summary(most=None).splitlines()[-3:]] == [
        line.strip() for line in refused.value.args[0].splitlines()[1:]
    ]


def test_a_single_file_that_is_there_has_the_others_listed_one_by_one(
    make_study: MakeStudy, settings: PrepareSettings
) -> None:
    study = make_study()
    for row in study.rows[1:]:
        row["source"] = "no.npy"
    (study.folder / study.rows[0]["source"]).write_bytes(b"")  # there, and no image
    one_split = replace(settings, fractions={"train": 1.0})
    summary = check_cohort(study.manifest, one_split, progress=False).summary(most=None)
    assert summary.count("there is no file") == 19
    assert "all 19" not in summary


def test_an_excluded_row_is_no_reason_to_list_the_missing_files_of_all_others(
    make_study: MakeStudy, settings: PrepareSettings
) -> None:
    study = make_study()
    for row in study.rows[1:]:
        row["source"] = "no.npy"
    without_first = replace(settings, exclude=("000/V00",))
    summary = check_cohort(study.manifest, without_first, progress=False).summary(most=None)
    assert summary.count("there is no file") == 1
    assert "all 19 files of column 'source' are missing" in summary
    with pytest.raises(ManifestError, match="all 19 files of column 'source' are missing"):
        _prepared(study, without_first)


def test_unknown_paths_are_no_part_of_a_cohort(make_study: MakeStudy, settings: PrepareSettings) -> None:
    study = make_study()
    _prepared(study, settings)
    stored = (study.out / "cohort.json").read_text()
    assert str(Path.home()) not in stored
    assert str(study.folder) not in stored
