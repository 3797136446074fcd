"""The U-Net of Ronneberger 2015, with padded convolutions and batch norm."""

from collections import OrderedDict
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mris.baselines.convolutions import TwoConvolutions
from mris.baselines.sizes import Size, build_resizer, check_size, check_width
from mris.errors import SettingsError


def build_unet(
    source_channels: int,
    regions: int,
    *,
    source_size: Size,
    target_size: Size | None = None,
    width: int = 64,
    depth: int = 5,
) -> nn.Module:
    """Build a U-Net of ``(n, c, h, w)`` sources to ``(n, r, H, W)`` targets (Ronneberger 2015).

    Each level has two 3x3 convolutions; max pooling halves the image and doubles the channels, a 2x2 up-convolution
    does the opposite, and the level's own map is concatenated. It differs from the paper in three ways: convolutions
    are padded, so that the output is as large as the input; batch norm stands in the place of each 3x3 convolution's
    bias; the last 1x1 convolution gives one value a region.

    Args:
        source_channels: c.
        regions: r.
        source_size: h, w; both multiples of ``2 ** (depth - 1)``.
        target_size: H, W; the source's where None. Another size is reached bilinearly, at the end.
        width: channels of the first level, a multiple of 8.
        depth: number of levels, at least 2.

    Raises:
        SettingsError: a size, width or depth that cannot work.

    Example:
        >>> import torch
        >>> unet = build_unet(1, 2, source_size=(64, 48), target_size=(32, 32), width=8, depth=3)
        >>> unet(torch.zeros(4, 1, 64, 48)).shape
        torch.Size([4, 2, 32, 32])
    """
    if depth < 2:
        raise SettingsError(f"U-Net: depth is {depth}; it must be at least 2, one level above another")
    check_width(width, "U-Net: width")
    check_size(source_size, 2 ** (depth - 1), f"U-Net of depth {depth}")
    return _UNet(source_channels, regions, source_size, target_size or source_size, width, depth)


class _UNet(nn.Module):
    def __init__(
        self, source_channels: int, regions: int, source_size: Size, target_size: Size, width: int, depth: int
    ) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth)]
        levels = list(pairwise(widths))  # (finer, coarser)
        self.top = TwoConvolutions(source_channels, width)
        self.down = nn.ModuleList(_down(fine, coarse) for fine, coarse in levels)
        self.up = nn.ModuleList(_Up(coarse, fine) for fine, coarse in reversed(levels))
        self.last = nn.Conv2d(width, regions, kernel_size=1)
        self.resize = build_resizer(source_size, target_size)

    def forward(self, sources: Float[Tensor, "n c h w"]) -> Float[Tensor, "n r H W"]:
        x = self.top(sources)  # (n, width, h, w)
        skips: list[Tensor] = []
        for down in self.down:
            skips.append(x)  # (n, width * 2^i, h / 2^i, w / 2^i)
            x = down(x)  # (n, width * 2^(i+1), h / 2^(i+1), w / 2^(i+1))
        for up, skip in zip(self.up, reversed(skips), strict=True):
            x = up(x, skip)  # (n, width * 2^i, h / 2^i, w / 2^i)
        x = self.last(x)  # (n, r, h, w)
        resized: Tensor = self.resize(x)  # (n, r, H, W)
        return resized


def _down(fine: int, coarse: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(max_pooling=nn.MaxPool2d(kernel_size=2), convs=TwoConvolutions(fine, coarse)))


class _Up(nn.Module):
    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__()
        self.upsample = nn.Sequential(OrderedDict(deconv=nn.ConvTranspose2d(coarse, fine, kernel_size=2, stride=2)))
        self.convs = TwoConvolutions(2 * fine, fine)

    def forward(self, x: Float[Tensor, "n c h w"], skip: Float[Tensor, "n d h2 w2"]) -> Float[Tensor, "n d h2 w2"]:
        x = torch.cat([skip, self.upsample(x)], dim=1)  # (n, 2 * d, 2 * h, 2 * w)
        convolved: Tensor = self.convs(x)  # (n, d, 2 * h, 2 * w)
        return convolved
