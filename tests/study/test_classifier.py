"""Classifiers learn labels that maps hold, reproducibly, and refuse what cannot be learned."""

from pathlib import Path

import numpy as np
import pytest

from mris.errors import TrainingError
from mris.study.classifier import LabeledMaps, train_classifier
from mris.study.settings import ClassifierSettings

TINY = ClassifierSettings(width=8, batch_size=8, epochs=6, lr=3e-3, sampler="pair", target_scale=1.0)


def made_maps(n: int, seed: int) -> LabeledMaps:
    """Maps whose left half is thin in class 1; NaN in a corner."""
    rng = np.random.default_rng(seed)
    classes = np.arange(n) % 2
    maps = rng.normal(0.5, 0.1, (n, 2, 16, 16)).astype(np.float32)
    maps[classes == 1, :, :, :8] -= 0.3
    maps[:, :, :3, :3] = np.nan
    return LabeledMaps(maps, classes.astype(np.int64), [f"S{i // 2}" for i in range(n)], 2)


@pytest.mark.slow
def test_what_maps_show_is_learned_and_told_of_other_maps(tmp_path: Path) -> None:
    classifier = train_classifier(made_maps(48, 0), tmp_path / "run", TINY, seed=1, progress=False)
    other = made_maps(30, 1)
    probabilities = classifier.probabilities(other.maps)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-9)
    assert (probabilities.argmax(axis=1) == other.classes).mean() > 0.9
    one_by_one = np.concatenate([classifier.probabilities(other.maps[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(probabilities[:5], one_by_one, atol=1e-5)


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one_and_a_finished_one_is_loaded(tmp_path: Path) -> None:
    labeled, other = made_maps(24, 0), made_maps(6, 1).maps
    whole = train_classifier(labeled, tmp_path / "whole", TINY, seed=1, progress=False).probabilities(other)
    run = tmp_path / "run"
    train_classifier(labeled, run, TINY.model_copy(update={"epochs": 3, "schedule": "step"}), seed=1, progress=False)
    (run / "classifier.safetensors").unlink()
    (run / "run.json").write_text((tmp_path / "whole" / "run.json").read_text())
    resumed = train_classifier(labeled, run, TINY, seed=1, resume=True, progress=False).probabilities(other)
    np.testing.assert_array_equal(whole, resumed)
    again = train_classifier(labeled, run, TINY, seed=1, resume=True, progress=False).probabilities(other)
    np.testing.assert_allclose(whole, again, atol=1e-6)


def test_labels_that_cannot_be_learned_are_refused(tmp_path: Path) -> None:
    maps = made_maps(8, 0)
    with pytest.raises(TrainingError, match=r"all 8 maps are of class 0; .* needs two classes"):
        LabeledMaps(maps.maps, np.zeros(8, dtype=np.int64), maps.subjects, 2)
    with pytest.raises(TrainingError, match="no labeled map"):
        LabeledMaps(maps.maps[:0], maps.classes[:0], [], 2)
    with pytest.raises(TrainingError, match="reach from 0 to 1 of 1"):
        LabeledMaps(maps.maps, maps.classes, maps.subjects, 1)
    with pytest.raises(TrainingError, match="do not belong together"):
        LabeledMaps(maps.maps, maps.classes, maps.subjects[:3], 2)


def test_another_label_is_not_taken_for_the_same_run(tmp_path: Path) -> None:
    labeled = made_maps(16, 0)
    train_classifier(labeled, tmp_path / "run", TINY, seed=1, progress=False)
    swapped = LabeledMaps(labeled.maps, 1 - labeled.classes, labeled.subjects, 2)
    with pytest.raises(TrainingError, match="was started with other maps"):
        train_classifier(swapped, tmp_path / "run", TINY, seed=1, resume=True, progress=False)
