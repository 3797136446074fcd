"""Settings of metric learning, and the presets that have names."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from mris.defaults import N_NEIGHBORS
from mris.metric.losses import Reduction
from mris.training.card import Architecture, Stem
from mris.training.recipe import Recipe

PresetName = Literal["paper", "small"]


class TrainSettings(Recipe):
    """How two encoders are trained. The defaults are the paper's recipe; `preset` gives the named ones."""

    architecture: Architecture = Field("resnet18", description="network of both encoders")
    width: int = Field(64, ge=8, multiple_of=8, description="channels of the first stage; 64 is ResNet-18")
    stem: Stem = Field("standard", description="'fine' leaves out the ResNet's max pooling: for small images")
    embedding_dim: int = Field(512, ge=2, description="dimension of the shared space")
    source_weights: Path | Literal["imagenet"] | None = Field(
        None, description="start of the source encoder: a .safetensors/.pt state dict, 'imagenet', or none"
    )
    target_weights: Path | Literal["imagenet"] | None = Field(None, description="start of the target encoder")
    margin: float = Field(0.1, gt=0, description="margin of the triplet loss, in cosine distance")
    reduction: Reduction = Field("sum", description="sum over triplets (the paper's) or mean")
    lr_source: float = Field(1e-4, gt=0, description="learning rate of the source encoder")
    lr_target: float = Field(1e-5, gt=0, description="learning rate of the target encoder")
    n_neighbors: int = Field(N_NEIGHBORS, ge=1, description="neighbors of the synthesis that validation judges")
    gallery_limit: int = Field(2000, ge=1, description="training targets that serve as validation's gallery")


_SMALL = {
    "width": 16,
    "embedding_dim": 128,
    "reduction": "mean",
    "sampler": "pair",
    "epochs": 14,
    "lr_source": 2e-3,
    "lr_target": 1e-3,
    "schedule": "cosine",
    "rotation": 5.0,
    "contrast": 0.1,
    "noise": 0.01,
    "gallery_limit": 500,
}


def preset(name: PresetName) -> TrainSettings:
    """Give the settings of a name: "paper" is the published recipe, "small" trains on a CPU in minutes.

    Example:
        >>> preset("paper").epochs, preset("small").width
        (450, 16)
    """
    return TrainSettings.model_validate(_SMALL if name == "small" else {})
