"""The other pages in a real browser, and what holds for all: names stay text, small screens, looks, accessibility."""

import base64
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.web.browser_hands import browser, drawn, drop, dropped, expect, open_page, synthesized, world
from tests.web.browser_world import MARKUP, SIZE, Served

from mris.archive.connection import ArchiveSettings
from mris.web import assets

LOAD = """() => {
  const files = ["resource", "navigation"].flatMap((kind) => performance.getEntriesByType(kind));
  const shown = performance.getEntriesByName("first-contentful-paint")[0].startTime / 1000;
  return [files.reduce((sum, { decodedBodySize }) => sum + decodedBodySize, 0), shown];
}"""
"""Bytes of a page with all that it loads, and seconds until something is seen."""

AXE = Path(__file__).with_name("vendor") / "axe.min.js"

__all__ = ["browser", "open_page", "world"]

pytestmark = pytest.mark.slow


def test_a_person_is_removed_by_typing_their_name(open_page, world):
    page = open_page("/database")
    page.get_by_role("searchbox").fill("P00007")
    expect(page.locator("#found tbody tr")).to_have_count(1)
    page.get_by_text("Remove …").click()
    confirm = page.get_by_role("button", name="Remove and purge")
    assert confirm.is_disabled()
    page.locator("input[name=confirmation]").fill("P0000")
    assert confirm.is_disabled()
    page.locator("input[name=confirmation]").fill("P00007")

    confirm.click()

    page.get_by_text("P00007 removed and purged: 2 entries.").wait_for()
    assert "Nobody" in page.locator("#found tbody").inner_text()
    reader = open_page()
    dropped(reader, world.knee)
    assert "P00007" not in reader.locator("#people").inner_text()


def test_people_are_sorted_and_searched_in_place(open_page, world):
    page = open_page("/database")
    first = page.locator("#found tbody th").first

    page.locator("#found thead").get_by_role("link", name="Person").click()

    page.wait_for_selector("#found th[aria-sort=descending]")
    assert first.inner_text() == "P00035"
    assert "descending=true" in page.url
    page.get_by_role("searchbox").fill("P0001")
    expect(page.locator("#found tbody tr")).to_have_count(10)
    expect(page.locator(".visits img").first).to_have_js_property("naturalWidth", 2 * SIZE)


def test_html_in_a_name_stays_text(open_page, world):
    page = open_page("/database")
    page.get_by_text(MARKUP, exact=True).first.wait_for()
    reader = open_page()
    result = dropped(reader, world.knee)
    everybody = result.record["contributions"][0]

    assert page.locator("img[src=x]").count() == reader.locator("img").count() == 0
    assert page.title() != "1"
    with_markup = {
        **result.record,
        "contributions": [
            {
                **everybody,
                "people": [
                    {**person, "key": MARKUP, "subject": MARKUP, "labels": {MARKUP: MARKUP}}
                    for person in everybody["people"]
                ],
            }
        ],
        "notes": [MARKUP],
        "command": MARKUP,
    }
    reader.route("**/synthesize", lambda route: route.fulfill(json={"results": [with_markup]}))
    synthesized(reader, lambda: drop(reader, world.other))
    reader.locator(".person").first.click()
    assert reader.locator("img").count() == 0
    assert reader.locator("#notes p").first.text_content() == MARKUP
    assert reader.title() != "1"


def test_two_bundles_are_compared_on_one_radiograph(open_page, world):
    page = open_page("/compare")

    drop(page, world.knee)

    page.wait_for_selector("#difference .map canvas")
    shown = [drawn(page, f".of-bundle:nth-child({n}) .map canvas") for n in (1, 2)]
    assert (shown[0][..., 3] > 0).any()
    assert not np.array_equal(*shown)
    assert page.locator("#both tbody tr").count() == 6
    cells = page.locator("#both tbody tr").first.locator("td").all_inner_texts()
    numbers = [float(text.replace("\u2212", "-")) for text in (cells[0], cells[2], cells[4])]
    assert numbers[2] == pytest.approx(numbers[1] - numbers[0], abs=0.011)


def test_without_javascript_a_form_gives_the_result(open_page, world):
    page = open_page(java_script_enabled=False)
    page.locator("#file").set_input_files(world.knee)

    page.get_by_role("button", name="Synthesize").click()

    assert page.locator(".plain-result h1").inner_text() == "knee-40, left"
    assert page.locator(".plain-result tbody tr").count() == 6
    page.wait_for_load_state("load")
    widths = page.locator(".plain-result img").evaluate_all("(pictures) => pictures.map((one) => one.naturalWidth)")
    assert len(widths) == 2
    assert min(widths) > 300
    page.goto(world.url + "/database")
    page.get_by_role("searchbox").fill("P00009")
    page.get_by_role("button", name="Look").click()
    assert page.locator("#found tbody tr").count() == 1
    page.get_by_text("Remove …").click()
    page.locator("input[name=confirmation]").fill("P00008")
    page.get_by_role("button", name="Remove and purge").click()
    assert page.locator(".note.bad").is_visible()


@pytest.fixture
def guarded(knees) -> Iterator[Served]:
    """A server that asks for a token, and has an archive."""
    archive = ArchiveSettings("http://127.0.0.1:9/dicom-web")
    served = Served(knees.bundle, token="a token of 16 characters", archive=archive)
    yield served
    served.die()


def test_who_knows_the_token_takes_a_radiograph_from_the_archive(guarded, browser, knees):
    page = browser.new_page()
    page.goto(guarded.url)
    page.get_by_label("Token").fill("another of 16 characters")
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator(".note.bad")).to_have_text("the token is wrong")
    page.get_by_label("Token").fill("a token of 16 characters")
    page.get_by_role("button", name="Sign in").click()
    study = {"uid": "1.2", "patient_id": MARKUP, "date": "20240613", "modalities": ["DX"], "description": "Knee PA"}
    instance = {"study_uid": "1.2", "series_uid": "1.2.3", "uid": "1.2.3.4", "modality": "DX", "kind": "image"}
    page.route("**/archive/studies?*", lambda route: route.fulfill(json={"studies": [study]}))
    page.route("**/archive/studies/1.2/instances", lambda route: route.fulfill(json={"instances": [instance]}))
    content = base64.b64encode(knees.plate.read_bytes()).decode()
    record = page.evaluate(
        """async ([address, content]) => {
          const { sendImage } = await import(address);
          return sendImage(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], "plate.dcm"));
        }""",
        [f"{assets.ADDRESS}/api.js", content],
    )
    page.route("**/archive/fetch", lambda route: route.fulfill(json=record))

    page.get_by_text("From the archive").click()
    page.get_by_label("Patient's ID").fill("P00003")
    page.locator("#archive").get_by_role("button", name="Look").click()
    page.get_by_role("button", name="Knee PA").click()
    page.get_by_role("button", name="DX · image").click()

    expect(page.locator("#maps .map canvas").first).to_be_visible()
    expect(page.locator("#query-name")).to_have_text(f"{MARKUP} 20240613 DX · image")
    expect(page.get_by_role("button", name="Store in the archive")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    page.close()


@pytest.mark.parametrize("path", ["/", "/database", "/compare"])
def test_nothing_scrolls_sideways_on_a_phone(open_page, world, path):
    page = open_page(path, width=400)
    if path != "/database":
        drop(page, world.plate)
        page.wait_for_selector("#result .map canvas")
    if path == "/":
        page.locator(".person").first.click()

    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert page.get_by_text("Research use, not a medical device").is_visible()


def test_the_look_follows_the_system_until_it_is_switched(open_page, world):
    page = open_page(color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)

    page.get_by_role("button", name="Dark look").click()

    assert page.evaluate(ground) != dark
    page.reload()
    assert page.evaluate(ground) != dark


def test_the_page_is_light_and_quick(open_page, world):
    page = open_page()
    loads = []
    for _ in range(3):
        page.reload()
        page.wait_for_load_state("networkidle")
        loads.append(page.evaluate(LOAD))

    weights, seconds = zip(*loads, strict=True)
    assert 50_000 < max(weights) < 300_000
    assert min(seconds) < 1


def test_a_second_view_takes_its_scripts_and_styles_from_the_browser(open_page):
    page = open_page()
    page.wait_for_load_state("networkidle")

    page.reload()
    page.wait_for_load_state("networkidle")

    sent = page.evaluate("performance.getEntriesByType('resource').map((one) => [one.name, one.transferSize])")
    files = [n_bytes for name, n_bytes in sent if "/static/" in name]
    assert len(files) > 20 and sum(files) == 0


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not there (tests/web/vendor), so accessibility is not judged")
def test_axe_finds_no_serious_fault(open_page, world):
    empty, reader, database, compare = [open_page(path) for path in ("/", "/", "/database?search=P0001", "/compare")]
    dropped(reader, world.plate)
    reader.locator(".person").first.click()
    reader.locator(".badge summary").first.click()
    database.get_by_text("Remove …").first.click()
    drop(compare, world.knee)
    compare.locator("#difference .map canvas").first.wait_for()

    found = []
    for page in (empty, reader, database, compare):
        page.evaluate(AXE.read_text(encoding="utf-8"))
        for look, rules in (("light", "undefined"), ("dark", "['color-contrast']")):
            page.emulate_media(color_scheme=look)
            violations = page.evaluate(f"axe.run({{ runOnly: {rules} }}).then(({{ violations }}) => violations)")
            found += [
                f"{page.url} ({look}): {one['id']} at {node['target']}: {node['failureSummary']}"
                for one in violations
                if one["impact"] in ("serious", "critical")
                for node in one["nodes"]
            ]
    assert not found, "\n".join(found)
