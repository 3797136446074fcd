"""Evaluate a bundle on a split of a cohort, beside other bundles, other methods, and what learning must beat."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np

from mris.cohort.cohort import Cohort
from mris.defaults import N_NEIGHBORS, N_RESAMPLES
from mris.engines.engine import Engine
from mris.errors import SettingsError, SubjectLeakError
from mris.evaluation.bootstrap import Resamples
from mris.evaluation.coverage import Gauge, interval_coverage
from mris.evaluation.evaluate import Evaluation, evaluate
from mris.evaluation.people_shown import people_shown
from mris.evaluation.predictor import Predictor, Trained
from mris.evaluation.prevalence import Prevalences
from mris.evaluation.references import REFERENCE_NAMES, reference_predictors
from mris.evaluation.results import Cost
from mris.evaluation.site_audit import audit_sites, check_sites
from mris.evaluation.strata import Merge, groups_of
from mris.synthesis.batch_synthesizer import BatchSynthesizer
from mris.synthesis.bundle import Bundle, Member
from mris.synthesis.bundle_checks import check_encoder_fits
from mris.synthesis.readouts import SynthesisSettings
from mris.wording import counted, first_of

METHOD_NAME = "MRIS"


def evaluate_bundle(
    bundle: Bundle,
    cohort: Cohort,
    *,
    name: str = METHOD_NAME,
    bundles: Mapping[str, Bundle] | None = None,
    others: Mapping[str, Predictor | BatchSynthesizer] | None = None,
    costs: Mapping[str, Cost] | None = None,
    split: str = "test",
    by: Sequence[str] = (),
    merge: Merge | None = None,
    prevalence: Prevalences | None = None,
    synthesis: SynthesisSettings | None = None,
    site: str | None = None,
    n_bootstrap: int = N_RESAMPLES,
    references: bool = True,
    seed: int = 0,
    progress: bool = True,
    engine: Engine | None = None,
) -> Evaluation:
    """Judge a bundle on people it has never seen, side by side with any number of other methods.

    A query's own subject is never among its neighbors, whatever a database holds. Every encoder of every bundle has its
    recall measured, over one and the same gallery. Methods stand in the order: this bundle, more bundles, others,
    references.

    Args:
        bundle: An open bundle; its regions must cover the cohort's.
        cohort: A whole cohort, with the split "train" and the one to judge on.
        name: Name of the bundle in tables.
        bundles: More bundles by name, such as that of separate regions; judged with the same settings.
        others: More methods by name: networks, or anything else with ``predict(sources, subjects=...)``.
        costs: What is known of a method's cost, by its name.
        split: Split whose pairs are the queries.
        by: Labels that split the images into strata.
        merge: Values of a label that share a stratum.
        prevalence: Weights of a label's strata; see `mris.evaluation.evaluate.evaluate`.
        synthesis: The readout of every bundle; each bundle's own if None. PCA k-NN has the same k, or 20.
        site: Label that names the site where an image was made; bundles are then audited for seeing it. None for none.
        n_bootstrap: Resamples of subjects.
        references: Fit and judge the mean map, PCA k-NN and PCA ridge beside it.
        seed: Of the resampling and of the references.
        progress: Show a progress bar.
        engine: What predicts, measures and embeds, a batch at a time; this process if None.

    Returns:
        See `mris.evaluation.evaluate.evaluate`.

    Raises:
        SettingsError: Two methods have one name, or a name is empty; see also `mris.evaluation.evaluate.evaluate`.
        CohortError: A split, label or region is absent.
        SubjectLeakError: A query's subject is in the split "train", or was when a bundle was made or another method
            trained, where the method says so: networks have seen that person, and leaving out entries of a database
            does not undo it.
        BundleError: The cohort was prepared otherwise than the one that a bundle was made of.

    Example:
        >>> bundle, separate = Bundle.open("c.bundle"), Bundle.open("s.bundle")        # doctest: +SKIP
        >>> cohort = Cohort.open("cohort")                                             # doctest: +SKIP
        >>> evaluation = evaluate_bundle(
        ...     bundle, cohort, name="MRIS-C", bundles={"MRIS-S": separate}
        ... )                                                                          # doctest: +SKIP
    """
    synthesis = synthesis or SynthesisSettings()
    check_names("method", [name, *(bundles or {}), *(others or {}), *(REFERENCE_NAMES if references else ())])
    named = {name: bundle, **(bundles or {})}
    members = [pair for title, opened in named.items() for pair in members_of(title, opened).items()]
    check_names("encoder", [title for title, _ in members])
    for opened in named.values():
        for member in opened.members:
            check_encoder_fits(member.encoder, cohort)
    training, queries = cohort.split("train"), cohort.split(split)
    subjects = set(queries.subjects.tolist())
    if site is not None:
        check_sites(queries, site, {title: member.database for title, member in members})
    for title, opened in named.items():
        _check_unseen(f"bundle {title!r}", trained_on(opened, subjects))
    for title, method in (others or {}).items():
        if isinstance(method, Trained) and method.training_subjects is not None:
            _check_unseen(f"method {title!r}", set(method.training_subjects.among(subjects)))
    synthesizers = {title: opened.synthesizer(**asdict(synthesis)) for title, opened in named.items()}
    gauges = {title: Gauge(synthesizer, cohort.regions) for title, synthesizer in synthesizers.items()}
    methods: dict[str, Predictor | BatchSynthesizer] = {**gauges, **(others or {})}
    if references:
        k = synthesis.n_neighbors or N_NEIGHBORS
        methods |= reference_predictors(training, np.random.default_rng(seed), n_neighbors=k)
    evaluation = evaluate(
        methods,
        queries,
        training=training,
        by=by,
        merge=merge,
        prevalence=prevalence,
        costs=costs,
        retrieval={title: member.encoder for title, member in members},
        n_bootstrap=n_bootstrap,
        seed=seed,
        progress=progress,
        engine=engine,
    )
    results = evaluation.results
    resamples = Resamples.draw(queries.subjects, n_bootstrap, np.random.default_rng(seed))
    intervals = tuple(
        row
        for title, gauge in gauges.items()
        for row in interval_coverage(title, gauge, groups_of(queries, by, merge), resamples)
    )
    used = {title: opened.readouts(synthesis) for title, opened in named.items()}
    readouts = {title: _joined(one.describe() for one in found) for title, found in used.items()}
    asked_for = synthesis != SynthesisSettings()
    reasons = {} if asked_for else {title: _joined(one.reason for one in found) for title, found in used.items()}
    settings = replace(results.settings, synthesis=synthesis, readouts=readouts, reasons=reasons)
    audit = None
    if site is not None:
        ranked = np.zeros(len(queries), dtype=np.bool_)
        for rank in evaluation.per_image.ranks.values():
            ranked |= rank > 0
        audit = audit_sites(
            *(dict(members), queries, training, site), ranked=ranked, n_bootstrap=n_bootstrap, seed=seed
        )
    shown = tuple(
        people_shown(title, synthesizer, queries, dict(zip(named[title].keys, named[title].subjects, strict=True)))
        for title, synthesizer in synthesizers.items()
    )
    return replace(
        evaluation,
        results=replace(results, settings=settings, people_shown=shown, site_audit=audit, intervals=intervals),
    )


def _joined(sentences: Iterable[str]) -> str:
    """Join what the members of a bundle say; once, where all say the same."""
    return "; ".join(dict.fromkeys(sentences))


def members_of(name: str, bundle: Bundle) -> dict[str, Member]:
    """Name the encoders of a bundle: by the bundle's name alone if there is one, else followed by the member's."""
    if len(bundle.members) == 1:
        return {name: bundle.members[0]}
    return {f"{name} {member.name}": member for member in bundle.members}


def check_names(what: str, names: Sequence[str]) -> None:
    """Refuse names that a table could not tell apart.

    Args:
        what: What is named, for the message.
        names: All names.

    Raises:
        SettingsError: A name is empty or occurs twice.
    """
    for place, name in enumerate(names):
        if not name.strip():
            raise SettingsError(f"a {what} has the empty name {name!r}; name each {what}, such as 'MRIS-S'")
        if name in names[:place]:
            raise SettingsError(
                f"two {what}s are named {name!r}; their numbers could not be told apart: give each a name of its own"
            )


def queried_subjects(bundle: Bundle, queries: Cohort) -> frozenset[str]:
    """Find people of the queries who are in a bundle's database without having been trained on, such as added ones.

    A query is answered without its own person, but with the maps of the other ones: its error is not that of the
    database as it was before they were added.
    """
    added = frozenset().union(
        *(one.database.subjects[one.database.splits != "train"].tolist() for one in bundle.members)
    )
    return added.intersection(queries.subjects.tolist())


def trained_on(bundle: Bundle, subjects: Iterable[str]) -> set[str]:
    """Find people among some subjects whom a bundle's encoders were trained on, whoever is in its database today.

    An encoder that does not say so is taken to know the people who stand in the database as training pairs.
    """
    asked, found = set(subjects), set()
    for member in bundle.members:
        record, database = member.encoder.training_subjects, member.database
        found |= asked.intersection(database.subjects[database.splits == "train"].tolist())
        found |= set() if record is None else set(record.among(asked))
    return found


def _check_unseen(what: str, trained_on: set[str]) -> None:
    """Refuse queries of people whom a method was trained on."""
    seen = sorted(trained_on)
    if seen:
        raise SubjectLeakError(
            f"{what} was made with training pairs of {counted(len(seen), 'subject')} of the queries: "
            f"{first_of(seen)}; evaluate it on the splits that it was trained with"
        )
