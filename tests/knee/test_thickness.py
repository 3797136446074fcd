"""Thickness along field lines: shells of known thickness, laws, denuded bone, labels that cannot be measured."""

from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from mris.errors import ImageError
from mris.knee.thickness import InnerSurface, cartilage_thickness, sample_thickness

DESS = (0.7, 0.365, 0.365)
"""Voxels of the OAI study's MR sequence, mm."""

OBLIQUE = np.array([0.33, 0.41, 0.85]) / np.linalg.norm([0.33, 0.41, 0.85])
Labels = tuple[np.ndarray, np.ndarray, np.ndarray]


def places(spacing: tuple[float, ...], size: float) -> tuple[np.ndarray, np.ndarray]:
    """Centers of the voxels of a cube round the origin, and the affine."""
    n = [int(np.ceil(size / s)) for s in spacing]
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [-(k - 1) / 2 * s + 0.113 for k, s in zip(n, spacing, strict=True)]
    return np.moveaxis(np.indices(n), 0, -1) @ affine[:3, :3].T + affine[:3, 3], affine


def shell(
    kind: str, thickness: float, spacing: tuple[float, ...] = DESS, turn: Rotation | None = None, size: float = 24.0
) -> Labels:
    """Cartilage of one thickness on a bone that is a ball, a cylinder or a half-space; its middle is at the origin."""
    at, affine = places(spacing, size)
    turned = at @ (Rotation.align_vectors([[0, 0, 1]], [OBLIQUE])[0] * (turn or Rotation.identity())).as_matrix().T
    x, y, z = np.moveaxis(turned, -1, 0)
    height = {
        "sphere": np.sqrt(x**2 + y**2 + (z + 20) ** 2) - 20,
        "cylinder": np.hypot(y, z + 20) - 20,
        "plate": z,
    }[kind]
    disk = (np.hypot(x, y) < size / 2 - 4.5) & (z > -10)
    return (height >= 0) & (height < thickness) & disk, height < 0, affine


def middle(surface: InnerSurface, radius: float = 4.5) -> np.ndarray:
    """Thickness away from the rim."""
    return surface.thickness[np.linalg.norm(surface.points, axis=1) < radius]


@pytest.mark.parametrize("thickness", [1.0, 2.2, 4.0])
@pytest.mark.parametrize("kind", ["sphere", "cylinder", "plate"])
def test_a_shell_of_known_thickness_is_recovered_within_a_tenth_of_a_millimeter(kind: str, thickness: float) -> None:
    found = middle(cartilage_thickness(*shell(kind, thickness)))
    assert len(found) > 300
    assert np.abs(found - thickness).mean() < 0.1
    assert np.median(found) == pytest.approx(thickness, abs=0.05)


def test_a_wedge_is_as_thick_as_the_arc_of_its_angle() -> None:
    at, affine = places(DESS, 32.0)
    x, y, z = np.moveaxis(at @ Rotation.align_vectors([[0, 0, 1]], [OBLIQUE])[0].as_matrix().T, -1, 0)
    angle, from_apex = np.arctan2(z, x + 30), np.hypot(x + 30, z)
    cartilage = (angle >= 0) & (angle < 0.1) & (np.abs(x) < 11) & (np.abs(y) < 11)
    surface = cartilage_thickness(cartilage, (angle < 0) & (z > -8), affine)
    inside = np.linalg.norm(surface.points, axis=1) < 7
    apex = -30 * Rotation.align_vectors([[0, 0, 1]], [OBLIQUE])[0].inv().as_matrix()[:, 0]
    axis = Rotation.align_vectors([[0, 0, 1]], [OBLIQUE])[0].inv().as_matrix()[:, 1]
    away = surface.points[inside] - apex
    radius = np.linalg.norm(away - np.outer(away @ axis, axis), axis=1)
    assert np.ptp(0.1 * radius) > 1.0 and np.isfinite(from_apex).all()
    assert np.abs(surface.thickness[inside] - 0.1 * radius).mean() < 0.1


@pytest.mark.parametrize("thickness", [2.2, 4.0])
def test_coarse_cubic_voxels_give_the_median_within_a_tenth_of_a_millimeter(thickness: float) -> None:
    found = middle(cartilage_thickness(*shell("sphere", thickness, (0.8, 0.8, 0.8))))
    assert np.median(found) == pytest.approx(thickness, abs=0.1)


def test_a_sheet_one_voxel_thick_is_thin_but_does_not_vanish() -> None:
    cartilage, bone = np.zeros((24, 40, 40), bool), np.zeros((24, 40, 40), bool)
    bone[:10], cartilage[10, 8:32, 8:32] = True, True
    found = middle(cartilage_thickness(cartilage, bone, centered(DESS, cartilage.shape)), 3.0)
    assert 0.2 < np.median(found) <= 0.7 and (found > 0).all()


def centered(spacing: tuple[float, ...], shape: tuple[int, ...]) -> np.ndarray:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -np.array(spacing) * (np.array(shape) - 1) / 2
    return affine


SPHERE = shell("sphere", 2.2, (0.7, 0.5, 0.5), size=20.0)
ON_SPHERE = cartilage_thickness(*SPHERE)


@settings(max_examples=5, deadline=None)
@given(st.floats(0.6, 1.6))
def test_a_volume_scaled_by_s_is_s_times_as_thick(scale: float) -> None:
    cartilage, bone, affine = SPHERE
    scaled = cartilage_thickness(cartilage, bone, np.diag([scale, scale, scale, 1.0]) @ affine)
    assert np.median(scaled.thickness) == pytest.approx(scale * np.median(ON_SPHERE.thickness), rel=0.01)
    assert middle(scaled, 4.5 * scale).mean() == pytest.approx(scale * middle(ON_SPHERE).mean(), rel=0.01)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_mirrored_volume_is_as_thick_at_the_mirrored_points(axis: int) -> None:
    cartilage, bone, affine = SPHERE
    mirror = np.eye(4)
    mirror[axis, axis], mirror[axis, 3] = -1, cartilage.shape[axis] - 1
    same = cartilage_thickness(np.flip(cartilage, axis), np.flip(bone, axis), affine @ mirror)
    distance, nearest = cKDTree(ON_SPHERE.points).query(same.points)
    assert len(same.points) == len(ON_SPHERE.points) and distance.max() < 1e-3
    assert np.abs(same.thickness - ON_SPHERE.thickness[nearest]).mean() < 1e-3


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 10**6))
def test_turning_the_affine_turns_the_points_and_leaves_the_thickness(seed: int) -> None:
    cartilage, bone, affine = SPHERE
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = Rotation.random(rng=np.random.default_rng(seed)).as_matrix(), [5, -70, 20]
    moved = cartilage_thickness(cartilage, bone, motion @ affine)
    np.testing.assert_allclose(moved.points, ON_SPHERE.points @ motion[:3, :3].T + motion[:3, 3], atol=1e-4)
    np.testing.assert_allclose(moved.thickness, ON_SPHERE.thickness, atol=1e-3)


@lru_cache
def cylinder(*turn: int) -> InnerSurface:
    return cartilage_thickness(*shell("cylinder", 2.2, turn=Rotation.from_euler("xyz", turn, degrees=True), size=30.0))


@pytest.mark.parametrize("turn", [(20, 0, 0), (0, 35, 0), (15, -25, 40)])
def test_a_knee_turned_in_the_scanner_has_the_same_median_within_two_percent(turn: tuple[int, int, int]) -> None:
    still = cylinder(0, 0, 0)
    turned = cylinder(*turn)
    assert np.median(turned.thickness) == pytest.approx(np.median(still.thickness), rel=0.02)
    assert middle(turned).mean() == pytest.approx(middle(still).mean(), rel=0.02)


def test_the_rim_is_outer_and_every_inner_point_lies_on_the_bone() -> None:
    cartilage, bone, affine = shell("sphere", 2.2)
    surface = cartilage_thickness(cartilage, bone, affine)
    height = np.linalg.norm(surface.points + 20 * OBLIQUE, axis=1) - 20
    assert np.abs(height).mean() < 0.1 and height.max() < 0.6
    assert surface.thickness.max() < 3.0  # no line runs along the sheet


@lru_cache
def plate_with_hole(radius: float = 5.0) -> InnerSurface:
    cartilage, bone, affine = shell("plate", 2.2, size=34.0)
    at, _ = places(DESS, 34.0)
    across = at - (at @ OBLIQUE)[..., None] * OBLIQUE
    return cartilage_thickness(cartilage & (np.linalg.norm(across, axis=-1) > radius), bone, affine)


def plate_points(height: float = 0.0) -> np.ndarray:
    """Places half a millimeter apart on the plate, or at a height above it."""
    u, v = np.meshgrid(np.arange(-9, 9.1, 0.5), np.arange(-9, 9.1, 0.5))
    turn = Rotation.align_vectors([[0, 0, 1]], [OBLIQUE])[0].inv()
    disk = np.hypot(u, v) < 9
    return turn.apply(np.stack([u[disk], v[disk], np.full(disk.sum(), height)], axis=1))


def test_denuded_bone_is_zero_and_its_margin_is_not() -> None:
    surface, points = plate_with_hole(), plate_points()
    found, radius = sample_thickness(surface, points), np.linalg.norm(points, axis=1)
    assert (found[radius < 3.0] == 0).all()
    assert (found[radius > 5.0] > 0).all()
    assert np.median(found[radius > 6.5]) == pytest.approx(2.2, abs=0.1)
    strict = sample_thickness(surface, points, denuded_beyond=0.5)
    area = (strict == 0).sum() * 0.25
    assert area == pytest.approx(np.pi * 4.5**2, rel=0.15)


@pytest.mark.parametrize("height", [-2.0, 2.0])
def test_a_registration_that_is_off_across_the_surface_bares_no_bone(height: float) -> None:
    surface = plate_with_hole()
    on, off = (sample_thickness(surface, plate_points(h)) for h in (0.0, height))
    assert np.mean((on == 0) != (off == 0)) < 0.03
    assert np.abs(on - off).mean() < 0.05


def test_a_small_gap_between_bone_and_cartilage_does_not_matter_and_a_wide_one_does() -> None:
    cartilage, bone, affine = shell("plate", 2.2)
    at, _ = places(DESS, 24.0)
    near = cartilage_thickness(cartilage, bone & (at @ OBLIQUE < -0.8), affine)
    assert np.median(middle(near)) == pytest.approx(2.2, abs=0.1)
    with pytest.raises(ImageError, match=r"no cartilage within 1\.5 mm of its bone; check the label numbers"):
        cartilage_thickness(cartilage, bone & (at @ OBLIQUE < -3.0), affine)


def test_a_fragment_away_from_the_bone_has_no_bone_side() -> None:
    cartilage, bone, affine = shell("plate", 2.2)
    at, _ = places(DESS, 24.0)
    floating = (np.abs(at @ OBLIQUE - 8) < 1) & (np.linalg.norm(at, axis=-1) < 10)
    alone, both = (cartilage_thickness(label, bone, affine) for label in (cartilage, cartilage | floating))
    assert len(both.points) == pytest.approx(len(alone.points), rel=0.01)  # a larger box moves the grid by a fraction
    assert (both.points @ OBLIQUE).max() < 1
    assert np.median(both.thickness) == pytest.approx(np.median(alone.thickness), rel=0.01)


def test_a_label_that_ends_at_the_edge_of_the_volume_is_measured_there_too() -> None:
    cartilage, bone = np.zeros((20, 40, 40), bool), np.zeros((20, 40, 40), bool)
    bone[:, :, :20], cartilage[:, :, 20:26] = True, True
    surface = cartilage_thickness(cartilage, bone, np.diag([*DESS, 1.0]))
    assert np.abs(surface.thickness - 6 * 0.365).max() < 0.02
    assert surface.points.min() > -0.35 and (surface.points.max(axis=0) < np.array([20, 40, 40]) * DESS).all()


@pytest.mark.parametrize("missing", ["cartilage", "bone"])
def test_a_volume_without_one_of_the_labels_says_which(missing: str) -> None:
    labels = {name: np.ones((4, 4, 4), bool) for name in ("cartilage", "bone")}
    labels[missing][:] = False
    with pytest.raises(ImageError, match=f"no voxel of {missing}"):
        cartilage_thickness(labels["cartilage"], labels["bone"], np.eye(4))


def test_labels_that_cannot_belong_together_are_refused() -> None:
    one = np.ones((4, 4, 4), bool)
    with pytest.raises(ImageError, match="64 voxels are bone and cartilage at once"):
        cartilage_thickness(one, one, np.eye(4))
    with pytest.raises(ImageError, match="two volumes of one grid"):
        cartilage_thickness(one, one[:2], np.eye(4))


@pytest.mark.parametrize(("entry", "message"), [((0, 1), "right angles"), ((0, 0), "must be positive")])
def test_an_affine_that_is_no_grid_is_refused(entry: tuple[int, int], message: str) -> None:
    cartilage, bone, affine = SPHERE
    broken = affine.copy()
    broken[entry] = 0.5 if entry == (0, 1) else 0.0
    with pytest.raises(ImageError, match=message):
        cartilage_thickness(cartilage, bone, broken)


@pytest.mark.data
def test_the_tibia_of_a_real_knee_is_as_thick_as_tibiae_are(data_dir: Path) -> None:
    image = nib.load(data_dir / "oai_knees" / "segmentations" / "9378288_R_00m_seg.nii.gz")
    labels = np.asarray(image.dataobj)
    surface = cartilage_thickness(labels == 4, labels == 3, image.affine)
    assert 1.4 < np.median(surface.thickness) < 2.5
    assert (surface.thickness < 0.1).mean() < 0.03 and surface.thickness.max() < 6
    voxels = np.argwhere(labels == 4) @ image.affine[:3, :3].T + image.affine[:3, 3]
    assert cKDTree(voxels).query(surface.points)[0].max() < 0.7
