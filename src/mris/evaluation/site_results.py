"""What an audit of sites found: does a bundle see where an image was made?"""

from dataclasses import dataclass
from typing import Literal

PIXELS = "28 x 28 pixels"
"""Name of thumbnails of the sources where that of an encoder stands."""

ALL_SITES = "all"
"""Name of all sites together."""


@dataclass(frozen=True)
class SiteShare:
    """How much of a site can be seen, beside what there is to see where nothing tells it.

    Args:
        encoder: Name of the encoder, or `PIXELS`.
        what: "neighbors": the share of the nearest entries that are of the query's own site; "told": the share of
            images whose site a regression names that was fitted to other people.
        value: The share.
        low: Lower end of its interval.
        high: Upper end of its interval.
        expected: Where nothing tells the site: the share of the own site in the database, or of the largest site.
        n_images: Queries.
        n_subjects: People they come from.
    """

    encoder: str
    what: Literal["neighbors", "told"]
    value: float
    low: float
    high: float
    expected: float
    n_images: int
    n_subjects: int


@dataclass(frozen=True)
class SiteRecall:
    """Recall in a gallery that holds the query's own site alone.

    Args:
        encoder: Name of the encoder.
        k: Number of neighbors.
        value: Recall in [0, 1].
        low: Lower end of its interval.
        high: Upper end of its interval.
        any_site: Recall in a gallery as large that is drawn from all sites: above `value` as far as the site helps.
        chance: What guessing gives within the site: the mean of k / size.
        n_queries: Number of queries.
    """

    encoder: str
    k: int
    value: float
    low: float
    high: float
    any_site: float
    chance: float
    n_queries: int


@dataclass(frozen=True)
class SiteLeftOut:
    """Median absolute error, mean over images, where the database holds nobody of the query's site.

    Args:
        encoder: Name of the encoder, whose 20 nearest entries are averaged (Eq. 4) with and without the site.
        site: Site of the queries, or `ALL_SITES`.
        error: With all sites in the database, in the targets' unit.
        left_out: Without the queries' own site.
        low: Lower end of the interval of the difference, `left_out` minus `error`.
        high: Upper end of it.
        n_images: Queries.
        n_subjects: People they come from.
    """

    encoder: str
    site: str
    error: float
    left_out: float
    low: float
    high: float
    n_images: int
    n_subjects: int


@dataclass(frozen=True)
class SiteAudit:
    """All that an audit found.

    Args:
        label: The label that names the sites.
        n_sites: Sites among the queries.
        n_without: Queries whose site is not known; they are left out.
        n_neighbors: Nearest entries that are looked at.
        n_folds: Parts of people of the cross-validation.
        shares: For each encoder, and for pixels alone.
        recalls: For each encoder and k.
        left_out: For each encoder, all sites first.
    """

    label: str
    n_sites: int
    n_without: int
    n_neighbors: int
    n_folds: int
    shares: tuple[SiteShare, ...]
    recalls: tuple[SiteRecall, ...]
    left_out: tuple[SiteLeftOut, ...]

    @property
    def encoders(self) -> tuple[str, ...]:
        """Names of the encoders that were audited."""
        return tuple(dict.fromkeys(row.encoder for row in self.shares if row.encoder != PIXELS))

    def share(self, encoder: str, what: Literal["neighbors", "told"]) -> SiteShare:
        """Look up one share.

        Raises:
            StopIteration: There is none of that encoder.
        """
        return next(row for row in self.shares if (row.encoder, row.what) == (encoder, what))
