"""Does a bundle see where an image was made?

Images of a clinic have its look: its machine, its exposure, its way to place a person. An encoder that sees the clinic
finds people of the same clinic, and two images of one person, made there on one day, for the wrong reason.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped
from scipy.stats import hypergeom

from mris.baselines.mean_map import evenly_spaced
from mris.cohort.cohort import Cohort
from mris.cohort.few_people import values_of_few
from mris.database.database import EmbeddingDatabase
from mris.database.gallery import Gallery
from mris.database.search import Groups, SearchResult, exact_search
from mris.defaults import N_NEIGHBORS, N_RESAMPLES
from mris.errors import SettingsError
from mris.evaluation.bootstrap import Resamples
from mris.evaluation.recall_table import embed_pairs
from mris.evaluation.results import MISSING
from mris.evaluation.site_classifier import N_FOLDS, named_rightly
from mris.evaluation.site_results import ALL_SITES, PIXELS, SiteAudit, SiteLeftOut, SiteRecall, SiteShare
from mris.evaluation.strata import value_name
from mris.evaluation.thumbnails import thumbnails
from mris.retrieval import own_ranks, recall_hits, usable_ks
from mris.synthesis.bundle import Member
from mris.synthesis.weights import similarity_weights
from mris.types import Embeddings, Pixels
from mris.wording import counted

MAX_TOLD = 3000
"""Images, spread evenly, that a regression is asked to name the site of: its work grows with their cube."""

MAX_THUMBNAILS = 5000
"""Training sources, spread evenly, among which the pixels look for neighbors."""

_BATCH = 64

Names = Shaped[np.ndarray, " n"]


@dataclass(frozen=True)
class _Asked:
    """The queries whose site is known."""

    cohort: Cohort
    sites: Names
    seed: int
    resamples: Resamples

    @property
    def subjects(self) -> Names:
        return self.cohort.subjects

    def interval(
        self, values: Float64[np.ndarray, " m"], positions: Int64[np.ndarray, " m"]
    ) -> tuple[float, float, int]:
        """Ends of the interval of a mean over some of them, NaN for too few people; and how many people there are."""
        own = self.resamples.of(positions)
        low, high = own.interval(values[:, None])
        return float(low[0]), float(high[0]), own.n_subjects

    def share(
        self,
        encoder: str,
        what: Literal["neighbors", "told"],
        values: Float64[np.ndarray, " m"],
        positions: Int64[np.ndarray, " m"],
        expected: float,
    ) -> SiteShare:
        low, high, n_subjects = self.interval(values, positions)
        return SiteShare(encoder, what, float(np.nanmean(values)), low, high, expected, len(values), n_subjects)


def check_sites(queries: Cohort, label: str, databases: Mapping[str, EmbeddingDatabase]) -> None:
    """Refuse what cannot be audited, before any work.

    Args:
        queries: The queries.
        label: The label that names their sites.
        databases: By the name of their encoder.

    Raises:
        CohortError: The cohort has no such label.
        SettingsError: There is one site only, or one of too few people for a cross-validation, or a database knows of
            no entry's site.
    """
    sites = site_names(queries, label)
    split = ", ".join(sorted(set(queries.splits.tolist()))) or "none"
    names = sorted(set(sites[sites != MISSING].tolist()))
    if len(names) < 2:
        held = f"of one site, {names[0]!r}" if names else "without a site"
        raise SettingsError(
            f"label {label!r}: all {counted(len(sites), 'image')} of split {split} are {held}; an audit compares at "
            "least 2 sites: name another label or split"
        )
    for name in names:
        n_people = len(set(queries.subjects[sites == name].tolist()))
        if n_people < N_FOLDS:
            raise SettingsError(
                f"label {label!r}: site {name!r} has {counted(n_people, 'subject')} in split {split}; a "
                f"cross-validation in {N_FOLDS} folds needs {N_FOLDS}: put small sites together in a label of their own"
            )
    for title, database in databases.items():
        if (_entry_sites(database, label) == MISSING).all():
            raise SettingsError(
                f"the database of {title!r} knows {label!r} of none of its {counted(len(database), 'entry')}; index it "
                "again from a cohort with that label"
            )


def audit_sites(
    members: Mapping[str, Member],
    queries: Cohort,
    training: Cohort,
    label: str,
    *,
    ranked: Bool[np.ndarray, " n"],
    n_bootstrap: int = N_RESAMPLES,
    seed: int = 0,
) -> SiteAudit:
    """Measure how far retrieval and embeddings tell the site of an image; see `SiteAudit` and its parts.

    Entries and queries whose site is not known are left out, and so is a query's own person.

    Args:
        members: Encoders with their databases, by name.
        queries: People that no encoder was trained on.
        training: Training pairs, among whose thumbnails pixels look for neighbors.
        label: The label that names the sites.
        ranked: (n,) queries that recall is measured of.
        n_bootstrap: Resamples of subjects.
        seed: Of resamples and folds.

    Raises:
        CohortError, SettingsError: See `check_sites`.
    """
    check_sites(queries, label, {name: member.database for name, member in members.items()})
    sites = site_names(queries, label)
    known = np.flatnonzero(sites != MISSING)
    cohort = queries.select(known)
    resamples = Resamples.draw(cohort.subjects, n_bootstrap, np.random.default_rng(seed))
    asked = _Asked(cohort, sites[known], seed, resamples)
    shares: list[SiteShare] = []
    recalls: list[SiteRecall] = []
    left_out: list[SiteLeftOut] = []
    for name, member in members.items():
        sources, targets = embed_pairs(member.encoder, cohort, np.arange(len(cohort)), _BATCH)
        entries = _Entries.of(member.database, label)
        shares += [entries.shared(asked, name, sources), _told(asked, name, sources)]
        recalls += _recalls(asked, name, sources, targets, np.flatnonzero(ranked[known]))
        left_out += _left_out(asked, name, entries, sources)
    shares += _of_pixels(asked, training, label)
    n_sites = len(set(asked.sites.tolist()))
    return SiteAudit(
        *(label, n_sites, len(queries) - len(cohort), N_NEIGHBORS, N_FOLDS),
        *(tuple(shares), tuple(recalls), tuple(left_out)),
    )


def site_names(cohort: Cohort, label: str) -> Names:
    """Name the site of each pair, `MISSING` where it is not known.

    Raises:
        CohortError: The cohort has no such label.
    """
    return np.array([value_name(value) for value in cohort.label(label)], dtype=np.str_)


def _entry_sites(database: EmbeddingDatabase, label: str) -> Names:
    values = [labels.get(label) for labels in database.labels]
    return np.array([MISSING if value is None else value_name(value) for value in values], dtype=np.str_)


@dataclass(frozen=True)
class _Entries:
    """What queries look for neighbors in: entries whose site is known."""

    vectors: Embeddings
    sites: Names
    subjects: Names
    gallery: Gallery | None = None
    regions: tuple[str, ...] = ()

    @classmethod
    def of(cls, database: EmbeddingDatabase, label: str) -> "_Entries":
        sites = _entry_sites(database, label)
        rows = np.flatnonzero(sites != MISSING)
        gallery = database.gallery().subset(rows)
        return cls(database.embeddings[rows], sites[rows], database.subjects[rows], gallery, database.regions)

    def nearest(self, queries: Embeddings, subjects: Names) -> SearchResult:
        """Find the nearest entries of other people."""
        people, codes = np.unique(self.subjects, return_inverse=True)
        numbers = {name: code for code, name in enumerate(people.tolist())}
        own = np.array([numbers.get(name, -1) for name in subjects.tolist()], dtype=np.int64)
        return exact_search(self.vectors, queries, N_NEIGHBORS, groups=Groups.of(codes), excluded=own)

    def shared(self, asked: _Asked, name: str, queries: Embeddings) -> SiteShare:
        """The share of the nearest that are of the query's site, beside that of all other people's entries."""
        found = self.nearest(queries, asked.subjects)
        own_site = (self.sites[found.rows] == asked.sites[:, None]) & (found.rows >= 0)
        with np.errstate(invalid="ignore"):
            shares = own_site.sum(axis=1) / np.where(found.counts > 0, found.counts, np.nan)
        sizes = {site: np.count_nonzero(self.sites == site) for site in set(asked.sites.tolist())}
        expected = np.full(len(queries), np.nan)
        for i, (site, subject) in enumerate(zip(asked.sites.tolist(), asked.subjects.tolist(), strict=True)):
            own = self.sites[self.subjects == subject]
            if len(own) < len(self.sites):
                expected[i] = (sizes[site] - np.count_nonzero(own == site)) / (len(self.sites) - len(own))
        return asked.share(name, "neighbors", shares, np.arange(len(queries)), float(np.nanmean(expected)))

    def without(self, site: str) -> "_Entries":
        """The entries of the other sites."""
        rows = np.flatnonzero(self.sites != site)
        gallery = None if self.gallery is None else self.gallery.subset(rows)
        return _Entries(self.vectors[rows], self.sites[rows], self.subjects[rows], gallery, self.regions)

    def averaged(self, queries: Embeddings, subjects: Names) -> Pixels:
        """The similarity-weighted average of the nearest (Eq. 4), NaN where there is none."""
        assert self.gallery is not None
        if not len(self.sites):
            return np.full((len(queries), self.gallery.n_pixels), np.nan, dtype=np.float32)
        found = self.nearest(queries, subjects)
        mean, _ = self.gallery.average(found.rows, similarity_weights(found.similarities, found.rows))
        return mean


def _told(asked: _Asked, name: str, vectors: np.ndarray) -> SiteShare:
    rows = np.asarray(evenly_spaced(len(vectors), MAX_TOLD), dtype=np.int64)
    sites = asked.sites[rows]
    rightly = named_rightly(vectors[rows], sites, asked.subjects[rows], asked.seed)
    largest = float(np.unique(sites, return_counts=True)[1].max() / len(sites))
    return asked.share(name, "told", rightly.astype(np.float64), rows, largest)


def _of_pixels(asked: _Asked, training: Cohort, label: str) -> Iterator[SiteShare]:
    """The same of thumbnails, whose neighbors are the nearest training sources by the distance of their pixels."""
    own = thumbnails(asked.cohort, np.arange(len(asked.cohort)))
    sites = site_names(training, label)
    rows = np.flatnonzero(sites != MISSING)
    rows = rows[np.asarray(evenly_spaced(len(rows), MAX_THUMBNAILS), dtype=np.int64)]
    if len(rows):
        pixels = thumbnails(training, rows)
        center = pixels.mean(axis=0)
        pixels, queries = pixels - center, own - center
        # The greatest product with one more number is the least distance: |q - x|^2 = |q|^2 - 2 (q x - |x|^2 / 2).
        vectors = np.concatenate([pixels, -(pixels**2).sum(axis=1, keepdims=True) / 2], axis=1)
        queries = np.concatenate([queries, np.ones((len(queries), 1), dtype=np.float32)], axis=1)
        yield _Entries(vectors, sites[rows], training.subjects[rows]).shared(asked, PIXELS, queries)
    yield _told(asked, PIXELS, own)


def _recalls(
    asked: _Asked, name: str, sources: Embeddings, targets: Embeddings, queries: Int64[np.ndarray, " q"]
) -> list[SiteRecall]:
    """Recall with the gallery cut to the query's site, and what an equally large gallery of all sites would give."""
    if not len(queries):
        return []
    sources, targets, sites = sources[queries], targets[queries], asked.sites[queries]
    everywhere = own_ranks(sources, targets, np.arange(len(queries)))
    within, sizes = np.empty_like(everywhere), np.empty_like(everywhere)
    for site in np.unique(sites):
        own = np.flatnonzero(sites == site)
        within[own], sizes[own] = own_ranks(sources[own], targets[own], np.arange(len(own))), len(own)
    ks = usable_ks(int(sizes.min()))
    hits = recall_hits(within, ks).astype(np.float64)
    rows = []
    for i, k in enumerate(ks):
        # Of the targets nearer than the own one, fewer than k are among the others that are drawn.
        drawn = hypergeom.cdf(k - 1, len(queries) - 1, everywhere - 1, sizes - 1)
        low, high, _ = asked.interval(hits[:, i], queries)
        shares = float(hits[:, i].mean()), low, high, float(drawn.mean()), float((k / sizes).mean())
        rows.append(SiteRecall(name, k, *shares, len(queries)))
    return rows


def _left_out(asked: _Asked, name: str, entries: _Entries, sources: Embeddings) -> Iterator[SiteLeftOut]:
    errors = np.full((len(sources), 2), np.nan)
    for site in sorted(set(asked.sites.tolist())):
        databases = (entries, entries.without(site))
        rows = np.flatnonzero(asked.sites == site)
        for start in range(0, len(rows), _BATCH):
            part = rows[start : start + _BATCH]
            errors[part] = _errors(asked.cohort, databases, sources, part)
    judged = np.isfinite(errors).all(axis=1)
    few = values_of_few(asked.sites.tolist(), asked.subjects.tolist())
    for site in [ALL_SITES, *sorted(set(asked.sites.tolist()) - few)]:
        rows = np.flatnonzero(judged & ((asked.sites == site) | (site == ALL_SITES)))
        if len(rows):
            error, without = errors[rows].mean(axis=0)
            low, high, n_subjects = asked.interval(errors[rows, 1] - errors[rows, 0], rows)
            yield SiteLeftOut(name, site, float(error), float(without), low, high, len(rows), n_subjects)


def _errors(
    cohort: Cohort, databases: tuple[_Entries, ...], sources: Embeddings, rows: Int64[np.ndarray, " m"]
) -> Float64[np.ndarray, "m databases"]:
    """Median absolute error of each query with each database, at the pixels that all of them and the truth have."""
    gallery = databases[0].gallery
    assert gallery is not None
    truths = cohort.read_targets(rows, regions=databases[0].regions)[:, gallery.mask]
    answers = [part.averaged(sources[rows], cohort.subjects[rows]) for part in databases]
    known = np.isfinite(truths) & np.isfinite(answers).all(axis=0)
    found = np.full((len(rows), len(databases)), np.nan)
    for i in np.flatnonzero(known.any(axis=1)):
        found[i] = [float(np.median(np.abs(answer[i] - truths[i])[known[i]])) for answer in answers]
    return found
