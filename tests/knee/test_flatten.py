"""Flat maps: the published ones come out to the last digit, a plain interpolation agrees, means are means over area."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import griddata
from scipy.spatial import Delaunay

from mris.errors import ImageError
from mris.knee.cartilage_atlas import AtlasRegion, CartilageAtlas, open_atlas, read_ply
from mris.knee.flatten import MAP_SIZE, flatten, map_mask, pixel_area, subregion_masks, subregion_means


def two_plates() -> AtlasRegion:
    """Two flat elliptic plates, a vertex each 0.35 mm with some disorder; the plane's second unit is half as long."""
    rng = np.random.default_rng(7)
    points, faces = [], []
    for center, radius in (((25.0, -85.0), (16.0, 15.0)), ((73.0, -82.0), (15.0, 22.0))):
        grid = np.stack(np.meshgrid(*(np.arange(-r, r, 0.35) for r in radius), indexing="ij"), axis=-1).reshape(-1, 2)
        grid = grid[((grid / radius) ** 2).sum(axis=1) < 1] + rng.uniform(-0.1, 0.1, 2)
        grid = grid + rng.uniform(-0.05, 0.05, grid.shape) + center
        faces.append(Delaunay(grid).simplices + sum(map(len, points)))
        points.append(np.column_stack([grid, np.full(len(grid), -80.0)]))
    every = np.concatenate(points)
    return AtlasRegion("tibial", every, np.concatenate(faces), np.column_stack([every[:, 1], -every[:, 0] / 2]))


PLATES = two_plates()


@pytest.fixture(scope="module")
def atlas(data_dir: Path) -> CartilageAtlas:
    return open_atlas(data_dir / "oai_atlas")


@pytest.mark.data
@pytest.mark.parametrize("prefix", ["FC", "TC"])
def test_the_thickness_that_a_mesh_carries_flattens_to_the_published_map(
    prefix: str, atlas: CartilageAtlas, data_dir: Path
) -> None:
    folder = data_dir / "oai_atlas"
    published = np.load(folder / f"{prefix}_2d_thickness.npy")
    region = atlas.femoral if prefix == "FC" else atlas.tibial
    flat = flatten(read_ply(folder / f"atlas_{prefix}_mesh_with_thickness.ply").values["thickness"], region)
    np.testing.assert_array_equal(np.isnan(flat), np.isnan(published))
    np.testing.assert_allclose(flat, published, rtol=0, atol=1e-9)
    assert flat.dtype == published.dtype


@pytest.mark.data
def test_the_front_is_at_the_right_and_medial_where_the_page_says(atlas: CartilageAtlas) -> None:
    for region, downward in ((atlas.femoral, 1), (atlas.tibial, -1)):
        x, y = (flatten(region.points[:, axis], region) for axis in (0, 1))
        rows, columns = np.nonzero(np.isfinite(x))
        assert np.corrcoef(columns, y[rows, columns])[0, 1] > 0.9
        assert np.corrcoef(rows, x[rows, columns])[0, 1] * downward > 0.9  # x grows from lateral to medial
    tibia, femur = subregion_masks(atlas.tibial), subregion_masks(atlas.femoral)
    assert np.nonzero(tibia["medial_tibia"])[0].max() < np.nonzero(tibia["lateral_tibia"])[0].min()
    assert np.nonzero(femur["lateral_femur"])[0].mean() < np.nonzero(femur["medial_femur"])[0].mean()
    assert np.nonzero(femur["posterior_medial_femur"])[1].max() < np.nonzero(femur["trochlea"])[1].min()


@pytest.mark.data
def test_the_pixels_stand_for_the_area_of_the_surface(atlas: CartilageAtlas) -> None:
    for region in (atlas.femoral, atlas.tibial):
        a, b, c = (region.points[region.faces[:, corner]] for corner in range(3))
        area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
        assert np.nansum(pixel_area(region)) == pytest.approx(area, rel=0.1)  # the mask is a cell wider than the mesh


def test_a_map_is_the_plain_linear_interpolation_on_the_documented_grid(rng: np.random.Generator) -> None:
    values = rng.uniform(0, 4, len(PLATES.points))
    lowest, highest = PLATES.embedding.min(axis=0), PLATES.embedding.max(axis=0)
    step = (highest - lowest) / 300
    grid = np.meshgrid(*(lowest[axis] - 5 * step[axis] + np.arange(310) * step[axis] for axis in (0, 1)))
    plain = griddata(PLATES.embedding, values, tuple(grid), method="linear")
    flat, near = flatten(values, PLATES), np.zeros((310, 310), dtype=bool)
    for place in PLATES.embedding:
        column, row = np.floor((place - [grid[0][0, 0], grid[1][0, 0]]) / step).astype(int)
        near[row - 1 : row + 2, column - 1 : column + 2] = True
    plain[~near] = np.nan
    both = np.isfinite(plain) & np.isfinite(flat)
    assert both.sum() >= np.isfinite(plain).sum() - 5  # the last row and column lie on the hull, to rounding
    np.testing.assert_allclose(flat[both], plain[both], atol=1e-9)
    assert not (np.isfinite(flat) & ~near).any()


@settings(deadline=None)
@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(-5, 5))
def test_a_plane_stays_a_plane(slope: float, other: float, height: float) -> None:
    values = PLATES.embedding @ [slope, other] + height
    flat = flatten(values, PLATES)
    x, y = (flatten(PLATES.embedding[:, axis], PLATES) for axis in (0, 1))
    np.testing.assert_allclose(flat, slope * x + other * y + height, atol=1e-9)


def test_denuded_bone_is_zero_and_only_the_outside_is_nan() -> None:
    flat = flatten(np.zeros(len(PLATES.points)), PLATES)
    assert (flat[map_mask(PLATES)] == 0).all()
    assert np.isnan(flat[~map_mask(PLATES)]).all()
    assert flat.shape == (MAP_SIZE, MAP_SIZE) and flat.dtype == np.float64


def test_a_vertex_without_a_value_leaves_its_pixels_to_its_neighbors() -> None:
    values = np.full(len(PLATES.points), 2.0)
    values[:: len(values) // 20] = np.nan
    np.testing.assert_allclose(flatten(values, PLATES)[map_mask(PLATES)], 2.0)
    values[PLATES.points[:, 0] > 50] = np.nan
    flat, medial = flatten(values, PLATES), subregion_masks(PLATES)["medial_tibia"]
    assert np.isnan(flat[medial]).mean() > 0.95
    np.testing.assert_allclose(flat[subregion_masks(PLATES)["lateral_tibia"]], 2.0)


def test_values_of_another_mesh_are_refused() -> None:
    with pytest.raises(ImageError, match=r"values of shape \(3,\) for the tibial atlas"):
        flatten(np.zeros(3), PLATES)


def test_the_mean_of_a_part_is_the_plain_mean_over_its_area() -> None:
    flat = flatten(PLATES.points[:, 0], PLATES)
    means = subregion_means(flat, PLATES)
    area, masks = pixel_area(PLATES), subregion_masks(PLATES)
    for name, mask in masks.items():
        total = weight = 0.0
        for row, column in zip(*np.nonzero(mask), strict=True):
            total += area[row, column] * flat[row, column]
            weight += area[row, column]
        assert means[name] == pytest.approx(total / weight)
    assert means["medial_tibia"] == pytest.approx(73.0, abs=0.4)  # the middle of the ellipse, to a pixel or two:
    assert means["lateral_tibia"] == pytest.approx(25.0, abs=0.4)  # the mask is wider on the side of the other plate


def test_pixels_without_a_value_do_not_count_and_a_part_without_any_has_no_mean() -> None:
    flat = flatten(np.full(len(PLATES.points), 1.5), PLATES)
    parts = subregion_masks(PLATES)
    flat[parts["central_medial_tibia"]] = np.nan
    flat[np.nonzero(parts["lateral_tibia"])[0][0]] = np.nan
    means = subregion_means(flat, PLATES)
    assert np.isnan(means["central_medial_tibia"])
    assert means["medial_tibia"] == pytest.approx(1.5) and means["lateral_tibia"] == pytest.approx(1.5)


def test_the_area_of_a_flat_plate_is_that_of_its_ellipse() -> None:
    masks, area = subregion_masks(PLATES), pixel_area(PLATES)
    assert area[masks["medial_tibia"]].sum() == pytest.approx(np.pi * 15 * 22, rel=0.05)
    assert area[masks["lateral_tibia"]].sum() == pytest.approx(np.pi * 16 * 15, rel=0.05)


def test_a_map_of_another_size_has_no_parts() -> None:
    with pytest.raises(ImageError, match=r"map of shape \(256, 256\)"):
        subregion_means(np.zeros((256, 256)), PLATES)
