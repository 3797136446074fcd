"""A bundle of digital knees: nobody in it ever lived, so that anybody may have it and try it on a radiograph."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mris.cohort.cohort import Cohort
from mris.cohort.prepare import PrepareSettings, prepare_cohort
from mris.errors import SettingsError
from mris.images.transforms import SourcePreparation
from mris.images.write import folder_beside
from mris.knee.phantom.atlas import REGIONS, knee_atlas
from mris.knee.phantom.cohort import write_phantom
from mris.metric.encoders import DualEncoder
from mris.metric.export import export_encoder
from mris.metric.settings import preset
from mris.metric.train import train_encoders
from mris.synthesis.build_bundle import build_bundle, check_new
from mris.synthesis.bundle import Bundle
from mris.synthesis.parts import Parts
from mris.training.run_folder import RUN_FILE

FIELD_MM = 88.0
"""Edge of the region that sources show: what crops of radiographs as they are passed around hold, too."""

FRACTIONS = {"train": 0.8, "val": 0.07, "calibration": 0.13}
PARTS = ("medial_tibia", "medial_femur", "lateral_tibia", "lateral_femur")
"""Sub-regions whose means have intervals."""

_PHANTOM_SIZE = 128


@dataclass(frozen=True)
class DigitalKnees:
    """What decides a bundle of digital knees.

    Attributes:
        people: Digital people, each with two knees.
        shown: Of those who train, how many the database holds, with one knee of each; None for all people and knees.
        size: Rows and columns of sources and maps, 32 to 128.
        epochs: Of the training; None for the preset's.
        seed: Of everything.
    """

    people: int = 1500
    shown: int | None = None
    size: int = 80
    epochs: int | None = None
    seed: int = 0


def make_digital_knees(out: Path, work: Path, recipe: DigitalKnees, *, progress: bool = True) -> Bundle:
    """Simulate, prepare, train and index; interrupted, the same call goes on.

    Args:
        out: Folder of the bundle; it must not exist.
        work: Folder for the people, the cohort and the training, which may be removed afterwards.
        recipe: What decides the result.
        progress: Show bars or lines.

    Returns:
        The open bundle.

    Raises:
        SettingsError: A number is out of range, `work` lies in `out`, or holds people of another recipe.
        CohortError, TrainingError: `work` holds a cohort or a training of another recipe.
        BundleError: `out` exists.
        OutputError: The disk refuses.
    """
    if recipe.shown is not None and recipe.shown < 2:
        raise SettingsError(f"people shown are {recipe.shown}: a database has at least 2; leave it out for all")
    if not 32 <= recipe.size <= _PHANTOM_SIZE:
        raise SettingsError(
            f"size is {recipe.size}: radiographs are simulated with {_PHANTOM_SIZE} pixels a side; give 32 to that"
        )
    check_new(out)
    if out.resolve() in (work.resolve(), *work.resolve().parents):
        raise SettingsError(
            f"work {work} lies in {out}, which becomes the bundle; choose another place for one of them"
        )
    write_phantom(
        work / "knees", n_subjects=recipe.people, size=_PHANTOM_SIZE, seed=recipe.seed, enriched=True, max_visits=1,
        extraction="smooth", look="varied", progress=progress,
    )  # fmt: skip
    size = (recipe.size, recipe.size)
    source = SourcePreparation(size, mirror_sides=("right",), region_mm=FIELD_MM)
    settings = PrepareSettings(source, size, fractions=FRACTIONS, stratify="klg")
    prepare_cohort(work / "knees" / "manifest.csv", work / "cohort", settings, progress=progress)
    cohort, run = Cohort.open(work / "cohort"), work / "run"
    shown = shown_people(cohort, recipe.shown, np.random.default_rng(recipe.seed))
    training = preset("varied")
    if recipe.epochs is not None:
        training = training.model_copy(update={"epochs": recipe.epochs})
    resume = (run / RUN_FILE).is_file()
    train_encoders(cohort, run, settings=training, seed=recipe.seed, resume=resume, progress=progress)
    with folder_beside(out) as temporary:
        exported = export_encoder(DualEncoder.load(run / "encoder"), temporary / "encoder")
        return build_bundle([exported], shown, out, parts=digital_parts(recipe.size), progress=progress)


def shown_people(cohort: Cohort, n: int | None, rng: np.random.Generator) -> Cohort:
    """Leave of a cohort's training people so many, drawn at random, with one pair of each; all other splits stay.

    Raises:
        SettingsError: There are fewer.
    """
    if n is None:
        return cohort
    training = rng.permutation(np.flatnonzero(cohort.splits == "train"))
    first = training[np.unique(cohort.subjects[training], return_index=True)[1]]
    if n > len(first):
        raise SettingsError(f"people shown are {n}, and {len(first)} train; show at most as many, or simulate more")
    kept = cohort.splits != "train"
    kept[rng.choice(first, n, replace=False)] = True
    return cohort.select(kept)


def digital_parts(size: int) -> Parts:
    """Sub-regions of digital maps of so many rows and columns."""
    atlas = knee_atlas(size)
    return {
        region: {name: atlas.compartments[name] for name in PARTS if REGIONS[atlas.region_of(name)] == region}
        for region in REGIONS
    }
