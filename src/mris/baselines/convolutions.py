"""Two 3x3 convolutions, each with batch norm and ReLU: a step of every baseline but pix2pix."""

from collections import OrderedDict

from torch import nn


class TwoConvolutions(nn.Sequential):
    """Two padded 3x3 convolutions of ``(n, c, h, w)`` maps to ``(n, d, h, w)``, each normalized and cut at 0.

    They have no bias, which batch norm would take away again. The names of weights are those of MONAI's `TwoConv`.

    Args:
        coarse: c.
        fine: d.
    """

    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__(OrderedDict(conv_0=_convolution(coarse, fine), conv_1=_convolution(fine, fine)))


def _convolution(channels: int, planes: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels, planes, kernel_size=3, padding=1, bias=False)
    norm = nn.Sequential(OrderedDict(N=nn.BatchNorm2d(planes), A=nn.ReLU(inplace=True)))
    return nn.Sequential(OrderedDict(conv=convolution, adn=norm))
