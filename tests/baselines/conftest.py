"""Runs of tiny baselines, trained once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mris.baselines.settings import BaselineSettings, Method

TINY = BaselineSettings(
    width=8,
    bottleneck=16,
    hidden=16,
    layers=1,
    heads=2,
    decoder=(16, 16, 8, 8),
    batch_size=8,
    epochs=3,
    lr=2e-3,
    sampler="pair",
    target_scale=1.0,
    rotation=0.0,
    noise=0.01,
)


@pytest.fixture(scope="session")
def square_cohort_path(tiny_manifest: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of 32 x 32 pixels: the least that all networks can work on."""
    from mris.cohort.prepare import PrepareSettings, prepare_cohort
    from mris.images.transforms import SourcePreparation

    folder = tmp_path_factory.mktemp("square")
    settings = PrepareSettings(
        SourcePreparation((32, 32)), (32, 32), fractions={"train": 0.6, "val": 0.2, "test": 0.2}, workers=1
    )
    prepare_cohort(tiny_manifest(folder, size=32), folder / "cohort", settings, progress=False)
    return folder / "cohort"


@pytest.fixture(scope="session")
def tiny_settings() -> "dict[Method, BaselineSettings]":
    return {
        method: TINY.model_copy(update={"method": method}) for method in ("unet", "pix2pix", "transunet", "autoencoder")
    }
