"""Augmentation of source images on tensors: each image of a batch gets its own draw, all are applied at once."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """Ranges from which each image draws.

    Attributes:
        rotation: largest rotation either way, degrees.
        translation: largest shift either way, as a share of the image's side.
        contrast: largest change of contrast about the image's mean, as a share.
        noise: largest SD of Gaussian noise, in units of prepared intensity (0 to 1).
    """

    rotation: float = 15.0
    translation: float = 0.0
    contrast: float = 0.2
    noise: float = 0.03


@dataclass(frozen=True)
class AugmentationDraw:
    """The parameters of one batch: ``(n,)`` each, noise ``(n, c, h, w)``."""

    angles: Float[Tensor, " n"]
    shifts: Float[Tensor, "n 2"]
    contrasts: Float[Tensor, " n"]
    noise: Float[Tensor, "n c h w"]


def draw_augmentation(
    shape: tuple[int, int, int, int], settings: Augmentation, generator: torch.Generator
) -> AugmentationDraw:
    """Draw the parameters of a batch of shape ``(n, c, h, w)`` on the generator's device."""
    n, device = shape[0], generator.device

    def uniform(*size: int) -> Tensor:
        return torch.rand(size, generator=generator, device=device) * 2 - 1

    return AugmentationDraw(
        angles=uniform(n) * (settings.rotation * torch.pi / 180),
        shifts=uniform(n, 2) * (2 * settings.translation),
        contrasts=1 + uniform(n) * settings.contrast,
        noise=torch.randn(shape, generator=generator, device=device) * (uniform(n, 1, 1, 1).abs() * settings.noise),
    )


def apply_augmentation(images: Float[Tensor, "n c h w"], draw: AugmentationDraw) -> Float[Tensor, "n c h w"]:
    """Rotate and shift (bilinear, 0 outside), scale contrast about each image's mean, add noise.

    Example:
        >>> images = torch.rand(4, 1, 16, 16)
        >>> still = Augmentation(rotation=0, translation=0, contrast=0, noise=0)
        >>> draw = draw_augmentation((4, 1, 16, 16), still, torch.Generator().manual_seed(0))
        >>> torch.allclose(apply_augmentation(images, draw), images, atol=1e-5)
        True
    """
    cos, sin = torch.cos(draw.angles), torch.sin(draw.angles)
    aspect = images.shape[-2] / images.shape[-1]  # a rotation is rigid in pixels, not in grid_sample's unit square
    theta = torch.stack([cos, -sin * aspect, draw.shifts[:, 0], sin / aspect, cos, draw.shifts[:, 1]], dim=1).reshape(
        -1, 2, 3
    )
    grid = torch.nn.functional.affine_grid(theta, list(images.shape), align_corners=False)
    turned = torch.nn.functional.grid_sample(images, grid, mode="bilinear", align_corners=False)
    mean = turned.mean(dim=(1, 2, 3), keepdim=True)
    contrasted: Tensor = mean + (turned - mean) * draw.contrasts[:, None, None, None]
    return contrasted + draw.noise
