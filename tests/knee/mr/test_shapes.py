"""Digital knees and their pictures: laws that hold whatever the shape, and a knee that can be recognized."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from mris.knee.label_anatomy import label_anatomy, misfits
from mris.knee.label_map import PRESETS
from mris.knee.label_volume import LabelVolume
from mris.knee.mr.appearance import dess_look, draw_any, draw_dess, rendered
from mris.knee.mr.dress import Dress, dressed
from mris.knee.mr.knee_shape import KneeShape, Wear, draw_shape
from mris.knee.mr.phantom_scans import numbered, phantom_scan
from mris.knee.mr.shapes import knee_labels, smooth_noise
from mris.knee.mr.tissues import CARTILAGES, Tissue

STEP = 1.8
PLAIN = KneeShape()


@pytest.fixture(scope="module")
def knee() -> np.ndarray:
    return knee_labels(PLAIN, STEP)


@pytest.fixture(scope="module")
def tissues(knee: np.ndarray) -> np.ndarray:
    return dressed(knee, STEP, Dress())


def milliliters(labels: np.ndarray, tissue: Tissue, step: float = STEP) -> float:
    return float((labels == tissue).sum()) * step**3 / 1000


@pytest.mark.parametrize("seed", range(4))
def test_a_knee_that_is_drawn_has_the_anatomy_of_a_knee(seed: int) -> None:
    labels = numbered(knee_labels(draw_shape(np.random.default_rng(seed)), STEP))
    volume = LabelVolume(labels.astype(np.uint16), np.diag([STEP, STEP, STEP, 1.0]), "digital")
    assert misfits(label_anatomy(volume), PRESETS["nnunet_knee"], "left") == ()


def test_bones_are_one_piece_each_and_the_tibial_cartilage_two_plates(knee: np.ndarray) -> None:
    for tissue, n_pieces in ((Tissue.FEMUR, 1), (Tissue.TIBIA, 1), (Tissue.PATELLA, 1), (Tissue.TIBIAL_CARTILAGE, 2)):
        pieces, _ = ndimage.label(knee == tissue, np.ones((3, 3, 3)))
        sizes = np.bincount(pieces.ravel())[1:]
        assert (sizes > 0.02 * sizes.sum()).sum() == n_pieces, tissue.name


def test_each_cartilage_lies_on_its_own_bone(knee: np.ndarray) -> None:
    for cartilage, bone in zip(CARTILAGES, (Tissue.FEMUR, Tissue.TIBIA, Tissue.PATELLA), strict=True):
        away = ndimage.distance_transform_edt(knee != bone, sampling=STEP)
        assert away[knee == cartilage].max() < 6.0, cartilage.name


def test_thicker_cartilage_has_more_volume_and_moves_no_femur(knee: np.ndarray) -> None:
    thick = knee_labels(replace(PLAIN, femoral_mm=(4.4, 4.2, 5.6)), STEP)
    ratio = milliliters(thick, Tissue.FEMORAL_CARTILAGE) / milliliters(knee, Tissue.FEMORAL_CARTILAGE)
    assert 1.6 < ratio < 2.4
    np.testing.assert_array_equal(thick == Tissue.FEMUR, knee == Tissue.FEMUR)


def test_wear_takes_cartilage_away_and_adds_none() -> None:
    lifted = replace(PLAIN, wear=(Wear("patella", (0.0, 0.0), 8.0, 1.5),))
    worn, whole = knee_labels(lifted, STEP), knee_labels(PLAIN, STEP)
    cartilage = Tissue.PATELLAR_CARTILAGE
    assert not ((worn == cartilage) & (whole != cartilage)).any()
    assert milliliters(worn, cartilage) < 0.9 * milliliters(whole, cartilage)


def test_a_larger_knee_has_larger_bones(knee: np.ndarray) -> None:
    large = knee_labels(replace(PLAIN, size=1.1), STEP)
    assert milliliters(large, Tissue.PATELLA) / milliliters(knee, Tissue.PATELLA) == pytest.approx(1.1**3, rel=0.1)


def test_a_knee_does_not_depend_on_the_size_of_voxels(knee: np.ndarray) -> None:
    finer = knee_labels(PLAIN, 1.4)
    for tissue in (Tissue.FEMUR, Tissue.TIBIA, Tissue.FEMORAL_CARTILAGE, Tissue.TIBIAL_CARTILAGE):
        assert milliliters(finer, tissue, 1.4) == pytest.approx(milliliters(knee, tissue), rel=0.08), tissue.name


def test_equal_seeds_draw_equal_knees() -> None:
    one, other = (draw_shape(np.random.default_rng(5)) for _ in range(2))
    assert one == other
    assert one != draw_shape(np.random.default_rng(6))


def test_soft_tissue_leaves_bones_and_cartilages_as_they_are(knee: np.ndarray, tissues: np.ndarray) -> None:
    np.testing.assert_array_equal(tissues[knee > 0], knee[knee > 0])
    assert set(np.unique(tissues)) == {int(one) for one in Tissue}


def test_menisci_lie_between_the_cartilages(knee: np.ndarray, tissues: np.ndarray) -> None:
    for cartilage in (Tissue.FEMORAL_CARTILAGE, Tissue.TIBIAL_CARTILAGE):
        away = ndimage.distance_transform_edt(knee != cartilage, sampling=STEP)
        assert away[tissues == Tissue.MENISCUS].max() < 9.0


def test_smooth_noise_has_unit_variance_and_changes_slowly() -> None:
    noise = smooth_noise(np.random.default_rng(0), (90, 90, 90), 6.0)
    assert noise.std() == pytest.approx(1.0, abs=0.15)
    assert np.abs(np.diff(noise, axis=0)).mean() < 0.2


def test_a_picture_like_dess_has_bright_fluid_and_cartilage_and_dark_bone(tissues: np.ndarray) -> None:
    look = replace(dess_look(), blur_mm=(0.01, 0.01, 0.01), bias=0.0)
    picture = rendered(tissues, (STEP,) * 3, look, np.random.default_rng(0))
    middle = {one: float(np.median(picture[tissues == one])) for one in Tissue}
    assert middle[Tissue.FLUID] > middle[Tissue.FEMORAL_CARTILAGE] > middle[Tissue.MUSCLE] > middle[Tissue.FAT]
    assert middle[Tissue.FAT] > middle[Tissue.FEMUR] > middle[Tissue.TENDON] > middle[Tissue.AIR]


def test_cartilage_of_any_contrast_differs_from_its_bone() -> None:
    for seed in range(30):
        means = draw_any(np.random.default_rng(seed)).means
        assert abs(means[Tissue.FEMORAL_CARTILAGE] - means[Tissue.FEMUR]) > 0.05


@pytest.mark.parametrize("draw", [draw_any, draw_dess])
def test_a_picture_is_finite_not_negative_and_the_same_for_the_same_seed(tissues: np.ndarray, draw) -> None:
    for seed in range(3):
        one, other = (
            rendered(tissues, (STEP,) * 3, draw(rng), rng) for rng in map(np.random.default_rng, (seed, seed))
        )
        assert np.isfinite(one).all()
        assert one.min() >= 0
        np.testing.assert_array_equal(one, other)


def test_a_right_knee_of_a_set_lies_on_the_right_with_its_medial_plate_inside() -> None:
    left, right = phantom_scan(0, 0, 2.0), phantom_scan(0, 1, 2.0)
    for scan, sign in ((left, -1), (right, 1)):
        medial, lateral = (scan.affine[0, 3] + 2.0 * np.argwhere(scan.labels == n)[:, 0].mean() for n in (3, 4))
        assert np.sign(medial) == np.sign(lateral) == sign
        assert abs(medial) < abs(lateral)
