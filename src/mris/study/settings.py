"""Settings of the classifiers on target maps."""

from typing import Literal

from pydantic import Field

from mris.training.recipe import Recipe

PresetName = Literal["paper", "small"]


class ClassifierSettings(Recipe):
    """How a ResNet-18 learns a label from target maps.

    Batches are of maps, not of pairs: `sampler` "pair" takes every labeled map, "subject" one of each person. Maps are
    not augmented; the last epoch is kept, since the sets leave no people to choose one by.
    """

    width: int = Field(64, ge=8, multiple_of=8, description="channels of the first stage; 64 is ResNet-18")
    lr: float = Field(1e-4, gt=0, description="learning rate of AdamW")


def preset(name: PresetName) -> ClassifierSettings:
    """Give the settings of a name; both train 30 epochs, the learning rate times 0.2 every 10.

    The paper trains a ResNet-18 for 30 epochs; its schedule is that of its encoders, shortened.

    Example:
        >>> preset("paper").epochs, preset("small").width
        (30, 16)
    """
    shared = {"epochs": 30, "step_epochs": 10, "sampler": "pair"}
    small = {"width": 16, "lr": 1e-3} if name == "small" else {}
    return ClassifierSettings.model_validate({**shared, **small})
