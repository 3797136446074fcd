"""What is written can be read back, says where it came from, and is whole or absent."""

import errno
import json
import os
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from mris.drawing import drawable
from mris.errors import OutputError, SettingsError
from mris.images.read import read_image
from mris.serving.outputs import Query, provenance, write_synthesis
from mris.serving.pictures import Look, write_maps_picture, write_neighbors_picture
from mris.synthesis.build_bundle import build_bundle


@pytest.fixture
def cohort(make_cohort, rng):
    return make_cohort([f"S{row:02d}" for row in range(8)], rng=rng, spacing=(0.5, 0.25))


@pytest.fixture(params=["combined", "separate"])
def synthesizer(request, tmp_path, cohort, export_linear):
    regions = [cohort.regions] if request.param == "combined" else [[name] for name in cohort.regions]
    folders = [export_linear(cohort, regions=names, name=f"e{i}", seed=i) for i, names in enumerate(regions)]
    return build_bundle(folders, cohort, tmp_path / "bundle", progress=False).synthesizer(n_neighbors=4)


@pytest.fixture
def synthesis(synthesizer, cohort):
    return synthesizer(cohort.read_sources([2])[0], exclude_subject="S02")


def test_maps_come_back_with_their_spacing_and_their_nan(synthesis, tmp_path):
    files = write_synthesis(synthesis, tmp_path / "out", "knee", ("nifti", "npz", "png"))
    assert [path.name for path in files] == [
        *("knee.nii.gz", "knee_spread.nii.gz", "knee.npz", "knee.png", "knee_provenance.json")
    ]
    image = read_image(tmp_path / "out" / "knee.nii.gz")
    np.testing.assert_array_equal(image.pixels, synthesis.image)
    assert image.spacing == pytest.approx((0.5, 0.25))
    np.testing.assert_array_equal(read_image(tmp_path / "out" / "knee_spread.nii.gz").pixels, synthesis.spread)
    with np.load(tmp_path / "out" / "knee.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["image"], synthesis.image)
        np.testing.assert_array_equal(arrays["spread"], synthesis.spread)
        assert arrays["regions"].tolist() == ["femoral", "tibial"] and str(arrays["unit"]) == "mm"
        assert arrays["spacing"].tolist() == [0.5, 0.25]


def test_an_unknown_spacing_stays_unknown(synthesis, tmp_path):
    write_synthesis(replace(synthesis, spacing=None), tmp_path, "knee", ("nifti", "npz"))
    assert read_image(tmp_path / "knee.nii.gz").spacing is None
    with np.load(tmp_path / "knee.npz", allow_pickle=False) as arrays:
        assert np.isnan(arrays["spacing"]).all()


def test_the_provenance_names_neighbors_weights_settings_and_bundle(synthesis, tmp_path):
    query = Query(
        "a.dcm", "ab", "left", "position", (12.0, 30.5), "detector", 0.75, "PixelSpacing", 0.125, 140.0, "PA", ("look",)
    )
    write_synthesis(synthesis, tmp_path, "knee", ("npz",), query=query, beside=["knee_map.dcm"])
    record = json.loads((tmp_path / "knee_provenance.json").read_text())
    assert record["bundle"] == synthesis.bundle_id and record["files"] == ["knee.npz", "knee_map.dcm"]
    assert record["query"] == {
        **{"name": "a.dcm", "sha256": "ab", "side": "left", "side_source": "position", "center": [12.0, 30.5]},
        **{"center_source": "detector", "confidence": 0.75, "spacing_source": "PixelSpacing", "outside": 0.125},
        **{"region_mm": 140.0, "view": "PA", "notes": ["look"]},
    }
    assert record["excluded_subject"] == "S02"
    assert [name for part in record["contributions"] for name in part["regions"]] == record["regions"]
    for part, expected in zip(record["contributions"], synthesis.contributions, strict=True):
        neighbors = part["neighbors"]
        assert [one["key"] for one in neighbors] == expected.neighbors.keys[0].tolist()
        assert [one["subject"] for one in neighbors] == expected.neighbors.subjects[0].tolist()
        assert sum(one["weight"] for one in neighbors) == pytest.approx(1)
        assert all(-1 <= one["similarity"] <= 1 for one in neighbors)
        assert part["encoder"] == expected.fingerprint
        assert part["n_neighbors"] == part["n_contributors"] == len(neighbors) == 4
        assert part["readout"]["name"] == "neighbors" and part["readout"]["n_neighbors"] == 4
        assert part["weight_of_others"] == pytest.approx(0, abs=1e-6) and part["shown_share"] == pytest.approx(1)
    assert "mris" in record["software"] and "T" in record["created"]


def test_padding_is_not_a_neighbor(synthesizer, cohort):
    few = synthesizer.members[0].__class__(
        synthesizer.members[0].encoder, synthesizer.members[0].database, n_neighbors=50
    )
    record = provenance(few(cohort.read_sources([0])[0]))
    assert record["contributions"][0]["readout"]["n_neighbors"] == 50
    assert record["contributions"][0]["n_neighbors"] == len(record["contributions"][0]["neighbors"]) == 8
    json.dumps(record, allow_nan=False)


@pytest.mark.slow
def test_pictures_are_readable_and_show_gray_where_there_is_no_value(synthesis, synthesizer, cohort, tmp_path):
    write_maps_picture(tmp_path / "maps.png", synthesis, look=Look((0, 3)))
    maps = synthesizer.neighbor_maps(synthesis, 3)
    write_neighbors_picture(tmp_path / "neighbors.png", synthesis, cohort.read_sources([2])[0], maps)
    for name in ("maps.png", "neighbors.png"):
        pixels = np.asarray(PIL.Image.open(tmp_path / name).convert("RGB")).reshape(-1, 3)
        gray = np.round(0.85 * 255)
        assert (np.abs(pixels - gray) <= 1).all(axis=1).mean() > 0.01
        assert len(np.unique(pixels, axis=0)) > 50


def test_names_that_the_font_lacks_are_drawn_as_codes_without_a_warning(synthesis, synthesizer, cohort, tmp_path):
    maps = synthesizer.neighbor_maps(synthesis, 2)
    parts = [
        replace(part, neighbors=replace(part.neighbors, keys=np.full_like(part.neighbors.keys, "林小/0")))
        for part in synthesis.contributions
    ]
    named = replace(synthesis, contributions=tuple(parts))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_neighbors_picture(tmp_path / "neighbors.png", named, cohort.read_sources([2])[0], maps)
    assert drawable("林 and 小") == "\\u6797 and \\u5c0f", "two names stay two"
    assert drawable("Zoë Åström\n0.9 · 40 %") == "Zoë Åström\n0.9 · 40 %"


def test_a_map_of_equal_values_or_none_can_still_be_drawn(synthesis, tmp_path):
    flat = replace(synthesis, image=np.full_like(synthesis.image, 2), spread=np.full_like(synthesis.spread, np.nan))
    write_maps_picture(tmp_path / "flat.png", flat)
    assert (tmp_path / "flat.png").stat().st_size > 0


def test_an_earlier_result_is_replaced(synthesis, tmp_path):
    (tmp_path / "knee.npz").write_bytes(b"old")
    write_synthesis(synthesis, tmp_path, "knee", ("npz",))
    with np.load(tmp_path / "knee.npz", allow_pickle=False) as arrays:
        assert arrays["image"].shape == (2, 8, 8)


def test_a_full_disk_is_told_and_the_earlier_result_stays(synthesis, tmp_path, monkeypatch):
    write_synthesis(synthesis, tmp_path, "knee", ("nifti",))
    before = (tmp_path / "knee.nii.gz").read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        write_synthesis(synthesis, tmp_path, "knee", ("nifti",))
    assert (tmp_path / "knee.nii.gz").read_bytes() == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".knee")]


def test_a_place_that_is_a_file_is_told(synthesis, tmp_path):
    Path(tmp_path, "out").write_text("in the way")
    with pytest.raises(OutputError, match="cannot make the folder"):
        write_synthesis(synthesis, tmp_path / "out", "knee")


@pytest.mark.parametrize("stem", ["", "..", "a/b", "/etc/knee", "a\\b"])
def test_a_stem_cannot_lead_out_of_the_folder(synthesis, tmp_path, stem):
    with pytest.raises(SettingsError, match="stem is"):
        write_synthesis(synthesis, tmp_path, stem)


def test_an_unknown_format_is_refused(synthesis, tmp_path):
    with pytest.raises(SettingsError, match="'gif'"):
        write_synthesis(synthesis, tmp_path, "knee", ("png", "gif"))
