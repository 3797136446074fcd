"""The how-to page is done as it stands: its command is run, its files are dropped, its buttons are clicked."""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.web.browser_hands import browser, drawn, drop, expect, open_page, world
from tests.web.conftest import Knees

__all__ = ["browser", "open_page", "world"]

pytestmark = pytest.mark.slow

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "read-in-the-browser.md").read_text(encoding="utf-8")
MRIS = [sys.executable, "-c", "from mris.cli.entry import main; main()"]
SELECTORS = {"the first person": ".person >> nth=0", "Without the first person": ".without"}
"""Of what the page names by what it is, not by what it is called."""


@pytest.fixture
def served(knees: Knees, tmp_path: Path) -> Iterator[str]:
    """The first command of the page, where the demo was made; gives the address."""
    (tmp_path / "demo").mkdir()
    shutil.copytree(knees.bundle, tmp_path / "demo" / "knees.bundle")
    shutil.copytree(knees.knee.parents[1], tmp_path / "demo" / "knees")
    shutil.copytree(knees.knee.parent, tmp_path / "demo" / "knees" / "P00010", dirs_exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    command = re.findall(r"^```sh\nmris (serve .*)$", TEXT, re.MULTILINE)[0]
    with subprocess.Popen(
        [*MRIS, *shlex.split(command), "--port", port],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as server:
        assert server.stdout is not None
        printed = server.stdout.readline()
        assert f"http://127.0.0.1:{port}" in printed, printed
        yield f"http://127.0.0.1:{port}"
        server.kill()


def test_the_steps_of_the_how_to_do_what_it_says(served, browser, tmp_path):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(served)
    steps = re.search(r"^1\. .*?(?=^\S(?<!\d))", TEXT, re.MULTILINE | re.DOTALL)
    assert steps is not None
    actions = re.findall(r"Drop `(.+?)`|\*\*(.+?)\*\*", steps[0])

    for file, name in actions:
        if file:
            drop(page, tmp_path / file)
            expect(page.locator("#side")).to_be_visible()
        elif page.get_by_role("heading", name=name, exact=True).count():
            expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()
        else:
            button, choice = (page.get_by_role(role, name=name, exact=True) for role in ("button", "radio"))
            (page.locator(SELECTORS[name]) if name in SELECTORS else button.or_(choice)).click()
            expect(page.locator("#working")).to_be_empty()
            expect(page.locator("#maps .map canvas").first).to_be_visible()
    assert len(actions) > 10
    expect(page.locator("#saving .done")).to_contain_text("command")
    assert np.any(drawn(page, "#maps .map canvas")[..., 3])
    page.close()


def test_the_pages_that_the_how_to_names_are_there(open_page):
    page = open_page()
    for name in ("Database", "Compare"):
        assert f"**{name}**" in TEXT
        page.get_by_role("link", name=name, exact=True).click()
        expect(page.get_by_role("link", name=name, exact=True)).to_have_attribute("aria-current", "page")
    page.goto(page.url.replace("compare", "database"))
    assert "**Remove …**" in TEXT
    expect(page.get_by_text("Remove …").first).to_be_visible()
