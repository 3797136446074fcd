"""An encoder and a decoder without skips: all that is known of the source passes through one vector."""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from mris.baselines.convolutions import TwoConvolutions
from mris.baselines.sizes import Size, build_resizer, check_size, check_width
from mris.errors import SettingsError
from mris.training.card import Stem
from mris.training.networks import build_network


def build_autoencoder(
    source_channels: int,
    regions: int,
    *,
    source_size: Size,
    target_size: Size | None = None,
    width: int = 64,
    bottleneck: int = 512,
    doublings: int = 5,
    stem: Stem = "standard",
) -> nn.Module:
    """Build a network of ``(n, c, h, w)`` sources to ``(n, r, H, W)`` targets that has no skips.

    A U-Net's skips carry the source's pixels to the same place in the target. Where the two are not aligned, that may
    be of no use; this network shows what is lost or won without. The encoder is ResNet-18 (He 2016), ending in one
    vector. The decoder makes a small map of it, linearly, and doubles the map until it has the target's size: bilinear
    interpolation and two 3x3 convolutions with batch norm at each step, the channels mirroring the encoder's stages.

    Args:
        source_channels: c.
        regions: r.
        source_size: h, w; both multiples of 16.
        target_size: H, W, of any size; the source's where None.
        width: channels of the encoder's first stage, a multiple of 8.
        bottleneck: numbers in the vector.
        doublings: steps of the decoder, at least 1. It begins at ``ceil(H / 2^doublings)`` rows.
        stem: "standard" is ResNet's, "fine" leaves out its max pooling; see `mris.training.networks.build_network`.

    Raises:
        SettingsError: a size, width or number that cannot work.

    Example:
        >>> import torch
        >>> network = build_autoencoder(1, 2, source_size=(64, 64), target_size=(48, 31), width=8, bottleneck=16)
        >>> network(torch.zeros(4, 1, 64, 64)).shape
        torch.Size([4, 2, 48, 31])
    """
    check_width(width, "autoencoder: width")
    check_size(source_size, 16, "autoencoder")
    if bottleneck < 1 or doublings < 1:
        raise SettingsError(f"autoencoder: bottleneck {bottleneck}, doublings {doublings}; both must be at least 1")
    encoder = build_network("resnet18", channels=source_channels, embedding_dim=bottleneck, width=width, stem=stem)
    return nn.Sequential(encoder, _Decoder(bottleneck, regions, target_size or source_size, width, doublings))


class _Decoder(nn.Module):
    def __init__(self, bottleneck: int, regions: int, target_size: Size, width: int, doublings: int) -> None:
        super().__init__()
        sizes = [tuple(-(-side // 2**step) for side in target_size) for step in range(doublings, -1, -1)]
        # ResNet has its first width at 1/2 and 1/4 of the image, and doubles it from there to 1/32.
        widths = [width * 2 ** min(max(step - 2, 0), 3) for step in range(doublings, -1, -1)]
        self.first = (widths[0], *sizes[0])
        self.spread = nn.Linear(bottleneck, widths[0] * sizes[0][0] * sizes[0][1])
        self.steps = nn.Sequential(
            *(
                nn.Sequential(build_resizer(small, large), TwoConvolutions(coarse, fine))
                for (small, large), (coarse, fine) in zip(pairwise(sizes), pairwise(widths), strict=True)
            )
        )
        self.last = nn.Conv2d(width, regions, kernel_size=3, padding=1)

    def forward(self, vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n r H W"]:
        x = self.spread(vectors)  # (n, widths[0] * rows * columns)
        x = x.unflatten(1, self.first)  # (n, widths[0], ceil(H / 2^doublings), ceil(W / 2^doublings))
        x = self.steps(x)  # (n, width, H, W)
        maps: Tensor = self.last(x)  # (n, r, H, W)
        return maps
