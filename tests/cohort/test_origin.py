"""A cohort knows whether its images show people or were simulated."""

import json

import pytest
from tests.dicom_sources import write_radiograph

from mris.cohort.header import CohortHeader
from mris.cohort.manifest import read_manifest
from mris.cohort.prepare import PrepareSettings, check_cohort, prepare_cohort
from mris.cohort.writer import PairWriter
from mris.errors import CohortError, SettingsError
from mris.images.transforms import SourcePreparation
from mris.records import parse_record

SETTINGS = {"source": SourcePreparation(size=(8, 8)), "target_size": (6, 6), "workers": 1}


def prepared(study, origins=(), **settings):
    if origins:
        for row, origin in zip(study.rows, origins, strict=True):
            row["image_origin"] = origin
    prepare_cohort(study.manifest, study.out, PrepareSettings(**SETTINGS, **settings), progress=False)
    return json.loads((study.out / "cohort.json").read_text())


@pytest.mark.parametrize(
    ("origins", "asked", "expected"),
    [
        ((), "unknown", "unknown"),
        ((), "real", "real"),
        ((), "simulated", "simulated"),
        (["simulated"] * 20, "unknown", "simulated"),
        (["real"] * 20, "real", "real"),
        (["Real"] * 19 + [""], "unknown", "unknown"),
        (["real"] * 19 + ["simulated"], "unknown", "simulated"),
    ],
)
def test_a_cohort_is_simulated_if_any_image_is_and_real_if_all_are(make_study, origins, asked, expected):
    header = prepared(make_study(), origins, origin=asked)
    assert header["origin"] == expected
    assert header["labels"] == ["klg", "site"], "the column is no label"


def test_a_manifest_and_an_option_that_contradict_each_other_are_refused(make_study):
    study = make_study()
    with pytest.raises(SettingsError, match="says that images are simulated, and the settings that they are real"):
        prepared(study, ["simulated"] * 20, origin="real")
    assert not study.out.exists()


def test_a_row_of_another_word_is_at_fault(make_study):
    study = make_study()
    for row in study.rows:
        row["image_origin"] = "real"
    study.rows[3]["image_origin"] = "digital"
    (finding,) = read_manifest(study.manifest).findings
    assert (finding.row, finding.column) == (5, "image_origin")
    assert finding.reason == "'digital' is not known; give real, simulated or nothing"


def test_a_header_of_earlier_versions_is_of_unknown_origin_and_a_strange_word_is_damage(make_study):
    values = prepared(make_study())
    assert CohortHeader.model_validate({**values, "origin": "real"}).origin == "real"
    with pytest.raises(CohortError, match="origin is 'maybe': input should be 'real', 'simulated' or 'unknown'"):
        parse_record({**values, "origin": "maybe"}, CohortHeader, CohortError, "prepare again", name="header")
    del values["origin"]
    assert CohortHeader.model_validate(values).origin == "unknown"


def test_work_that_an_earlier_version_began_is_resumed_where_nothing_is_said():
    assert "origin" not in PrepareSettings(**SETTINGS).to_dict()
    assert PrepareSettings(**SETTINGS, origin="real").to_dict()["origin"] == "real"


def with_dicom(study, n, rng, **elements):
    """Let the first rows' sources be DICOM files."""
    for row in study.rows[:n]:
        path = study.folder / row["source"].replace(".npy", ".dcm")
        write_radiograph(path, rng.integers(0, 4000, (12, 10)), **elements)
        row["source"] = path.name
    return study


@pytest.mark.parametrize(
    ("elements", "n", "expected"),
    [
        ({"SyntheticData": "YES"}, 20, "simulated"),
        ({"SyntheticData": "YES"}, 1, "simulated"),
        ({"SyntheticData": "NO"}, 20, "unknown"),
        ({}, 20, "unknown"),
    ],
)
def test_a_cohort_is_simulated_if_a_header_says_that_no_patient_is_shown(make_study, rng, elements, n, expected):
    assert prepared(with_dicom(make_study(), n, rng, **elements))["origin"] == expected


def test_a_header_that_shows_no_patient_and_a_word_for_real_images_contradict_each_other(make_study, rng):
    study = with_dicom(make_study(), 1, rng, SyntheticData="YES")
    for origins, asked in (((), "real"), (["real"] * 20, "unknown")):
        with pytest.raises(CohortError, match=r"row 2 .*SyntheticData.* mend one of them"):
            prepared(study, origins, origin=asked)
        settings = PrepareSettings(**SETTINGS, origin=asked)
        assert check_cohort(study.manifest, settings, progress=False).n_dropped == 1


def test_a_resumed_preparation_remembers_what_headers_said(make_study, rng, monkeypatch):
    study = with_dicom(make_study(), 1, rng, SyntheticData="YES")
    monkeypatch.setattr("mris.cohort.prepare.ROWS_PER_APPEND", 4)
    append, calls = PairWriter.append, []

    def stops(self, *args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        append(self, *args)

    with monkeypatch.context() as patched:
        patched.setattr(PairWriter, "append", stops)
        with pytest.raises(KeyboardInterrupt):
            prepared(study)
    assert prepared(study)["origin"] == "simulated"
