"""What is written of a calibrated bundle: bounds, intervals of means, and notes on what is strange or stale."""

import csv
import json
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest

from mris.errors import ImageError, SettingsError
from mris.images.read import read_image
from mris.images.write import write_npz
from mris.serving.files import FileOptions, synthesize_files
from mris.serving.outputs import write_synthesis
from mris.serving.pictures import write_maps_picture
from mris.synthesis.build_bundle import build_bundle
from mris.synthesis.parts import read_parts

SUBJECTS = [f"P{row:02d}" for row in range(62)]
SPLITS = ["train"] * 32 + ["calibration"] * 30
OPTIONS = FileOptions(formats=("npz",), pictures=False)


@pytest.fixture
def cohort(make_cohort, rng):
    return make_cohort(SUBJECTS, rng=rng, split=SPLITS)


@pytest.fixture
def bundle(tmp_path, cohort, export_linear):
    labels = np.zeros((2, 8, 8))
    labels[0, 4:] = 1
    write_npz(tmp_path / "labels.npz", labels=labels)
    parts = read_parts(tmp_path / "labels.npz", cohort.regions)
    return build_bundle([export_linear(cohort)], cohort, tmp_path / "b", parts=parts, progress=False)


@pytest.fixture
def usual(tmp_path, cohort):
    np.save(tmp_path / "usual.npy", cohort.read_sources([40])[0, 0])
    return tmp_path / "usual.npy"


@pytest.fixture
def strange(tmp_path):
    checks = np.indices((8, 8)).sum(axis=0) % 2
    np.save(tmp_path / "strange.npy", np.where(checks, 1.0, 0.0) * np.linspace(0, 1, 8) ** 4)
    return tmp_path / "strange.npy"


def test_bounds_come_back_from_every_format_with_their_level(bundle, cohort, tmp_path):
    (synthesis,) = bundle.synthesizer().stream([cohort.read_sources([40])[0]])
    files = write_synthesis(synthesis, tmp_path / "out", "knee", ("nifti", "npz"))
    assert {"knee_lower.nii.gz", "knee_upper.nii.gz"} <= {file.name for file in files}
    np.testing.assert_array_equal(read_image(tmp_path / "out" / "knee_upper.nii.gz").pixels, synthesis.upper)
    with np.load(tmp_path / "out" / "knee.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["lower"], synthesis.lower)
        assert arrays["level"] == 0.9
    record = json.loads((tmp_path / "out" / "knee_provenance.json").read_text())
    told = record["contributions"][0]["intervals"]
    assert (told["level"], told["split"], told["n_people"], told["stale"]) == (0.9, "calibration", 30, False)
    assert set(record["contributions"][0]["strangeness"]) == {"p", "by_score", "strangest", "n_people", "stale"}


def test_means_of_regions_and_of_the_bundle_s_parts_have_intervals(bundle, usual, tmp_path):
    list(synthesize_files(bundle.synthesizer(), [usual], tmp_path / "out", OPTIONS))
    with np.load(tmp_path / "out" / "usual.npz") as arrays:
        image = arrays["image"]
    with (tmp_path / "out" / "means.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["region"], row["part"]) for row in rows] == [("femoral", ""), ("femoral", "1"), ("tibial", "")]
    for row, values in zip(rows, (image[0], image[0, 4:], image[1]), strict=True):
        mean, lower, upper = (float(row[name]) for name in ("mean", "lower", "upper"))
        assert mean == pytest.approx(np.nanmean(values), rel=1e-4) and lower < mean < upper


def test_a_table_of_means_from_before_there_were_intervals_is_continued(bundle, usual, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "means.csv").write_text("query,region,part,mean,unit,n_pixels\nold,femoral,,1.5,mm,9\n")
    list(synthesize_files(bundle.synthesizer(), [usual], out, OPTIONS))
    with (out / "means.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert (rows[0]["query"], rows[0]["mean"], rows[0]["lower"]) == ("old", "1.5", "") and len(rows) == 4


def test_a_strange_query_is_noted_skipped_or_stopped_at(bundle, usual, strange, tmp_path):
    def outcomes(on_strange):
        options = FileOptions(formats=("npz",), pictures=False, on_strange=on_strange)
        return list(synthesize_files(bundle.synthesizer(), [usual, strange], tmp_path / on_strange, options))

    first, second = outcomes("note")
    assert not first.notes and second.finding is None
    assert any("unlike anything known (p <= 0.05" in note for note in second.notes)
    record = json.loads((tmp_path / "note" / "strange_provenance.json").read_text())
    assert "unlike anything known" in record["query"]["notes"][0]
    first, second = outcomes("skip")
    assert first.written and not second.written and "unlike anything known" in str(second.finding)
    with pytest.raises(ImageError, match=r"strange\.npy: unlike anything known .*; look at it, or give --on-strange"):
        outcomes("stop")


def test_a_stale_calibration_is_noted(bundle, usual, tmp_path):
    bundle.remove(SUBJECTS[:8])
    (outcome,) = synthesize_files(bundle.synthesizer(), [usual], tmp_path / "out", OPTIONS)
    assert any("stale: the database has changed by more than 10 %" in note for note in outcome.notes)


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (np.ones((8, 8)), "has labels of 1 regions, but maps have 2"),
        (np.full((2, 8, 8), 0.5), "is no label image; give whole numbers"),
    ],
)
def test_a_label_image_that_cannot_be_is_refused(tmp_path, labels, told):
    np.save(tmp_path / "labels.npy", labels)
    with pytest.raises(SettingsError, match=told):
        read_parts(tmp_path / "labels.npy", ("femoral", "tibial"))


def test_the_picture_of_maps_gains_a_line_of_the_width_of_intervals(bundle, cohort, tmp_path):
    (synthesis,) = bundle.synthesizer().stream([cohort.read_sources([40])[0]])
    heights = []
    for name, shown in (("with", synthesis), ("without", replace(synthesis, lower=None, upper=None))):
        write_maps_picture(tmp_path / f"{name}.png", shown)
        with PIL.Image.open(tmp_path / f"{name}.png") as picture:
            heights.append(picture.height)
    assert heights[0] > 1.3 * heights[1]
