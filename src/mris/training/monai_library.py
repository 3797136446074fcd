"""MONAI, the only way in: what it brings along makes no folder in the home."""

import mris.drawing  # noqa: F401 - first, because MONAI imports Matplotlib

from monai.losses.adversarial_loss import PatchAdversarialLoss
from monai.networks.nets.basic_unet import Down, TwoConv, UpCat
from monai.networks.nets.patchgan_discriminator import PatchDiscriminator
from monai.networks.nets.resnet import ResNet, ResNetBlock, ResNetBottleneck
from monai.networks.utils import normal_init

__all__ = [
    "Down",
    "PatchAdversarialLoss",
    "PatchDiscriminator",
    "ResNet",
    "ResNetBlock",
    "ResNetBottleneck",
    "TwoConv",
    "UpCat",
    "normal_init",
]
