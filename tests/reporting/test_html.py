import csv
import errno
import json
import os
import re
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from mris.errors import OutputError
from mris.evaluation.evaluate import Evaluation
from mris.evaluation.people_shown import PeopleShown
from mris.evaluation.results import read_results
from mris.evaluation.site_results import PIXELS, SiteAudit, SiteLeftOut, SiteRecall, SiteShare
from mris.evaluation.trust import trust
from mris.evaluation.verdict import verdict
from mris.reporting import html
from mris.reporting.comparison import comparison_figure
from mris.reporting.figures import png, strata_figure
from mris.reporting.html import draw, render, write_evaluation, write_per_image
from mris.reporting.page import Picture
from mris.reporting.panels import example_figure, shared_scales
from mris.reporting.report_tables import all_tables, people_table
from mris.reporting.site_tables import site_tables
from mris.reporting.tables import markdown

_BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

_MEASURE = """
<script>
const seen = document.documentElement.clientWidth;
const name = e => `${e.tagName} ${e.textContent.slice(0, 40)}`;
const sticksOut = e => e.getBoundingClientRect().right > seen + 1;
const scrolls = e => e !== null && getComputedStyle(e).overflowX === "auto" && !sticksOut(e);
const all = selector => [...document.querySelectorAll(selector)];
document.body.innerHTML = "<output>" + JSON.stringify({
  sideways: document.documentElement.scrollWidth - seen,
  cutText: all("h1, h2, h3, p, caption, figcaption, .card, nav a").filter(sticksOut).map(name),
  cutTables: all("table").filter(e => sticksOut(e) && !scrolls(e.parentElement)).map(name),
  cutFigures: all("img").filter(e => sticksOut(e) && !scrolls(e.parentElement)).map(e => e.alt),
  hiddenTables: all("table").filter(e => e.scrollWidth > e.parentElement.clientWidth + 1).map(name),
}) + "</output>";
</script>
"""

_VOID = {"meta", "img", "br", "link", "input"}


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.tags.add(tag)
        if tag not in _VOID:
            self.open.append(tag)
        if found.get("id"):
            self.anchors.add(str(found["id"]))
        if tag == "a":
            self.links.append(str(found["href"]))
        if tag == "img":
            self.images.append(found)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def pictures(evaluation: Evaluation) -> dict[str, Picture]:
    return draw(evaluation)


@pytest.fixture(scope="module")
def folder(
    evaluation: Evaluation, pictures: dict[str, Picture], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("report") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(html, "draw", lambda evaluation: pictures)  # draws once for the whole module
        assert write_evaluation(evaluation, folder) == folder / "report.html"
        yield folder


def _parsed(text: str) -> _Page:
    page = _Page()
    page.feed(text)
    page.close()
    return page


def test_the_folder_holds_numbers_tables_figures_and_the_page(folder: Path, evaluation: Evaluation) -> None:
    assert repr(read_results(folder / "results.json")) == repr(evaluation.results)
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["figures", "per_image.csv", "report.html", "results.json", "tables.md"]
    figures = {path.stem for path in (folder / "figures").iterdir()}
    assert {"intervals", "error_map", "bias_map", "by_1", "recall", "example_01", "neighbors_01"} <= figures
    regions = evaluation.results.cohort.regions
    assert {f"figure3_{kind}{region}" for kind in ("", "errors_") for region in regions} <= figures


def test_the_page_is_whole_without_any_other_file(folder: Path) -> None:
    text = (folder / "report.html").read_text()
    page = _parsed(text)
    assert page.open == [], "every tag is closed"
    assert {link.removeprefix("#") for link in page.links} <= page.anchors
    assert all(str(image["src"]).startswith("data:image/png;base64,") for image in page.images)
    assert all(image["alt"] for image in page.images)
    assert not page.tags & {"script", "link", "iframe"}
    assert not re.search(r"https?://|@import|url\(", text)


def _measured(page: str, width: int, folder: Path) -> dict[str, Any]:
    """What a browser tells of a page in a window so many pixels wide."""
    assert _BROWSER is not None
    (folder / "page.html").write_text(page.replace("</body>", f"{_MEASURE}</body>"))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    command = [_BROWSER, *flags, f"--window-size={width},900", "--dump-dom", (folder / "page.html").as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    return dict(json.loads(unescape(re.search(r"<output>(.*)</output>", shown, re.DOTALL)[1])))  # type: ignore[index]


@pytest.mark.slow
@pytest.mark.skipif(_BROWSER is None, reason="no Chromium or Chrome to look at the page with")
@pytest.mark.parametrize("width", [400, 1100])
def test_no_word_table_or_picture_is_out_of_reach_in_a_narrow_window(folder: Path, tmp_path: Path, width: int) -> None:
    found = _measured((folder / "report.html").read_text(), width, tmp_path)
    hidden = found.pop("hiddenTables")
    assert found == {"sideways": 0, "cutText": [], "cutTables": [], "cutFigures": []}
    assert bool(hidden) == (width == 400), "what is wider than a phone scrolls; at 1,100 pixels nothing need"


def test_no_line_break_divides_the_interval_of_a_headline_number(folder: Path) -> None:
    cards = re.findall(r'<div class="card">(.*?)</div>', (folder / "report.html").read_text())
    intervals = [interval for card in cards for interval in re.findall(r"\[.*?\]", card)]
    assert len(intervals) == 2 and not any(" " in interval for interval in intervals)


def test_the_page_says_mask_gallery_chance_and_who_is_not_in_training(folder: Path, evaluation: Evaluation) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"data:image[^\"]*", "", (folder / "report.html").read_text()))
    cohort, recall = evaluation.results.cohort, evaluation.results.recalls[0]
    for part in (
        f"{cohort.n_images} images of {cohort.n_subjects} people",
        f"all {recall.gallery_size} baseline visits",
        "guessing gives k",
        "inside the atlas mask",
        "the mean map's is taken",
        "treat this page as personal data",
    ):
        assert part in text.replace("&#39;", "'"), part
    assert "<b>20</b>" not in text, "names are escaped"
    assert "nan" not in re.sub(r"<[^>]*>", "", text).lower().split()


def test_a_report_of_one_method_has_no_empty_sections(plain_evaluation: Evaluation) -> None:
    text = render(plain_evaluation, draw(plain_evaluation))
    page = _parsed(text)
    assert page.anchors == {"summary", "error", "methods", "maps", "examples", "method"}
    assert "Is the difference more than chance" not in text


def test_the_page_begins_with_whether_to_trust(evaluation: Evaluation, pictures: dict[str, Picture]) -> None:
    text = render(evaluation, pictures)
    box = unescape(text[text.index('<section id="trust">') : text.index('<section id="summary">')])
    for answer in trust(evaluation.results):
        assert answer.question in box and all(line in box for line in answer.sentences)
    assert all(unescape(text).count(line) == 1 for line in verdict(evaluation.results)), "nothing is said twice"


def test_the_page_shows_people_and_sites_where_they_were_measured(
    evaluation: Evaluation, pictures: dict[str, Picture]
) -> None:
    name = evaluation.results.methods[0].name
    shares = (
        SiteShare(name, "neighbors", 0.58, 0.55, 0.61, 0.22, 40, 20),
        SiteShare(name, "told", 0.31, 0.2, 0.4, 0.26, 40, 20),
        SiteShare(PIXELS, "told", 0.73, 0.7, 0.76, 0.26, 40, 20),
    )
    recalls = (SiteRecall(name, 10, 0.4, 0.3, 0.5, 0.6, 0.1, 40),)
    left_out = (SiteLeftOut(name, "all", 0.2, 0.21, 0.005, 0.015, 40, 20),)
    audit = SiteAudit("clinic", 5, 3, 20, 5, shares, recalls, left_out)
    people = (PeopleShown(name, (1, 20), (0.25, 0.75), 300.0, 40),)
    results = replace(evaluation.results, site_audit=audit, people_shown=people)
    text = render(replace(evaluation, results=results), pictures)
    page = _parsed(text)
    assert page.open == [] and {"trust", "sites", "people"} <= page.anchors
    plain = unescape(re.sub(r"<[^>]*>", "", text))
    for part in (
        "neighbors share the clinic of the query more often than chance: 58 % against 22 %",
        "its embedding does not name the clinic of other people better than chance: 31 % against 26 %",
        "40 % find their own target among the 10 nearest, in galleries as large of any clinic 60 %",
        "the error of the 20 nearest is 5.0 % larger.",
        "1 makes up 25 %, 20 make up 75 %; 300 count at all.",
        "3 more images have none",
    ):
        assert part in plain, part
    both = [*map(markdown, site_tables(results)), markdown(people_table(results))]
    assert all("nan" not in table for table in both) and set(both) <= set(map(markdown, all_tables(results)))
    assert not {"sites", "people"} & _parsed(render(evaluation, pictures)).anchors


def test_the_page_shows_costs_where_they_are_known(evaluation: Evaluation, pictures: dict[str, Picture]) -> None:
    first, second = evaluation.results.methods
    known = replace(
        evaluation, results=replace(evaluation.results, methods=(replace(first, n_parameters=1234), second))
    )
    text = render(known, pictures)
    assert "cost" in _parsed(text).anchors
    assert "<td>1,234</td>" in text
    assert "cost" not in _parsed(render(evaluation, pictures)).anchors


def test_regions_of_any_name_have_files_of_their_own(evaluation: Evaluation) -> None:
    cohort = replace(evaluation.results.cohort, regions=("a/b", "..a b"))
    named = replace(evaluation, results=replace(evaluation.results, cohort=cohort))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(html.figures, "png", lambda figure, dpi: b"")
        pictures = html.comparison_pictures(named, shared_scales(named.examples))
    names = [shown.name for shown in pictures]
    assert names == ["figure3_a_b", "figure3_errors_a_b", "figure3_a_b_1", "figure3_errors_a_b_1"]


def test_every_figure_is_a_picture_with_something_on_it(pictures: dict[str, Picture]) -> None:
    for picture in pictures.values():
        with PIL.Image.open(BytesIO(picture.data)) as image:
            pixels = np.asarray(image.convert("L"))
        dpi = 200 if picture.name.startswith("figure3") else 150
        assert picture.width == round(pixels.shape[1] * 96 / dpi)
        assert pixels.std() > 5, picture.name
        edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        assert (edge == 255).all(), f"{picture.name}: something is cut off at the edge"


def test_drawing_twice_gives_the_same_bytes(evaluation: Evaluation) -> None:
    regions, unit = evaluation.results.cohort.regions, evaluation.results.cohort.unit
    scales = shared_scales(evaluation.examples)
    first, second = (png(example_figure(evaluation.examples[0], regions, unit, scales)) for _ in range(2))
    assert first == second


def test_per_image_numbers_are_those_of_the_evaluation(folder: Path, evaluation: Evaluation) -> None:
    with (folder / "per_image.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    per_image = evaluation.per_image
    assert len(rows) == per_image.values[..., 0].size
    row = rows[len(per_image.methods) * len(per_image.regions) + 1]
    assert row["key"] == per_image.keys[1]
    assert (row["method"], row["region"]) == (per_image.methods[0], per_image.regions[1])
    assert float(row["rmse"]) == pytest.approx(per_image.values[0, 1, 1, per_image.metrics.index("rmse")], rel=1e-5)
    ranks = [rows[i * 6]["rank pixels"] for i in range(len(per_image.keys))]
    assert ranks == [str(rank) if rank else "" for rank in per_image.ranks["pixels"]]


def test_a_key_that_looks_like_a_formula_or_holds_commas_stays_one_cell(tmp_path: Path, evaluation: Evaluation) -> None:
    keys = ('a,"b"\n/0', *evaluation.per_image.keys[1:])
    write_per_image(tmp_path / "per_image.csv", replace(evaluation.per_image, keys=keys))
    with (tmp_path / "per_image.csv").open(encoding="utf-8", newline="") as file:
        assert next(csv.DictReader(file))["key"] == keys[0]


def test_writing_again_replaces_and_leaves_no_debris(folder: Path, evaluation: Evaluation) -> None:
    before = sorted(path.relative_to(folder) for path in folder.rglob("*"))
    write_evaluation(evaluation, folder)
    assert sorted(path.relative_to(folder) for path in folder.rglob("*")) == before


@pytest.fixture
def earlier(folder: Path, tmp_path: Path) -> Path:
    """An earlier report, with a picture of a person whom the next one does not show."""
    shutil.copytree(folder, tmp_path / "earlier")
    (tmp_path / "earlier" / "figures" / "example_99.png").write_bytes(b"a person")
    return tmp_path / "earlier"


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_figures_of_names_that_the_font_lacks_warn_of_nothing(evaluation: Evaluation) -> None:
    shown = [replace(example, title="年級 = 二") for example in evaluation.examples[:1]]
    strata = tuple(replace(row, name=f"{row.name}級") if row.label else row for row in evaluation.results.strata)
    estimates = tuple(
        replace(row, stratum=f"{row.stratum}級") if row.label else row for row in evaluation.results.estimates
    )
    results = replace(evaluation.results, strata=strata, estimates=estimates)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        png(comparison_figure(shown, 0, "毫米", shared_scales(shown)))
        png(strata_figure(results, results.settings.by[0], "median", "median"))


def test_nothing_of_an_earlier_evaluation_stays(folder: Path, earlier: Path, evaluation: Evaluation) -> None:
    (earlier / ".DS_Store").write_bytes(b"of a file browser")
    write_evaluation(evaluation, earlier)
    assert set(_contents(earlier)) == {*_contents(folder), Path(".DS_Store")}


def test_a_report_that_fails_half_way_leaves_the_earlier_one(
    earlier: Path, evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = _contents(earlier)
    monkeypatch.setattr(html, "render", full)
    with pytest.raises(OutputError, match=r"report\.html: No space left on device"):
        write_evaluation(evaluation, earlier)
    assert _contents(earlier) == before


@pytest.mark.parametrize(
    ("files", "named"),
    [
        (["report.html"], "report.html"),
        (["results.json"], "results.json"),
        (["figures/knee.png"], "figures"),
        (["notes.txt"], "notes.txt"),
    ],
)
def test_a_folder_that_holds_what_no_evaluation_wrote_is_refused_and_kept(
    tmp_path: Path, evaluation: Evaluation, files: list[str], named: str
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    with pytest.raises(OutputError, match=f"it holds '{named}', which no evaluation wrote; choose another folder"):
        write_evaluation(evaluation, tmp_path)
    assert _contents(tmp_path) == {Path(name): b"mine" for name in files}


@pytest.mark.parametrize("name", ["notes.txt", "figures/knee.png"])
def test_a_file_of_ones_own_in_a_report_is_not_removed(earlier: Path, evaluation: Evaluation, name: str) -> None:
    (earlier / name).write_text("mine")
    before = _contents(earlier)
    with pytest.raises(OutputError, match=f"it holds '{name}'"):
        write_evaluation(evaluation, earlier)
    assert _contents(earlier) == before


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, evaluation: Evaluation) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_evaluation(evaluation, tmp_path / "file" / "out")


def test_the_page_says_first_what_the_numbers_come_to(evaluation: Evaluation, tmp_path: Path) -> None:
    text = unescape(write_evaluation(evaluation, tmp_path / "report").read_text(encoding="utf-8"))
    sentences = verdict(evaluation.results)
    assert sentences
    for sentence in sentences:
        assert sentence in text.partition('<section id="error">')[0]
