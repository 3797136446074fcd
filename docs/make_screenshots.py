"""Draw the screenshots of the reader: ``python docs/make_screenshots.py BUNDLE OTHER_BUNDLE RADIOGRAPH PLATE``.

Needs Playwright and Chromium. The bundles are served by this process, on a free port.
"""

import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from mris.knee.map_edges import PHANTOM_EDGES
from mris.web.run import running
from mris.web.settings import ServeSettings

IMAGES = Path(__file__).with_name("images")


def main(bundle: str, other: str, radiograph: str, plate: str) -> None:
    """Serve two bundles, and write the four pictures."""

    def read_at_a_point(page: Page) -> None:
        drop(page, radiograph, side="Left")
        page.locator("#spacing-mm").fill("2.1875")
        with page.expect_response(lambda answer: answer.url.endswith("/arrays")):
            page.get_by_role("button", name="Set", exact=True).click()
        page.wait_for_timeout(500)
        page.locator("#maps .field").first.hover(position={"x": 230, "y": 60})

    def of_a_plate(page: Page) -> None:
        drop(page, plate)
        page.get_by_role("radio", name="Interval width").check()

    def of_people(page: Page) -> None:
        page.locator(".visits img").nth(7).wait_for()
        page.wait_for_load_state("networkidle")

    def of_both(page: Page) -> None:
        drop(page, radiograph, side="Left")
        page.locator("#difference canvas").first.wait_for()

    settings = ServeSettings((Path(bundle), Path(other)), port=0, edges=PHANTOM_EDGES)
    with running(settings) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        shoot(browser, f"{url}/", "light", "reader", read_at_a_point, height=1240)
        shoot(browser, f"{url}/", "dark", "reader-plate", of_a_plate)
        shoot(browser, f"{url}/database?sort=klg&descending=true", "light", "reader-database", of_people)
        shoot(browser, f"{url}/compare", "light", "reader-compare", of_both)
        browser.close()


def drop(page: Page, file: str, side: str | None = None) -> None:
    """Choose a file, and wait for what it gives."""
    page.set_input_files("#file", file)
    if side is not None:
        page.locator("#side").get_by_role("radio", name=side).check()
    page.locator("#result .map canvas").first.wait_for()
    page.wait_for_timeout(500)


def shoot(browser: Browser, url: str, look: str, name: str, act: Callable[[Page], None], height: int = 800) -> None:
    """Open a page in a look, do something, and keep what is seen, in 256 colors."""
    context = browser.new_context(viewport={"width": 1280, "height": height}, color_scheme=look)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(url)
    act(page)
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        few = picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)
        few.save(IMAGES / f"{name}.png", optimize=True)
    context.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
