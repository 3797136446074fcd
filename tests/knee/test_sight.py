"""What is no knee, or no knee as encoders know it, is told whatever the network makes of it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mris
from mris.errors import ImageError
from mris.images.anatomy import Anatomy
from mris.images.image import Image
from mris.images.read import read_image
from mris.images.transforms import SourcePreparation, prepare_source
from mris.knee.anatomy import KNEE
from mris.knee.phantom.simulate import simulate_states, take_radiograph
from mris.knee.sight import doubts_on_knee
from mris.serving.files import FileOptions, synthesize_files

EDGE_MM = 140.0


@pytest.fixture(scope="module")
def knees() -> list[np.ndarray]:
    states = [simulate_states(4711, person, max_visits=1)[0] for person in range(20)]
    pictures = [take_radiograph(state, 64, np.random.default_rng(0)) for state in states]
    return [picture[np.newaxis].astype(np.float32) / picture.max() for picture in pictures]


def doubted(pictures: list[np.ndarray], word: str = "") -> float:
    return float(np.mean([any(word in doubt for doubt in doubts_on_knee(one, EDGE_MM)) for one in pictures]))


def test_a_digital_knee_and_its_mirror_image_look_like_one(knees) -> None:
    assert doubted(knees) <= 0.05
    assert doubted([knee[:, :, ::-1] for knee in knees]) <= 0.05


@pytest.mark.parametrize(
    "changed, word",
    [
        (lambda knee: 1 - knee, "inverted"),
        (lambda knee: np.rot90(knee, axes=(1, 2)), ""),
        (lambda knee: np.random.default_rng(1).random(knee.shape, dtype=np.float32), "no joint"),
        (lambda knee: np.zeros_like(knee), "no joint"),
        (lambda knee: np.pad(knee, ((0, 0), (16, 0), (0, 0)))[:, :64], "mm from the middle"),
    ],
)
def test_what_is_changed_is_told(knees, changed: Callable[[np.ndarray], np.ndarray], word: str) -> None:
    assert doubted([changed(knee) for knee in knees], word) >= 0.95


def test_what_lies_outside_a_small_crop_is_taken_for_no_dark_bone(knees) -> None:
    preparation = SourcePreparation((64, 64), region_mm=EDGE_MM)
    crops = [Image(knee[:, 20:44, 20:44].copy(), spacing=(EDGE_MM / 64,) * 2) for knee in knees]  # 52 mm
    assert doubted([prepare_source(crop, preparation) for crop in crops], "inverted") <= 0.1


def test_only_maps_of_a_knee_are_doubted_and_only_at_a_known_scale(knees) -> None:
    noise = np.random.default_rng(1).random((1, 64, 64), dtype=np.float32)
    assert KNEE.doubts(noise, EDGE_MM, ("femoral",))
    assert KNEE.doubts(noise, EDGE_MM, ("adrenal",)) == KNEE.doubts(noise, None, ("femoral",)) == ()
    assert Anatomy().doubts(noise, EDGE_MM, ("femoral",)) == ()


@pytest.mark.parametrize("edge_mm", [30.0, 40.0, 2000.0])
def test_a_scale_at_which_no_joint_can_be_looked_for_stops_no_synthesis(edge_mm: float) -> None:
    assert KNEE.doubts(np.ones((1, 49, 49), np.float32), edge_mm, ("femoral", "tibial")) == ()


def test_a_synthesis_says_what_it_was_not_shown() -> None:
    synthesizer = mris.digital_knees().synthesizer(anatomy=KNEE)
    pixels = np.random.default_rng(0).random((1, 100, 100), dtype=np.float32)
    assert "no joint of a knee is seen" in synthesizer(Image(pixels, spacing=(0.9, 0.9)), side="left").doubts[0]


def test_a_file_that_is_refused_is_told_why_and_nothing_of_a_map_it_has_not(tmp_path: Path) -> None:
    np.save(tmp_path / "noise.npy", np.random.default_rng(0).random((100, 100)))
    options = FileOptions(side="left", spacing=(0.9, 0.9), on_strange="stop")
    with pytest.raises(ImageError, match="no joint of a knee is seen") as refused:
        list(
            synthesize_files(
                mris.digital_knees().synthesizer(anatomy=KNEE), [tmp_path / "noise.npy"], tmp_path, options
            )
        )
    assert str(refused.value).endswith("a picture that is turned; look at it, or give --on-strange note")


@pytest.mark.data
def test_of_real_radiographs_few_are_doubted_and_most_that_are_changed(data_dir: Path) -> None:
    preparation = mris.digital_knees().members[0].encoder.preparation
    images = sorted((data_dir / "oai_radiographs" / "images").glob("*.png"))
    changes = {"as it is": lambda p: p, "inverted": lambda p: p.max() - p, "upside down": lambda p: p[:, ::-1]}
    told = {}
    for name, change in changes.items():
        found = []
        for path in images[::60]:
            pixels = change(read_image(path).pixels)
            image = Image(np.ascontiguousarray(pixels), spacing=(92 / pixels.shape[1],) * 2)
            found.append(bool(doubts_on_knee(prepare_source(image, preparation, side="left"), 88.0)))
        told[name] = np.mean(found)
    assert told["as it is"] <= 0.1 and told["inverted"] >= 0.9 and told["upside down"] >= 0.4
