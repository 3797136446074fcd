"""Named parts of plates and condyles: shares of area and places as published, on simple shapes and on the atlas."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import Delaunay
from tests.knee_volumes import atlas as atlas_of_solids

from mris.knee.cartilage_atlas import FEMORAL_AXIS, AtlasRegion, femoral_angle, open_atlas
from mris.knee.flatten import flatten, pixel_area, subregion_denuded, subregion_masks
from mris.knee.subregions import subregions

PLACES = ("central", "external", "internal", "anterior", "posterior")
SHARES = {"medial": (0.200, 0.164, 0.146, 0.240, 0.252), "lateral": (0.191, 0.171, 0.196, 0.214, 0.225)}
"""Weights by which the means of the five parts give that of a plate, of 202 measurements by hand (least squares)."""


def plates() -> AtlasRegion:
    """A lateral plate of 30 x 30 mm and a medial one of 30 x 45 mm, as points a millimeter apart."""
    sheets = [np.mgrid[10:41, -100:-69], np.mgrid[58:89, -104:-58]]
    points, faces = [], []
    for sheet in sheets:
        flat = sheet.reshape(2, -1).T.astype(float)
        faces.append(Delaunay(flat).simplices + sum(map(len, points)))
        points.append(np.column_stack([flat, np.full(len(flat), -80.0)]))
    every = np.concatenate(points)
    return AtlasRegion("tibial", every, np.concatenate(faces), every[:, :2])


def test_a_plate_is_shared_out_by_an_ellipse_and_two_diagonals() -> None:
    region = plates()
    parts = subregions(region.points, region)
    for side, outward, center, half in (("medial", 1, (73, -81.5), (15, 22.5)), ("lateral", -1, (25, -85), (15, 15))):
        five = [parts[f"{place}_{side}_tibia"] for place in PLACES]
        assert np.array_equal(np.sum(five, axis=0), parts[f"{side}_tibia"].astype(int))
        u, v = ((region.points[:, :2] - center) * [outward, 1]).T
        radius = np.sqrt(0.8 / np.pi)  # of the ellipse with a fifth of the area of its rectangle
        assert np.hypot(u / half[0], v / half[1])[five[0]].max() == pytest.approx(radius, abs=0.05)
        wanted = np.where(np.abs(v) > np.abs(u), np.where(v > 0, 3, 4), np.where(u > 0, 1, 2))
        clear = parts[f"{side}_tibia"] & ~five[0] & (np.abs(np.abs(u) - np.abs(v)) > 1)
        assert np.array_equal(np.argmax(five, axis=0)[clear], wanted[clear])
    assert (parts["medial_tibia"] ^ parts["lateral_tibia"]).all()


def test_a_condyle_that_bears_weight_is_cut_into_thirds_of_its_width() -> None:
    region = atlas_of_solids(0.5).femoral
    parts = subregions(region.points, region)
    angle, x = femoral_angle(region.points), region.points[:, 0]
    for side, outward in (("medial", 1), ("lateral", -1)):
        bearing = parts[f"{side}_femur"]
        assert np.array_equal(bearing, ((x - 50) * outward > 0) & (angle >= -60) & (angle <= 10))
        inner, middle, outer = (parts[f"{place}_{side}_femur"] for place in ("internal", "central", "external"))
        assert np.array_equal(inner.astype(int) + middle + outer, bearing.astype(int))
        widths = [np.ptp(x[part]) for part in (inner, middle, outer)]
        assert max(widths) - min(widths) < 0.8  # vertices are 0.35 mm apart
        assert (outward * x[inner]).max() < (outward * x[middle]).min() < (outward * x[outer]).min()


def test_every_place_on_a_femur_lies_in_one_part_and_a_place_without_a_number_in_none(rng: np.random.Generator) -> None:
    region = atlas_of_solids().femoral
    parts = subregions(rng.uniform([10, -110, -95], [90, -35, -45], (500, 3)), region)
    whole = ("medial_femur", "lateral_femur", "posterior_medial_femur", "posterior_lateral_femur", "trochlea")
    assert (np.sum([parts[name] for name in whole], axis=0) == 1).all()
    below = np.array([[70.0, FEMORAL_AXIS[0], -90.0], [20.0, FEMORAL_AXIS[0], -90.0]])
    assert subregions(below, region)["medial_femur"].tolist() == [True, False]
    for one in (region, plates()):
        assert not any(inside.any() for inside in subregions(np.full((1, 3), np.nan), one).values())


def test_bare_bone_is_told_in_percent_of_the_area_of_a_part() -> None:
    region = atlas_of_solids(0.5).tibial
    masks, area = subregion_masks(region), pixel_area(region)
    flat = flatten(np.full(len(region.points), 2.0), region)
    flat[masks["external_medial_tibia"]] = 0.0
    denuded = subregion_denuded(flat, region)
    assert denuded["external_medial_tibia"] == 100 and denuded["lateral_tibia"] == 0
    share = area[masks["external_medial_tibia"]].sum() / area[masks["medial_tibia"]].sum()
    assert denuded["medial_tibia"] == pytest.approx(100 * share)
    flat[masks["medial_tibia"]] = np.nan
    assert np.isnan(subregion_denuded(flat, region)["external_medial_tibia"])


@pytest.mark.data
def test_parts_of_the_atlas_have_the_shares_of_area_that_hand_measurements_have(data_dir: Path) -> None:
    atlas = open_atlas(data_dir / "oai_atlas")
    for region in (atlas.tibial, atlas.femoral):
        masks, area = subregion_masks(region), pixel_area(region)
        for side, shares in SHARES.items():
            whole = area[masks[f"{side}_{'tibia' if region.name == 'tibial' else 'femur'}"]].sum()
            if region.name == "tibial":
                found = [area[masks[f"{place}_{side}_tibia"]].sum() / whole for place in PLACES]
                assert found == pytest.approx(shares, abs=0.03)
            else:
                found = [area[masks[f"{place}_{side}_femur"]].sum() / whole for place in PLACES[:3]]
                assert found == pytest.approx((1 / 3,) * 3, abs=0.06)
