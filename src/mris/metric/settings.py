"""Settings of metric learning, and the presets that have names."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from mris.choices import Objective
from mris.defaults import N_NEIGHBORS
from mris.metric.losses import Reduction
from mris.training.card import Architecture, Pooling, SourceContrast, Stem, TargetNetwork
from mris.training.recipe import Recipe

PresetName = Literal["small", "best", "paper", "small-paper", "varied"]


class TrainSettings(Recipe):
    """How two encoders are trained. The defaults are the paper's recipe; `preset` gives the named ones."""

    objective: Objective = Field(
        "triplet",
        description="'synthesis': the error of the attention-weighted average of other people's targets (P1); "
        "'triplet': own target nearer than others' (Eq. 2), the paper's; 'both': their sum",
    )
    architecture: Architecture = Field("resnet18", description="network of both encoders, or of the source's alone")
    target_network: TargetNetwork = Field(
        "convolutional",
        description="target encoder: 'convolutional', like the source's, or two layers on principal 'components', "
        "which objectives with a synthesis need",
    )
    n_components: int = Field(48, ge=1, description="principal components of targets (target_network = components)")
    source_components: int = Field(
        0, ge=0, description="principal components of sources that a linear readout may use beside the embedding"
    )
    pooling: Pooling = Field("mean", description="'places': the source encoder keeps where a feature was found")
    source_contrast: SourceContrast = Field(
        "global",
        description="'local': the source encoder sees each pixel relative to mean and SD of its neighborhood, so that "
        "windows and equalizations hardly count",
    )
    width: int = Field(64, ge=8, multiple_of=8, description="channels of the first stage; 64 is ResNet-18")
    stem: Stem = Field("standard", description="'fine' leaves out the ResNet's max pooling: for small images")
    embedding_dim: int = Field(512, ge=2, description="dimension of the shared space")
    source_weights: Path | Literal["imagenet"] | None = Field(
        None, description="start of the source encoder: a .safetensors/.pt state dict, 'imagenet', or none"
    )
    target_weights: Path | Literal["imagenet"] | None = Field(None, description="start of the target encoder")
    triplet_weight: float = Field(
        3.0,
        gt=0,
        description="of the triplet loss in 'both'; an error of the synthesis of 1 is that of the mean target",
    )
    margin: float = Field(0.1, gt=0, description="margin of the triplet loss, in cosine distance")
    reduction: Reduction = Field("sum", description="sum over triplets (the paper's) or mean")
    temperature: float = Field(0.1, gt=0, description="of the attention at the start, in cosine similarity; learned")
    lr_source: float = Field(1e-4, gt=0, description="learning rate of the source encoder")
    lr_target: float = Field(1e-5, gt=0, description="learning rate of the target encoder")
    n_neighbors: int = Field(N_NEIGHBORS, ge=1, description="neighbors of the synthesis that validation judges")
    gallery_limit: int = Field(2000, ge=1, description="training targets that serve as validation's gallery")

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.objective != "triplet" and self.target_network != "components":
            raise ValueError(
                f"objective {self.objective!r} embeds every training target at every step; set target_network to "
                "'components'"
            )
        if self.target_weights is not None and self.target_network == "components":
            raise ValueError(
                "target_weights are of a convolutional network, and target_network is 'components'; leave them out"
            )
        if self.source_contrast == "local" and self.architecture != "resnet18":
            raise ValueError(
                f"source_contrast 'local' is of resnet18, not of {self.architecture}; set source_contrast to 'global'"
            )
        if self.pooling == "places" and self.architecture != "resnet18":
            raise ValueError(f"pooling 'places' is of resnet18, not of {self.architecture}; set pooling to 'mean'")
        return self


_SYNTHESIS = {
    "objective": "both",
    "target_network": "components",
    "source_components": 64,
    "pooling": "places",
    "temperature": 0.05,
    "reduction": "mean",
    "schedule": "cosine",
}

_SMALL = _SYNTHESIS | {
    "width": 16,
    "stem": "fine",
    "embedding_dim": 128,
    "sampler": "pair",
    "epochs": 14,
    "lr_source": 2e-3,
    "lr_target": 1e-3,
    "gallery_limit": 500,
}

_SMALL_PAPER = {
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

_VARIED = _SMALL | {
    "stem": "standard",
    "source_contrast": "local",
    "source_components": 0,
    "epochs": 30,
    "rotation": 6.0,
    "translation": 0.1,
    "noise": 0.05,
    "scale": 0.12,
    "stretch": 0.05,
    "gamma": 0.4,
    "equalization": 0.5,
    "shading": 0.08,
    "blur": 1.0,
}

_BEST = _SYNTHESIS | {"epochs": 300, "lr_source": 5e-4, "lr_target": 5e-4}

_PRESETS: dict[PresetName, dict[str, Any]] = {
    "small": _SMALL,
    "best": _BEST,
    "paper": {},
    "small-paper": _SMALL_PAPER,
    "varied": _VARIED,
}


def preset(name: PresetName) -> TrainSettings:
    """Give the settings of a name.

    "paper" is the published recipe; "small" trains for the synthesis on a CPU, in minutes; "best" is what one would run
    on thousands of people at 256 pixels, on one GPU. "small-paper" is the published objective with thin networks, for
    a CPU: what the other two are compared with. "varied" is "small" for simulated sources that are to tell of real
    ones: every image differs at every step in size, place, brightness, equalization and sharpness.

    Example:
        >>> preset("paper").epochs, preset("small").width
        (450, 16)
    """
    return TrainSettings.model_validate(_PRESETS[name])
