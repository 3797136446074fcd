"""A small 3D U-Net in plain torch: it tells the tissues of a patch of a knee MR scan apart, whatever the contrast.

All of its convolutions but the first and the last work on voxels twice as large as the picture's: twice as many voxels
a second on a processor, and twice the sight. The picture is brought to mean 0 and standard deviation 1 inside of it.
A guided network is also told what a coarse one, which saw the whole scan, has found.
"""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional


def _block(n_in: int, n_out: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(n_in, n_out, size, stride=stride, padding=1, bias=False),
        nn.InstanceNorm3d(n_out, affine=True),
        nn.LeakyReLU(0.1, inplace=True),
    )


class UNet(nn.Module):
    """Logits of each class at each voxel of a patch; each level halves the edges and widens the channels.

    Args:
        channels: Of each level, the finest first, which has half the resolution of the picture.
        n_classes: Logits a voxel.
        guided: Whether there are `n_classes` more input channels: the probabilities of a coarse network.
    """

    def __init__(self, channels: tuple[int, ...], n_classes: int, guided: bool) -> None:
        super().__init__()
        pairs = list(pairwise(channels))
        self.enter = _block(1, channels[0], 4, 2)
        self.first = _block(channels[0] + n_classes * guided, channels[0])
        self.down = nn.ModuleList(nn.Sequential(_block(a, b, 3, 2), _block(b, b)) for a, b in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose3d(b, a, 2, 2) for a, b in reversed(pairs))
        self.merge = nn.ModuleList(_block(2 * a, a) for a, _ in reversed(pairs))
        self.leave = nn.ConvTranspose3d(channels[0], n_classes, 4, 2, 1)
        self.guided = guided

    def forward(self, patch: torch.Tensor) -> torch.Tensor:
        """From picture and guide (n, 1 or 1 + classes, i, j, k) to (n, classes, i, j, k)."""
        picture = patch[:, :1]
        apart = picture - picture.mean(dim=(2, 3, 4), keepdim=True)
        spread = apart.square().mean(dim=(2, 3, 4), keepdim=True).sqrt()
        entered = self.enter(apart / (spread + 1e-6))
        if self.guided:
            entered = torch.cat([entered, functional.avg_pool3d(patch[:, 1:], 2)], dim=1)
        levels = [self.first(entered)]
        for step in self.down:
            levels.append(step(levels[-1]))
        answer = levels.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            answer = merge(torch.cat([up(answer), levels.pop()], dim=1))
        return self.leave(answer)


class Probabilities(nn.Module):
    """What is shipped: a patch, then the probability of each class."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, patch: torch.Tensor) -> torch.Tensor:
        """From the network's input to (n, classes, i, j, k), which sum to 1."""
        return torch.softmax(self.network(patch), dim=1)
