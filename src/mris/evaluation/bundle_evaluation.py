"""Evaluate a bundle on a split of a cohort, beside what learning must beat."""

from collections.abc import Sequence

import numpy as np

from mris.cohort.cohort import Cohort
from mris.evaluation.evaluate import Evaluation, evaluate
from mris.evaluation.predictor import Predictor, SynthesizerPredictor
from mris.evaluation.references import reference_predictors
from mris.evaluation.strata import Merge
from mris.synthesis.bundle import Bundle, check_encoder_fits

METHOD_NAME = "MRIS"


def evaluate_bundle(
    bundle: Bundle,
    cohort: Cohort,
    *,
    split: str = "test",
    by: Sequence[str] = (),
    merge: Merge | None = None,
    n_neighbors: int = 20,
    one_per_subject: bool = False,
    n_bootstrap: int = 1000,
    references: bool = True,
    seed: int = 0,
    progress: bool = True,
) -> Evaluation:
    """Judge a bundle on people it has never seen.

    A query's own subject is never among its neighbors, whatever the database holds.

    Args:
        bundle: An open bundle; its regions must cover the cohort's.
        cohort: A whole cohort, with the split "train" and the one to judge on.
        split: Split whose pairs are the queries.
        by: Labels that split the images into strata.
        merge: Values of a label that share a stratum.
        n_neighbors: k.
        one_per_subject: At most one map of a person among the neighbors.
        n_bootstrap: Resamples of subjects.
        references: Fit and judge the mean map, PCA k-NN and PCA ridge beside it.
        seed: Of the resampling and of the references.
        progress: Show a progress bar.

    Returns:
        See `mris.evaluation.evaluate.evaluate`.

    Raises:
        CohortError: A split, label or region is absent.
        SubjectLeakError: A query's subject is in the split "train".
        BundleError: The cohort was prepared otherwise than the one the bundle was made of.
    """
    for member in bundle.members:
        check_encoder_fits(member.encoder, cohort)
    training, queries = cohort.split("train"), cohort.split(split)
    synthesizer = bundle.synthesizer(n_neighbors, one_per_subject=one_per_subject)
    methods: dict[str, Predictor] = {METHOD_NAME: SynthesizerPredictor(synthesizer, cohort.regions)}
    if references:
        methods |= reference_predictors(training, np.random.default_rng(seed), n_neighbors=n_neighbors)
    encoders = {
        METHOD_NAME if len(bundle.members) == 1 else f"{METHOD_NAME} {member.name}": member.encoder
        for member in bundle.members
    }
    return evaluate(
        methods,
        queries,
        training=training,
        by=by,
        merge=merge,
        retrieval=encoders,
        n_bootstrap=n_bootstrap,
        seed=seed,
        progress=progress,
    )
