"""The reader in a real browser when something is missing, broken, slow or dead; and several files and windows."""

import io
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image as Picture
from tests.web.browser_hands import api, browser, drop, dropped, expect, open_page, synthesized, world
from tests.web.browser_world import Served

from mris.errors import ImageError
from mris.images.read import read_image

__all__ = ["browser", "open_page", "world"]

pytestmark = pytest.mark.slow


def _png(path: Path) -> bytes:
    pixels = pydicom.dcmread(path).pixel_array
    file = io.BytesIO()
    Picture.fromarray((pixels / 256).astype(np.uint8)).save(file, "png")
    return file.getvalue()


def test_what_a_file_does_not_tell_is_asked_for(open_page, world, tmp_path):
    with Picture.open(io.BytesIO(_png(world.knee))) as picture:
        picture.save(tmp_path / "knee.png")
    page = open_page()

    drop(page, tmp_path / "knee.png")

    page.wait_for_selector("#side.asked")
    expect(page.locator("#notes")).to_contain_text("side of the body")
    assert page.locator("#result").is_hidden()
    result = synthesized(page, page.locator("#side").get_by_text("Left").click)
    assert result.record["query"]["side"] == "left"
    page.locator("#spacing-mm").fill("4.375")
    told = synthesized(page, page.get_by_role("button", name="Set", exact=True).click)
    assert "--spacing 4.375" in told.record["command"]


def test_a_file_that_is_refused_gets_the_sentence_of_the_command(open_page, world, tmp_path, capsys):
    broken = tmp_path / "broken.png"
    broken.write_bytes(_png(world.knee)[:60])
    page = open_page()

    drop(page, broken)

    page.wait_for_selector("#notes .bad")
    with pytest.raises(ImageError) as refused:
        read_image(broken)
    sentence = str(refused.value).replace(str(broken), broken.name)
    assert page.locator("#notes .bad").text_content() == sentence


def test_a_center_that_is_refused_takes_the_map_of_another_away(open_page, world):
    page = open_page()
    dropped(page, world.plate)
    stage = page.locator(".stage").bounding_box()

    page.locator(".handle").first.drag_to(page.locator(".stage"), target_position={"x": stage["width"] - 5, "y": 60})

    expect(page.locator("#notes .bad")).to_contain_text("are the centers swapped?")
    assert page.locator("#result").is_hidden()
    synthesized(page, page.get_by_role("button", name="Find them again").click)
    assert page.locator("#notes .bad").count() == 0


def test_what_is_strange_about_a_picture_stands_first(open_page, world, tmp_path, rng):
    Picture.fromarray(rng.integers(0, 255, (64, 64)).astype(np.uint8)).save(tmp_path / "noise.png")
    page = open_page()
    drop(page, tmp_path / "noise.png")

    result = synthesized(page, page.locator("#side").get_by_text("Left").click)

    doubt, strange = result.record["warnings"]
    assert "no joint of a knee is seen in it" in doubt
    assert strange == result.record["contributions"][0]["strangeness"]["sentence"]
    expect(page.locator("#notes p.bad")).to_have_text([doubt, strange])
    expect(page.locator("#notes p").first).to_have_text(doubt)


def test_a_damaged_bundle_is_told_of_on_every_page(browser, knees, tmp_path):
    bundle = shutil.copytree(knees.bundle, tmp_path / "knees.bundle")
    served = Served(bundle)
    (bundle / "bundle.json").write_text("{")
    page = browser.new_page()

    for path in ("/", "/database", "/compare"):
        page.goto(served.url + path)
        expect(page.locator("#main .note.bad").locator("visible=true").first).to_contain_text("bundle")
    page.close()
    served.die()


def test_several_files_go_through_the_queue(open_page, world, tmp_path):
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(world.knee.read_bytes()[:200])
    page = open_page()

    drop(page, world.knee, broken, world.other)

    expect(page.locator("#queue .done")).to_have_count(2)
    assert page.locator("#queue .state").all_inner_texts() == ["done", "not done", "done"]
    page.locator("#queue button").nth(2).click()
    expect(page.locator(".command code")).to_contain_text("knee-41.dcm")
    page.locator("#queue button").nth(1).click()
    page.wait_for_selector("#notes .bad")
    assert "broken.dcm" in page.locator("#notes .bad").inner_text()


def test_two_windows_do_not_disturb_each_other(open_page, world):
    one, other = open_page(), open_page()

    drop(one, world.knee)
    drop(other, world.other)

    for page, path in ((one, world.knee), (other, world.other)):
        expect(page.locator(".command code")).to_contain_text(path.name)


def test_a_slow_network_shows_what_is_going_on(open_page, world):
    page = open_page()

    def slowly(route: "api.Route") -> None:
        page.wait_for_timeout(300)
        route.continue_()

    page.route("**/api/v1/images", slowly)
    page.route("**/api/v1/synthesize", slowly)
    said = []
    page.expose_function("heard", lambda text: said.append(text))
    page.evaluate(
        "new MutationObserver(([one]) => heard(one.target.textContent)).observe("
        "document.querySelector('#working'), { childList: true })"
    )

    dropped(page, world.knee)

    assert any("Sending" in text for text in said)
    assert any("Synthesizing" in text for text in said)
    assert page.locator("#maps .map canvas").first.is_visible()


def test_a_server_that_dies_is_told_of_and_the_work_goes_on_when_it_is_back(open_page, world):
    page = open_page()
    dropped(page, world.knee)

    world.served.die()
    try:
        drop(page, world.other)
        page.wait_for_selector("#connection:not([hidden])")
        assert "does not answer" in page.locator("#connection").inner_text()
    finally:
        world.served.start()

    expect(page.locator(".command code")).to_contain_text("knee-41.dcm")
    assert page.locator("#queue .state").all_inner_texts() == ["done", "done"]
    page.locator("#queue button").first.click()  # what the server held of it died with it
    page.locator(".person").first.click()
    after = synthesized(page, page.locator(".without").click)
    assert after.record["query"]["name"] == "knee-40.dcm"
