"""Who is let in, and what a page of another site cannot do."""

import re
import shutil
import time
from contextlib import closing
from html.parser import HTMLParser

import httpx
import pytest
from tests.web.conftest import API, client_of, settings_for

from mris.errors import SettingsError
from mris.web import assets
from mris.web.errors import SessionError
from mris.web.security import check_origin
from mris.web.settings import ServeSettings, read_token
from mris.web.uploads import plain_name

TOKEN = "a token of the tests"


@pytest.fixture(scope="module")
def guarded(knees):
    from mris.web.run import running

    with running(settings_for(knees.bundle, token=TOKEN)) as url:
        yield url


def test_beyond_loopback_nobody_serves_without_a_token(knees):
    with pytest.raises(SettingsError, match="give a token"):
        ServeSettings((knees.bundle,), host="0.0.0.0")
    with pytest.raises(SettingsError, match="at least 16"):
        ServeSettings((knees.bundle,), host="0.0.0.0", token="short")
    assert TOKEN not in repr(ServeSettings((knees.bundle,), host="0.0.0.0", token=TOKEN))


def test_a_token_is_read_from_a_file_of_one_line(tmp_path):
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert read_token(tmp_path / "token") == TOKEN
    with pytest.raises(SettingsError, match="cannot be read"):
        read_token(tmp_path)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1:8765", "[", ""])
def test_a_name_that_is_not_the_server_s_is_refused(url, host):
    answer = httpx.get(f"{url}{API}/card", headers={"Host": host}, trust_env=False)
    assert answer.status_code in (400, 421)  # 400: what is no name at all does not reach us
    assert "knees" not in answer.text


def test_a_change_without_the_proof_of_the_page_is_refused(url, client, knees):
    file = {"file": ("knee.png", knees.knee.read_bytes())}
    for headers in ({}, {"X-CSRF-Token": "x"}, {"Cookie": "mris=1", "X-CSRF-Token": client.headers["X-CSRF-Token"]}):
        answer = httpx.post(f"{url}{API}/synthesize", files=file, headers=headers, trust_env=False)
        assert (answer.status_code, answer.json()["error"]) == (403, "SessionError")
    other = client.get(f"{API}/session").json()["csrf_token"]
    assert other == client.headers["X-CSRF-Token"]  # one a session
    with closing(client_of(url)) as second:  # and of no other session
        second.headers["X-CSRF-Token"] = other
        assert second.post(f"{API}/synthesize", files=file).status_code == 403


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_a_form_of_another_site_is_refused_whatever_it_carries(client, headers):
    proof = {"csrf_token": client.headers["X-CSRF-Token"], "subject": "P00001", "confirmation": "P00001"}
    for path in ("/database/remove", f"{API}/subjects/remove", "/synthesize"):
        assert client.post(path, data=proof, headers=headers).status_code == 403
    assert client.get(f"{API}/subjects?search=P00001").json()["n_found"] == 1


def test_a_form_without_the_proof_of_its_session_removes_nobody(client):
    typed = {"subject": "P00001", "confirmation": "P00001", "csrf_token": "0" * 64}
    answer = client.post("/database/remove", data=typed, headers={"X-CSRF-Token": ""})
    assert answer.status_code == 403
    assert client.get(f"{API}/subjects?search=P00001").json()["n_found"] == 1


def test_without_the_token_nothing_is_told(guarded):
    for path in (f"{API}/card", f"{API}/subjects", f"{API}/metrics", f"{API}/openapi.json", f"{API}/session"):
        answer = httpx.get(guarded + path, trust_env=False)
        assert (answer.status_code, answer.json()["error"]) == (401, "TokenError"), path
        wrong = httpx.get(guarded + path, headers={"Authorization": "Bearer wrong"}, trust_env=False)
        assert wrong.status_code == 401
    page = httpx.get(f"{guarded}/database", trust_env=False)
    assert (page.status_code, page.headers["location"]) == (303, "/login?next=/database")
    login = httpx.get(f"{guarded}/login?next=/database", trust_env=False)
    assert login.status_code == 200
    assert "set-cookie" not in login.headers and "P000" not in login.text and ">knees" not in login.text
    assert httpx.get(f"{guarded}{API}/health", trust_env=False).json()["status"] == "ok"


def test_a_program_shows_the_token_with_each_request(guarded, knees):
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    file = {"file": ("knee.png", knees.knee.read_bytes())}
    asked = {"files": file, "data": {"side": "left"}, "headers": bearer, "trust_env": False}
    assert httpx.post(f"{guarded}{API}/synthesize", **asked).status_code == 200


def test_a_browser_logs_in_once_and_its_cookie_is_kept_from_scripts_and_sites(guarded):
    with httpx.Client(base_url=guarded, trust_env=False) as browser:
        wrong = browser.post("/login", data={"token": "wrong", "next": "/"})
        assert wrong.status_code == 401 and "set-cookie" not in wrong.headers
        right = browser.post("/login", data={"token": TOKEN, "next": "//evil.example/"})
        assert (right.status_code, right.headers["location"]) == (303, "/")
        cookie = right.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie and TOKEN not in cookie
        page = browser.get("/")
        assert page.status_code == 200
        proof = re.search(r'name="csrf-token" content="(\w+)"', page.text)[1]
        assert browser.post("/logout", data={"csrf_token": proof}).headers["location"] == "/"
        assert browser.get("/").status_code == 303


def test_every_answer_forbids_foreign_scripts_frames_and_stores(client):
    for path in ("/", f"{API}/card", f"{assets.ADDRESS}/page.css", "/nowhere"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy
        assert (headers["x-frame-options"], headers["x-content-type-options"]) == ("DENY", "nosniff")
        assert "access-control-allow-origin" not in headers
        assert re.fullmatch(r"[0-9a-f]{8}", headers["x-request-id"])
    for path in ("/", f"{API}/card", f"{API}/session", f"{assets.ADDRESS}/none.css", "/static/page.css"):
        assert client.get(path).headers["cache-control"] == "no-store"


def test_scripts_and_styles_are_kept_under_an_address_that_changes_with_them(client, tmp_path):
    asked = client.get(f"{assets.ADDRESS}/page.css")
    assert asked.status_code == 200 and "immutable" in asked.headers["cache-control"]
    again = client.get(f"{assets.ADDRESS}/page.css", headers={"If-None-Match": asked.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    addresses = {assets.ADDRESS, assets.address_of(shutil.copytree(assets.FOLDER, tmp_path / "a"))}
    assert len(addresses) == 1
    with (tmp_path / "a" / "dom.js").open("a") as file:
        file.write(" ")
    assert assets.address_of(tmp_path / "a") not in addresses
    assert assets.ADDRESS in client.get("/").text and '"/static/page.css' not in client.get("/").text


class Elements(HTMLParser):
    """All elements of a page with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("path", ["/", "/database", "/compare", "/login", "/nowhere"])
def test_a_page_holds_no_script_or_style_and_loads_nothing_from_elsewhere(client, path):
    elements = Elements()
    elements.feed(client.get(path).text)
    assert len(elements.found) > 10
    for tag, attributes in elements.found:
        assert tag != "style" and "style" not in attributes
        assert tag != "script" or attributes["src"].startswith("/static/")
        assert not any(name.startswith("on") for name in attributes)
        for name in {"src", "href", "action"} & attributes.keys():
            assert re.match(r"/(?!/)|#|\?|$", attributes[name]), attributes[name]


def test_the_log_names_no_person_and_no_file(client, knees, caplog):
    with caplog.at_level("INFO", "mris"):
        file = {"file": ("John Doe.png", knees.knee.read_bytes())}
        client.post(f"{API}/synthesize", files=file, data={"side": "left", "exclude_subject": "P00003"})
        client.post(f"{API}/synthesize", files={"file": ("John Doe.png", b"no picture")})
        client.get(f"{API}/subjects?search=P00003")
        client.get(f"{API}/entries/maps?key=P00003/0/left")
        client.get("/John%20Doe")
        deadline = time.monotonic() + 10
        while len(caplog.records) < 5 and time.monotonic() < deadline:  # a line may follow its answer
            time.sleep(0.01)
    assert len(caplog.records) >= 5
    assert not re.search(r"John|Doe|P0000|\.png", caplog.text)


def test_metrics_count_and_name_nobody(client, knees, synthesize):
    synthesize(knees.knee, side="left")
    text = client.get(f"{API}/metrics").text
    assert re.search(r'mris_requests_total\{route="/api/v1/synthesize",status="200"\} [1-9]', text)
    assert re.search(r"mris_syntheses_total [1-9]", text)
    assert re.search(r'mris_request_seconds_bucket\{route="/api/v1/synthesize",le="\+Inf"\} [1-9]', text)
    assert not re.search(r"P0000|\.png|knees", text)


def test_the_interface_describes_itself(client):
    described = client.get(f"{API}/openapi.json").json()
    assert {f"{API}/synthesize", f"{API}/subjects", f"{API}/subjects/remove", f"{API}/card"} <= set(described["paths"])
    assert "ResultRecord" in described["components"]["schemas"]


def test_who_knows_no_token_cannot_send_more_than_a_form_needs(client):
    sent = client.post("/login", files={"file": ("a.bin", b"0" * (2 << 20))})
    assert sent.status_code == 413


def test_an_origin_that_is_no_address_is_another_site():
    with pytest.raises(SessionError, match="another site"):
        check_origin("POST", {"origin": "http://[", "host": "localhost"})


def test_the_name_of_an_upload_has_no_more_bytes_than_a_file_system_takes():
    name = plain_name("\u9aa8" * 200 + ".dcm")
    assert len(name.encode()) <= 120 and name.endswith(".dcm")
