"""``mris check --qc`` finds a broken map, and ``mris prepare --exclude`` leaves out what it found."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from mris.cohort.cohort import Cohort
from mris.cohort.prepare import PrepareSettings
from mris.cohort.quality.check import check_manifest_quality
from mris.images.transforms import SourcePreparation
from mris.reporting.quality_page import write_quality

OPTIONS = ["--size", "32", "--workers", "1", "--quiet"]


@pytest.fixture(scope="module")
def knees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 digital knees of 12 people; two maps are broken."""
    from mris.knee.phantom.cohort import write_phantom

    folder = tmp_path_factory.mktemp("quality") / "knees"
    write_phantom(folder, n_subjects=12, size=32, max_visits=1, workers=1, progress=False)
    for path, break_it in (
        (folder / "P00003" / "00_left_tibial.npy", lambda target: target[::-1]),
        (folder / "P00006" / "00_right_femoral.npy", lambda target: 10 * target),
    ):
        np.save(path, break_it(np.load(path)))
    return folder


BROKEN = {"P00003/0/left", "P00006/0/right"}


@pytest.fixture(scope="module")
def pages(knees: Path) -> Path:
    """The folder of the page, the table of scores and the list."""
    settings = PrepareSettings(SourcePreparation(size=(32, 32)), target_size=(32, 32), workers=1)
    _, checked = check_manifest_quality(knees / "manifest.csv", settings, progress=False)
    write_quality(checked, knees.parent / "q.html")
    return knees.parent


def test_the_list_of_a_check_leaves_the_broken_maps_out_of_the_cohort(
    run_cli, knees: Path, pages: Path, tmp_path: Path
) -> None:
    flagged = pages / "q_flagged.txt"
    outcome = run_cli("prepare", knees / "manifest.csv", tmp_path / "cohort", "--exclude", flagged, *OPTIONS)
    assert outcome.code == 0
    assert "dropped, excluded by list: 2" in outcome.out
    assert len(Cohort.open(tmp_path / "cohort")) == 22
    assert not BROKEN & set(Cohort.open(tmp_path / "cohort").keys.tolist())
    again = run_cli("check", knees / "manifest.csv", "--exclude", flagged, *OPTIONS)
    assert again.code == 0
    assert "22 of 24 rows kept, 2 dropped" in again.out


def test_the_edited_table_of_scores_is_a_list_too(run_cli, knees: Path, pages: Path, tmp_path: Path) -> None:
    with (pages / "q_scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["flagged"] = "1" if row["key"] in ("P00003/0/left", "P00009/0/right") else "0"
    with (tmp_path / "edited.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    outcome = run_cli(
        "prepare", knees / "manifest.csv", tmp_path / "cohort", "--exclude", tmp_path / "edited.csv", *OPTIONS
    )
    assert outcome.code == 0
    report = json.loads((tmp_path / "cohort" / "report.json").read_text())
    assert {finding["key"] for finding in report["findings"]} == {"P00003/0/left", "P00009/0/right"}


def test_a_check_counts_the_maps_that_stand_out_and_is_no_failure(run_cli, knees: Path, tmp_path: Path) -> None:
    page = tmp_path / "new" / "quality.html"
    outcome = run_cli("check", knees / "manifest.csv", "--qc", page, *OPTIONS)
    assert outcome.code == 0
    assert "24 of 24 rows kept" in outcome.out
    assert "map quality: 2 of 24 maps stand out" in outcome.out
    flagged = page.parent / "quality_flagged.txt"
    assert {line for line in flagged.read_text().splitlines() if not line.startswith("#")} == BROKEN
    assert all(key in page.read_text() for key in BROKEN)


def test_a_prepared_cohort_can_be_checked_as_well(run_cli, knees: Path, tmp_path: Path) -> None:
    assert run_cli("prepare", knees / "manifest.csv", tmp_path / "cohort", *OPTIONS).code == 0
    outcome = run_cli("check", tmp_path / "cohort", "--qc", tmp_path / "q.html", "--quiet")
    assert outcome.code == 0
    assert "map quality: 2 of 24 maps stand out" in outcome.out
    assert (tmp_path / "q_scores.csv").is_file()


def test_unusable_rows_are_still_a_fault_and_the_page_judges_the_others_by_the_threshold_given(
    run_cli, knees: Path, tmp_path: Path
) -> None:
    lines = (knees / "manifest.csv").read_text().replace("P00001/00_left.png", "P00001/gone.png")
    (knees / "faulty.csv").write_text(lines)
    page = tmp_path / "q.html"
    outcome = run_cli("check", knees / "faulty.csv", "--qc", page, "--qc-threshold", 1000, *OPTIONS)
    assert outcome.code == 2
    assert "1 of 24 rows cannot be used" in outcome.err
    assert "map quality: 0 of 23 maps stand out (1000 robust SDs" in outcome.out
    assert "<b>1</b><span>cannot be used" in page.read_text()


def test_a_threshold_of_nothing_is_refused(refused, knees: Path, tmp_path: Path) -> None:
    said = refused("check", knees / "manifest.csv", "--qc", tmp_path / "q.html", "--qc-threshold", 0, *OPTIONS)
    assert "the threshold of map quality is 0.0" in said


@pytest.mark.parametrize("page", ["quality", "quality.csv", "."])
def test_a_page_that_is_no_page_is_refused_before_a_file_is_read(refused, tmp_path: Path, page: str) -> None:
    assert "give the name of an HTML file" in refused("check", tmp_path / "no.csv", "--qc", tmp_path / page)


def test_a_list_with_a_typing_error_is_refused(refused, knees: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("P00003/0/lefft\n")
    for command in (["check", knees / "manifest.csv"], ["prepare", knees / "manifest.csv", tmp_path / "cohort"]):
        said = refused(*command, "--exclude", tmp_path / "list.txt", *OPTIONS)
        assert "'P00003/0/lefft', which no row of" in said
        assert "did you mean 'P00003/0/left'?" in said
    assert not (tmp_path / "cohort").exists()


def test_a_list_for_a_prepared_cohort_is_refused(refused, knees: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("P00003\n")
    said = refused("check", tmp_path, "--qc", tmp_path / "q.html", "--exclude", tmp_path / "list.txt")
    assert "--exclude leaves out rows of a manifest" in said


def test_a_page_whose_scores_would_replace_the_manifest_is_refused(tmp_path: Path, knees: Path, refused) -> None:
    manifest = tmp_path / "knees_scores.csv"
    manifest.write_text((knees / "manifest.csv").read_text())
    before = manifest.read_text()
    assert "which is the manifest" in refused("check", manifest, "--qc", tmp_path / "knees.html", *OPTIONS)
    assert manifest.read_text() == before
