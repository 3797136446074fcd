"""A bundle that changes while it is served: somebody is removed, it is damaged, replaced, or gone."""

import asyncio
import contextlib
import shutil
import subprocess
import sys
import traceback
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from tests.web.browser_world import ACCENTED
from tests.web.conftest import API, client_of, settings_for

from mris.database.changes import LOCK_FILE
from mris.images.lock import writer_lock
from mris.synthesis.bundle import Bundle
from mris.synthesis.bundle_synthesizer import BundleSynthesizer
from mris.web import downloads
from mris.web.run import running
from mris.web.served import ServedBundle


@pytest.fixture
def client(serve, copied):
    with closing(client_of(serve(copied))) as client:
        yield client


@pytest.fixture
def send(client, knees):
    def send(**fields):
        data = {"side": "left"} | fields
        return client.post(f"{API}/synthesize", files={"file": ("knee.png", knees.knee.read_bytes())}, data=data)

    return send


@pytest.fixture(scope="module")
def unchanged(knees, tmp_path_factory):
    """A copy for tests that remove nobody but P00001, in the last of them, and a client of its server."""
    folder = Path(shutil.copytree(knees.bundle, tmp_path_factory.mktemp("copy") / "copy.bundle"))
    with running(settings_for(folder)) as url, closing(client_of(url)) as client:
        yield folder, client


def people_in(answer):
    return {person["subject"] for part in answer.json()["results"][0]["contributions"] for person in part["people"]}


def shows_nothing_of(client, subject, result):
    """No answer of the server knows a person any more."""
    url = result["arrays"]["url"]
    for path in (url, url.removesuffix("/arrays"), f"/api/v1/results/{result['id']}/download"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["error"]) == (410, "GoneError")
    assert client.get(f"{API}/subjects", params={"search": subject}).json()["n_found"] == 0
    assert client.get(f"{API}/entries/maps", params={"key": f"{subject}/0/left"}).status_code == 404
    assert client.get(f"{API}/entries/thumbnail.png", params={"key": f"{subject}/0/left"}).status_code == 404
    assert subject not in client.get("/database").text
    return True


def test_who_is_removed_on_the_page_is_gone_with_the_next_request_and_off_the_disk(client, copied, send):
    before = send()
    subject = sorted(people_in(before))[0]
    answer = client.post(f"{API}/subjects/remove", json={"subject": subject, "confirmation": subject})
    assert answer.json() == {"subjects": [subject], "n_entries": 2, "earlier": []}
    assert shows_nothing_of(client, subject, before.json()["results"][0])
    assert subject not in people_in(send())
    assert Bundle.open(copied).members[0].database.commit.removed == ()  # purged, too
    files = [path for path in copied.rglob("*") if path.is_file()]
    assert not any(subject.encode() in path.read_bytes() for path in files)


def test_who_is_removed_by_another_process_is_gone_with_the_next_request(client, copied, send):
    before = send()
    subject = sorted(people_in(before))[0]
    code = "import sys, mris; mris.Bundle.open(sys.argv[1]).remove([sys.argv[2]], purge=True)"
    subprocess.run([sys.executable, "-c", code, str(copied), subject], check=True)
    assert shows_nothing_of(client, subject, before.json()["results"][0])
    assert subject not in people_in(send())
    assert client.get(f"{API}/card").json()["n_subjects"] == 35


@pytest.fixture
def meanwhile(monkeypatch):
    """Let something happen in each batch, before it is answered: ``meanwhile(act, next_act)``."""

    def meanwhile(*acts):
        ahead = list(acts)
        real = BundleSynthesizer.neighbor_maps

        def neighbor_maps(synthesizer, synthesis, count):
            maps = real(synthesizer, synthesis, count)
            if ahead:
                ahead.pop(0)()
            return maps

        monkeypatch.setattr(BundleSynthesizer, "neighbor_maps", neighbor_maps)

    return meanwhile


def test_who_is_removed_while_a_synthesis_runs_is_not_in_its_answer(client, copied, send, meanwhile):
    subject = sorted(people_in(send()))[0]
    meanwhile(lambda: Bundle.open(copied).remove([subject], purge=True))
    assert subject not in people_in(send())
    assert "mris_held_results 1\n" in client.get(f"{API}/metrics").text  # that of the first state is gone


def test_a_bundle_that_changes_again_and_again_is_told_in_one_sentence(client, copied, send, meanwhile):
    first, second = sorted(people_in(send()))[:2]
    bundle = Bundle.open(copied)
    meanwhile(*(lambda subject=subject: bundle.remove([subject], purge=True) for subject in (first, second)))
    answer = send()
    assert (answer.status_code, answer.json()["error"]) == (410, "GoneError")
    assert answer.json()["detail"] == "the bundle has changed since; ask for the synthesis again"
    assert "mris_held_results 0\n" in client.get(f"{API}/metrics").text
    assert not {first, second} & people_in(send())


def test_a_bundle_is_never_opened_on_the_loop_that_answers_others(client, knees, send, monkeypatch):
    use, on_the_loop = ServedBundle.use, []

    def watched(served):
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop()
            on_the_loop.append(traceback.format_stack(limit=4))
        return use(served)

    monkeypatch.setattr(ServedBundle, "use", watched)
    for draw in ("zipped", "picture", "neighbors_picture"):
        monkeypatch.setattr(downloads, draw, lambda *asked, **options: b"")
    knee, proof = ("knee.png", knees.knee.read_bytes()), {"csrf_token": client.headers["X-CSRF-Token"]}
    result = send().json()["results"][0]["id"]
    image = client.post(f"{API}/images", files={"file": knee}).json()["id"]
    client.post(f"{API}/images/{image}/settings", json={"side": "left"})
    client.post(f"{API}/synthesize", json={"image": image, "side": "left"})
    for path in ("", "/arrays", "/download", "/picture.png", "/neighbors.png"):
        assert client.get(f"{API}/results/{result}{path}").status_code == 200
    for path in ("bundles", "card", "health", "subjects", "entries/maps?key=P00003/0/left"):
        assert client.get(f"{API}/{path}").status_code == 200
    for path in ("/", "/database", "/compare", "/login", f"{API}/images/{image}", f"{API}/entries/thumbnail.png?key=P"):
        client.get(path)
    for path, status in (("/synthesize", 200), ("/compare", 200), ("/database/remove", 400)):
        files = None if path == "/database/remove" else {"file": knee}
        assert client.post(path, files=files, data=proof | {"side": "left"}).status_code == status
    assert not on_the_loop


def test_nobody_is_removed_whose_name_is_not_typed_again(unchanged):
    folder, client = unchanged
    for typed in ("", "P00002", "p00001"):
        answer = client.post(f"{API}/subjects/remove", json={"subject": "P00001", "confirmation": typed})
        assert (answer.status_code, answer.json()["error"]) == (400, "RequestError")
    unknown = client.post(f"{API}/subjects/remove", json={"subject": "nobody", "confirmation": "nobody"})
    assert unknown.status_code == 404
    with pytest.raises(Exception, match="nobody") as told:
        Bundle.open(folder).remove(["nobody"], purge=True)
    assert unknown.json()["detail"] == str(told.value)
    assert len(Bundle.open(folder).keys) == 72


def test_a_name_is_the_same_however_a_keyboard_writes_its_accents(client, copied):
    typed = unicodedata.normalize("NFD", ACCENTED)
    assert typed != ACCENTED
    (found,) = client.get(f"{API}/subjects", params={"search": typed}).json()["subjects"]
    assert found["subject"] == ACCENTED
    answer = client.post(f"{API}/subjects/remove", json={"subject": ACCENTED, "confirmation": typed})
    assert answer.json()["subjects"] == [ACCENTED]
    assert ACCENTED not in Bundle.open(copied).subjects


def test_two_windows_may_remove_one_person_while_a_third_synthesizes(client, copied, send):
    subject = sorted(people_in(send()))[0]
    removal = {"json": {"subject": subject, "confirmation": subject}}
    with ThreadPoolExecutor(4) as windows:
        removals = [windows.submit(client.post, f"{API}/subjects/remove", **removal) for _ in range(2)]
        answers = [windows.submit(send) for _ in range(6)]
    removed = sorted(one.result().status_code for one in removals)
    assert removed in ([200, 404], [200, 503])  # gone already, or being changed
    assert {one.result().status_code for one in answers} <= {200, 410}
    assert subject not in people_in(send())
    assert subject not in Bundle.open(copied).subjects


def test_a_bundle_that_another_process_is_changing_is_left_alone(unchanged):
    folder, client = unchanged
    with writer_lock(folder / LOCK_FILE, "a test"):
        answer = client.post(f"{API}/subjects/remove", json={"subject": "P00001", "confirmation": "P00001"})
    assert (answer.status_code, answer.json()["error"]) == (503, "OutputError")
    assert "is being changed by" in answer.json()["detail"]


def test_a_person_is_removed_by_a_form_without_javascript(unchanged):
    _, client = unchanged
    typed = {"subject": "P00001", "confirmation": "P00001", "csrf_token": client.headers["X-CSRF-Token"]}
    page = client.post("/database/remove", data=typed | {"confirmation": "P0001"})
    assert page.status_code == 400 and "nobody is removed" in page.text
    page = client.post("/database/remove", data=typed)
    assert page.status_code == 200 and "removed P00001: 2 entries are gone" in page.text


def test_a_damaged_bundle_says_so_and_a_restored_one_goes_on(client, copied, send):
    assert send().status_code == 200
    commit = copied / "commit.json"
    whole = commit.read_bytes()
    commit.write_bytes(whole.replace(b'"number"', b'"numbre"'))
    answer = send()
    assert (answer.status_code, answer.json()["error"]) == (503, "DatabaseError")
    assert "not as it was written" in answer.json()["detail"]
    health = client.get(f"{API}/health")
    assert (health.status_code, health.json()["status"]) == (503, "failing")
    page = client.get("/")
    assert page.status_code == 200 and "not as it was written" in page.text
    commit.write_bytes(whole)
    assert send().status_code == 200
    assert client.get(f"{API}/health").json()["status"] == "ok"


def test_a_bundle_that_is_replaced_is_served_as_the_new_one(client, copied, knees, send):
    before = send().json()["results"][0]
    shutil.rmtree(copied)
    shutil.copytree(knees.other, copied)
    assert client.get(before["arrays"]["url"]).status_code == 410
    after = send().json()["results"][0]
    assert after["bundle_id"] == Bundle.open(knees.other).id != before["bundle_id"]


def test_a_bundle_that_is_gone_is_told_in_one_sentence(client, copied, send):
    assert send().status_code == 200
    shutil.rmtree(copied)
    for answer in (send(), client.get(f"{API}/card"), client.get(f"{API}/subjects")):
        assert (answer.status_code, answer.json()["error"]) == (503, "BundleError")
        assert "is not a bundle" in answer.json()["detail"]
    assert client.get("/database").status_code == 200


def test_everybody_removed_is_told_as_an_empty_database(client, copied, send):
    bundle = Bundle.open(copied)
    bundle.remove(sorted({*bundle.subjects.tolist()}), purge=True)
    assert "empty" in send().json()["detail"]
    assert client.get(f"{API}/subjects").json()["n_subjects"] == 0
