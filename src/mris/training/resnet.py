"""The residual network of He 2016 with 18 layers, and the block of its deeper kin.

The names of weights are torchvision's, so that published ones fit.
"""

from jaxtyping import Float
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, added to what came in.

    Args:
        channels: of what comes in.
        planes: channels of what goes out.
        stride: of the first convolution.
        downsample: brings what came in to the size of what goes out; None where they are of one size.
    """

    def __init__(self, channels: int, planes: int, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, planes, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.act = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = downsample

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n p h2 w2"]:
        """Convolve and add."""
        x = self.act(self.bn1(self.conv1(images)))  # (n, p, h2, w2)
        x = self.bn2(self.conv2(x))  # (n, p, h2, w2)
        x += images if self.downsample is None else self.downsample(images)
        added: Tensor = self.act(x)
        return added


class Bottleneck(nn.Module):
    """A 3x3 convolution between two of 1x1, added to what came in; arguments as for `BasicBlock`."""

    expansion = 4
    """Channels of what goes out, in planes."""

    def __init__(self, channels: int, planes: int, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, planes, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * self.expansion, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * self.expansion)
        self.act = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n p h2 w2"]:
        """Convolve and add."""
        x = self.act(self.bn1(self.conv1(images)))  # (n, planes, h, w)
        x = self.act(self.bn2(self.conv2(x)))  # (n, planes, h2, w2)
        x = self.bn3(self.conv3(x))  # (n, 4 * planes, h2, w2)
        x += images if self.downsample is None else self.downsample(images)
        added: Tensor = self.act(x)
        return added


class ResNet18(nn.Module):
    """He 2016's network of 18 layers, from an image to one vector.

    Args:
        channels: c.
        embedding_dim: d.
        width: channels of the first stage, w; each of the other three doubles them.
        pooled: halve the first convolution's map by max pooling, as in the paper.
    """

    def __init__(self, channels: int, embedding_dim: int, *, width: int = 64, pooled: bool = True) -> None:
        super().__init__()
        self.pooled = pooled
        self.see: nn.Module = nn.Identity()
        self.conv1 = nn.Conv2d(channels, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.act = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = _stage(width, width, stride=1)
        self.layer2 = _stage(width, 2 * width, stride=2)
        self.layer3 = _stage(2 * width, 4 * width, stride=2)
        self.layer4 = _stage(4 * width, 8 * width, stride=2)
        self.avgpool: nn.Module = nn.AdaptiveAvgPool2d(1)
        self.fc: nn.Module = nn.Linear(8 * width, embedding_dim)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.fc.bias)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Embed images."""
        x = self.act(self.bn1(self.conv1(self.see(images))))  # (n, w, h / 2, w / 2)
        x = self.maxpool(x) if self.pooled else x
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))  # (n, 8 * w, h / 32, w / 32)
        embedded: Tensor = self.fc(self.avgpool(x).flatten(1))
        return embedded


def _stage(channels: int, planes: int, *, stride: int) -> nn.Sequential:
    shortcut = None
    if stride != 1:
        shortcut = nn.Sequential(nn.Conv2d(channels, planes, 1, stride, bias=False), nn.BatchNorm2d(planes))
    return nn.Sequential(BasicBlock(channels, planes, stride, shortcut), BasicBlock(planes, planes))
