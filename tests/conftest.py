"""Fixtures every room shares."""

import os
from pathlib import Path

import numpy as np
import pytest

_NEIGHBOR_OF_THE_REPOSITORY = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real images (never committed); a test that needs them skips, saying so, where they are absent."""
    folder = Path(os.environ.get("MRIS_DATA", _NEIGHBOR_OF_THE_REPOSITORY))
    if not folder.is_dir():
        pytest.skip(f"real data absent: no folder {folder} (set MRIS_DATA)")
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261122)
