"""The generator and the discriminator of pix2pix (Isola 2017); their losses belong to the training."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mris.baselines.sizes import Size, build_resizer, check_size, check_width
from mris.errors import SettingsError

MOST_LEVELS = 8
"""Levels of the paper's generator: from 256 pixels down to one."""

_WIDEST = 8  # layers get no wider than this times the first


def build_generator(
    source_channels: int,
    regions: int,
    *,
    source_size: Size,
    target_size: Size | None = None,
    width: int = 64,
    dropout: float = 0.5,
) -> nn.Module:
    """Build the U-Net generator of ``(n, c, h, w)`` sources to ``(n, r, H, W)`` targets (Isola 2017, appendix).

    The encoder is C64-C128-C256-C512-C512-C512-C512-C512, the decoder its mirror with skips; every layer is a 4x4
    convolution of stride 2, transposed in the decoder. There are as many levels as both sides can be halved, at most
    eight: 256 x 256 pixels end as one pixel, 64 x 48 as 4 x 3 after four levels. The innermost layer has no batch
    norm, which over one pixel of one image would leave nothing (as the authors corrected in their paper).

    Two choices of ours: the last layer is linear instead of tanh, since targets are scaled millimeters and not gray
    values in [-1, 1]; and dropout, which the paper keeps at test time as noise, follows the module's mode, so that
    a synthesis is repeatable.

    Args:
        source_channels: c.
        regions: r.
        source_size: h, w; both multiples of 16.
        target_size: H, W; the source's where None. Another size is reached bilinearly, at the end.
        width: channels of the first layer, a multiple of 8.
        dropout: probability in the first three layers of the decoder, as far as these have the full width of
            ``8 * width`` channels: three at 256 and 128 pixels, two at 64. Fine layers of a small image keep all.

    Raises:
        SettingsError: a size, width or probability that cannot work.

    Example:
        >>> generator = build_generator(1, 2, source_size=(64, 48), width=8)
        >>> generator(torch.zeros(4, 1, 64, 48)).shape
        torch.Size([4, 2, 64, 48])
    """
    if not 0 <= dropout < 1:
        raise SettingsError(f"pix2pix: dropout is {dropout}; it must be at least 0 and less than 1")
    check_width(width, "pix2pix: width")
    check_size(source_size, 16, "pix2pix")
    return _Generator(source_channels, regions, source_size, target_size or source_size, width, dropout)


def build_discriminator(source_channels: int, regions: int, *, target_size: Size, width: int = 64) -> nn.Module:
    """Build the 70 x 70 PatchGAN, which judges (source, target) pairs patch by patch (Isola 2017).

    C64-C128-C256-C512 and one more convolution, all 4x4, of strides 2, 2, 2, 1, 1. Each logit sees 70 x 70
    pixels. A source of another size is resized bilinearly to the target's.

    Args:
        source_channels: c.
        regions: r.
        target_size: H, W; both at least 24.
        width: channels of the first layer, a multiple of 8.

    Returns:
        A module of sources ``(n, c, h, w)`` and targets ``(n, r, H, W)`` to logits ``(n, 1, H // 8 - 2, W // 8 - 2)``,
        positive for "true".

    Raises:
        SettingsError: a size or width that cannot work.

    Example:
        >>> discriminator = build_discriminator(1, 2, target_size=(64, 48), width=8)
        >>> discriminator(torch.zeros(4, 1, 32, 32), torch.zeros(4, 2, 64, 48)).shape
        torch.Size([4, 1, 6, 4])
    """
    check_width(width, "PatchGAN: width")
    if min(target_size) < 24:
        raise SettingsError(
            f"PatchGAN: targets have {target_size[0]} x {target_size[1]} pixels; both sides must be at least 24, or no "
            "patch is left after three halvings; prepare the cohort with larger targets"
        )
    return _Discriminator(source_channels, regions, target_size, width)


def n_levels(size: Size) -> int:
    """How often both sides can be halved, at most `MOST_LEVELS` times.

    Example:
        >>> n_levels((256, 256)), n_levels((64, 48)), n_levels((512, 512))
        (8, 4, 8)
    """
    common = math.gcd(*size)
    return min((common & -common).bit_length() - 1, MOST_LEVELS)


class _Generator(nn.Module):
    def __init__(
        self, source_channels: int, regions: int, source_size: Size, target_size: Size, width: int, dropout: float
    ) -> None:
        super().__init__()
        widths = [width * min(2**level, _WIDEST) for level in range(n_levels(source_size))]
        last = len(widths) - 1
        self.down = nn.ModuleList(
            _down(fine, coarse, norm=0 < level < last)
            for level, (fine, coarse) in enumerate(zip([source_channels, *widths], widths, strict=False))
        )
        self.up = nn.ModuleList()
        for i, level in enumerate(range(last, 0, -1)):
            wide = widths[level] if i == 0 else 2 * widths[level]  # all but the innermost have a skip beside them
            drop = i < 3 and widths[level - 1] == _WIDEST * width
            self.up.append(_up(wide, widths[level - 1], dropout if drop else 0.0))
        self.last = nn.ConvTranspose2d(2 * width, regions, kernel_size=4, stride=2, padding=1)
        self.resize = build_resizer(source_size, target_size)
        self.apply(_start)

    def forward(self, sources: Float[Tensor, "n c h w"]) -> Float[Tensor, "n r H W"]:
        x = self.down[0](sources)  # (n, width, h / 2, w / 2)
        skips: list[Tensor] = []
        for down in self.down[1:]:
            skips.append(x)  # (n, c_i, h / 2^i, w / 2^i)
            x = down(nn.functional.leaky_relu(x, 0.2))  # (n, c_(i+1), h / 2^(i+1), w / 2^(i+1))
        for up, skip in zip(self.up, reversed(skips), strict=True):
            x = up(nn.functional.relu(x))  # (n, c_i, h / 2^i, w / 2^i)
            x = torch.cat([x, skip], dim=1)  # (n, 2 * c_i, h / 2^i, w / 2^i)
        x = self.last(nn.functional.relu(x))  # (n, r, h, w)
        resized: Tensor = self.resize(x)  # (n, r, H, W)
        return resized


def _down(fine: int, coarse: int, *, norm: bool) -> nn.Sequential:
    convolution = nn.Conv2d(fine, coarse, kernel_size=4, stride=2, padding=1, bias=not norm)
    return nn.Sequential(convolution, nn.BatchNorm2d(coarse)) if norm else nn.Sequential(convolution)


def _up(coarse: int, fine: int, dropout: float) -> nn.Sequential:
    convolution = nn.ConvTranspose2d(coarse, fine, kernel_size=4, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(fine), nn.Dropout(dropout))


class _Discriminator(nn.Module):
    def __init__(self, source_channels: int, regions: int, target_size: Size, width: int) -> None:
        super().__init__()
        self.target_size = target_size
        self.patches = nn.Sequential(
            _judge(source_channels + regions, width, stride=2, norm=False),
            _judge(width, 2 * width, stride=2),
            _judge(2 * width, 4 * width, stride=2),
            _judge(4 * width, 8 * width, stride=1),
            nn.Conv2d(8 * width, 1, kernel_size=4, padding=1),
        )
        self.apply(_start)

    def forward(self, sources: Float[Tensor, "n c h w"], targets: Float[Tensor, "n r H W"]) -> Float[Tensor, "n 1 p q"]:
        x = nn.functional.interpolate(sources, self.target_size, mode="bilinear")  # (n, c, H, W)
        x = torch.cat([x, targets.to(x.dtype)], dim=1)  # (n, c + r, H, W)
        logits: Tensor = self.patches(x)  # (n, 1, H // 8 - 2, W // 8 - 2)
        return logits


def _judge(coarse: int, fine: int, *, stride: int, norm: bool = True) -> nn.Sequential:
    convolution = nn.Conv2d(coarse, fine, kernel_size=4, stride=stride, padding=1, bias=not norm)
    normalized = [nn.BatchNorm2d(fine)] if norm else []
    return nn.Sequential(convolution, *normalized, nn.LeakyReLU(0.2))


def _start(module: nn.Module) -> None:
    """Draw a layer's starting weights as the paper does."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0 if isinstance(module, nn.BatchNorm2d) else 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
