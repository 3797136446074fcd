"""From a scan to labels on its own grid: with a network that knows the answer, the answer comes out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from tests.mr_oracle import (
    ORDER,
    PATCH,
    STEP_MM,
    affine_at,
    digital_labels,
    gray_of,
    write_model,
    write_oracle,
    write_repeater,
)
from tests.mr_scans import affine_of

from mris.errors import BundleError, ImageError
from mris.knee.mr.doubts import Certainty, doubts
from mris.knee.mr.model import CARD_FILE, CLASSES, COARSE_FOLDER, MODEL_FILE, Model
from mris.knee.mr.resample import Turn, resampled, tents
from mris.knee.mr.segment import NUMBERS, segment_scan
from mris.knee.mr.series import Scan
from mris.knee.mr.sliding import slide, window_starts
from mris.knee.mr.tissues import N_CLASSES


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model(write_oracle(tmp_path_factory.mktemp("oracle")), threads=1)


@pytest.fixture(scope="module")
def knee() -> np.ndarray:
    return digital_labels()


def scan_of(labels: np.ndarray, affine: np.ndarray | None = None) -> Scan:
    return Scan(gray_of(labels).astype(np.float32), affine_at() if affine is None else affine, "digital knee")


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2 * float((first & second).sum()) / float(first.sum() + second.sum())


def test_a_network_that_knows_the_answer_gives_it_on_the_scanners_grid(oracle: Model, knee: np.ndarray) -> None:
    found = segment_scan(scan_of(knee), oracle, "left")
    assert found.labels.shape == knee.shape
    for number, name in ((1, "femur"), (2, "femoral_cartilage"), (3, "tibia"), (6, "patellar_cartilage")):
        np.testing.assert_array_equal(found.labels == NUMBERS[name], knee == number)
    plates = np.isin(found.labels, (3, 4))
    np.testing.assert_array_equal(plates, knee == 4)
    assert not found.findings
    assert found.entropy.max() == 0


def test_medial_is_on_the_right_of_a_left_knee_and_on_the_left_of_a_right_one(oracle: Model, knee: np.ndarray) -> None:
    left = segment_scan(scan_of(knee), oracle, "left").labels
    right = segment_scan(scan_of(knee[::-1], affine_at(side="right")), oracle, "right").labels
    medial, lateral = (np.argwhere(left == NUMBERS[f"{name}_tibial_cartilage"])[:, 0] for name in ("medial", "lateral"))
    assert medial.min() > lateral.max()
    np.testing.assert_array_equal(right, left[::-1])


def test_menisci_in_one_are_parted_between_plates_that_are_told_apart(tmp_path: Path, knee: np.ndarray) -> None:
    classes = [*CLASSES[:4], "medial_tibial_cartilage", "lateral_tibial_cartilage", "patella", "meniscus"]
    apart = np.where(knee > 4, 0, knee)
    apart[(knee == 4) & (np.arange(75)[:, None, None] < 37)] = 5
    apart[[30, 44], 40:48, 38:42] = 7
    found = segment_scan(scan_of(apart), Model(write_oracle(tmp_path, classes=classes), threads=1), "left").labels
    for name, place in (("lateral_meniscus", 30), ("medial_meniscus", 44)):
        np.testing.assert_array_equal(np.unique(np.argwhere(found == NUMBERS[name])[:, 0]), place)


@pytest.mark.parametrize("order", ["PIR", "LIA"])
def test_labels_come_back_in_the_order_of_the_scans_axes(oracle: Model, knee: np.ndarray, order: str) -> None:
    affine = affine_of((1.6, 1.6, 1.6), order=order)
    shape = tuple(knee.shape["RL PA IS".replace(" ", "").index(letter) // 2] for letter in order)
    turn = Turn(affine, shape)
    stored = turn.back(knee)
    found = segment_scan(scan_of(stored, affine), oracle, "left")
    np.testing.assert_array_equal(found.labels == NUMBERS["femur"], stored == 1)
    np.testing.assert_array_equal(found.affine, affine)


def test_voxels_of_any_size_give_the_same_tissues(oracle: Model, knee: np.ndarray) -> None:
    fine = np.repeat(knee, 2, axis=0)
    affine = affine_at() @ np.diag([0.5, 1, 1, 1])
    found = segment_scan(scan_of(fine, affine), oracle, "left").labels
    assert dice(found == NUMBERS["femur"], fine == 1) > 0.98
    assert dice(found == NUMBERS["tibia"], fine == 3) > 0.98


def test_small_pieces_are_cleared_and_large_ones_doubted(oracle: Model, knee: np.ndarray) -> None:
    broken = knee.copy()
    broken[2:5, 2:5, 2:5] = 1  # a crumb of femur
    broken[2:32, 2:18, 45:60] = 1  # a seventh of a femur
    found = segment_scan(scan_of(broken), oracle, "left")
    np.testing.assert_array_equal(found.labels == NUMBERS["femur"], knee == 1)
    assert any("of the femur were pieces, left out" in str(one) for one in found.findings)


FAULTS = {
    "no tibia": (lambda knee: np.where(np.isin(knee, (3, 4)), 0, knee), "error", "tibia"),
    "no femoral cartilage": (lambda knee: np.where(knee == 2, 0, knee), "error", "femoral cartilage"),
    "cartilage off its bone": (lambda knee: np.where(knee == 2, 0, knee) + 2 * (np.roll(knee, 9, 2) == 2), "error", ""),
    "bones swapped": (lambda knee: np.choose(knee, (0, 3, 4, 1, 2, 5, 6, 7)), "error", "below"),
    "half a joint": (
        lambda knee: np.where(np.arange(75)[:, None, None] > 36, knee, 0),
        "error",
        "medial tibial cartilage",
    ),
    "thick cartilage": (
        lambda knee: np.where((knee == 0) & ndimage.binary_dilation(knee == 2, iterations=5), 2, knee),
        "warning",
        "femoral cartilage of",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_segmentation_that_is_no_knee_is_doubted(oracle: Model, knee: np.ndarray, fault: str) -> None:
    damage, severity, words = FAULTS[fault]
    found = segment_scan(scan_of(damage(knee).astype(np.uint8) % 8), oracle, "left")
    assert any(one.severity in ("error", severity) and words in str(one) for one in found.findings), found.findings
    assert not any("--labels" in str(one) for one in found.findings), "mris segment has no such option"


def test_a_picture_in_which_nothing_is_found_is_doubted(knee: np.ndarray) -> None:
    found = doubts(np.zeros_like(knee), affine_at(), "left", Certainty({}), {})
    assert str(found[0]) == "the network found no tissue in it"


@pytest.mark.parametrize("name", ["femoral_cartilage", "medial_tibial_cartilage"])
def test_an_unsure_network_is_doubted(knee: np.ndarray, name: str) -> None:
    table = np.array([0, 7, 2, 8, 3, 9, 1, 5], np.uint8)[knee]
    middle = 37
    table = np.where((table == 3) & (np.arange(75)[:, None, None] < middle), 4, table).astype(np.uint8)
    sure = Certainty({"femur": 0.99, name: 0.4})
    found = doubts(table, affine_at(), "left", sure, {name: 0.3})
    words = name.replace("_", " ")
    assert [str(one)[:66] for one in found] == [
        f"the network is 0.40 sure of the {words}, less than 0.88"[:66], f"30% of the {words} were pieces, left out"
    ]  # fmt: skip


def test_a_scan_that_lies_askew_is_refused(oracle: Model, knee: np.ndarray) -> None:
    with pytest.raises(ImageError, match="40 degrees off"):
        segment_scan(scan_of(knee, affine_of(tilt=40.0)), oracle, "left")


def test_a_guided_network_is_told_at_each_place_what_the_coarse_one_found(tmp_path: Path, knee: np.ndarray) -> None:
    folder = write_repeater(tmp_path / "model")
    write_oracle(folder / COARSE_FOLDER, step_mm=3.2)
    found = segment_scan(scan_of(knee), Model(folder, threads=1), "left").labels
    for number, name in ((1, "femur"), (3, "tibia")):
        told, wanted = found == NUMBERS[name], knee == number
        best = dice(told, wanted)
        assert best > 0.92
        assert best > max(dice(np.roll(told, step, axis), wanted) for step in (-1, 1) for axis in range(3))


def test_there_is_no_bone_where_the_guide_sees_none_of_it_nearby(tmp_path: Path, knee: np.ndarray) -> None:
    folder = tmp_path / "model"
    gray = np.array([100.0 * ORDER.index(number) for number in range(N_CLASSES)])
    unsure = 0.0004  # so that another tissue is the next likeliest where a bone is
    oracle = np.concatenate([2 * unsure * gray[:, None], np.zeros((N_CLASSES, N_CLASSES))], axis=1)
    write_model(folder, oracle, -unsure * gray**2, PATCH, STEP_MM, guided=True)
    says_rest = np.log([0.9, *[0.1 / (N_CLASSES - 1)] * (N_CLASSES - 1)])
    write_model(folder / COARSE_FOLDER, np.zeros((N_CLASSES, 1)), says_rest, PATCH, 3.2)
    found = segment_scan(scan_of(knee), Model(folder, threads=1), "left").labels
    assert dice(found == NUMBERS["femoral_cartilage"], knee == 2) > 0.9
    assert not np.isin(found, [NUMBERS[name] for name in ("femur", "tibia", "patella")]).any()
    assert (found[np.isin(knee, (1, 3, 5))] == 0).mean() > 0.98, "what was bone is the rest, no other tissue"


def test_a_guide_of_other_classes_is_refused(tmp_path: Path, knee: np.ndarray) -> None:
    folder = write_repeater(tmp_path / "model")
    classes = ("rest", *reversed(CLASSES[1:N_CLASSES]))
    write_oracle(folder / COARSE_FOLDER, classes=classes)
    with pytest.raises(BundleError, match="cannot guide"):
        segment_scan(scan_of(knee), Model(folder, threads=1), "left")


@pytest.mark.parametrize(("n", "edge"), [(64, 64), (65, 64), (150, 64), (175, 80), (400, 32)])
def test_windows_cover_an_axis_and_overlap(n: int, edge: int) -> None:
    starts = np.array(window_starts(n, edge))
    assert starts[0] == 0
    assert starts[-1] == n - edge
    assert (np.diff(starts) <= np.ceil(edge * 0.75)).all()


def test_windows_of_a_linear_network_equal_the_network_on_the_whole() -> None:
    channels = np.random.default_rng(0).random((2, 40, 21, 33), np.float32)
    found = slide(channels, (16, 24, 16), 2, lambda patch: np.stack([patch[1], 1 - patch[0]]))
    np.testing.assert_allclose(found, np.stack([channels[1], 1 - channels[0]]), atol=1e-5)


def test_a_volume_that_needs_much_memory_is_refused_before_it_is_resampled(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("mris.knee.mr.segment.resampled", lambda *_: pytest.fail("it takes the memory"))
    large = Scan(np.broadcast_to(np.float32(1), (8, 8, 8)), np.diag([40.0, 40.0, 40.0, 1.0]), "knee.nii")
    model = Model(write_oracle(tmp_path, step_mm=0.4), threads=1)
    with pytest.raises(ImageError, match=r"scan knee.nii: 800 x 800 x 800 voxels .* need 17.2 GiB, more than the 2"):
        segment_scan(large, model, "left")


def test_resampling_keeps_a_linear_picture_and_the_mean() -> None:
    slope = np.broadcast_to(np.linspace(0, 1, 40, dtype=np.float32)[:, None, None], (40, 12, 12))
    finer = resampled(slope, (1.0, 1.0, 1.0), (0.5, 1.0, 1.0))
    np.testing.assert_allclose(np.diff(finer[2:-2, 3, 3]), 0.5 / 39, atol=1e-6)
    coarser = resampled(slope, (1.0, 1.0, 1.0), (2.0, 2.0, 2.0))
    assert coarser.mean() == pytest.approx(0.5, abs=1e-4)
    np.testing.assert_allclose(tents(7, 1.0, 7, 1.0), np.eye(7))


def test_a_damaged_or_foreign_model_is_refused(tmp_path: Path, knee: np.ndarray) -> None:
    with pytest.raises(BundleError, match=r"has no card\.json"):
        Model(tmp_path)
    folder = write_oracle(tmp_path / "model")
    (folder / MODEL_FILE).write_bytes((folder / MODEL_FILE).read_bytes() + b"\0")
    with pytest.raises(BundleError, match="SHA-256 differs"):
        Model(folder).probabilities(np.zeros((1, 64, 64, 64), np.float32))
    for field, value in (("classes", ("rest", "bone")), ("patch", (4, 32, 32)), ("spacing_mm", (9.0, 1.0, 1.0))):
        with pytest.raises(BundleError, match=field):
            Model(write_oracle(tmp_path / field, **{field: value}))
    (folder / CARD_FILE).write_text("{")
    with pytest.raises(BundleError, match=r"card\.json"):
        Model(folder)


def test_a_scan_smaller_than_a_patch_is_segmented(oracle: Model, knee: np.ndarray) -> None:
    low = replace(scan_of(knee), voxels=gray_of(knee).astype(np.float32)[:, :, 20:50])
    assert segment_scan(low, oracle, "left").labels.shape == (75, 88, 30)
