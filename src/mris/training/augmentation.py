"""Augmentation of source images on tensors: each image of a batch gets its own draw, all are applied at once."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

_SHADING_KNOTS = 4
_TILES = 5
_LEAST_LOCAL_SD = 0.03


@dataclass(frozen=True)
class Augmentation:
    """Ranges from which each image draws.

    Attributes:
        rotation: largest rotation either way, degrees.
        translation: largest shift either way, as a share of the image's side.
        contrast: largest change of contrast about the image's mean, as a share.
        noise: largest SD of Gaussian noise, in units of prepared intensity (0 to 1).
        scale: largest change of size, as the logarithm's absolute value (.1 is about 10 %).
        stretch: largest difference of the two scales, likewise.
        gamma: largest exponent of the intensity, as the logarithm's absolute value.
        equalization: largest share of the image that is replaced by its locally standardized self, as adaptive
            equalization makes it.
        shading: largest SD of a smooth unevenness of brightness, in units of prepared intensity.
        blur: largest SD of a Gaussian blur, pixels.
    """

    rotation: float = 15.0
    translation: float = 0.0
    contrast: float = 0.2
    noise: float = 0.03
    scale: float = 0.0
    stretch: float = 0.0
    gamma: float = 0.0
    equalization: float = 0.0
    shading: float = 0.0
    blur: float = 0.0


@dataclass(frozen=True)
class AugmentationDraw:
    """The parameters of one batch: ``(n,)`` each, noise ``(n, c, h, w)``; None for a step that is left out."""

    angles: Float[Tensor, " n"]
    shifts: Float[Tensor, "n 2"]
    contrasts: Float[Tensor, " n"]
    noise: Float[Tensor, "n c h w"]
    scales: Float[Tensor, "n 2"] | None = None
    gammas: Float[Tensor, " n"] | None = None
    equalization: Float[Tensor, " n"] | None = None
    shading: Float[Tensor, "n 1 k k"] | None = None
    blurs: Float[Tensor, " n"] | None = None


def draw_augmentation(
    shape: tuple[int, int, int, int], settings: Augmentation, generator: torch.Generator
) -> AugmentationDraw:
    """Draw the parameters of a batch of shape ``(n, c, h, w)`` on the generator's device."""
    n, device = shape[0], generator.device

    def uniform(*size: int) -> Tensor:
        return torch.rand(size, generator=generator, device=device) * 2 - 1

    draw = AugmentationDraw(
        angles=uniform(n) * (settings.rotation * torch.pi / 180),
        shifts=uniform(n, 2) * (2 * settings.translation),
        contrasts=1 + uniform(n) * settings.contrast,
        noise=torch.randn(shape, generator=generator, device=device) * (uniform(n, 1, 1, 1).abs() * settings.noise),
    )
    # Drawn last, and only where asked for: without them a seed draws what it always drew.
    changes: dict[str, Tensor] = {}
    if settings.scale or settings.stretch:
        stretch = uniform(n, 1) * settings.stretch / 2
        changes["scales"] = torch.exp(uniform(n, 1) * settings.scale + torch.cat([stretch, -stretch], dim=1))
    if settings.gamma:
        changes["gammas"] = torch.exp(uniform(n) * settings.gamma)
    if settings.equalization:
        changes["equalization"] = uniform(n).abs() * settings.equalization
    if settings.shading:
        knots = torch.randn((n, 1, _SHADING_KNOTS, _SHADING_KNOTS), generator=generator, device=device)
        changes["shading"] = knots * (uniform(n, 1, 1, 1).abs() * settings.shading)
    if settings.blur:
        changes["blurs"] = uniform(n).abs() * settings.blur
    return replace(draw, **changes)


def apply_augmentation(images: Float[Tensor, "n c h w"], draw: AugmentationDraw) -> Float[Tensor, "n c h w"]:
    """Rotate, scale and shift (bilinear, 0 outside), shade, equalize, bend and scale contrast, blur, add noise.

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
    if draw.scales is not None:
        theta = torch.cat([theta[..., :2] / draw.scales[:, None, :], theta[..., 2:]], dim=2)
    grid = torch.nn.functional.affine_grid(theta, list(images.shape), align_corners=False)
    shown = torch.nn.functional.grid_sample(images, grid, mode="bilinear", align_corners=False)
    if draw.shading is not None:
        field = torch.nn.functional.interpolate(draw.shading, shown.shape[-2:], mode="bilinear", align_corners=False)
        shown = shown + field
    if draw.equalization is not None:
        share = draw.equalization[:, None, None, None]
        shown = (1 - share) * shown + share * _locally_standardized(shown)
    if draw.gammas is not None:
        shown = shown.clamp(1e-4, 1) ** draw.gammas[:, None, None, None]
    mean = shown.mean(dim=(1, 2, 3), keepdim=True)
    contrasted: Tensor = mean + (shown - mean) * draw.contrasts[:, None, None, None]
    if draw.blurs is not None:
        contrasted = _blurred(contrasted, draw.blurs)
    return contrasted + draw.noise


def _locally_standardized(images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Bring the mean of each neighborhood to .5 and its SD towards .2; tiles' numbers are interpolated, as in CLAHE."""
    tiles = [torch.nn.functional.adaptive_avg_pool2d(power, _TILES) for power in (images, images**2)]
    mean, square = (
        torch.nn.functional.interpolate(tile, images.shape[-2:], mode="bilinear", align_corners=False) for tile in tiles
    )
    deviation = torch.sqrt((square - mean**2).clamp(min=0) + _LEAST_LOCAL_SD**2)
    return (0.5 + 0.2 * (images - mean) / deviation).clamp(0, 1)


def _blurred(images: Float[Tensor, "n c h w"], widths: Float[Tensor, " n"]) -> Float[Tensor, "n c h w"]:
    """Blur each image by a Gaussian of its own width (SD, px)."""
    n, channels = images.shape[:2]
    reach = int(torch.ceil(5 * widths.max()).item())  # so far that the widest of a batch changes no other
    steps = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    kernels = torch.exp(-0.5 * (steps / widths.clamp(min=0.05)[:, None]) ** 2)
    kernels = (kernels / kernels.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0)
    flat = torch.nn.functional.pad(images.reshape(1, n * channels, *images.shape[2:]), [reach] * 4, mode="replicate")
    for kernel in (kernels[:, None, :, None], kernels[:, None, None, :]):
        flat = torch.nn.functional.conv2d(flat, kernel, groups=n * channels)
    return flat.reshape(images.shape)
