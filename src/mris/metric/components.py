"""A target encoder that is cheap enough for every candidate at every step: principal components and two layers."""

import numpy as np
import torch
from jaxtyping import Float, Float32
from sklearn.utils.extmath import randomized_svd
from torch import Tensor, nn

_HIDDEN = 256


class Components(nn.Module):
    """Scores of an image on fixed directions, which are fitted once and stay as they are (`fit_components`).

    Args:
        shape: ``(c, h, w)`` of an image.
        n_components: how many directions.
    """

    mean: Tensor
    directions: Tensor

    def __init__(self, shape: tuple[int, int, int], n_components: int) -> None:
        super().__init__()
        n_pixels = int(np.prod(shape))
        self.register_buffer("mean", torch.zeros(n_pixels))
        self.register_buffer("directions", torch.zeros(n_components, n_pixels))

    def fit(self, images: Float32[np.ndarray, "n p"], seed: int, *, whitened: bool) -> None:
        """Take the principal components of flattened images.

        Args:
            images: flattened, finite.
            seed: of the randomized decomposition.
            whitened: scores have a standard deviation of 1 each, as a network likes them; else that of the first is 1,
                and the others are as much smaller as the images vary less along them: a ridge regression then trusts
                the first ones most, and noise least.
        """
        mean, directions, spreads = fit_components(images, len(self.directions), seed)
        scales = np.where(spreads > 0, spreads if whitened else spreads[:1], np.inf)
        self.mean.copy_(torch.from_numpy(mean))
        self.directions.copy_(torch.from_numpy(directions / scales[:, None]))

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n q"]:
        """Project images, in float32 under autocast too."""
        with torch.autocast(images.device.type, enabled=False):
            return (images.float().flatten(1) - self.mean) @ self.directions.T


class ComponentEncoder(nn.Module):
    """Embed an image from its scores on principal components, by a network of two layers.

    Aligned images need no convolutions to be told apart.

    Args:
        shape: ``(c, h, w)`` of an image.
        n_components: how many components.
        embedding_dim: d.
    """

    def __init__(self, shape: tuple[int, int, int], n_components: int, embedding_dim: int) -> None:
        super().__init__()
        self.components = Components(shape, n_components)
        self.layers = nn.Sequential(
            nn.Linear(n_components, _HIDDEN), nn.ReLU(inplace=True), nn.Linear(_HIDDEN, embedding_dim)
        )

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Embed images, not normalized."""
        embedded: Tensor = self.layers(self.components(images))
        return embedded


def fit_components(
    images: Float32[np.ndarray, "n p"], n_components: int, seed: int
) -> tuple[Float32[np.ndarray, " p"], Float32[np.ndarray, "q p"], Float32[np.ndarray, " q"]]:
    """Find the mean of some flattened images and the directions in which they differ most.

    Args:
        images: flattened, finite.
        n_components: q; where the images differ in fewer directions the others are 0.
        seed: of the randomized decomposition.

    Returns:
        The mean, orthonormal directions, and the standard deviation of the images' scores on each.

    Example:
        >>> mean, directions, spreads = fit_components(np.array([[0, 0], [2, 0], [4, 0]], dtype=np.float32), 1, seed=0)
        >>> mean.tolist(), [float(abs(value)) for value in directions[0]], [round(float(one), 3) for one in spreads]
        ([2.0, 0.0], [1.0, 0.0], [1.633])
    """
    mean = images.mean(axis=0, dtype=np.float64).astype(np.float32)
    kept = min(n_components, *images.shape)
    _, values, found = randomized_svd(images - mean, kept, n_oversamples=10, n_iter="auto", random_state=seed)
    alive = values > 1e-6 * max(float(values[0]), 1e-30)
    directions = np.zeros((n_components, images.shape[1]), dtype=np.float32)
    directions[:kept][alive] = found[alive]
    spreads = np.zeros(n_components, dtype=np.float32)
    spreads[:kept][alive] = values[alive] / np.sqrt(len(images))
    return mean, directions, spreads
