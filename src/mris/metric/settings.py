"""Settings of metric learning, and the presets that have names."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from mris.cohort.sampling import Sampler
from mris.metric.losses import Reduction
from mris.training.networks import Architecture, Stem
from mris.training.precision import PrecisionName

PresetName = Literal["paper", "small"]


class TrainSettings(BaseModel):
    """How two encoders are trained. The defaults are the paper's recipe; `preset` gives the named ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Architecture = Field("resnet18", description="network of both encoders")
    width: int = Field(64, ge=8, multiple_of=8, description="channels of the first stage; 64 is ResNet-18")
    stem: Stem = Field("standard", description="'fine' leaves out the ResNet's max pooling: for small images")
    embedding_dim: int = Field(512, ge=2, description="dimension of the shared space")
    source_weights: Path | Literal["imagenet"] | None = Field(
        None, description="start of the source encoder: a .safetensors/.pt state dict, 'imagenet', or none"
    )
    target_weights: Path | Literal["imagenet"] | None = Field(None, description="start of the target encoder")
    target_scale: float = Field(3.0, gt=0, description="targets are divided by this for the network, in their unit")
    margin: float = Field(0.1, gt=0, description="margin of the triplet loss, in cosine distance")
    reduction: Reduction = Field("sum", description="sum over triplets (the paper's) or mean")
    sampler: Sampler = Field("subject", description="'subject': one pair of each an epoch (Eq. 3); 'pair': all (Eq. 2)")
    batch_size: int = Field(64, ge=2, description="pairs in a step, on each device")
    epochs: int = Field(450, ge=1, description="passes over the subjects (or pairs)")
    lr_source: float = Field(1e-4, gt=0, description="learning rate of the source encoder")
    lr_target: float = Field(1e-5, gt=0, description="learning rate of the target encoder")
    weight_decay: float = Field(1e-3, ge=0, description="AdamW's weight decay")
    clip_norm: float = Field(1.0, gt=0, description="largest gradient norm, for each encoder by itself")
    schedule: Literal["step", "cosine"] = Field("step", description="'step': x step_factor every step_epochs; 'cosine'")
    step_epochs: int = Field(150, ge=1, description="epochs between steps")
    step_factor: float = Field(0.2, gt=0, le=1, description="factor of a step")
    rotation: float = Field(15.0, ge=0, le=180, description="augmentation: largest rotation, degrees")
    translation: float = Field(0.0, ge=0, le=0.5, description="augmentation: largest shift, share of the side")
    contrast: float = Field(0.2, ge=0, lt=1, description="augmentation: largest change of contrast")
    noise: float = Field(0.03, ge=0, description="augmentation: largest SD of noise, of intensity 0 to 1")
    validate_every: int = Field(1, ge=1, description="epochs between validations")
    n_neighbors: int = Field(20, ge=1, description="neighbors of the synthesis that validation judges")
    gallery_limit: int = Field(2000, ge=1, description="training targets that serve as validation's gallery")
    patience: int | None = Field(None, ge=1, description="stop after so many validations without a better error")
    precision: PrecisionName = Field("auto", description="number format; auto chooses for the device")
    accelerator: Literal["auto", "cpu", "gpu"] = Field("auto", description="where to train")
    devices: PositiveInt | Literal["auto"] = Field("auto", description="devices on a machine; more than one uses DDP")
    num_nodes: int = Field(1, ge=1, description="machines that train together")
    cache_megabytes: int = Field(4096, ge=0, description="keep the training images in memory up to this size")


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
