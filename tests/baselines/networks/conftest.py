"""One seed for all that is drawn."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Networks draw their weights, and dropout its zeros, from torch's global state: the same in every test."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
