"""The part of a recipe that every training on pairs shares, so that methods differ in what they are, not in care."""

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from mris.training.augmentation import Augmentation
from mris.training.precision import PrecisionName
from mris.training.sampling import Sampler


class Recipe(BaseModel):
    """Batches, epochs, augmentation, schedule and devices of a training on pairs of images.

    The default of a setting that is added leaves trainings as they were: a run that does not state it goes on with it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    target_scale: float = Field(3.0, gt=0, description="targets are divided by this for the network, in their unit")
    sampler: Sampler = Field("subject", description="'subject': one pair of each an epoch (Eq. 3); 'pair': all (Eq. 2)")
    batch_size: int = Field(64, ge=2, description="pairs in a step, on each device")
    epochs: int = Field(450, ge=1, description="passes over the subjects (or pairs)")
    weight_decay: float = Field(1e-3, ge=0, description="AdamW's weight decay")
    clip_norm: float = Field(1.0, gt=0, description="largest gradient norm, for each network by itself")
    schedule: Literal["step", "cosine"] = Field("step", description="'step': x step_factor every step_epochs; 'cosine'")
    step_epochs: int = Field(150, ge=1, description="epochs between steps")
    step_factor: float = Field(0.2, gt=0, le=1, description="factor of a step")
    rotation: float = Field(15.0, ge=0, le=180, description="augmentation: largest rotation, degrees")
    translation: float = Field(0.0, ge=0, le=0.5, description="augmentation: largest shift, share of the side")
    contrast: float = Field(0.2, ge=0, lt=1, description="augmentation: largest change of contrast")
    noise: float = Field(0.03, ge=0, description="augmentation: largest SD of noise, of intensity 0 to 1")
    scale: float = Field(0.0, ge=0, le=1, description="augmentation: largest change of size (logarithm)")
    stretch: float = Field(
        0.0, ge=0, le=1, description="augmentation: largest difference of the two scales (logarithm)"
    )
    gamma: float = Field(0.0, ge=0, le=2, description="augmentation: largest exponent of intensity (logarithm)")
    equalization: float = Field(0.0, ge=0, le=1, description="augmentation: largest share of local equalization")
    shading: float = Field(0.0, ge=0, le=1, description="augmentation: largest SD of smooth unevenness, of intensity")
    blur: float = Field(0.0, ge=0, le=10, description="augmentation: largest SD of a blur, px")
    validate_every: int = Field(1, ge=1, description="epochs between validations")
    patience: int | None = Field(None, ge=1, description="stop after so many validations without a better error")
    precision: PrecisionName = Field("auto", description="number format; auto chooses for the device")
    accelerator: Literal["auto", "cpu", "gpu"] = Field("auto", description="where to train")
    devices: PositiveInt | Literal["auto"] = Field("auto", description="devices on a machine; more than one uses DDP")
    num_nodes: int = Field(1, ge=1, description="machines that train together")
    cache_megabytes: int = Field(4096, ge=0, description="keep the training images in memory up to this size")

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Give every field as it is where nothing is said, in plain JSON values."""
        return cls.model_validate({}).model_dump(mode="json")

    @property
    def augmentation(self) -> Augmentation:
        """The ranges that each source image draws from."""
        return Augmentation(
            self.rotation, self.translation, self.contrast, self.noise, self.scale, self.stretch, self.gamma,
            self.equalization, self.shading, self.blur,
        )  # fmt: skip

    def rate(self, epoch: int) -> float:
        """Factor of the learning rate in an epoch, 1 at the start.

        Example:
            >>> [round(Recipe(epochs=450).rate(epoch), 3) for epoch in (0, 150, 300)]
            [1.0, 0.2, 0.04]
        """
        if self.schedule == "step":
            return float(self.step_factor ** (epoch // self.step_epochs))
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * epoch / self.epochs))
