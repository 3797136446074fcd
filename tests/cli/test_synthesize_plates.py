"""``mris radiograph`` to ``mris synthesize``: the scale of a region is the same on the whole road."""

import csv
import json

import numpy as np
import pytest
from tests.plates import pixels_of, write_plate

from mris.cohort.cohort import Cohort
from mris.errors import ImageError
from mris.images.admission import admit
from mris.images.read import read_image
from mris.images.transforms import SourcePreparation
from mris.synthesis.bundle import Bundle

HAND = ["--right", "200,140", "--left", "210,460"]
QUICK = ["--formats", "npz", "--no-pictures", "--quiet"]


@pytest.fixture
def bundle_of_regions(run_cli, tmp_path):
    """A bundle whose sources are pictures of 100 mm that `mris radiograph` cut out of plates."""

    def made(size_mm):
        folder = tmp_path / "regions"
        for name in map(str, range(8)):
            plate = write_plate(tmp_path / f"{name}.dcm", pixels_of(seed=int(name)))
            cut = ["radiograph", plate, "--out", folder, *HAND, "--size-mm", size_mm, "--size", 16, "--quiet"]
            assert run_cli(*cut).code == 0
        with (folder / "radiographs.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        with (folder / "pairs.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, [*rows[0], "target"])
            writer.writeheader()
            for row in rows:
                np.save(folder / f"{row['source']}.npy", np.random.default_rng(3).random((8, 8)))
                writer.writerow(row | {"target": f"{row['source']}.npy"})
        sizes = ["--size", "16", "--fractions", "train=0.5,val=0.5", "--workers", "1", "--quiet"]
        assert run_cli("prepare", folder / "pairs.csv", tmp_path / "cohort", *sizes).code == 0
        return tmp_path / "cohort"

    return made


def test_the_size_of_regions_reaches_the_cohort(bundle_of_regions):
    source = Cohort.open(bundle_of_regions(100)).header.source
    assert source.region_mm is None and source.edge_mm == source.extent_mm[0] == 100.0


def test_a_bundle_that_does_not_tell_the_size_of_its_sources_says_which_one_is_taken(run_cli, tiny_bundle, tmp_path):
    assert Bundle.open(tiny_bundle).members[0].encoder.card.preparation.edge_mm is None
    plate = write_plate(tmp_path / "plate.dcm", pixels_of())
    outcome = run_cli("synthesize", tiny_bundle, plate, "--out", tmp_path / "o", *HAND, *QUICK)
    assert outcome.code == 0, outcome.err
    assert "note: the bundle does not tell how many mm its sources show; regions of 140 mm are cut" in outcome.err
    record = json.loads((tmp_path / "o" / "plate_left_provenance.json").read_text())
    assert record["query"]["region_mm"] == 140.0


def test_a_plate_of_both_knees_is_no_query_of_one(refused, tiny_bundle, tmp_path):
    plate = write_plate(tmp_path / "plate.dcm", pixels_of(), ImageLaterality="B")
    said = refused("synthesize", tiny_bundle, plate, "--out", tmp_path / "o", "--side", "left", *QUICK)
    assert "says that it shows both sides" in said and "--knees detect" in said
    mirroring = SourcePreparation((16, 16), mirror_sides=("right",))
    with pytest.raises(ImageError, match="says that it shows both sides"):
        admit(read_image(plate), mirroring)


def test_encoders_of_whole_images_take_other_views_and_both_sides(run_cli, tiny_bundle, tmp_path):
    hips = write_plate(tmp_path / "hips.dcm", pixels_of(), ImageLaterality="B", ViewPosition="LL")
    assert not Bundle.open(tiny_bundle).members[0].encoder.card.preparation.shows_one_side
    outcome = run_cli("synthesize", tiny_bundle, hips, "--out", tmp_path / "o", *QUICK)
    assert outcome.code == 0 and "view" not in outcome.err
    with pytest.raises(ImageError, match="names the view 'LL'"):
        admit(read_image(hips), SourcePreparation((16, 16), region_mm=140.0))
