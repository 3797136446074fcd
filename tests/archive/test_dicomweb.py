"""DICOMweb against a real Orthanc on loopback, and against servers that do wrong."""

import http.server
import io
import json
import logging
import shutil
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from tests.archive_server import PASSWORD, USER, running_orthanc
from tests.dicom_sources import IDENTIFYING, write_radiograph

from mris.archive.connection import Archive, ArchiveSettings, checked_uid, connect, is_uid
from mris.archive.query import PAGE, query_instances, query_studies
from mris.archive.transfer import fetch_instances, instance_of, store_files
from mris.errors import ArchiveError, SettingsError

pytest.importorskip("dicomweb_client")
requests = pytest.importorskip("requests")
BaseAdapter = requests.adapters.BaseAdapter

SHIPPED = ("MR_small.dcm", "JPEG2000.dcm", "SC_rgb_rle.dcm", "image_dfl.dcm")
"""Files that pydicom ships: native, JPEG 2000, RLE in color, deflated."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory):
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as url:
        yield connect(ArchiveSettings(url))


@pytest.fixture(scope="module")
def stored(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("files")
    pixels = np.random.default_rng(0).integers(0, 4000, (30, 20))
    files = [
        write_radiograph(folder / "a.dcm", pixels, StudyInstanceUID="1.5.1", SOPInstanceUID="1.5.1.1"),
        write_radiograph(
            folder / "b.dcm",
            pixels,
            StudyInstanceUID="1.5.1",
            SeriesInstanceUID="1.5.1.9",
            SOPInstanceUID="1.5.1.2",
            Modality="OT",
        ),
        write_radiograph(
            folder / "c.dcm",
            pixels,
            StudyInstanceUID="1.5.2",
            SeriesInstanceUID="1.5.2.9",
            SOPInstanceUID="1.5.2.1",
            Modality="CR",
            PatientID="OTHER-1",
            StudyDate="20190105",
            AccessionNumber="A2",
        ),
    ]
    assert [outcome.finding for outcome in store_files(archive, files)] == [None] * 3
    return files


def test_what_was_stored_is_found_by_every_condition(archive, stored):
    def found(**conditions: object) -> set[str]:
        return {study.uid for study in query_studies(archive, **conditions)} & {"1.5.1", "1.5.2"}

    assert found() == {"1.5.1", "1.5.2"}
    assert found(patient_id="OTHER-1") == found(patient_id="OTH*") == found(accession="A2") == {"1.5.2"}
    assert found(date="20240613") == found(date="20240101-20241231") == found(date="20240101-") == {"1.5.1"}
    assert found(date="-20200101") == found(modalities=["CR"]) == found(study_uid="1.5.2") == {"1.5.2"}
    assert found(modalities=["DX", "CR"]) == {"1.5.1", "1.5.2"}
    assert found(patient_id="NOBODY") == found(modalities=["US"]) == set()


def test_a_study_tells_patient_date_and_modalities(archive, stored):
    (study,) = query_studies(archive, study_uid="1.5.1")
    assert study.patient_id == IDENTIFYING["PatientID"] and study.date == "20240613"
    assert set(study.modalities) == {"DX", "OT"} and study.description == IDENTIFYING["StudyDescription"]


def test_instances_of_a_study_are_told_apart_by_modality(archive, stored):
    kinds = {one.uid: (one.modality, one.kind) for one in query_instances(archive, "1.5.1")}
    assert set(kinds) == {"1.5.1.1", "1.5.1.2"} and kinds["1.5.1.2"][0] == "OT"
    assert kinds["1.5.1.1"] == ("DX", "Digital X-Ray Image - For Presentation")
    (only,) = query_instances(archive, "1.5.1", modalities=["DX"])
    assert (only.study_uid, only.series_uid, only.uid) == ("1.5.1", IDENTIFYING["SeriesInstanceUID"], "1.5.1.1")


def test_what_comes_back_is_what_was_stored_byte_for_byte(archive, tmp_path):
    files = []
    for name in SHIPPED:
        files.append(tmp_path / name)
        shutil.copy(get_testdata_file(name, download=False), files[-1])
    assert [outcome.finding for outcome in store_files(archive, files)] == [None] * len(files)
    for file in files:
        dataset = pydicom.dcmread(file)
        instances = query_instances(archive, dataset.StudyInstanceUID)
        (outcome,) = [
            one
            for one in fetch_instances(archive, instances, tmp_path / "fetched")
            if one.instance.uid == dataset.SOPInstanceUID
        ]
        assert outcome.finding is None and outcome.path.read_bytes() == file.read_bytes(), file.name


def test_a_fetch_goes_on_where_it_was_interrupted(archive, stored, tmp_path):
    instances = query_instances(archive, "1.5.1")
    first = list(fetch_instances(archive, instances, tmp_path))
    assert [one.was_there for one in first] == [False, False]
    cut = first[0].path
    whole = cut.read_bytes()
    cut.write_bytes(whole[:-100])
    again = list(fetch_instances(archive, instances, tmp_path))
    assert [one.was_there for one in again] == [False, True]
    assert cut.read_bytes() == whole and sorted(p.name for p in tmp_path.iterdir()) == ["1.5.1.1.dcm", "1.5.1.2.dcm"]


def test_storing_goes_on_after_a_file_that_is_none(archive, stored, tmp_path):
    (tmp_path / "text.dcm").write_text("no DICOM")
    (tmp_path / "cut.dcm").write_bytes(stored[0].read_bytes()[:-50])
    (tmp_path / "folder").mkdir()
    names = ("text.dcm", "cut.dcm", "no.dcm", "folder")
    outcomes = list(store_files(archive, [*(tmp_path / name for name in names), stored[0]]))
    assert [one.finding is None for one in outcomes] == [False, False, False, False, True]
    reasons = ("is no DICOM file", "is cut off", "no such file", "is a folder")
    for outcome, reason in zip(outcomes, reasons, strict=False):
        assert reason in str(outcome.finding) and outcome.path.name in str(outcome.finding)


@pytest.mark.parametrize("step", [1, 7, 64])
def test_a_file_that_lacks_bytes_at_its_end_is_not_whole(tmp_path, step, rng):
    path = write_radiograph(tmp_path / "a.dcm", rng.integers(0, 9, (8, 8)))
    assert instance_of(path) == IDENTIFYING["SOPInstanceUID"]
    path.write_bytes(path.read_bytes()[:-step])
    assert instance_of(path) is None


def test_credentials_are_asked_for_and_believed_and_never_shown(tmp_path, stored, caplog):
    caplog.set_level(logging.DEBUG)
    with running_orthanc(tmp_path / "o", authentication=True) as url:
        for wrong in (ArchiveSettings(url), ArchiveSettings(url, USER, "a wrong secret")):
            with pytest.raises(ArchiveError, match="answers 401: it wants other credentials") as caught:
                query_studies(connect(wrong))
            assert "secret" not in str(caught.value)
            with pytest.raises(ArchiveError, match="401"):
                list(store_files(connect(wrong), stored[:1]))
        known = connect(ArchiveSettings(url, USER, PASSWORD))
        assert [one.finding for one in store_files(known, stored[:1])] == [None]
        assert [study.uid for study in query_studies(known)] == ["1.5.1"]
        assert PASSWORD not in caplog.text and "secret" not in caplog.text
        assert PASSWORD not in repr(ArchiveSettings(url, USER, PASSWORD)) and "t0ken" not in repr(
            ArchiveSettings(url, token="t0ken")
        )


class Wrong(http.server.BaseHTTPRequestHandler):
    """A server whose answers the test chooses; it keeps what it was asked."""

    answers: Callable[[str], tuple[int, str, bytes]]
    asked: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        type(self).asked.append((self.path, self.headers.get("Authorization")))
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, kind, body = type(self).answers(self.path)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setattr("urllib3.util.retry.Retry.sleep", lambda *given, **named: None)
    running = []

    def start(answers: Callable[[str], tuple[int, str, bytes]], **settings: object) -> tuple[Archive, list]:
        handler = type("Handler", (Wrong,), {"answers": staticmethod(answers), "asked": []})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        url = f"http://127.0.0.1:{server.server_address[1]}/dicom-web"
        return connect(ArchiveSettings(url, **settings)), handler.asked  # type: ignore[arg-type]

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def json_of(*records: dict[str, str]) -> tuple[int, str, bytes]:
    body = [{tag: {"vr": "UI", "Value": [value]} for tag, value in record.items()} for record in records]
    return 200, "application/dicom+json", json.dumps(body).encode()


def test_a_token_is_sent_as_such(serve):
    archive, asked = serve(lambda path: json_of(), token="t0ken")
    assert query_studies(archive) == ()
    assert {given for _, given in asked} == {"Bearer t0ken"}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((404, "text/plain", b""), "answers 404: there is nothing at this address"),
        ((403, "text/plain", b""), "answers 403: these credentials may not do that"),
        ((500, "text/plain", b"trace of Annegret"), "answers 500: it is busy or broken"),
        ((200, "text/html", b"<html>log in</html>"), "its answer is no JSON"),
        ((200, "application/dicom+json", b"[" * 100_000), "its answer is no JSON"),
        ((200, "application/dicom+json", b'[{"0020000D": {"vr": "UI"}}]'), "a record has no UID"),
        ((200, "application/dicom+json", b'["text"]'), "a record has no UID"),
    ],
)
def test_an_archive_that_does_wrong_costs_one_line_that_does_not_repeat_the_question(serve, answer, message):
    archive, _ = serve(lambda path: answer)
    with pytest.raises(ArchiveError) as caught:
        query_studies(archive, patient_id="SECRET-ID")
    assert message in str(caught.value) and archive.url in str(caught.value)
    assert (
        "\n" not in str(caught.value) and "SECRET-ID" not in str(caught.value) and "Annegret" not in str(caught.value)
    )


def test_a_busy_archive_is_asked_again(serve):
    answers = iter([(503, "text/plain", b""), (429, "text/plain", b"")])
    archive, asked = serve(lambda path: next(answers, json_of({"0020000D": "1.2"})))
    assert [study.uid for study in query_studies(archive, study_uid="1.2")] == ["1.2"]
    assert len(asked) >= 3
    always, asked = serve(lambda path: (503, "text/plain", b""), retries=2)
    with pytest.raises(ArchiveError, match="answers 503"):
        query_studies(always)
    assert len(asked) == 3


def test_an_archive_that_is_not_there_or_silent_is_said_to_be(serve):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = connect(ArchiveSettings(f"http://127.0.0.1:{free.getsockname()[1]}/x", retries=0))
        with pytest.raises(ArchiveError, match="cannot be reached"):
            query_studies(nobody)
        free.listen()  # takes the connection and never answers
        silent = connect(ArchiveSettings(f"http://127.0.0.1:{free.getsockname()[1]}/x", retries=0, timeout=0.2))
        with pytest.raises(ArchiveError, match=r"no answer within 0\.2 s"):
            query_studies(silent)


def test_all_pages_are_asked_for_whatever_their_size(serve):
    records = [{"0020000D": f"1.2.{i}"} for i in range(7)]

    def three_at_a_time(path: str) -> tuple[int, str, bytes]:
        offset = int(path.partition("offset=")[2].partition("&")[0] or 0)
        return json_of(*records[offset : offset + 3])

    archive, _ = serve(three_at_a_time)
    assert [study.uid for study in query_studies(archive)] == [record["0020000D"] for record in records]
    assert len(query_studies(archive, most=4)) == 4
    endless, asked = serve(lambda path: json_of(*records))  # an archive that knows no pages
    assert len(query_studies(endless)) == 7 and len(asked) == 2


@pytest.mark.parametrize("status", [400, 404, 416, 500])
def test_an_error_beyond_the_last_page_keeps_the_pages_before(serve, status):
    def one_page(path: str) -> tuple[int, str, bytes]:
        return json_of({"0020000D": "1.2"}) if "offset=0" in path else (status, "text/plain", b"")

    archive, _ = serve(one_page, retries=0)
    assert [study.uid for study in query_studies(archive)] == ["1.2"]


@pytest.mark.parametrize(("status", "n"), [(500, PAGE), (400, PAGE), (403, 1), (503, 1)])
def test_an_error_amid_the_pages_is_told_and_not_taken_for_the_end(serve, status, n):
    full = json_of(*({"0020000D": f"1.2.{i}"} for i in range(n)))
    archive, _ = serve(lambda path: full if "offset=0" in path else (status, "text/plain", b""), retries=0)
    with pytest.raises(ArchiveError, match=f"answers {status}"):
        query_studies(archive)


def test_a_question_that_too_much_matches_is_to_be_narrowed(serve):
    archive, _ = serve(lambda path: (413, "text/plain", b""))
    with pytest.raises(ArchiveError, match="answers 413: too much matches the question; narrow it"):
        query_studies(archive)


def test_a_null_is_an_empty_answer_and_another_value_is_none(serve):
    archive, _ = serve(lambda path: (200, "application/dicom+json", b"null"))
    assert query_studies(archive) == () == query_instances(archive, "1.2")
    for body in (b"17", b'"text"', b"true"):
        other, _ = serve(lambda path, body=body: (200, "application/dicom+json", body))
        with pytest.raises(ArchiveError, match=r"no list of records|has no UID|is no JSON"):
            query_studies(other)


def test_a_class_that_is_no_uid_is_told_as_it_stands_and_no_library_warns(serve, recwarn):
    archive, _ = serve(lambda path: json_of({"0020000E": "1.2.3", "00080018": "1.2.4", "00080016": "X-ray"}))
    (instance,) = query_instances(archive, "1.2")
    assert instance.kind == "X-ray"
    assert not [one for one in recwarn if issubclass(one.category, UserWarning)]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((200, "multipart/related; boundary=B", b"--B\r\n\r\nDICM of nobody\r\n--B--"), "cannot be read as DICOM"),
        ((200, "multipart/related; boundary=B", b"--B\r\n\r\ncut"), "is cut off"),
        ((200, "text/html", b"<html>"), "answers 'text/html', not a DICOM file"),
        ((410, "text/plain", b""), "answers 410"),
        ("another", "gave instance 1.2.3"),
        ("shortened", "gave a file that is cut off"),
    ],
)
def test_an_instance_that_comes_wrong_is_not_kept_and_the_others_come(serve, tmp_path, rng, answer, reason):
    right = write_radiograph(tmp_path / "r.dcm", rng.integers(0, 9, (4, 4)), SOPInstanceUID="1.2.2").read_bytes()
    other = write_radiograph(tmp_path / "o.dcm", rng.integers(0, 9, (4, 4)), SOPInstanceUID="1.2.3").read_bytes()
    named = {"another": (200, "application/dicom", other), "shortened": (200, "application/dicom", right[:-3])}

    def answers(path: str) -> tuple[int, str, bytes]:
        if path.endswith("1.2.2"):
            return (
                200,
                'multipart/related; type="application/dicom"; boundary="B-1"',
                b"".join([b"--B-1\r\nContent-Type: application/dicom\r\n\r\n", right, b"\r\n--B-1--\r\n"]),
            )
        return named.get(answer, answer)  # type: ignore[arg-type]

    archive, _ = serve(answers)
    from mris.archive.query import InstanceRecord

    instances = [InstanceRecord("1.2", "1.2.0", uid, "DX", "") for uid in ("1.2.1", "1.2.2")]
    bad, good = fetch_instances(archive, instances, tmp_path / "f")
    assert reason in str(bad.finding) and not bad.path.exists()
    assert good.finding is None and good.path.read_bytes() == right


@pytest.mark.parametrize(
    ("status", "answer", "problem"),
    [
        (200, {"00081199": {"vr": "SQ", "Value": [{}]}}, None),
        (202, {"00081199": {"vr": "SQ", "Value": [{"00081196": {"vr": "US", "Value": [0xB000]}}]}}, None),
        (409, {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0x0122]}}]}}, "kind of object"),
        (409, {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xA700]}}]}}, "no room left"),
        (
            202,
            {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xC000]}}]}},
            "cannot understand",
        ),
        (409, {}, "answers 409"),
        (400, [], "does not understand"),
    ],
)
def test_what_an_archive_says_of_a_file_is_passed_on(serve, stored, status, answer, problem):
    archive, _ = serve(lambda path: (status, "application/dicom+json", json.dumps(answer).encode()))
    (outcome,) = store_files(archive, stored[:1])
    if problem is None:
        assert outcome.finding is None and (outcome.warning is None) == (status == 200)
    else:
        assert problem in str(outcome.finding)


def test_an_archive_that_has_moved_gets_no_patient_data_sent_after_it(serve, stored):
    archive, asked = serve(lambda path: (302, "text/plain", b""))
    with pytest.raises(ArchiveError, match="has moved to another address"):
        list(store_files(archive, stored[:1]))
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "pacs.example.org"}, "no address"),
        ({"url": "ftp://pacs.example.org"}, "no address"),
        ({"url": "https://host/x?y=1"}, "no address"),
        ({"url": "https://host:99999/x"}, "cannot be read"),
        ({"url": "https://me:secret@host/x"}, "holds a name or password"),
        ({"url": "http://pacs.example.org/x", "token": "t"}, "without https anybody on the way"),
        ({"url": "https://host/x", "user": "me"}, "has no password; set MRIS_ARCHIVE_PASSWORD"),
        ({"url": "https://host/x", "user": "me", "password": "p", "token": "t"}, "both a user and a token"),
        ({"url": "https://host/x", "timeout": 0.0}, "give a time above 0"),
        ({"url": "https://host/x", "ca_file": Path("nowhere.pem")}, "no such file"),
    ],
)
def test_settings_that_cannot_work_or_would_give_secrets_away_are_refused(settings, message):
    with pytest.raises(SettingsError, match=message) as caught:
        ArchiveSettings(**settings)
    assert "secret" not in str(caught.value)


def test_certificates_are_checked_unless_told_otherwise(tmp_path, monkeypatch):
    (tmp_path / "ca.pem").write_text("")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "system.pem"))
    plain = ArchiveSettings("https://host/x")
    for settings, expected in (
        (plain, str(tmp_path / "system.pem")),
        (replace(plain, ca_file=tmp_path / "ca.pem"), str(tmp_path / "ca.pem")),
        (replace(plain, insecure=True), False),
    ):
        session = connect(settings).session
        assert session.merge_environment_settings("https://host/x", {}, False, None, None)["verify"] == expected


@given(st.text(max_size=70))
def test_only_what_is_safe_in_addresses_and_file_names_is_a_uid(text):
    if is_uid(text):
        assert checked_uid(text) == text and set(text) <= set("0123456789.") and ".." not in text and len(text) <= 64
    else:
        with pytest.raises(SettingsError, match="is no UID"):
            checked_uid(text)


class Recorder(BaseAdapter):
    """Takes the place of the network: keeps the headers of each request, and sends it on as a test says."""

    def __init__(self, moved: dict[str, str]) -> None:
        super().__init__()
        self.moved, self.seen = moved, {}

    def send(self, request, **_):
        self.seen[request.url] = request.headers
        response = requests.Response()
        response.request, response.url, response.raw = request, request.url, io.BytesIO()
        response.status_code, place = (302, self.moved[request.url]) if request.url in self.moved else (200, None)
        response.headers.update({"Location": place} if place else {})
        return response

    def close(self) -> None:
        """Nothing is open."""


PLACES = ("http://pacs.example.org/a", "https://pacs.example.org/a", "http://127.0.0.1/a", "http://localhost/a")


@pytest.fixture
def netrc(tmp_path, monkeypatch):
    hosts = ("pacs.example.org", "127.0.0.1", "localhost", "elsewhere.example.org")
    (tmp_path / "netrc").write_text("".join(f"machine {host} login reader password secret\n" for host in hosts))
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def asked(settings: ArchiveSettings, moved: dict[str, str] | None = None, cookie: bool = False) -> dict[str, Any]:
    """Ask an address, and give the headers that each address in turn got."""
    session, recorder = connect(settings).session, Recorder(moved or {})
    for scheme in ("http://", "https://"):
        session.mount(scheme, recorder)
    if cookie:
        session.cookies.set("session", "secret", domain="pacs.example.org", path="/")
    session.get(settings.url)
    return recorder.seen


@pytest.mark.parametrize("place", PLACES)
def test_credentials_of_netrc_go_by_https_or_within_this_machine_alone(netrc, place):
    (headers,) = asked(ArchiveSettings(place)).values()
    assert ("Authorization" in headers) == (place != PLACES[0])
    (headers,) = asked(ArchiveSettings(place, insecure=True)).values()
    assert "Authorization" in headers


@pytest.mark.parametrize("source", [{}, {"user": "reader", "password": "secret"}, {"token": "secret"}])
@pytest.mark.parametrize("place", ["http://pacs.example.org/b", "http://elsewhere.example.org/b"])
def test_an_archive_that_sends_us_from_https_to_http_gets_no_credentials_there(netrc, source, place):
    seen = asked(ArchiveSettings(PLACES[1], **source), {PLACES[1]: place}, cookie=True)
    assert "Authorization" in seen[PLACES[1]] and "Cookie" in seen[PLACES[1]]
    assert not {"Authorization", "Cookie"} & set(seen[place])


def test_no_request_of_a_session_gives_its_password_to_another_address_in_clear(netrc):
    session, recorder = connect(ArchiveSettings(PLACES[1], user="reader", password="secret")).session, Recorder({})
    session.mount("http://", recorder)
    session.get("http://elsewhere.example.org/bulk")
    assert "Authorization" not in recorder.seen["http://elsewhere.example.org/bulk"]


def test_a_proxy_of_the_environment_is_used_without_credentials_of_netrc(netrc, serve, monkeypatch):
    archive, given = serve(lambda path: json_of())
    monkeypatch.setenv("http_proxy", archive.url.removesuffix("/dicom-web"))
    monkeypatch.delenv("no_proxy", raising=False)
    session = connect(ArchiveSettings("http://pacs.example.org/dicom-web", retries=0)).session
    assert session.get("http://pacs.example.org/dicom-web/studies").ok
    assert given == [("http://pacs.example.org/dicom-web/studies", None)]
