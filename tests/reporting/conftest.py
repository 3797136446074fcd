"""One small evaluation to report on, with a method that explains itself."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from mris.baselines.mean_map import MeanMap
from mris.cohort.cohort import Cohort
from mris.evaluation.evaluate import Evaluation, evaluate
from mris.evaluation.predictor import Explanation
from mris.evaluation.references import PcaRidge
from mris.types import Embeddings, Sources, Targets


class Telling:
    """A method with a name in need of escaping, a spread and three neighbors."""

    def __init__(self, ridge: PcaRidge, training: Cohort) -> None:
        self._ridge, self._neighbors = ridge, training.read_targets([0, 1, 2])

    def predict(self, sources: Sources, *, subjects: Sequence[str]) -> Targets:
        return self._ridge.predict(sources, subjects=subjects)

    def explain(self, source: np.ndarray, *, subject: str) -> Explanation:
        spread = self._neighbors.std(axis=0)
        return Explanation(spread, self._neighbors, (("0.9 · 40 %", "0.8 · 30 %", "0.7 · 30 %"),) * len(spread))


class Pixels:
    """Embeds both sides as their first pixels."""

    fingerprint = "0" * 64

    def __init__(self, regions: tuple[str, ...]) -> None:
        self.regions = regions

    def encode_sources(self, sources: Sources) -> Embeddings:
        return self._unit(sources[:, 0, 4:8, 4:8])

    def encode_targets(self, targets: Targets) -> Embeddings:
        return self._unit(np.nan_to_num(targets[:, 0, 4:8, 4:8]))

    @staticmethod
    def _unit(pixels: np.ndarray) -> Embeddings:
        flat = pixels.reshape(len(pixels), -1) + np.float32(1e-3)
        return (flat / np.linalg.norm(flat, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="session")
def evaluation(tiny_cohort_path: Path) -> Evaluation:
    cohort = Cohort.open(tiny_cohort_path)
    training, rng = cohort.split("train"), np.random.default_rng(0)
    return evaluate(
        {"k <b>20</b> | C": Telling(PcaRidge.fit(training, rng), training), "mean map": MeanMap.fit(training)},
        cohort.select(cohort.splits != "train"),  # enough people for intervals
        training=training,
        by=cohort.header.labels[:1],
        retrieval={"pixels": Pixels(cohort.regions)},
        n_bootstrap=50,
        progress=False,
    )


@pytest.fixture(scope="session")
def plain_evaluation(tiny_cohort_path: Path) -> Evaluation:
    """One method, no label, no retrieval."""
    cohort = Cohort.open(tiny_cohort_path)
    training = cohort.split("train")
    return evaluate(
        {"mean map": MeanMap.fit(training)}, cohort.split("test"), training=training, n_bootstrap=5, progress=False
    )


@pytest.fixture(autouse=True, scope="module")
def every_value_is_named() -> Iterator[None]:
    """Strata of a few people keep their names, so that a dozen people make several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mris.cohort.few_people.FEWEST_SUBJECTS", 1)
        yield
