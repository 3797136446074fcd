"""Does an audit see what was put into a cohort, and nothing where nothing was put?"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mris.cohort.cohort import Cohort
from mris.database.database import EmbeddingDatabase
from mris.errors import CohortError, SettingsError
from mris.evaluation.evaluate import evaluate
from mris.evaluation.mask import evaluation_mask
from mris.evaluation.results import Results, read_results, write_results
from mris.evaluation.site_audit import audit_sites, check_sites
from mris.evaluation.site_classifier import named_rightly
from mris.evaluation.site_results import PIXELS, SiteAudit
from mris.evaluation.site_verdict import on_sites
from mris.evaluation.verdict import verdict
from mris.retrieval import own_ranks
from mris.synthesis.synthesizer import Synthesizer
from mris.types import Embeddings, Sources, Targets

SITES = ("A", "B", "C")
SIZE = 6


@dataclass(frozen=True)
class Places:
    """Embeds images by what stands at some of their pixels."""

    pixels: slice
    fingerprint: str = "a" * 64
    regions: tuple[str, ...] = ("femoral",)

    def encode_sources(self, sources: Sources) -> Embeddings:
        return self._unit(sources)

    def encode_targets(self, targets: Targets) -> Embeddings:
        return self._unit(targets)

    def _unit(self, images: np.ndarray) -> Embeddings:
        vectors = images.reshape(len(images), -1)[:, self.pixels] + np.float32(1e-6)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


SITE_ALONE, PERSON_ALONE = Places(slice(0, 12)), Places(slice(12, None))


def write(cohort_of: Callable[..., Cohort], n_people: int = 90, sites: Any = None, split: str = "test") -> Cohort:
    """Sources and targets alike: the first 12 pixels show the site, the others the person; two images of each."""
    rng = np.random.default_rng(0)
    looks = rng.normal(size=(len(SITES), 12))
    own_site = rng.integers(0, len(SITES), n_people)
    images, names = [], []
    for person in range(n_people):
        anatomy = rng.normal(size=SIZE * SIZE - 12)
        for side in ("left", "right"):
            look = looks[own_site[person]] + 0.3 * rng.normal(size=12)
            images.append(np.concatenate([look, anatomy + 0.8 * rng.normal(size=len(anatomy))]))
            names.append((f"P{person:03d}", side))
    pixels = np.asarray(images, dtype=np.float32).reshape(-1, 1, SIZE, SIZE)
    blur = np.where(np.arange(SIZE * SIZE) < 12, 0.5, 0.1).reshape(SIZE, SIZE)
    half = n_people // 2
    return cohort_of(
        (pixels + blur * rng.normal(size=pixels.shape)).astype(np.float32),
        pixels,
        subjects=[subject for subject, _ in names],
        sides=[side for _, side in names],
        splits=["train" if i // 2 < half else split for i in range(len(names))],
        labels={"site": [SITES[own_site[i // 2]] for i in range(len(names))] if sites is None else sites},
        regions=("femoral",),
    )


def audited(cohort: Cohort, encoder: Places, folder: Path, **changes: Any) -> tuple[SiteAudit, EmbeddingDatabase]:
    training, queries = cohort.split("train"), cohort.split("test")
    database = EmbeddingDatabase.build(folder / "database", training, encoder, progress=False)
    members = {"MRIS": SimpleNamespace(encoder=encoder, database=database)}
    ranked = np.ones(len(queries), dtype=bool)
    given = {"ranked": ranked, "n_bootstrap": 200} | changes
    return audit_sites(members, queries, training, "site", **given), database  # type: ignore[arg-type]


@pytest.fixture
def cohort(cohort_of: Callable[..., Cohort]) -> Cohort:
    return write(cohort_of)


def test_an_embedding_that_is_the_site_is_told_to_be_it(cohort: Cohort, tmp_path: Path) -> None:
    audit, _ = audited(cohort, SITE_ALONE, tmp_path)
    near, told = audit.share("MRIS", "neighbors"), audit.share("MRIS", "told")
    assert near.value > 0.9 > 0.5 > near.expected and near.low > near.expected
    assert told.value > 0.9 and told.low > told.expected
    (sentence,) = on_sites(audit, 0.95)
    assert sentence.startswith("MRIS: neighbors share the site of the query more often than chance: ")
    assert "its embedding names the site of other people better than chance" in sentence
    recall = next(row for row in audit.recalls if row.k == 5)
    assert recall.any_site > recall.value + 0.1  # the site alone sorts out two thirds of a gallery


def test_an_embedding_without_a_site_is_not_told_to_be_one(cohort: Cohort, tmp_path: Path) -> None:
    audit, _ = audited(cohort, PERSON_ALONE, tmp_path)
    near, told = audit.share("MRIS", "neighbors"), audit.share("MRIS", "told")
    assert near.low <= near.expected + 0.02 and abs(near.value - near.expected) < 0.06
    assert told.low <= told.expected
    (sentence,) = on_sites(audit, 0.95)
    assert "no more often than chance" in sentence and "does not name the site" in sentence
    for row in audit.recalls:
        assert row.value == pytest.approx(row.any_site, abs=0.15)
    assert audit.share(PIXELS, "told").low > audit.share(PIXELS, "told").expected  # the pixels do show it


def test_shares_of_neighbors_equal_those_of_a_plain_loop(cohort: Cohort, tmp_path: Path) -> None:
    audit, database = audited(cohort, SITE_ALONE, tmp_path)
    queries, sites = cohort.split("test"), [labels["site"] for labels in database.labels]
    shares, expected = [], []
    for source, site, subject in zip(queries.read_sources(), queries.label("site"), queries.subjects, strict=True):
        (query,) = SITE_ALONE.encode_sources(source[None])
        others = [row for row in range(len(database)) if database.subjects[row] != subject]
        nearest = sorted(others, key=lambda row: -float(database.embeddings[row] @ query))[: audit.n_neighbors]
        shares.append(np.mean([sites[row] == site for row in nearest]))
        expected.append(np.mean([sites[row] == site for row in others]))
    found = audit.share("MRIS", "neighbors")
    assert found.value == pytest.approx(np.mean(shares)) and found.expected == pytest.approx(np.mean(expected))


def test_the_own_person_is_no_neighbor_of_a_query(cohort: Cohort, tmp_path: Path) -> None:
    whole = cohort.with_splits(["train"] * len(cohort))
    database = EmbeddingDatabase.build(tmp_path / "database", whole, SITE_ALONE, progress=False)
    members = {"MRIS": SimpleNamespace(encoder=SITE_ALONE, database=database)}
    ranked = np.zeros(len(whole), dtype=bool)
    audit = audit_sites(members, whole, whole, "site", ranked=ranked, n_bootstrap=10)  # type: ignore[arg-type]
    sites, subjects = whole.label("site"), whole.subjects
    expected = [np.mean((sites == site)[subjects != own]) for site, own in zip(sites, subjects, strict=True)]
    assert audit.share("MRIS", "neighbors").expected == pytest.approx(np.mean(expected))
    assert audit.recalls == ()


def test_recall_in_a_gallery_of_any_site_is_the_mean_over_all_that_could_be_drawn(
    cohort_of: Callable[..., Cohort], tmp_path: Path
) -> None:
    cohort = write(cohort_of, n_people=40)
    ranked = np.zeros(40, dtype=bool)
    sites = cohort.split("test").label("site")
    ranked[[np.flatnonzero(sites == "A")[i] for i in (0, 3, 5)] + list(np.flatnonzero(sites == "B")[:5])] = True
    audit, _ = audited(cohort, PERSON_ALONE, tmp_path, ranked=ranked)
    queries = cohort.split("test").select(ranked)
    sources = PERSON_ALONE.encode_sources(queries.read_sources())
    targets = PERSON_ALONE.encode_targets(queries.read_targets())
    own_sites = queries.label("site")
    for row in audit.recalls:
        hits, within = [], []
        for i, site in enumerate(own_sites):
            size = int((own_sites == site).sum())
            galleries = [(i, *rest) for rest in combinations([j for j in range(len(sources)) if j != i], size - 1)]
            ranks = [own_ranks(sources[[i]], targets[list(g)], np.array([0]))[0] for g in galleries]
            hits.append(np.mean([rank <= row.k for rank in ranks]))
            mates = [i, *(j for j in range(len(sources)) if j != i and own_sites[j] == site)]
            within.append(own_ranks(sources[[i]], targets[mates], np.array([0]))[0] <= row.k)
        assert row.any_site == pytest.approx(np.mean(hits))
        assert row.value == pytest.approx(np.mean(within))


def test_a_site_left_out_gives_the_error_of_a_database_without_it(cohort: Cohort, tmp_path: Path) -> None:
    audit, database = audited(cohort, SITE_ALONE, tmp_path)
    training, queries = cohort.split("train"), cohort.split("test")
    whole, errors = Synthesizer(SITE_ALONE, database), []
    for site in SITES:
        kept = training.select(training.label("site") != site)
        smaller = EmbeddingDatabase.build(tmp_path / site, kept, SITE_ALONE, progress=False)
        part = queries.select(queries.label("site") == site)
        for source, truth in zip(part.read_sources(), part.read_targets(), strict=True):
            mask = evaluation_mask(truth, training.atlas_mask)
            images = [made.predict(source[None])[0] for made in (whole, Synthesizer(SITE_ALONE, smaller))]
            errors.append([np.median(np.abs(image - truth)[mask]) for image in images])
    found = next(row for row in audit.left_out if row.site == "all")
    assert (found.error, found.left_out) == pytest.approx(tuple(np.mean(errors, axis=0)), rel=1e-3)
    assert found.n_images == len(queries)


def test_a_site_is_not_named_by_having_seen_the_person() -> None:
    rng = np.random.default_rng(0)
    people = rng.normal(size=(60, 10))
    sites = rng.choice(list(SITES), 60)
    twice = np.repeat(np.arange(60), 4)
    rightly = named_rightly(people[twice], sites[twice], twice.astype(str), seed=0)
    assert rightly.mean() < 0.55


def test_vectors_that_are_all_alike_name_the_largest_site() -> None:
    sites = np.array(["A"] * 20 + ["B"] * 10)
    rightly = named_rightly(np.ones((30, 4)), sites, np.arange(30).astype(str), seed=0)
    assert rightly.mean() == pytest.approx(2 / 3)


def test_queries_without_a_site_are_left_out_and_counted(cohort_of: Callable[..., Cohort], tmp_path: Path) -> None:
    known = write(cohort_of).label("site").tolist()
    sites = [None if i in (100, 101) else name for i, name in enumerate(known)]
    audit, _ = audited(write(cohort_of, sites=sites), SITE_ALONE, tmp_path)
    assert audit.n_without == 2
    assert audit.share("MRIS", "told").n_images == 88


def test_a_label_that_cannot_be_audited_costs_one_line(cohort_of: Callable[..., Cohort], tmp_path: Path) -> None:
    cohort = write(cohort_of)
    queries = cohort.split("test")
    with pytest.raises(CohortError, match=r"has no label 'clinic'"):
        check_sites(queries, "clinic", {})
    alone = queries.select(queries.label("site") == "A")
    with pytest.raises(SettingsError, match=r"all \d+ images of split test are of one site, 'A'"):
        check_sites(alone, "site", {})
    few = np.flatnonzero(queries.label("site") == "B")[:4]
    with pytest.raises(SettingsError, match=r"site 'B' has 2 subjects in split test; a cross-validation in 5 folds"):
        check_sites(queries.select([*np.flatnonzero(queries.label("site") == "A"), *few]), "site", {})
    nowhere = write(cohort_of, sites=[None if i < 90 else SITES[i % 3] for i in range(180)])
    database = EmbeddingDatabase.build(tmp_path / "d", nowhere.split("train"), SITE_ALONE, progress=False)
    with pytest.raises(SettingsError, match=r"database of 'MRIS' knows 'site' of none of its 90 entries"):
        check_sites(nowhere.split("test"), "site", {"MRIS": database})


def test_an_audit_comes_back_from_its_file_and_is_part_of_the_verdict(cohort: Cohort, tmp_path: Path) -> None:
    audit, database = audited(cohort, SITE_ALONE, tmp_path)
    plain: Results = evaluate(
        {"MRIS": Synthesizer(SITE_ALONE, database)},
        cohort.split("test"),
        training=cohort.split("train"),
        n_bootstrap=10,
        progress=False,
    ).results
    assert plain.site_audit is None
    results = replace(plain, site_audit=audit)
    write_results(tmp_path / "results.json", results)
    assert read_results(tmp_path / "results.json").site_audit == audit
    assert verdict(results)[-1] == next(on_sites(audit, 0.95))
