"""What is made from simulated images says so: from the phantom's manifest to the DICOM results."""

import csv
import json
import shutil

import numpy as np
import pydicom
import pytest
from PIL import Image
from tests.dicom_sources import write_radiograph

from mris.cohort.cohort import Cohort
from mris.evaluation.results import read_results
from mris.metric.encoders import DualEncoder
from mris.serving.canvas import Canvas
from mris.synthesis.bundle import Bundle

from .conftest import TINY, call

NOTE = "made from simulated images"


@pytest.fixture(scope="module")
def digital(tmp_path_factory):
    """A digital cohort, its bundle, and the folder of both."""
    folder = tmp_path_factory.mktemp("digital")
    phantom = ["--subjects", 24, "--size", 32, "--visits", 1, "--workers", 1, "--quiet"]
    assert call("phantom", folder / "knees", *phantom) == 0
    assert call("prepare", folder / "knees" / "manifest.csv", folder / "cohort", "--size", 32, "--quiet") == 0
    assert call("train", folder / "cohort", folder / "run", *TINY) == 0
    assert call("index", folder / "run", folder / "cohort", folder / "knees.bundle", "--quiet") == 0
    return folder


def test_a_phantom_says_in_its_manifest_that_it_is_simulated(digital):
    with (digital / "knees" / "manifest.csv").open() as file:
        assert {row["image_origin"] for row in csv.DictReader(file)} == {"simulated"}
    assert Cohort.open(digital / "cohort").header.origin == "simulated"


def test_a_bundle_made_from_simulated_images_says_so(digital, run_cli):
    bundle = digital / "knees.bundle"
    assert json.loads((bundle / "bundle.json").read_text())["origin"] == "simulated"
    assert "**Made from simulated images.**" in (bundle / "model_card.md").read_text().split("## What it does")[0]
    assert NOTE in run_cli("bundle", "list", bundle).out
    assert DualEncoder.load(digital / "run" / "encoder").origin == "simulated"
    assert Bundle.open(bundle).members[0].encoder.origin == "simulated"


def test_every_result_of_simulated_images_says_so(digital, run_cli, tmp_path, rng, monkeypatch):
    pytest.importorskip("highdicom")
    monkeypatch.setenv("MRIS_SALT", "a salt that the user keeps")
    shown = {"ImageLaterality": "L", "PixelSpacing": [4.375, 4.375]}  # 140 mm, as the phantom's pictures
    knee = write_radiograph(tmp_path / "knee.dcm", rng.integers(0, 4000, (32, 32)), **shown)
    outcome = run_cli("synthesize", digital / "knees.bundle", knee, "--out", tmp_path / "o", "--dicom", "--quiet")
    assert outcome.code == 0, outcome.err
    assert [line for line in outcome.err.splitlines() if NOTE in line], outcome.err
    assert json.loads((tmp_path / "o" / "knee_provenance.json").read_text())["origin"] == "simulated"
    flags = ["--dicom", "--deidentify", "--quiet"]
    assert run_cli("synthesize", digital / "knees.bundle", knee, "--out", tmp_path / "a", *flags).code == 0
    for folder in "oa":
        for end in ("map", "capture"):
            made = pydicom.dcmread(tmp_path / folder / f"knee_{end}.dcm")
            assert made.SyntheticData == "YES"
            assert NOTE in made.DerivationDescription
            assert NOTE in made.ImageComments


def test_an_evaluation_of_simulated_images_says_so_in_words_tables_report_and_results(digital, run_cli, tmp_path):
    ridge, out = tmp_path / "ridge", tmp_path / "report"
    trained = run_cli(
        "baseline", "train", digital / "cohort", ridge, "--method", "embedding-ridge", "--encoder", digital / "run"
    )
    assert trained.code == 0, trained
    judged = ["--baseline", f"ridge={ridge}", "--bootstrap", 10, "--no-references", "--quiet"]
    outcome = run_cli("evaluate", digital / "knees.bundle", digital / "cohort", "--out", out, *judged)
    assert outcome.code == 0, outcome
    results = read_results(out / "results.json")
    assert results.cohort.origin == "simulated"
    assert [method.origin for method in results.methods] == ["simulated", "simulated"]
    for text in (outcome.out, (out / "tables.md").read_text(), (out / "report.html").read_text()):
        assert f"Cohort cohort was {NOTE}" in text and f"MRIS, ridge were {NOTE}." in text


def test_maps_of_a_baseline_of_simulated_images_say_so(digital, tiny_ridge, run_cli, tmp_path, rng):
    card = json.loads((tiny_ridge / "baseline" / "baseline.json").read_text())
    assert card.get("origin", "unknown") == "unknown"
    folder = shutil.copytree(tiny_ridge, tmp_path / "digital")
    (folder / "baseline" / "baseline.json").write_text(json.dumps(card | {"origin": "simulated"}))
    np.save(tmp_path / "x.npy", rng.random((16, 16)))
    for run, origin in ((tiny_ridge, "unknown"), (folder, "simulated")):
        out = tmp_path / origin
        outcome = run_cli("baseline", "synthesize", run, tmp_path / "x.npy", "--out", out, "--quiet")
        assert (outcome.code, NOTE in outcome.err) == (0, origin == "simulated")
        assert json.loads((out / "x.json").read_text())["origin"] == origin


def test_a_bundle_of_unknown_origin_says_nothing_of_simulation(tiny_bundle, run_cli, tmp_path, rng):
    np.save(tmp_path / "x.npy", rng.random((16, 16)))
    outcome = run_cli("synthesize", tiny_bundle, tmp_path / "x.npy", "--out", tmp_path / "o", "--quiet")
    assert (outcome.code, "simulated" in outcome.err) == (0, False)
    assert "simulated" not in run_cli("bundle", "list", tiny_bundle).out + (tiny_bundle / "model_card.md").read_text()
    assert json.loads((tmp_path / "o" / "x_provenance.json").read_text())["origin"] == "unknown"


def test_simulated_images_are_not_added_to_a_bundle_that_does_not_say_so(digital, tiny_bundle, refused, tmp_path):
    assert "holds simulated images" in refused("bundle", "add", tiny_bundle, digital / "cohort", "--splits", "val")


def test_prepare_takes_the_word_of_the_user(tiny_manifest, run_cli, tmp_path):
    manifest = tiny_manifest(tmp_path)
    for option, origin in (("--simulated", "simulated"), ("--real", "real")):
        out = tmp_path / origin
        assert run_cli("prepare", manifest, out, "--size", 16, option, "--workers", 1, "--quiet").code == 0
        assert Cohort.open(out).header.origin == origin


def test_pictures_of_simulated_images_have_room_for_a_line_that_says_so(digital, run_cli, tmp_path, rng, monkeypatch):
    drawn = []
    write = Canvas.write
    monkeypatch.setattr(Canvas, "write", lambda c, x, y, s, *a, **kw: drawn.append(s) or write(c, x, y, s, *a, **kw))
    np.save(tmp_path / "x.npy", rng.random((32, 32)))
    run_cli("synthesize", digital / "knees.bundle", tmp_path / "x.npy", "--out", tmp_path / "o", "--quiet")
    assert drawn.count(NOTE) == 2, "maps and neighbors"
    with Image.open(tmp_path / "o" / "x.png") as picture:
        lowest = np.asarray(picture.convert("RGB"))[-24:]
    assert (lowest[..., 0].astype(int) - lowest[..., 1] > 60).any(), "red letters at the foot"
