"""The digital cohort of the paper's experiment, and the settings that have one."""

import sys
from pathlib import Path

from pydantic import Field

import mris
from mris.cohort.cohort import Cohort
from mris.cohort.prepare import PrepareSettings, prepare_cohort
from mris.errors import CohortError
from mris.images.transforms import SourcePreparation
from mris.knee.phantom.cohort import MODEL_VERSION
from mris.knee.phantom.extraction import Extraction
from mris.study.plan import Part, Plan
from mris.study.stages import Work


class Phantom(Part):
    """The digital cohort, where no other is named."""

    subjects: int
    size: int
    seed: int = 0
    enriched: bool = True
    max_visits: int | None = None
    extraction: Extraction = "measured"
    fractions: dict[str, float] = Field({"train": 0.42, "val": 0.04, "downstream": 0.29, "test": 0.25})


class PaperPlan(Plan):
    """Settings of an experiment, and of its digital cohort."""

    phantom: Phantom | None = None


def open_cohort(work: Work, plan: PaperPlan, path: Path | None) -> Cohort:
    """Open the cohort named, or make the digital one."""
    if path is not None:
        return Cohort.open(path)
    if plan.phantom is None:
        raise CohortError("these settings have no digital cohort; name a prepared one with --cohort PATH")
    phantom, folder = plan.phantom, work.folder / "cohort"

    def simulate(out: Path, _: bool) -> None:
        from mris.knee.phantom.cohort import write_phantom

        options = phantom.model_dump(exclude={"fractions", "subjects"})
        write_phantom(out, n_subjects=phantom.subjects, progress=sys.stderr.isatty(), **options)

    def prepare(out: Path, _: bool) -> None:
        size = (phantom.size, phantom.size)
        settings = PrepareSettings(
            SourcePreparation(size, mirror_sides=("right",)), size, stratify="klg", fractions=phantom.fractions
        )
        prepare_cohort(work.folder / "phantom" / "manifest.csv", out, settings, progress=sys.stderr.isatty())

    settings = {
        "phantom": phantom.model_dump(exclude={"fractions"}),
        "version": mris.__version__,
        "model": MODEL_VERSION,
    }
    simulated = work.stage("phantom", settings, simulate)
    work.stage("cohort", {"phantom": simulated, "fractions": phantom.fractions}, prepare)
    return Cohort.open(folder)
