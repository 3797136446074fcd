"""Baselines are trained by the trainer of the encoders, on the same pairs, and predict without torch."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.killed_training import train_until_killed

from mris.baselines.embedding_ridge import train_embedding_ridge
from mris.baselines.mean_map import MeanMap
from mris.baselines.module import masked_l1
from mris.baselines.predictor import Baseline, open_baseline
from mris.baselines.settings import METHODS, BaselineSettings, Method, preset
from mris.baselines.train import train_baseline
from mris.cohort.cohort import Cohort
from mris.errors import BundleError, CohortError, TrainingError
from mris.training.callbacks import read_metrics
from mris.training.sampling import epoch_batches


@pytest.fixture(scope="module")
def cohort(square_cohort_path: Path) -> Cohort:
    return Cohort.open(square_cohort_path)


Trained = tuple[Baseline, Path]


@pytest.fixture(scope="module")
def trained(
    cohort: Cohort, tiny_settings: dict[Method, BaselineSettings], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Method], Trained]:
    """Train a method when it is first asked for; gives it and its run, which is only read."""
    folder = tmp_path_factory.mktemp("trained")

    @cache
    def train(method: Method) -> Trained:
        return train_baseline(cohort, folder / method, tiny_settings[method], seed=1, progress=False), folder / method

    return train


@pytest.mark.parametrize("method", METHODS)
def test_each_method_trains_and_predicts_maps_of_the_cohort_nan_outside_the_atlas(
    cohort: Cohort, trained: Callable[[Method], Trained], method: Method
) -> None:
    baseline, run = trained(method)
    test = cohort.split("test")
    predictions = baseline.predict(test.read_sources(), subjects=list(test.subjects))
    assert predictions.shape == (len(test), *cohort.header.target_shape)
    np.testing.assert_array_equal(np.isfinite(predictions).all(axis=0), cohort.atlas_mask)
    assert not np.isfinite(predictions[:, ~cohort.atlas_mask]).any()
    one_by_one = np.concatenate([baseline.predict(test.read_sources([i])) for i in range(2)])
    np.testing.assert_allclose(predictions[:2], one_by_one, atol=1e-4)
    rows = read_metrics(run / "metrics.csv")
    assert len(rows) == 3
    assert baseline.card.n_parameters > 1000
    assert baseline.training_subjects is not None
    assert baseline.training_subjects.among(cohort.subjects) == sorted(set(cohort.split("train").subjects))
    assert baseline.card.training_seconds == pytest.approx(sum(row["seconds"] for row in rows))


def test_the_error_of_the_chosen_epoch_is_that_of_the_exported_network(
    cohort: Cohort, trained: Callable[[Method], Trained]
) -> None:
    baseline, run = trained("unet")
    val = cohort.split("val")
    errors = np.abs(baseline.predict(val.read_sources()) - val.read_targets())
    error = np.mean([np.nanmean(one) for one in errors])
    smallest = min(row["error/val"] for row in read_metrics(run / "metrics.csv"))
    assert error == pytest.approx(smallest, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_trained_method_beats_the_mean_map_on_validation_subjects(
    cohort: Cohort, tiny_settings: dict[Method, BaselineSettings], tmp_path: Path, method: Method
) -> None:
    epochs = 18 if method == "unet" else 12  # by then the error is two thirds of the mean map's at most
    settings = tiny_settings[method].model_copy(update={"epochs": epochs})
    train_baseline(cohort, tmp_path / "run", settings, seed=1, progress=False)
    mean = MeanMap.fit(cohort.split("train")).image
    val = cohort.split("val").read_targets()
    of_mean = np.mean([np.nanmean(np.abs(one - mean)) for one in val])
    assert min(row["error/val"] for row in read_metrics(tmp_path / "run" / "metrics.csv")) < of_mean


def test_baselines_see_the_batches_of_the_encoders(cohort: Cohort) -> None:
    from mris.baselines.data import TranslationData
    from mris.metric.data import PairsData
    from mris.metric.settings import preset as metric_preset

    class Trainer:
        current_epoch, global_rank, world_size = 3, 0, 1

    plans = []
    for data in (
        TranslationData(cohort, preset("small", "unet"), 5),
        PairsData(cohort, cohort.regions, metric_preset("small"), 5),
    ):
        data.trainer = Trainer()  # type: ignore[assignment]
        plans.append(data.train_dataloader().plan)
    expected = epoch_batches(cohort.split("train").subjects, 64, sampler="pair", seed=5, epoch=3)
    for plan in plans:
        assert [batch.tolist() for batch in plan] == [batch.tolist() for batch in expected]


def test_pixels_without_a_value_have_no_part_in_the_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    predictions, targets = torch.rand(2, 3, 2, 4, 4, generator=generator)
    valid = torch.rand(3, 2, 4, 4, generator=generator) > 0.5
    expected = (predictions - targets)[valid].abs().mean()
    torch.testing.assert_close(masked_l1(predictions, targets, valid), expected)
    torch.testing.assert_close(masked_l1(predictions + 9 * ~valid, targets, valid), expected)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["unet", "pix2pix"])
def test_a_run_killed_and_resumed_equals_an_uninterrupted_one(
    cohort: Cohort,
    tiny_settings: dict[Method, BaselineSettings],
    trained: Callable[[Method], Trained],
    tmp_path: Path,
    method: Method,
) -> None:
    settings, (whole, _) = tiny_settings[method], trained(method)
    interrupted = tmp_path / "interrupted"
    train_until_killed(train_baseline, cohort, interrupted, settings=settings, seed=1, progress=False)
    resumed = train_baseline(cohort, interrupted, settings, seed=1, resume=True, progress=False)
    sources = cohort.split("test").read_sources()
    np.testing.assert_array_equal(whole.predict(sources), resumed.predict(sources))


def test_a_finished_run_is_not_trained_again_and_not_taken_for_another(
    cohort: Cohort, tiny_settings: dict[Method, BaselineSettings], trained: Callable[[Method], Trained], tmp_path: Path
) -> None:
    settings, (first, run) = tiny_settings["autoencoder"], trained("autoencoder")
    shutil.copytree(run, tmp_path / "run")
    again = train_baseline(cohort, tmp_path / "run", settings, seed=1, resume=True, progress=False)
    assert first.card == again.card
    with pytest.raises(TrainingError, match="not empty"):
        train_baseline(cohort, tmp_path / "run", settings, seed=1, progress=False)
    with pytest.raises(TrainingError, match="method: autoencoder then, unet now"):
        train_baseline(cohort, tmp_path / "run", tiny_settings["unet"], seed=1, resume=True, progress=False)


def test_a_damaged_replaced_or_unfitting_baseline_is_refused(
    cohort: Cohort, trained: Callable[[Method], Trained], tmp_path: Path, tiny_cohort_path: Path
) -> None:
    baseline, run = trained("unet")
    shutil.copytree(run, tmp_path / "run")
    baseline.check_fits(cohort)
    with pytest.raises(CohortError, match=r"source size \(1, 32, 32\)"):
        baseline.check_fits(Cohort.open(tiny_cohort_path))
    header = json.loads(Path(shutil.copytree(cohort.path, tmp_path / "other") / "cohort.json").read_text())
    header["source"]["extent_mm"] = [140.0, 140.0]
    (tmp_path / "other" / "cohort.json").write_text(json.dumps(header))
    baseline.check_fits(Cohort.open(tmp_path / "other"))  # its own is unknown
    preparation = replace(baseline.card.preparation, extent_mm=(100.0, 100.0))
    card = baseline.card.model_copy(update={"preparation": preparation})
    with pytest.raises(CohortError, match=r"sources that show \(mm\) \(100\.0, 100\.0\), cohort 'other' has \(140\.0"):
        Baseline(card, baseline.network, baseline.mask).check_fits(Cohort.open(tmp_path / "other"))
    folder = tmp_path / "run" / "baseline"
    network = folder / "network.onnx"
    network.write_bytes(network.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleError, match="not the file that was exported"):
        open_baseline(tmp_path / "run").predict(cohort.read_sources([0]))
    (folder / "baseline.json").write_text("{")
    with pytest.raises(BundleError, match="damaged"):
        open_baseline(tmp_path / "run")
    with pytest.raises(BundleError, match="no finished baseline"):
        open_baseline(tmp_path)


class _Encoder:
    """A network that keeps the mean of four quarters, as an encoder of a known embedding."""

    fingerprint = "f" * 64
    training_subjects = None
    origin = "unknown"

    def __init__(self) -> None:
        self.source = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten())

    def encode_sources(self, sources: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return torch.nn.functional.normalize(self.source(torch.from_numpy(sources)), dim=1).numpy()


def test_the_regressed_embedding_is_scikit_learns_ridge_on_it(cohort: Cohort, tmp_path: Path) -> None:
    from sklearn.linear_model import Ridge

    from mris.baselines.ridge import RIDGE_LADDER

    encoder, training, test = _Encoder(), cohort.split("train"), cohort.split("test")
    val = cohort.split("val")
    baseline = train_embedding_ridge(cohort, tmp_path / "run", [encoder], target_scale=2.0, seed=3)
    scores = encoder.encode_sources(training.read_sources()).astype(np.float64)
    centered = scores - scores.mean(axis=0)
    scale = np.trace(centered.T @ centered) / scores.shape[1]
    targets, truths = training.read_targets(), val.read_targets()
    known = np.isfinite(targets).all(axis=0) & np.isfinite(truths).all(axis=0)
    of_others = encoder.encode_sources(val.read_sources()).astype(np.float64)
    fits = [Ridge(alpha=penalty * scale).fit(scores, targets[:, known]) for penalty in RIDGE_LADDER]
    # The penalty is the one that serves the validation people, whom the encoder has not seen.
    oracle = min(fits, key=lambda fit: float(np.square(fit.predict(of_others) - truths[:, known]).sum()))
    expected = oracle.predict(encoder.encode_sources(test.read_sources()).astype(np.float64))
    np.testing.assert_allclose(baseline.predict(test.read_sources())[:, known], expected, atol=1e-3)
    assert baseline.training_subjects is not None
    assert baseline.training_subjects.among(cohort.subjects) == sorted(set(training.subjects))
    assert train_embedding_ridge(cohort, tmp_path / "run", [encoder], target_scale=2.0, seed=3, resume=True).card == (
        baseline.card
    )
