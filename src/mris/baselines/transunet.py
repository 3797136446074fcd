"""The TransUNet of Chen 2021: a convolutional stem, a transformer over its patches, a decoder with skips."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mris.baselines.convolutions import TwoConvolutions
from mris.baselines.sizes import Size, build_resizer, check_size, check_width
from mris.errors import SettingsError
from mris.training.networks import cover_strides
from mris.training.resnet import Bottleneck

_RESNET50 = (3, 4, 9)  # bottleneck blocks of the stem's stages, as in R50-ViT-B/16


def build_transunet(
    source_channels: int,
    regions: int,
    *,
    source_size: Size,
    target_size: Size | None = None,
    width: int = 64,
    blocks: tuple[int, int, int] = _RESNET50,
    hidden: int = 768,
    layers: int = 12,
    heads: int = 12,
    mlp: int = 3072,
    decoder: tuple[int, int, int, int] = (256, 128, 64, 16),
    dropout: float = 0.1,
) -> nn.Module:
    """Build a TransUNet of ``(n, c, h, w)`` sources to ``(n, r, H, W)`` targets (Chen 2021, R50-ViT-B/16).

    A ResNet-50 without its last stage gives maps at 1/2, 1/4, 1/8 and 1/16 of the image. Each pixel of the last is a
    token: linear to `hidden` numbers, plus a learned position. After the transformer, four steps each double the map,
    concatenate the stem's map of that size (the last step has none) and convolve twice.

    It differs from the authors' network in these ways: batch norm instead of group norm and standardized weights in
    the stem; dropout also on the attention's weights. The transformer's layers are torch's.

    Args:
        source_channels: c.
        regions: r.
        source_size: h, w; both multiples of 16.
        target_size: H, W; the source's where None. Another size is reached bilinearly, at the end.
        width: channels of the stem's first convolution, a multiple of 8.
        blocks: bottleneck blocks in each of the stem's three stages.
        hidden: numbers a token, a multiple of `heads`.
        layers: layers of the transformer.
        heads: heads of its attention.
        mlp: width of its perceptrons.
        decoder: channels of the four steps of the decoder; twice the first enter it. Multiples of 8.
        dropout: probability in the transformer.

    Raises:
        SettingsError: a size, width, number or probability that cannot work.

    Example:
        >>> thin = build_transunet(
        ...     1, 2, source_size=(64, 48), width=8, blocks=(1, 1, 1), hidden=32, layers=1, heads=2, mlp=64,
        ...     decoder=(16, 8, 8, 8),
        ... )
        >>> thin(torch.zeros(4, 1, 64, 48)).shape
        torch.Size([4, 2, 64, 48])
    """
    for number, name in [(width, "width"), *((channels, "a width of the decoder") for channels in decoder)]:
        check_width(number, f"TransUNet: {name}")
    if min(layers, heads, mlp, *blocks) < 1 or hidden < heads or hidden % heads:
        raise SettingsError(
            f"TransUNet: hidden {hidden}, layers {layers}, heads {heads}, mlp {mlp}, blocks {blocks}; each must be at "
            "least 1, and hidden a multiple of heads"
        )
    if not 0 <= dropout < 1:
        raise SettingsError(f"TransUNet: dropout is {dropout}; it must be at least 0 and less than 1")
    check_size(source_size, 16, "TransUNet")
    network = _TransUNet(
        _Stem(source_channels, width, blocks),
        _Transformer(16 * width, source_size, hidden, layers, heads, mlp, dropout),
        _Decoder(hidden, decoder, skips=(8 * width, 4 * width, width, 0)),
        nn.Conv2d(decoder[-1], regions, kernel_size=3, padding=1),
        build_resizer(source_size, target_size or source_size),
    )
    cover_strides(network)
    return network


class _TransUNet(nn.Module):
    def __init__(
        self, stem: "_Stem", transformer: "_Transformer", decoder: "_Decoder", head: nn.Module, resize: nn.Module
    ) -> None:
        super().__init__()
        self.stem, self.transformer, self.decoder, self.head, self.resize = stem, transformer, decoder, head, resize

    def forward(self, sources: Float[Tensor, "n c h w"]) -> Float[Tensor, "n r H W"]:
        x, skips = self.stem(sources)  # (n, 16 * width, h / 16, w / 16)
        x = self.transformer(x)  # (n, hidden, h / 16, w / 16)
        x = self.decoder(x, skips)  # (n, decoder[3], h, w)
        x = self.head(x)  # (n, r, h, w)
        resized: Tensor = self.resize(x)  # (n, r, H, W)
        return resized


class _Stem(nn.Module):
    def __init__(self, source_channels: int, width: int, blocks: tuple[int, int, int]) -> None:
        super().__init__()
        self.root = nn.Sequential(
            nn.Conv2d(source_channels, width, kernel_size=7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        self.pool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.quarter = _stage(width, width, blocks[0], stride=1)
        self.eighth = _stage(4 * width, 2 * width, blocks[1], stride=2)
        self.sixteenth = _stage(8 * width, 4 * width, blocks[2], stride=2)

    def forward(self, sources: Float[Tensor, "n c h w"]) -> tuple[Float[Tensor, "n e i j"], list[Tensor]]:
        half = self.root(sources)  # (n, width, h / 2, w / 2)
        quarter = self.quarter(self.pool(half))  # (n, 4 * width, h / 4, w / 4)
        eighth = self.eighth(quarter)  # (n, 8 * width, h / 8, w / 8)
        return self.sixteenth(eighth), [eighth, quarter, half]  # (n, 16 * width, h / 16, w / 16)


def _stage(channels: int, planes: int, blocks: int, *, stride: int) -> nn.Sequential:
    wide = planes * Bottleneck.expansion
    shortcut = nn.Sequential(nn.Conv2d(channels, wide, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(wide))
    first = Bottleneck(channels, planes, stride, shortcut)
    return nn.Sequential(first, *(Bottleneck(wide, planes) for _ in range(blocks - 1)))


class _Transformer(nn.Module):
    def __init__(
        self, channels: int, source_size: Size, hidden: int, layers: int, heads: int, mlp: int, dropout: float
    ) -> None:
        super().__init__()
        self.grid = (source_size[0] // 16, source_size[1] // 16)
        self.embed = nn.Conv2d(channels, hidden, kernel_size=1)
        self.position = nn.Parameter(torch.zeros(1, self.grid[0] * self.grid[1], hidden))
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(
                    hidden, heads, mlp, dropout, activation="gelu", batch_first=True, norm_first=True
                )
                for _ in range(layers)
            )
        )
        self.norm = nn.LayerNorm(hidden)

    def forward(self, embedded: Float[Tensor, "n e i j"]) -> Float[Tensor, "n hidden i j"]:
        x = self.embed(embedded)  # (n, hidden, i, j)
        x = x.flatten(2).transpose(1, 2)  # (n, i * j, hidden)
        x = self.dropout(x + self.position)  # (n, i * j, hidden)
        x = self.layers(x)  # (n, i * j, hidden)
        x = self.norm(x)  # (n, i * j, hidden)
        maps: Tensor = x.transpose(1, 2).unflatten(2, self.grid)  # (n, hidden, i, j)
        return maps


class _Decoder(nn.Module):
    def __init__(self, hidden: int, widths: Sequence[int], skips: Sequence[int]) -> None:
        super().__init__()
        self.enter = nn.Sequential(
            nn.Conv2d(hidden, 2 * widths[0], kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(2 * widths[0]),
            nn.ReLU(inplace=True),
        )
        self.enlarge = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.steps = nn.ModuleList(
            TwoConvolutions(coarse + skip, fine)
            for coarse, skip, fine in zip([2 * widths[0], *widths], skips, widths, strict=False)
        )

    def forward(self, tokens: Float[Tensor, "n hidden i j"], skips: list[Tensor]) -> Float[Tensor, "n e h w"]:
        x: Tensor = self.enter(tokens)  # (n, 2 * widths[0], h / 16, w / 16)
        for step, skip in zip(self.steps, [*skips, None], strict=True):
            x = self.enlarge(x)  # (n, widths[s - 1], 2 * rows, 2 * columns)
            x = x if skip is None else torch.cat([x, skip], dim=1)  # (n, widths[s - 1] + skip, rows, columns)
            x = step(x)  # (n, widths[s], rows, columns)
        return x
