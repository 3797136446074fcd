"""An archive behind the page: find a study, fetch a plate, synthesize, store the result, and tell no credentials."""

from contextlib import closing
from dataclasses import replace

import pydicom
import pytest
from tests.archive_server import PASSWORD, USER, running_orthanc
from tests.web.conftest import API, client_of

from mris.archive.connection import ArchiveSettings, connect
from mris.archive.query import query_instances
from mris.archive.transfer import store_files


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    with running_orthanc(tmp_path_factory.mktemp("orthanc"), authentication=True) as url:
        yield ArchiveSettings(url, USER, PASSWORD, insecure=True)


@pytest.fixture
def client(serve, knees, archive):
    with closing(client_of(serve(knees.bundle, archive=archive))) as client:
        yield client


@pytest.mark.slow
def test_a_plate_is_found_fetched_synthesized_and_its_result_stored(client, knees, archive):
    connected = connect(archive)
    assert all(outcome.finding is None for outcome in store_files(connected, [knees.plate]))
    patient = str(pydicom.dcmread(knees.plate, stop_before_pixels=True).PatientID)
    (study,) = client.get(f"{API}/archive/studies", params={"patient": patient}).json()["studies"]
    assert study["patient_id"] == patient
    (instance,) = client.get(f"{API}/archive/studies/{study['uid']}/instances").json()["instances"]
    wanted = {name: instance[name] for name in ("study_uid", "series_uid", "uid")}
    image = client.post(f"{API}/archive/fetch", json=wanted).json()
    assert [region["side"] for region in image["regions"]] == ["right", "left"]
    results = client.post(f"{API}/synthesize", json={"image": image["id"]}).json()["results"]
    stored = client.post(f"{API}/archive/store", json={"results": [result["id"] for result in results]})
    assert stored.json() == {"stored": 4, "problems": [], "warnings": []}
    assert len(query_instances(connected, study["uid"])) == 5
    for path in ("/", f"{API}/card", f"{API}/metrics", f"{API}/openapi.json"):
        text = client.get(path).text
        assert PASSWORD not in text and USER + '"' not in text and archive.url not in text


@pytest.mark.parametrize(
    ("path", "status"),
    [("studies?date=yesterday", 400), ("studies/not-a-uid/instances", 400), ("studies/1.2.3/instances", 200)],
)
def test_a_question_that_is_none_is_refused_before_it_is_asked(client, path, status):
    assert client.get(f"{API}/archive/{path}").status_code == status


def test_an_archive_that_refuses_or_is_away_is_told_in_one_sentence(serve, knees, archive):
    for changed in ({"password": "wrong"}, {"url": "http://127.0.0.1:9/dicom-web"}):
        url = serve(knees.bundle, archive=replace(archive, retries=0, **changed))
        answer = client_of(url).get(f"{API}/archive/studies?patient=nobody")
        assert (answer.status_code, answer.json()["error"]) == (502, "ArchiveError")
        assert "wrong" not in answer.text and PASSWORD not in answer.text


def test_without_an_archive_there_is_nothing_to_ask(url):
    with closing(client_of(url)) as client:
        answer = client.get(f"{API}/archive/studies")
    assert (answer.status_code, answer.json()["error"]) == (404, "NotFoundError")
    assert "--archive" in answer.json()["detail"]
