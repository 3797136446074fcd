"""What a network sees of an image when the brightness and contrast of its parts do not count."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

NEIGHBORHOOD = 0.1
"""SD of the Gaussian neighborhood, share of the image's side."""
LEAST_SD = 0.03
"""Added (as squares) to a neighborhood's SD, in units of prepared intensity, so that noise is not made large."""
LIMIT = 2.5
"""Largest value either way, in SDs."""


class LocalContrast(nn.Module):
    """Each pixel less the mean of its neighborhood, over its SD: nearly the same for all windows and equalizations.

    Args:
        size: rows and columns of the images.

    Example:
        >>> images = torch.rand(2, 1, 32, 32)
        >>> see = LocalContrast((32, 32))
        >>> bool((see(images) - see(0.5 + 2 * images)).abs().max() < 0.3)
        True
    """

    rows: Float[Tensor, "h h"]
    columns: Float[Tensor, "w w"]

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        for name, side in zip(("rows", "columns"), size, strict=True):
            place = torch.arange(side, dtype=torch.float32)
            weights = torch.exp(-0.5 * ((place[:, None] - place) / (NEIGHBORHOOD * side)) ** 2)
            self.register_buffer(name, weights / weights.sum(dim=1, keepdim=True), persistent=False)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Standardize; in float32, whatever the layers behind it use."""
        if torch.is_autocast_enabled(images.device.type):
            with torch.autocast(images.device.type, enabled=False):
                return self._standardized(images.float())
        return self._standardized(images)

    def _standardized(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        mean = self.rows @ images @ self.columns.T
        apart = images - mean
        variance = self.rows @ apart**2 @ self.columns.T
        standard: Tensor = (apart / torch.sqrt(variance + LEAST_SD**2)).clamp(-LIMIT, LIMIT)
        return standard
