"""The public surface: every name is there, says what it does, and the example of the README runs as written."""

import inspect
from pathlib import Path

import numpy as np
import pytest

import mris
from mris.metric.settings import TrainSettings


@pytest.mark.parametrize("name", [name for name in mris.__all__ if name != "__version__"])
def test_every_public_name_is_importable_and_documented(name: str) -> None:
    thing = getattr(mris, name)
    assert inspect.getdoc(thing), name
    if inspect.isfunction(thing):
        takes = bool(inspect.signature(thing).parameters)
        assert ("Args:" in thing.__doc__) == takes and "Raises:" in thing.__doc__, name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'retrieve'"):
        mris.retrieve  # noqa: B018


def test_the_example_of_the_readme_runs(tiny_cohort_path: Path, tmp_path: Path) -> None:
    tiny = TrainSettings(width=8, embedding_dim=8, batch_size=8, epochs=1, accelerator="cpu", reduction="mean")
    np.save(tmp_path / "knee.npy", np.random.default_rng(0).random((16, 16)))
    cohort = mris.Cohort.open(tiny_cohort_path)
    encoder = mris.train_encoders(cohort, seed=0, settings=tiny, progress=False)
    database = mris.EmbeddingDatabase.build(tmp_path / "knees.lance", cohort.split("train"), encoder, progress=False)
    synthesizer = mris.Synthesizer(encoder, database, n_neighbors=20, anatomy=mris.KNEE)
    synthesis = synthesizer(mris.read_image(tmp_path / "knee.npy"), side="left")
    assert synthesis.image.shape == synthesis.spread.shape == (2, 16, 16)
    assert synthesis.neighbors.keys.shape == (1, 20)
    assert np.isnan(synthesis.image[0, 0, 0])
