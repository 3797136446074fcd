"""Registration with the atlas: known motions are found, sides are told apart, nothing folds."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation
from tests.knee_volumes import CENTER, RIGHT, TIBIAL_MM, TOP, atlas, knee

from mris.knee.alignment import _Closest, _ClosestOfFew, align, apply
from mris.knee.cartilage_atlas import CartilageAtlas, open_atlas
from mris.knee.deformation import Level, deform, jacobian
from mris.knee.label_map import PRESETS
from mris.knee.registration import register
from mris.knee.segmentation import Segmentation, read_segmentation
from mris.knee.template import template_of


@pytest.fixture(scope="module")
def solids() -> CartilageAtlas:
    return atlas()


def turned(degrees: tuple[float, float, float], scale: float = 1.0, shift: tuple[float, ...] = (0, 0, 0)) -> np.ndarray:
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() * scale
    motion[:3, 3] = shift
    return motion


def around_center(motion: np.ndarray, points: np.ndarray) -> np.ndarray:
    return apply(motion, points - CENTER) + CENTER


@settings(deadline=None, max_examples=15)
@given(
    st.tuples(*[st.floats(-25, 25)] * 3), st.floats(0.8, 1.25), st.tuples(*[st.floats(-80, 80)] * 3), st.integers(0, 99)
)
def test_a_scaled_rotation_of_a_cloud_is_found(
    degrees: tuple[float, float, float], scale: float, shift: tuple[float, float, float], seed: int
) -> None:
    cloud = np.random.default_rng(seed).normal(size=(400, 3)) * [30, 20, 6]
    truth = turned(degrees, scale, shift)
    found = align([cloud[:200], cloud[200:]], [apply(truth, cloud[:200]), apply(truth, cloud[200:])])
    assert np.abs(apply(found.affine, cloud) - apply(truth, cloud)).max() < 1e-3


def test_a_tilt_beyond_the_reach_of_closest_points_is_found_from_tilted_starts(solids: CartilageAtlas) -> None:
    clouds = template_of(solids).clouds
    truth = turned((50, -35, 40))
    found = align(clouds, [around_center(truth, cloud) for cloud in clouds])
    assert found.residual_mm < 0.05


def test_closest_points_of_a_cloud_that_creeps_are_those_of_a_full_search() -> None:
    rng = np.random.default_rng(3)
    still, creeping = rng.normal(size=(500, 3)), rng.normal(size=(400, 3))
    look, few = _Closest(still), _ClosestOfFew(still)
    for step in (0.0, 0.001, 0.01, 0.03, 0.1, 0.5, 0.002):
        creeping = creeping + step * rng.normal(size=creeping.shape)
        expected = still[KDTree(still).query(creeping)[1]]
        assert np.array_equal(look.to(creeping), expected)
        assert np.array_equal(few.to(creeping), expected)


def test_a_cloud_of_one_point_is_closest_to_all() -> None:
    look = _Closest(np.ones((1, 3)))
    assert np.array_equal(look.to(np.zeros((4, 3))), np.ones((4, 3)))
    assert np.array_equal(look.to(np.full((4, 3), 9.0)), np.ones((4, 3)))


def test_jacobian_is_that_of_a_closed_form() -> None:
    x, y, z = np.indices((12, 10, 9), dtype=np.float32) * 2.0
    u = np.stack([0.1 * x + 0.2 * y, -0.3 * x, 0.05 * z])
    expected = np.linalg.det([[1.1, 0.2, 0], [-0.3, 1, 0], [0, 0, 1.05]])
    assert jacobian(u, 2.0) == pytest.approx(expected, abs=1e-5)


def test_deformation_brings_a_surface_onto_a_bulged_one_and_does_not_fold() -> None:
    x, y, z = np.indices((40, 40, 40), dtype=np.float32) - 20
    ball = np.sqrt(x**2 + y**2 + z**2) - 10
    bulge = np.sqrt(x**2 + y**2 + z**2) - 10 - 3 * np.exp(-((x - 10) ** 2 + y**2 + z**2) / 50)
    fixed, moving = (np.clip(m, -6, 6)[np.newaxis].astype(np.float32) for m in (ball, bulge))
    u = deform(fixed, np.ones_like(fixed), moving, 1.0, [Level(1, 30, 3.0, 0.5, 4.0)])
    surface = np.abs(fixed) < 0.7
    before = np.abs(moving - fixed)[surface].mean()
    carried = ndimage.map_coordinates(moving[0], np.indices(ball.shape) + u, order=1, mode="nearest")
    after = np.abs(carried - fixed[0])[surface[0]].mean()
    assert after < 0.15 * before
    assert jacobian(u, 1.0).min() > 0.1


def test_the_bone_side_of_a_plate_is_its_thickness_below_the_mesh(solids: CartilageAtlas) -> None:
    bone_side = template_of(solids).bone_side[1]
    inner = (np.abs(bone_side[:, 1] - CENTER[1]) < 7) & (np.abs(np.abs(bone_side[:, 0] - CENTER[0]) - 12.5) < 5)
    assert inner.sum() > 200
    lowest = apply(solids.affine, np.argwhere(solids.tibial_volume).astype(float))[:, 2].min() - 0.4  # a voxel's face
    assert np.median(bone_side[inner, 2]) == pytest.approx(lowest, abs=0.15)


def test_the_atlas_registers_with_itself_as_the_identity(solids: CartilageAtlas) -> None:
    found = register(solids, knee((0.8, 0.8, 0.8)))
    moved = found.to_subject(solids.femoral.points)
    assert min(found.dice.values()) > 0.97
    assert np.abs(moved - solids.femoral.points).max() < 0.5
    assert found.jacobian_positive == 1.0
    assert found.findings == ()


@pytest.mark.slow
def test_a_moved_and_scaled_knee_is_found(solids: CartilageAtlas) -> None:
    motion = turned((8, -6, 10), 1.08, (12, -30, 4))
    found = register(solids, knee(motion=motion))
    for region in (solids.femoral, solids.tibial):
        error = np.linalg.norm(found.to_subject(region.points) - around_center(motion, region.points), axis=1)
        assert np.median(error) < 0.6
    assert min(found.dice.values()) > 0.85


@pytest.mark.slow
def test_dice_is_that_of_the_carried_voxels_counted_one_by_one(solids: CartilageAtlas) -> None:
    motion = turned((6, 4, 5), 1.15, (3, 2, 1))  # no plate lies along a layer of voxels, which would count all or none
    subject = knee((0.6, 0.5, 0.5), motion=motion)
    found = register(solids, subject)
    world = apply(subject.affine, np.argwhere(np.ones(subject.labels.shape, bool)).astype(float))
    back = apply(np.linalg.inv(solids.affine), apply(np.linalg.inv(found.affine), world)).T
    for name, tissue, volume in (("femoral", 2, solids.femoral_volume), ("tibial", 4, solids.tibial_volume)):
        carried = ndimage.map_coordinates(volume.astype(np.uint8), back, order=0) > 0
        own = (subject.labels == tissue).ravel()
        dice = 2 * (carried & own).sum() / (carried.sum() + own.sum())
        assert found.dice_affine[name] == pytest.approx(dice, abs=0.02)


@pytest.mark.slow
def test_a_right_knee_is_the_mirror_image_of_a_left_one(solids: CartilageAtlas) -> None:
    motion = turned((5, 3, -4), 0.95, (2, 3, 4))
    left, right = (register(solids, knee(motion=motion, side=side)) for side in ("left", "right"))
    points = solids.tibial.points
    assert right.mirrored
    assert np.abs(apply(RIGHT, right.to_subject(points)) - left.to_subject(points)).max() < 0.001
    assert right.dice["femoral"] == pytest.approx(left.dice["femoral"], abs=1e-4)


def test_a_left_knee_called_right_is_flagged(solids: CartilageAtlas) -> None:
    sound = knee()
    wrong = Segmentation(sound.labels, sound.affine, "right", "wrong side")
    assert any("side doubtful" in str(finding) for finding in register(solids, wrong).findings)


@pytest.mark.slow
def test_bone_without_cartilage_stays_bone(solids: CartilageAtlas) -> None:
    subject = knee()
    world = apply(subject.affine, np.argwhere(np.ones(subject.labels.shape, bool)).astype(float)) - CENTER
    hole = (np.hypot(world[:, 0] - 13, world[:, 1]) < 5).reshape(subject.labels.shape) & (subject.labels == 4)
    labels = np.where(hole, 0, subject.labels).astype(np.uint8)
    found = register(solids, Segmentation(labels, subject.affine, "left"))
    bone_side = template_of(solids).bone_side[1]
    over = np.hypot(*(bone_side[:, :2] - CENTER[:2] - [13, 0]).T) < 3
    moved = found.to_subject(bone_side[over])
    assert np.hypot(*(moved[:, :2] - CENTER[:2] - [13, 0]).T).max() < 5
    assert np.abs(moved[:, 2] - (CENTER[2] + TOP - TIBIAL_MM)).mean() < 0.8


@pytest.mark.slow
def test_another_joint_is_flagged(solids: CartilageAtlas) -> None:
    grid = np.moveaxis(np.indices((50, 50, 50)), 0, -1) - 25.0
    radius = np.linalg.norm(grid, axis=-1)  # a hip: a ball in a cup
    labels = np.zeros(radius.shape, np.uint8)
    labels[radius < 14] = 1
    labels[(radius >= 14) & (radius < 16) & (grid[..., 2] > -6)] = 2
    labels[(radius >= 17) & (radius < 19) & (grid[..., 2] > 2)] = 4
    labels[(radius >= 19) & (grid[..., 2] > 2)] = 3
    found = register(solids, Segmentation(labels, np.diag([1.0, 1.0, 1.0, 1.0]), "left", "hip"))
    assert any("overlap" in str(finding) for finding in found.findings)


@pytest.mark.data
@pytest.mark.slow
def test_a_real_knee_overlaps_the_carried_atlas(data_dir: Path) -> None:
    real = open_atlas(data_dir / "oai_atlas")
    path = next((data_dir / "oai_knees" / "segmentations").glob("9302260_R_00m*"))
    segmentation = read_segmentation(path, PRESETS["oai_knees"], "right")
    found = register(real, segmentation)
    assert min(found.dice.values()) > 0.75
    assert found.jacobian_positive == 1.0
    assert found.residual_mm < 0.95 * found.residual_other_mm
    bone = apply(segmentation.affine, np.argwhere(segmentation.labels == 1)[::5].astype(float))
    away = KDTree(bone).query(found.to_subject(template_of(real).bone_side[0])[::20])[0]
    assert np.median(away) < 1.0
