"""The generated pages of the reference say what the code says today."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_reference", DOCS / "make_reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["command-line.md", "settings.md", "python.md"])
def test_a_generated_page_is_up_to_date(generator: ModuleType, name: str) -> None:
    written = (DOCS / "reference" / name).read_text(encoding="utf-8")
    assert written == generator.PAGES[name](), "run `python docs/make_reference.py` and commit docs/reference"


def test_every_command_that_the_pages_show_exists(generator: ModuleType) -> None:
    known = set(re.findall(r"^## (mris .*)$", generator.command_line_page(), flags=re.MULTILINE))
    for page in (DOCS / "concepts").glob("*.md"):
        for line in re.findall(r"`(mris [a-z][^`]*)`", page.read_text(encoding="utf-8")):
            assert any(line == command or line.startswith(f"{command} ") for command in known), f"{page.name}: {line}"


def test_every_page_is_reached_from_its_table_of_contents() -> None:
    for folder in ("concepts", "reference", "decisions"):
        index = (DOCS / folder / "index.md").read_text(encoding="utf-8")
        pages = {page.stem for page in (DOCS / folder).glob("*.md")} - {"index"}
        listed = set(re.findall(r"^([\w-]+)$", index.partition("{toctree}")[2], flags=re.MULTILINE))
        assert listed == pages
