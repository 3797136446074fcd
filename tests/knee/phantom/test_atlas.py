"""The flat atlas: masks, compartments and where points of the knee lie on it."""

import numpy as np
import pytest

from mris.errors import SettingsError
from mris.knee.map_edges import PHANTOM_EDGES
from mris.knee.phantom.atlas import (
    FEMORAL_HEIGHT_MM,
    FEMORAL_RADIUS_MM,
    edge_distance,
    femoral_position,
    knee_atlas,
    relative_grid,
    tibial_position,
)


@pytest.mark.parametrize("size", [32, 64, 128])
def test_compartments_are_disjoint_parts_of_their_regions(size: int) -> None:
    atlas = knee_atlas(size)
    for name, mask in atlas.compartments.items():
        assert mask.any()
        assert not (mask & ~atlas.mask[atlas.region_of(name)]).any()
    tibial = atlas.compartments["medial_tibia"].astype(int) + atlas.compartments["lateral_tibia"]
    assert np.array_equal(tibial == 1, atlas.mask[1])


@pytest.mark.parametrize("size", [48, 96])
def test_the_atlas_has_the_same_shape_at_every_size(size: int) -> None:
    share, reference = knee_atlas(size).mask.mean(axis=(1, 2)), knee_atlas(256).mask.mean(axis=(1, 2))
    np.testing.assert_allclose(share, reference, rtol=0.03)


def test_the_femur_is_one_horseshoe_and_the_tibia_two_plates() -> None:
    from scipy import ndimage

    femoral, tibial = knee_atlas(128).mask
    assert [ndimage.label(region)[1] for region in (femoral, tibial)] == [1, 2]
    row = femoral[:, 128 // 4]
    assert np.diff(row.astype(int)).clip(0).sum() == 2  # two arms behind


def test_a_distal_point_and_the_middle_of_the_tibia_lie_where_they_should() -> None:
    row, column = femoral_position(np.array(-FEMORAL_HEIGHT_MM / 2), np.array(0.0))
    assert (row, column) == (pytest.approx(0.0), pytest.approx(0.62))
    behind = femoral_position(np.array(0.0), np.array(-0.5))[1]
    assert behind == pytest.approx(0.62 - 0.5 * FEMORAL_RADIUS_MM / 84.0)
    assert tibial_position(np.array(0.0), np.array(0.0)) == (0.5, 0.5)


def test_the_contact_area_of_a_flexed_knee_has_cartilage_on_both_sides() -> None:
    atlas = knee_atlas(64)
    for region, (row, column) in enumerate(
        (femoral_position(np.array([-19.0, 19.0]), np.deg2rad(-22.0)), tibial_position(np.array([-19.0, 19.0]), 0.0))
    ):
        pixels = (row * 64).astype(int), (np.broadcast_to(column, row.shape) * 64).astype(int)
        assert atlas.mask[region][pixels].all()


def test_mean_thickness_counts_bare_bone_but_not_the_outside() -> None:
    atlas = knee_atlas(32)
    thickness = np.where(atlas.mask, 2.0, np.nan)
    first = np.argwhere(atlas.compartments["medial_tibia"])[: atlas.compartments["medial_tibia"].sum() // 2]
    thickness[1][tuple(first.T)] = 0.0
    n = atlas.compartments["medial_tibia"].sum()
    assert atlas.mean_thickness(thickness, "medial_tibia") == pytest.approx(2.0 * (n - n // 2) / n)
    assert atlas.mean_thickness(thickness, "lateral_tibia") == pytest.approx(2.0)


def test_edge_distance_is_measured_in_mm() -> None:
    row, column = relative_grid(100)
    disc = np.hypot(row - 0.5, column - 0.5) < 0.4
    assert edge_distance(disc, 50.0).max() == pytest.approx(0.4 * 50.0, abs=0.6)


def test_an_atlas_too_small_for_two_plates_is_refused() -> None:
    with pytest.raises(SettingsError, match="atlas size 8"):
        knee_atlas(8)


def test_the_edges_that_pictures_name_are_those_of_the_digital_maps() -> None:
    found = knee_atlas(96)
    rows = {name: np.argwhere(mask)[:, 0].mean() for name, mask in found.compartments.items()}
    for bone, region in (("femur", "femoral"), ("tibia", "tibial")):
        upper, lower = sorted(("medial", "lateral"), key=lambda part: rows[f"{part}_{bone}"])
        assert (PHANTOM_EDGES[region].top, PHANTOM_EDGES[region].bottom) == (upper, lower)
    columns = np.argwhere(found.compartments["trochlea"])[:, 1].mean()
    assert columns > 48 and PHANTOM_EDGES["femoral"].right == "anterior"
