"""What the pages are made of: nothing inline, nothing from elsewhere, little, and each script asked for at once."""

import base64
import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from mris import colors, web

FOLDER = Path(web.__file__).parent
STATIC, TEMPLATES = sorted((FOLDER / "static").iterdir()), sorted((FOLDER / "templates").iterdir())


def imported_by(name: str) -> set[str]:
    """Names of all modules that a script imports, and these import."""
    found: set[str] = set()
    ahead = [name]
    while ahead:
        text = (FOLDER / "static" / f"{ahead.pop()}.js").read_text(encoding="utf-8")
        new = set(re.findall(r'from "\./(\w+)\.js"', text)) - found
        found |= new
        ahead += new
    return found


def test_the_reader_asks_for_all_its_scripts_at_once():
    text = (FOLDER / "templates" / "reader.html").read_text(encoding="utf-8")
    listed = re.findall(r'"(\w+)"', text[text.index("{% for name in [") :].partition("%}")[0])
    assert listed == sorted(imported_by("reader"))


def test_every_script_is_used():
    used = {name for page in ("reader", "database", "compare") for name in [page, *imported_by(page)]} | {"theme"}
    assert {path.stem for path in STATIC if path.suffix == ".js"} == used


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_a_template_has_nothing_that_the_content_policy_forbids(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script(?![^>]* src=)", text)
    assert "|safe" not in text.replace(" ", "")


@pytest.mark.parametrize("path", [*STATIC, *TEMPLATES], ids=lambda path: path.name)
def test_nothing_is_loaded_from_elsewhere(path):
    text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|@import|url\(", text)


@pytest.mark.parametrize("path", [path for path in STATIC if path.suffix == ".js"], ids=lambda path: path.name)
def test_a_script_says_what_it_is_and_makes_no_html_of_text(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("// ")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text)
    assert len(text.splitlines()) < 300


def test_all_files_of_the_pages_together_weigh_less_than_150_kb():
    assert sum(path.stat().st_size for path in STATIC) < 150_000


def test_the_colors_are_those_of_the_pictures():
    text = (FOLDER / "static" / "colormap.js").read_text(encoding="utf-8")
    for name in (colors.VALUE_COLORS, colors.ERROR_COLORS, colors.BIAS_COLORS):
        assert f'= "{name}";' in text
        written = re.search(rf"  {name}:\n(.*?),\n(?:  \w|}})", text, re.DOTALL)
        assert written is not None
        table = np.frombuffer(base64.b64decode("".join(re.findall(r'"(.*?)"', written[1]))), np.uint8).reshape(256, 3)
        np.testing.assert_array_equal(table, mpl.colormaps[name](np.arange(256), bytes=True)[:, :3])
