"""``mris archive`` against a real Orthanc: counts in, counts out, one line a mistake."""

import pydicom
import pytest
from tests.archive_server import PASSWORD, USER, running_orthanc
from tests.dicom_sources import IDENTIFYING, write_radiograph

pytest.importorskip("dicomweb_client")


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as address:
        yield address


@pytest.fixture
def files(tmp_path, rng):
    pixels = rng.integers(0, 4000, (20, 20))
    return [
        write_radiograph(tmp_path / "a.dcm", pixels, ImageLaterality="L"),
        write_radiograph(tmp_path / "b.dcm", pixels, SOPInstanceUID="1.2.3", ImageLaterality="R"),
    ]


@pytest.mark.slow
def test_the_road_from_the_archive_to_a_map_and_back(run_cli, tiny_bundle, url, files, tmp_path):
    pytest.importorskip("highdicom")
    study = IDENTIFYING["StudyInstanceUID"]
    outcome = run_cli("archive", "store", url, *files, "--quiet")
    assert outcome.code == 0 and f"2 of 2 files stored in {url}" in outcome.out

    outcome = run_cli("archive", "query", url, "--patient", "HOSP*", "--modality", "DX,CR", "--date", "20240613")
    assert outcome.code == 0 and "1 study" in outcome.err
    patient, date, kinds, _, found = outcome.out.splitlines()[0].split("\t")
    assert (patient, date, kinds, found) == (IDENTIFYING["PatientID"], "20240613", "DX", study)
    assert IDENTIFYING["PatientName"].split("^")[0] not in outcome.out

    fetch = ["archive", "fetch", url, "--study", study, "--modality", "DX", "--out", tmp_path / "fetched", "--quiet"]
    outcome = run_cli(*fetch)
    assert outcome.code == 0 and "2 of 2 instances fetched" in outcome.out
    assert "0 of 2 instances fetched" in run_cli(*fetch).out
    fetched = sorted((tmp_path / "fetched").glob("*.dcm"))
    assert {path.read_bytes() for path in fetched} == {path.read_bytes() for path in files}

    flags = ["--dicom", "--formats", "npz", "--no-pictures", "--quiet"]
    assert run_cli("synthesize", tiny_bundle, *fetched, "--out", tmp_path / "maps", *flags).code == 0
    results = sorted((tmp_path / "maps").glob("*.dcm"))
    for _ in range(2):  # storing twice is storing once
        assert "4 of 4 files stored" in run_cli("archive", "store", url, *results, "--quiet").out
    outcome = run_cli("archive", "query", url, "--study", study)
    assert "6 instances" in outcome.err
    kinds = [line.split("\t")[1] for line in outcome.out.splitlines()]
    assert kinds.count("Parametric Map") == kinds.count("Secondary Capture Image") == 2

    back = ["archive", "fetch", url, "--study", study, "--modality", "OT", "--out", tmp_path / "back", "--quiet"]
    assert "4 of 4 instances fetched" in run_cli(*back).out
    for result in results:
        uid = pydicom.dcmread(result).SOPInstanceUID
        assert (tmp_path / "back" / f"{uid}.dcm").read_bytes() == result.read_bytes()


def test_a_file_that_is_not_stored_costs_a_line_and_the_exit_code(refused, url, files, tmp_path):
    (tmp_path / "text.dcm").write_text("no DICOM")
    text = refused("archive", "store", url, files[0], tmp_path / "text.dcm", "--quiet")
    assert "1 of 2 files stored" in text and "not stored: file" in text and "text.dcm" in text
    assert "mris: 1 file not stored; the reasons stand above" in text


def test_a_study_that_is_not_there_is_said_to_be_missing(refused, run_cli, url, tmp_path):
    text = refused("archive", "fetch", url, "--study", "1.9.9", "--out", tmp_path / "none")
    assert "has no instance in study 1.9.9" in text and not (tmp_path / "none").exists()
    outcome = run_cli("archive", "query", url, "--patient", "NOBODY")
    assert outcome.code == 0 and outcome.out == "" and "0 studies" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["fetch", "{url}", "--study", "../../etc"], "'../../etc' is no UID"),
        (["query", "{url}", "--date", "June"], "date is 'June'; give YYYYMMDD"),
        (["query", "{url}", "--date", "20240231-"], "20240231 is no day"),
        (["query", "{url}", "--date", "20240613-20230101"], "whose end comes before its beginning"),
        (["query", "{url}", "--study", "1.2", "--patient", "x"], "--study names one study"),
        (["query", "pacs"], "is no address; give that of its DICOMweb service"),
        (["query", "http://127.0.0.1:9/dicom-web", "--retries", "0"], "cannot be reached"),
        (["query", "{root}/nothing"], "answers 404"),
    ],
)
def test_mistakes_cost_one_line(refused, url, arguments, match):
    root = url.removesuffix("/dicom-web")
    assert match in refused("archive", *(text.format(url=url, root=root) for text in arguments))


def test_credentials_come_from_the_environment(refused, run_cli, files, tmp_path, monkeypatch):
    with running_orthanc(tmp_path / "orthanc", authentication=True) as url:
        assert "answers 401: it wants other credentials" in refused("archive", "query", url)
        monkeypatch.setenv("MRIS_ARCHIVE_USER", USER)
        assert "has no password; set MRIS_ARCHIVE_PASSWORD" in refused("archive", "query", url)
        monkeypatch.setenv("MRIS_ARCHIVE_PASSWORD", PASSWORD)
        outcome = run_cli("archive", "store", url, files[0], "--quiet")
        assert outcome.code == 0 and PASSWORD not in outcome.out + outcome.err


def test_what_an_archive_says_cannot_write_lines_of_its_own(run_cli, url, tmp_path, rng):
    path = write_radiograph(
        tmp_path / "x.dcm",
        rng.integers(0, 9, (4, 4)),
        StudyInstanceUID="1.77",
        SOPInstanceUID="1.77.1",
        SeriesInstanceUID="1.77.2",
        PatientID="X77",
        StudyDescription="knee\x1b[2Jgone",
    )
    assert run_cli("archive", "store", url, path, "--quiet").code == 0
    outcome = run_cli("archive", "query", url, "--patient", "X77")
    assert "\x1b" not in outcome.out and len(outcome.out.splitlines()) == 1
