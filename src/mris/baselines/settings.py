"""Settings of the baselines, and the presets that have names."""

from typing import Literal, get_args

from pydantic import Field

from mris.choices import Method
from mris.training.recipe import Recipe

METHODS: tuple[Method, ...] = get_args(Method)
PresetName = Literal["paper", "small"]


class BaselineSettings(Recipe):
    """How a network from source to target is trained; batches, augmentation and stopping as for the encoders."""

    method: Method = Field("unet", description="the network: unet, pix2pix, transunet, autoencoder")
    width: int = Field(64, ge=8, multiple_of=8, description="channels of the first stage; 64 in all four papers")
    bottleneck: int = Field(512, ge=2, description="autoencoder: numbers between encoder and decoder")
    hidden: int = Field(768, ge=8, description="TransUNet: size of a token")
    layers: int = Field(12, ge=1, description="TransUNet: transformer layers")
    heads: int = Field(12, ge=1, description="TransUNet: attention heads")
    decoder: tuple[int, int, int, int] = Field((256, 128, 64, 16), description="TransUNet: channels of the decoder")
    lr: float = Field(1e-4, gt=0, description="learning rate (AdamW; Adam for pix2pix)")
    beta1: float = Field(0.9, ge=0, lt=1, description="first momentum of the optimizer; 0.5 in pix2pix")
    adversarial_weight: float = Field(1.0, ge=0, description="pix2pix: weight of the discriminator's judgment")
    l1_weight: float = Field(100.0, gt=0, description="pix2pix: weight of the L1 distance beside it")
    dropout: float = Field(0.5, ge=0, lt=1, description="pix2pix: dropout of the innermost decoder layers in training")


_PIX2PIX: dict[str, object] = {"lr": 2e-4, "beta1": 0.5}
_SMALL: dict[str, object] = {
    "width": 16,
    "bottleneck": 128,
    "hidden": 128,
    "layers": 4,
    "heads": 4,
    "decoder": (64, 32, 16, 16),
    "sampler": "pair",
    "epochs": 14,
    "lr": 1e-3,
    "schedule": "cosine",
    "rotation": 5.0,
    "contrast": 0.1,
    "noise": 0.01,
}


def preset(name: PresetName, method: Method) -> BaselineSettings:
    """Give the settings of a name: "paper" has the published sizes, "small" trains on a CPU in minutes.

    Example:
        >>> preset("paper", "pix2pix").beta1, preset("small", "unet").width
        (0.5, 16)
    """
    own = _PIX2PIX if method == "pix2pix" else {}
    small = _SMALL if name == "small" else {}
    return BaselineSettings.model_validate({"method": method, **own, **small})
