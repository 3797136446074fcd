"""Eight clients at once, for some seconds; `benchmarks/serve.py` does it for minutes, beside ``mris synthesize``."""

import os
import statistics

import pytest
from benchmarks.serve import load
from tests.web.conftest import settings_for

from mris.web.run import running
from mris.web.settings import Limits

SECONDS = float(os.environ.get("MRIS_LOAD_SECONDS", "6"))


@pytest.mark.slow
def test_eight_clients_are_answered_without_an_error_in_memory_that_does_not_grow(knees):
    few = Limits(decoders=2, held_bytes=32 << 20)  # full at once, so that growth is a leak
    with running(settings_for(knees.bundle, limits=few)) as url:
        alone = load(url, [knees.knee], 1, SECONDS / 4, os.getpid(), side="left")
        load(url, [knees.knee], 8, SECONDS / 4, os.getpid(), side="left")
        many = load(url, [knees.knee], 8, SECONDS, os.getpid(), side="left")
    assert (alone.errors, many.errors) == (0, 0)
    assert len(many.seconds) > SECONDS  # on the slowest machine
    quarter = len(many.memory) // 4
    grown = statistics.median(many.memory[-quarter:]) - statistics.median(many.memory[:quarter])
    assert grown < 50
    # Server and clients share an interpreter here, and perhaps the machine with other tests; apart it is 4.
    assert many.p95 < 12 * alone.median
