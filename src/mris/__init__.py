"""Synthesize an expensive image from a cheap one by retrieval in a shared embedding space.

Names load lazily: ``import mris`` costs milliseconds, and torch is imported only by what trains.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import mris.quiet  # noqa: F401 - before any other library loads

__version__ = "0.1.0"

_HOME = {
    "Bundle": "mris.synthesis.bundle",
    "Cohort": "mris.cohort.cohort",
    "CrossModalTripletLoss": "mris.metric.losses",
    "DualEncoder": "mris.metric.encoders",
    "EmbeddingDatabase": "mris.database.database",
    "KNEE": "mris.knee.anatomy",
    "Image": "mris.images.image",
    "MrisError": "mris.errors",
    "Neighbors": "mris.database.neighbors",
    "Synthesis": "mris.synthesis.synthesis",
    "Synthesizer": "mris.synthesis.synthesizer",
    "digital_knees": "mris.digital.packaged",
    "evaluate": "mris.evaluation.evaluate",
    "prepare_cohort": "mris.cohort.prepare",
    "read_image": "mris.images.read",
    "split_by_subject": "mris.cohort.split",
    "train_encoders": "mris.metric.train",
}

__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:
    from mris.cohort.cohort import Cohort as Cohort
    from mris.cohort.prepare import prepare_cohort as prepare_cohort
    from mris.cohort.split import split_by_subject as split_by_subject
    from mris.database.database import EmbeddingDatabase as EmbeddingDatabase
    from mris.database.neighbors import Neighbors as Neighbors
    from mris.digital.packaged import digital_knees as digital_knees
    from mris.errors import MrisError as MrisError
    from mris.evaluation.evaluate import evaluate as evaluate
    from mris.images.image import Image as Image
    from mris.images.read import read_image as read_image
    from mris.knee.anatomy import KNEE as KNEE
    from mris.metric.encoders import DualEncoder as DualEncoder
    from mris.metric.losses import CrossModalTripletLoss as CrossModalTripletLoss
    from mris.metric.train import train_encoders as train_encoders
    from mris.synthesis.bundle import Bundle as Bundle
    from mris.synthesis.synthesis import Synthesis as Synthesis
    from mris.synthesis.synthesizer import Synthesizer as Synthesizer


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mris' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
