"""The page of map quality needs no other file, shows what it flags, and its CSV and list agree with it."""

import csv
import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from mris.cohort.exclusion import read_exclusions
from mris.cohort.quality.check import QualityCheck, check_cohort_quality
from mris.cohort.quality.map_measures import measure_map
from mris.cohort.quality.map_quality import SCORES, MapQuality, judge_maps
from mris.cohort.report import EXCLUDED, PrepareReport, RowFinding
from mris.reporting.quality_figures import median_map, shades_of
from mris.reporting.quality_page import QualityFiles, write_quality
from mris.types import Targets


def _check(n_subjects: int, broken: Sequence[int] = (), regions: tuple[str, ...] = ("a <b>", "c")) -> QualityCheck:
    """Two visits a person; each broken row is noise in the first region."""
    rng = np.random.default_rng(0)
    base = 2 + 0.3 * rng.standard_normal((n_subjects, 1, len(regions), 1, 1)) + np.linspace(0, 1, 16)
    targets = (base + 0.02 * rng.standard_normal((n_subjects, 2, len(regions), 16, 16))).astype(np.float32)
    targets = targets.reshape(-1, len(regions), 16, 16)
    targets[:, :, :3] = np.nan
    for row in broken:
        targets[row, 0] += rng.standard_normal((16, 16)).astype(np.float32)
    subjects = [f"S{row // 2:02d}&" for row in range(len(targets))]

    def read(rows: Sequence[int]) -> Targets:
        return targets[list(rows)]

    quality = judge_maps(
        [measure_map(target) for target in targets],
        keys=[f"{subject}/{12 * (row % 2)}" for row, subject in enumerate(subjects)],
        subjects=subjects,
        sides=[""] * len(targets),
        regions=regions,
        unit="mm",
    )
    return QualityCheck("knees & others", quality, read)


@pytest.fixture(scope="module")
def check() -> QualityCheck:
    return _check(12, broken=(3, 10))


@pytest.fixture(scope="module")
def written(check: QualityCheck, tmp_path_factory: pytest.TempPathFactory) -> QualityFiles:
    excluded = RowFinding("the list names 'S99&'", EXCLUDED, "note", row=2, key="S99&/0", column="key")
    damaged = RowFinding("is no image", "unreadable target", row=4, key="S98&/0", column="target")
    report = PrepareReport(n_rows=26, n_kept=24, findings=(excluded, damaged))
    return write_quality(check, tmp_path_factory.mktemp("quality") / "pages" / "maps.html", report)


def test_the_flagged_maps_are_those_that_were_broken(check: QualityCheck) -> None:
    assert np.flatnonzero(check.quality.flagged).tolist() == [3, 10]


def test_the_page_reads_offline_and_shows_every_flagged_map_with_its_reason(
    check: QualityCheck, written: QualityFiles
) -> None:
    text = written.page.read_text(encoding="utf-8")
    assert not re.search(r"<script|<link|https?://|url\(", text)
    sources = re.findall(r'<img src="([^"]+)"', text)
    assert len(sources) == 1 + 2 + 2  # a sheet; histograms and a sample of each region
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    for row in (3, 10):
        key = check.quality.keys[row].replace("&", "&amp;")
        assert re.search(rf"<li><strong>{key}</strong>: a &lt;b&gt;: roughness .* robust SDs above", text)
    assert "<b>2</b><span>flagged (8.3 %)" in text
    assert "<b>26</b><span>rows of the manifest" in text
    assert "<b>1</b><span>excluded by list" in text
    assert "<b>1</b><span>cannot be used" in text
    assert "<b>24</b><span>maps of 12 people compared" in text
    assert "a <b>:" not in text


def test_the_contents_lead_to_every_section_in_order_and_the_style_is_inside(written: QualityFiles) -> None:
    text = written.page.read_text(encoding="utf-8")
    assert re.findall(r'<a href="#([^"]+)"', text) == re.findall(r'<section id="([^"]+)"', text)
    assert 'font: 16px/1.55 system-ui, "Segoe UI"' in text.partition("</style>")[0]


def test_the_table_of_scores_holds_every_row_with_the_numbers_of_the_judgment(
    check: QualityCheck, written: QualityFiles
) -> None:
    quality = check.quality
    with written.scores.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["key"] for row in rows] == [quality.keys[place] for place in quality.ranking]
    for row, place in zip(rows, quality.ranking, strict=True):
        assert int(row["flagged"]) == quality.flagged[place]
        assert float(row["outlier"]) == pytest.approx(quality.outlier[place], abs=1e-3)
        for r, region in enumerate(quality.regions):
            for s, score in enumerate(SCORES):
                cell, value = row[f"{region}_{score.name}"], quality.scores[place, r, s]
                assert (cell == "") == bool(np.isnan(value))
                assert cell == "" or float(cell) == pytest.approx(value, rel=1e-5)


def test_both_files_are_lists_of_the_flagged_maps(check: QualityCheck, written: QualityFiles) -> None:
    expected = tuple(sorted(check.quality.keys[row] for row in (3, 10)))
    assert read_exclusions(written.flagged) == read_exclusions(written.scores) == expected


def test_without_a_flagged_map_the_list_is_one_of_nothing(tmp_path: Path) -> None:
    files = write_quality(_check(12), tmp_path / "maps.html")
    assert read_exclusions(files.flagged) == ()
    text = files.page.read_text()
    assert "<p>None.</p>" in text
    assert "rows of the manifest" not in text


def test_too_small_a_reference_is_said_and_nothing_is_flagged(tmp_path: Path) -> None:
    files = write_quality(_check(4, broken=(1,), regions=("target",)), tmp_path / "maps.html")
    text = files.page.read_text()
    assert "<strong>The reference is too small.</strong> 4 people are fewer than 10" in text
    assert "none judged" in text
    with files.scores.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["flagged"], row["outlier"], row["reason"]) for row in rows] == [("0", "", "")] * 8
    assert all(float(row["target_roughness"]) > 0 for row in rows)


def test_a_judgment_on_no_map_gives_a_page(tmp_path: Path) -> None:
    nothing = np.zeros((0, 1, 4, 4), dtype=np.float32)
    quality: MapQuality = judge_maps([], keys=[], subjects=[], sides=[], regions=("target",), unit="mm")
    files = write_quality(QualityCheck("none", quality, lambda rows: nothing), tmp_path / "maps.html")
    assert "0</b><span>maps of 0 people" in files.page.read_text()


@pytest.mark.slow
def test_a_prepared_cohort_is_judged_as_its_maps_are(make_cohort, rng: np.random.Generator, tmp_path: Path) -> None:
    subjects = [f"S{row // 2:02d}" for row in range(80)]
    targets = rng.normal(2, 0.3, (80, 2, 1, 1)) + 0.05 * rng.standard_normal((80, 2, 8, 8))
    targets[7, 1] *= -1
    cohort = make_cohort(subjects, rng=rng, targets=targets.astype(np.float32))
    checked = check_cohort_quality(cohort, progress=False)
    direct = judge_maps(
        [measure_map(target) for target in cohort.read_targets()],
        keys=cohort.keys.tolist(),
        subjects=subjects,
        sides=cohort.sides.tolist(),
        regions=cohort.regions,
        unit="mm",
    )
    np.testing.assert_array_equal(checked.quality.deviations, direct.deviations)
    assert checked.quality.ranking[0] == 7
    assert cohort.keys[7] in write_quality(checked, tmp_path / "maps.html").page.read_text()


def test_a_map_of_medians_has_the_pixels_that_half_of_the_maps_have() -> None:
    maps = np.array([[1, 2, np.nan, np.nan], [3, np.nan, 5, np.nan], [8, 4, np.nan, np.nan]], dtype=np.float32)
    np.testing.assert_array_equal(median_map(maps.reshape(3, 1, 2, 2)).ravel(), [3, 3, np.nan, np.nan])


def test_colors_begin_at_0_for_a_thickness_and_at_the_least_value_for_what_stays_far_from_it() -> None:
    ramp = np.linspace(0.5, 4, 1000, dtype=np.float32).reshape(10, 1, 10, 10)
    assert shades_of(ramp)[1] == 0
    assert shades_of(100 + ramp)[1] > 100
    assert shades_of(ramp - 2)[1] < -1.4
    assert shades_of(ramp[:0])[1:] == (0, 1)


def test_pictures_are_whole_and_not_blank(written: QualityFiles) -> None:
    import base64

    for data in re.findall(r"data:image/png;base64,([^\"]+)", written.page.read_text()):
        pixels = np.asarray(PIL.Image.open(BytesIO(base64.b64decode(data))).convert("L"))
        assert min(pixels.shape) > 150
        assert pixels.std() > 10
