"""A real browser, Chromium, and what a person's hands do in it. Skips, saying so, where it or Playwright is missing.

Modules import the fixtures `world`, `browser` and `open_page`: one server and one browser a module.
"""

import base64
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image as Picture
from tests.dicom_sources import radiograph
from tests.web.browser_world import SIZE, Served
from tests.web.conftest import Knees

api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed, so no browser is driven")
expect = api.expect
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("chromium is not installed, so no browser is driven", allow_module_level=True)

PATIENCE = 15_000  # ms
expect.set_options(timeout=PATIENCE)


@dataclass(frozen=True)
class World:
    """A server, and files to drop."""

    served: Served
    knee: Path
    other: Path
    plate: Path

    @property
    def url(self) -> str:
        return self.served.url


@pytest.fixture(scope="module")
def world(knees: Knees, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("browser")
    files = []
    for number in (40, 41):
        with Picture.open(knees.knee.parents[1] / f"P{number:05d}" / "00_left.png") as picture:
            pixels = np.asarray(picture).astype(np.uint16)
        sides = {"ImageLaterality": "L", "PixelSpacing": [140 / SIZE] * 2, "ViewPosition": "PA"}
        files.append(folder / f"knee-{number}.dcm")
        radiograph(pixels, **sides).save_as(files[-1], enforce_file_format=True)
    bundles = [shutil.copytree(bundle, folder / bundle.name) for bundle in (knees.bundle, knees.other)]
    served = Served(*bundles)
    yield World(served, *files, knees.plate)
    served.die()


@pytest.fixture(scope="module")
def browser() -> Iterator["api.Browser"]:
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, world) -> Iterator[Callable[..., "api.Page"]]:
    """Open a page of the server in a window of its own; no script may fail and no rule of the pages be broken."""
    contexts, faults = [], []

    def open_page(path: str = "/", width: int = 1280, **options: object) -> "api.Page":
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda line: faults.append(line.text) if _is_fault(line) else None)
        page.goto(world.url + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not faults


def _is_fault(line: "api.ConsoleMessage") -> bool:
    return line.type == "error" and "Failed to load resource" not in line.text  # refusals are part of the tests


def drop(page: "api.Page", *paths: Path) -> None:
    """Drop files on the page, as the mouse does."""
    files = [(path.name, base64.b64encode(path.read_bytes()).decode()) for path in paths]
    page.evaluate(
        """(files) => {
          const transfer = new DataTransfer();
          for (const [name, content] of files) {
            transfer.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], name));
          }
          for (const type of ["dragover", "drop"]) {
            const options = { bubbles: true, cancelable: true, dataTransfer: transfer };
            document.body.dispatchEvent(new DragEvent(type, options));
          }
        }""",
        files,
    )


@dataclass(frozen=True)
class Synthesized:
    """What the server answered: the record of the first result, and its arrays by name."""

    record: dict
    arrays: dict[str, np.ndarray]


def synthesized(page: "api.Page", act: Callable[[], object]) -> Synthesized:
    """Do what makes the page synthesize; wait until it shows the result."""
    with (
        page.expect_response(lambda answer: answer.url.endswith("/arrays")) as numbers,
        page.expect_response(lambda answer: answer.url.endswith("/synthesize")) as answer,
    ):
        act()
    record = answer.value.json()["results"][0]
    block = np.frombuffer(numbers.value.body(), "<f4")
    items = {item["name"]: item for item in record["arrays"]["items"]}
    arrays = {
        name: block[item["offset"] : item["offset"] + int(np.prod(item["shape"]))].reshape(item["shape"])
        for name, item in items.items()
    }
    page.wait_for_selector("#result[aria-busy=false] #maps .map")
    expect(page.locator("#working")).to_be_empty()
    return Synthesized(record, arrays)


def wait_until(page: "api.Page", holds: Callable[[], object]) -> None:
    """Let the browser go on until something holds."""
    for _ in range(PATIENCE // 50):
        if holds():
            return
        page.wait_for_timeout(50)
    raise AssertionError("it did not happen in time")


def dropped(page: "api.Page", path: Path) -> Synthesized:
    return synthesized(page, lambda: drop(page, path))


def drawn(page: "api.Page", selector: str) -> np.ndarray:
    """Pixels of a canvas, (h, w, 4)."""
    values, height, width = page.eval_on_selector(
        selector,
        """(canvas) => [
          [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data],
          canvas.height,
          canvas.width,
        ]""",
    )
    return np.array(values, np.uint8).reshape(height, width, 4)


def colored(values: np.ndarray, limits: list[float], name: str) -> np.ndarray:
    """What Matplotlib makes of a map; (h, w, 4), transparent where there is no value."""
    scaled = (values - limits[0]) / (limits[1] - limits[0])
    pixels = mpl.colormaps[name](np.ma.masked_invalid(scaled), bytes=True)
    pixels[np.isnan(values)] = 0
    return pixels
