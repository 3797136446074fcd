"""The reader in a real browser: drop, drag, read, switch, choose, save; by the mouse and by the keyboard."""

import json
import re
import zipfile

import numpy as np
import pytest
from tests.web.browser_hands import (
    browser,
    colored,
    drawn,
    drop,
    dropped,
    expect,
    open_page,
    synthesized,
    wait_until,
    world,
)
from tests.web.browser_world import write_half_plate

__all__ = ["browser", "open_page", "world"]

pytestmark = pytest.mark.slow


def test_a_dropped_radiograph_becomes_a_map(open_page, world):
    page = open_page()

    result = dropped(page, world.knee)

    for region in range(2):
        shown = drawn(page, f"#maps .map:nth-child({region + 1}) canvas")
        expected = colored(result.arrays["image"][region], result.record["scale"]["value"], "viridis")
        assert np.abs(shown.astype(int) - expected).max() == 0
    assert page.locator(".stage canvas").is_visible()
    assert page.get_by_text("Research use, not a medical device").is_visible()
    assert "Digital, no real people" in page.locator(".badge").inner_text()
    means = page.locator("#means tbody tr").all_inner_texts()
    assert [row.split()[0].lower() for row in means[:6]] == [
        "femoral",
        "anterior",
        "posterior",
        "tibial",
        "anterior",
        "posterior",
    ]
    assert f"{result.record['means'][0]['mean']:.2f}" in means[0]


def test_each_layer_is_drawn_in_its_scale(open_page, world):
    page = open_page()
    result = dropped(page, world.knee)
    arrays, scale = result.arrays, result.record["scale"]
    layers = {
        "Lower": (arrays["lower"], scale["value"], "viridis"),
        "Upper": (arrays["upper"], scale["value"], "viridis"),
        "Interval width": (arrays["upper"] - arrays["lower"], scale["width"], "inferno"),
        "Spread": (arrays["spread"], scale["spread"], "inferno"),
    }

    for layer, (maps, limits, colors) in layers.items():
        page.get_by_label(layer, exact=True).check()
        shown = drawn(page, "#maps .map:nth-child(2) canvas").astype(int)
        assert np.abs(shown - colored(maps[1], limits, colors)).max() <= 2, layer


def test_the_point_under_the_pointer_is_read_on_all_panels(open_page, world):
    page = open_page()
    result = dropped(page, world.knee)
    page.locator(".person").first.click()
    row, column = np.argwhere(np.isfinite(result.arrays["image"]).all(axis=0))[20]

    box = page.locator("#maps .field").first.bounding_box()
    size = result.arrays["image"].shape[-1]
    page.locator("#maps .field").first.scroll_into_view_if_needed()
    box = page.locator("#maps .field").first.bounding_box()
    page.mouse.move(box["x"] + (column + 0.5) * box["width"] / size, box["y"] + (row + 0.5) * box["height"] / size)

    shown = page.locator("#maps .reading").all_inner_texts()
    differences = page.locator("#people .difference .reading").all_inner_texts()
    people = page.locator(".person .reading").first.inner_text().split()
    for region, reading in enumerate(shown):
        at = {name: float(result.arrays[name][region, row, column]) for name in ("image", "lower", "upper", "spread")}
        assert f"{at['image']:.2f} mm ({at['lower']:.2f} to {at['upper']:.2f}) · spread {at['spread']:.2f}" in reading
        own = float(result.arrays["people/0"][0, region, row, column])
        assert people[region] == f"{own:.2f}"
        assert differences[region].replace("\u2212", "-") == f"{own - at['image']:.2f} mm"


def test_a_person_is_shown_large_with_the_difference(open_page, world):
    page = open_page()
    result = dropped(page, world.knee)

    page.locator(".person").nth(2).click()

    own = result.arrays["people/0"][2]
    shown = drawn(page, "#maps .map:nth-child(1) canvas")
    assert np.abs(shown.astype(int) - colored(own[0], result.record["scale"]["value"], "viridis")).max() <= 1
    difference = colored(own[0] - result.arrays["image"][0], result.record["scale"]["difference"], "RdBu_r")
    assert np.abs(drawn(page, ".difference .map:nth-child(1) canvas").astype(int) - difference).max() <= 2
    person = result.record["contributions"][0]["people"][2]
    assert person["weight_text"] in page.locator(".chosen .who").inner_text()
    page.get_by_role("button", name="Close").click()
    assert page.locator(".difference").is_hidden()
    assert page.get_by_label("Value", exact=True).is_checked()


def test_without_a_person_their_images_do_not_count(open_page, world):
    page = open_page()
    before = dropped(page, world.knee)
    subject = before.record["contributions"][0]["people"][0]["subject"]
    page.locator(".person").first.click()

    after = synthesized(page, page.locator(".without").click)

    assert after.record["excluded_subject"] == subject
    assert subject not in {person["subject"] for person in after.record["contributions"][0]["people"]}
    assert subject in page.locator("#excluded").inner_text()
    again = synthesized(page, page.get_by_role("button", name="Put back").click)
    np.testing.assert_array_equal(again.arrays["image"], before.arrays["image"])


def test_a_dragged_center_is_where_the_region_is_cut(open_page, world):
    page = open_page()
    result = dropped(page, world.plate)
    assert [one.inner_text() for one in page.locator(".handle").all()] == ["R", "L"]
    stage, handle = page.locator(".stage").bounding_box(), page.locator(".handle").first.bounding_box()
    x, y = handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2

    def drag() -> None:
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 6, y + 10, steps=3)
        page.mouse.up()

    moved = synthesized(page, drag)

    rows, columns = (int(n) for n in re.findall(r"\d+", page.locator("#facts dd").first.inner_text())[:2])
    (row, column), (row_before, column_before) = moved.record["query"]["center"], result.record["query"]["center"]
    assert moved.record["query"]["center_source"] == "given"
    assert row - row_before == pytest.approx(10 * rows / stage["height"], abs=0.75 * rows / stage["height"])
    assert column - column_before == pytest.approx(6 * columns / stage["width"], abs=0.75 * columns / stage["width"])
    assert "--right" in page.locator(".command code").inner_text()
    assert not np.array_equal(moved.arrays["image"], result.arrays["image"], equal_nan=True)


@pytest.fixture
def half(world, tmp_path):
    return write_half_plate(world.plate, tmp_path / "half.dcm")


def test_a_joint_that_is_not_found_is_added_by_a_click_and_by_the_keyboard(open_page, half):
    page = open_page()
    drop(page, half)
    expect(page.locator("#notes")).to_contain_text("only the one at row")
    expect(page.locator("#placing.asked")).to_be_visible()
    box = page.locator(".stage canvas").bounding_box()
    rows, columns = (int(n) for n in re.findall(r"\d+", page.locator("#facts dd").first.inner_text())[:2])

    page.get_by_role("button", name="Add the right joint").click()
    expect(page.locator("#adding")).to_contain_text("right joint")
    clicked = synthesized(page, lambda: page.mouse.click(box["x"] + 0.3 * box["width"], box["y"] + 0.4 * box["height"]))
    page.get_by_role("button", name="Add the left joint").press("Enter")
    expect(page.locator(".handle.new")).to_be_focused()
    page.keyboard.press("Shift+ArrowUp")
    typed = synthesized(page, lambda: page.keyboard.press("Enter"))

    row, column = clicked.record["query"]["center"]
    assert (clicked.record["query"]["side"], clicked.record["query"]["center_source"]) == ("right", "given")
    assert row == pytest.approx(0.4 * rows - 0.5, abs=rows / box["height"])
    assert column == pytest.approx(0.3 * columns - 0.5, abs=columns / box["width"])
    assert "--left" in typed.record["command"] and "--right" in typed.record["command"]
    assert [one.inner_text() for one in page.locator(".handle").all()] == ["R", "L"]
    expect(page.locator("#placing [data-side]").locator("visible=true")).to_have_count(0)
    page.get_by_role("button", name="Find them again").click()
    page.get_by_role("button", name="Add the left joint").click()
    page.keyboard.press("Escape")
    assert page.locator(".handle").count() == 0


def test_the_keys_go_on_moving_a_center_whose_map_has_come(open_page, world):
    page = open_page()
    dropped(page, world.plate)
    page.locator(".handle").nth(1).focus()

    first = synthesized(page, lambda: page.keyboard.press("Shift+ArrowDown"))
    second = synthesized(page, lambda: page.keyboard.press("Shift+ArrowDown"))

    expect(page.locator(".handle").nth(1)).to_be_focused()
    assert first.record["command"] != second.record["command"]


def test_both_knees_of_a_plate_are_shown_in_turn(open_page, world):
    page = open_page()
    dropped(page, world.plate)
    before = drawn(page, "#maps .map canvas")

    page.locator("#sides").get_by_text("Left").click()
    expect(page.locator("#facts")).to_contain_text("left")
    assert not np.array_equal(drawn(page, "#maps .map canvas"), before)


def test_window_and_level_follow_the_pointer_and_the_sliders(open_page, world):
    page = open_page()
    dropped(page, world.knee)
    before = drawn(page, ".stage canvas")
    box = page.locator(".stage canvas").bounding_box()

    page.mouse.move(box["x"] + 150, box["y"] + 150)
    page.mouse.down()
    page.mouse.move(box["x"] + 150, box["y"] + 90, steps=3)
    page.mouse.up()

    brighter = drawn(page, ".stage canvas")
    assert brighter[..., 0].mean() > before[..., 0].mean()  # a lower level
    page.get_by_text("Window and level by keyboard").click()
    page.get_by_label("Level", exact=True).focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    assert drawn(page, ".stage canvas")[..., 0].mean() < brighter[..., 0].mean()
    page.get_by_role("button", name="Reset").click()
    np.testing.assert_array_equal(drawn(page, ".stage canvas"), before)
    page.get_by_role("button", name="Enlarge").click()
    large = page.locator(".stage canvas").bounding_box()
    assert large["width"] > 1.5 * box["width"]
    assert large["width"] / large["height"] == pytest.approx(box["width"] / box["height"], rel=0.01)


def test_a_download_holds_what_was_chosen(open_page, world):
    pytest.importorskip("highdicom")
    page = open_page()
    dropped(page, world.plate)
    page.get_by_label("NPZ").check()
    page.get_by_role("checkbox", name="DICOM").check()
    page.get_by_label("de-identified").check()
    page.get_by_role("checkbox", name="PNG").uncheck()

    with page.expect_download() as download:
        page.get_by_role("button", name="Save as zip").click()

    with zipfile.ZipFile(download.value.path()) as file:
        names = file.namelist()
        provenance = json.loads(file.read(next(name for name in names if name.endswith("provenance.json"))))
    assert download.value.suggested_filename.endswith(".zip")
    endings = {name.partition(".")[2] for name in names}
    assert endings == {"npz", "nii.gz", "dcm", "json", "csv"}
    assert provenance["query"]["side"] == "right"


def test_the_command_that_gives_the_same_can_be_copied(open_page, world):
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    result = dropped(page, world.knee)

    page.get_by_role("button", name="Copy as command").click()

    expect(page.locator("#saving .done")).to_contain_text("copied")
    assert page.evaluate("navigator.clipboard.readText()") == result.record["command"]


def test_the_keyboard_alone_is_enough(open_page, world):
    page = open_page()
    choosers: list = []
    page.on(
        "filechooser", lambda chooser: choosers.append(chooser)
    )  # before the key: the browser is told of it some time later

    def focus(selector: str) -> None:
        for _ in range(80):
            page.keyboard.press("Tab")
            if page.evaluate(f"document.activeElement.matches({json.dumps(selector)})"):
                return
        raise AssertionError(f"Tab does not lead to {selector}")

    focus("#file")
    page.keyboard.press("Space")
    wait_until(page, lambda: choosers)
    result = synthesized(page, lambda: choosers[0].set_files(world.plate))
    focus(".handle")
    moved = synthesized(page, lambda: page.keyboard.press("Shift+ArrowDown"))
    assert moved.record["query"]["center"][0] > result.record["query"]["center"][0] + 5
    focus("input[name=layer]")
    page.keyboard.press("ArrowRight")
    assert page.get_by_label("Lower", exact=True).is_checked()
    focus(".field")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    assert "femoral: " in page.locator("#maps .said").text_content()
    focus(".person")
    page.keyboard.press("Enter")
    assert page.locator("#people .difference").is_visible()
