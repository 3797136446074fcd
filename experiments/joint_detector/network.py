"""The network: four scales down and up again, one heat map; about 300,000 weights."""

import torch
from torch import nn
from torch.nn import functional


def _step(n_in: int, n_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True))


class HeatMapNetwork(nn.Module):
    """From (n, 2, h, w), h and w multiples of 16, to the log odds of (n, 1, h / 2, w / 2)."""

    def __init__(self, widths: tuple[int, int, int, int] = (20, 40, 60, 80)) -> None:
        super().__init__()
        a, b, c, d = widths
        self.first = nn.Sequential(_step(2, a, 2), _step(a, a))  # 4 mm
        self.second = nn.Sequential(_step(a, b, 2), _step(b, b))  # 8 mm
        self.third = nn.Sequential(_step(b, c, 2), _step(c, c))  # 16 mm
        self.fourth = nn.Sequential(_step(c, d, 2), _step(d, d), _step(d, d))  # 32 mm
        self.to_third, self.to_second, self.to_first = nn.Conv2d(d, c, 1), nn.Conv2d(c, b, 1), nn.Conv2d(b, a, 1)
        self.up_third, self.up_second, self.up_first = _step(c, c), _step(b, b), _step(a, a)
        self.head = nn.Sequential(_step(a, a), nn.Conv2d(a, 1, 1))
        nn.init.constant_(self.head[1].bias, -4.0)

    def forward(self, plates: torch.Tensor) -> torch.Tensor:
        """Log odds of the heat."""
        first = self.first(plates)
        second = self.second(first)
        third = self.third(second)
        fourth = self.fourth(third)
        third = self.up_third(third + _double(self.to_third(fourth)))
        second = self.up_second(second + _double(self.to_second(third)))
        first = self.up_first(first + _double(self.to_first(second)))
        return self.head(first)


class Probabilities(nn.Module):
    """The network as it is shipped: heat from 0 to 1."""

    def __init__(self, network: HeatMapNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, plates: torch.Tensor) -> torch.Tensor:
        """Heat."""
        return torch.sigmoid(self.network(plates))


def _double(x: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")
