"""Keeps sources of one number of channels, the commonest, since all of a cohort must have as many."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice

from mris.cohort.pair import PreparedPair
from mris.wording import counted


def of_equal_channels(pairs: Iterable[PreparedPair], n_channels: int | None, n_first: int) -> Iterator[PreparedPair]:
    """Turn every source of another number of channels than the commonest into a finding.

    Args:
        pairs: What was read, in the order of the rows.
        n_channels: The number of a cohort that is continued; None lets the pairs decide.
        n_first: The first so many decide, since a preparation stores them before it reads the others.

    Yields:
        Each pair, without its pixels where there is such a finding.
    """
    left = iter(pairs)
    while n_channels is None and (first := list(islice(left, n_first))):
        counts = Counter(pair.source.shape[0] for pair in first if pair.source is not None)
        n_channels = counts.most_common(1)[0][0] if counts else None
        yield from (_checked(pair, n_channels) for pair in first)
    yield from (_checked(pair, n_channels) for pair in left)


def _checked(pair: PreparedPair, n_channels: int | None) -> PreparedPair:
    if pair.source is None or pair.source.shape[0] == n_channels:
        return pair
    reason = (
        f"has {counted(pair.source.shape[0], 'channel')}; the commonest number among the sources is {n_channels}, and "
        "all must have as many"
    )
    finding = pair.row.finding("source", reason, "other number of channels")
    return replace(pair, source=None, target=None, findings=(*pair.findings, finding))
