"""From nothing to a bundle that has seen digital knees alone, step by step; finished steps are left as they are."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from mris.cohort.cohort import Cohort
from mris.cohort.prepare import PrepareSettings, prepare_cohort
from mris.digital.knees import FIELD_MM, FRACTIONS, digital_parts
from mris.images.transforms import SourcePreparation
from mris.images.write import folder_beside
from mris.knee.phantom.cohort import write_phantom
from mris.metric.encoders import DualEncoder
from mris.metric.export import export_encoder
from mris.metric.settings import PresetName, TrainSettings, preset
from mris.metric.train import train_encoders
from mris.synthesis.build_bundle import build_bundle
from mris.synthesis.bundle import Bundle


@dataclass(frozen=True)
class Recipe:
    """One way to make a bundle.

    Attributes:
        look: Of the phantom.
        preset: Of the training.
        people: Digital people.
        pixels: Rows and columns of the phantom's pictures; they are wider than the region that is cut out.
        size: Rows and columns of sources.
        seed: Of the digital people and the training.
        after: Recipe whose source network this one goes on with, or `TEACHER`.
        changes: Settings of the training other than the preset's.
    """

    look: str = "varied"
    preset: PresetName = "varied"
    people: int = 1500
    pixels: int = 128
    size: int = 80
    seed: int = 0
    after: str | None = None
    changes: dict[str, Any] = field(default_factory=dict)


TEACHER = "teacher"
"""A network that narrowing grades of real radiographs taught, of people without measured thickness (`rivals.py`)."""

RECIPES = {
    "plain": Recipe(look="plain", preset="small", changes={"epochs": 30}),
    "varied": Recipe(),
    "longer": Recipe(seed=1, after="varied", changes={"epochs": 20}),
    "longest": Recipe(seed=2, after="longer", changes={"epochs": 20}),
    "again": Recipe(seed=2),
    "taught": Recipe(seed=2, after=TEACHER),
}


def make_bundle(recipe: Recipe, work: Path) -> Bundle:
    """Simulate, prepare, train and index, or go on where an earlier call stopped."""
    seed = recipe.seed
    knees = work.parent / f"knees_{recipe.look}_{recipe.people}_{recipe.pixels}_{seed}"
    write_phantom(
        knees, n_subjects=recipe.people, size=recipe.pixels, seed=seed, enriched=True, max_visits=1, workers=1,
        extraction="smooth", look=recipe.look,
    )  # fmt: skip
    size = (recipe.size, recipe.size)
    source = SourcePreparation(size, mirror_sides=("right",), region_mm=FIELD_MM)
    settings = PrepareSettings(source, size, fractions=FRACTIONS, stratify="klg", workers=1)
    prepare_cohort(knees / "manifest.csv", work / "cohort", settings)
    cohort = Cohort.open(work / "cohort")
    run = work / "run"
    train_encoders(cohort, run, settings=_settings(recipe, work), seed=seed, resume=(run / "run.json").is_file())
    bundle = work / "digital.bundle"
    if not bundle.is_dir():
        with folder_beside(bundle) as temporary:
            exported = export_encoder(DualEncoder.load(run / "encoder"), temporary)
            build_bundle([exported], cohort, bundle, parts=digital_parts(recipe.size), error="mae")
    return Bundle.open(bundle)


def _settings(recipe: Recipe, work: Path) -> TrainSettings:
    changes = {"accelerator": "cpu", "devices": 1} | recipe.changes
    if recipe.after == TEACHER:
        changes |= {"source_weights": work.parent / f"{TEACHER}.safetensors"}
    elif recipe.after is not None:
        trained = DualEncoder.load(work.parent / recipe.after / "run" / "encoder").source.state_dict()
        start = work / "start.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in trained.items()}, start)
        changes |= {"source_weights": start}
    return TrainSettings.model_validate(preset(recipe.preset).model_dump() | changes)
