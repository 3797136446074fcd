"""Retrieval at chance on validation people is said when a bundle is made."""

from types import SimpleNamespace

import numpy as np

from mris.cohort.cohort import Cohort
from mris.evaluation.validation import retrieval_at_chance
from mris.types import Embeddings


class Guessing:
    """Embeds everything anywhere."""

    regions = ("femoral", "tibial")

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def encode_sources(self, sources: np.ndarray) -> Embeddings:
        vectors = self.rng.normal(size=(len(sources), 8))
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)

    encode_targets = encode_sources


def bundle(encoder) -> SimpleNamespace:
    return SimpleNamespace(members=(SimpleNamespace(name="all", encoder=encoder),))


def test_an_encoder_that_guesses_is_at_chance_and_one_that_knows_is_not(knees: Cohort, encoder) -> None:
    cohort = knees.with_splits(["val" if name == "test" else name for name in knees.splits])
    (sentence,) = retrieval_at_chance(bundle(Guessing()), cohort)  # type: ignore[arg-type]
    assert sentence.startswith("Retrieval of MRIS is at chance: ")
    assert not list(retrieval_at_chance(bundle(encoder), cohort))  # type: ignore[arg-type]


def test_without_validation_people_nothing_is_said(knees: Cohort) -> None:
    assert not list(retrieval_at_chance(bundle(Guessing()), knees))  # type: ignore[arg-type]
