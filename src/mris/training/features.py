"""What a linear readout reads of a source: its embedding, and its principal components where the encoder has them."""

import math

import numpy as np
from jaxtyping import Float32

from mris.types import Embeddings, Features


def source_features(embeddings: Embeddings, components: Float32[np.ndarray, "n q"] | None) -> Features:
    """Put embeddings, scaled so that a coordinate is about 1, and scores on principal components side by side.

    Example:
        >>> source_features(np.array([[1, 0, 0, 0]], dtype=np.float32), None).tolist()
        [[2.0, 0.0, 0.0, 0.0]]
    """
    scaled = embeddings * np.float32(math.sqrt(embeddings.shape[1]))
    return scaled if components is None else np.concatenate([scaled, components], axis=1)


def embeddings_of(features: Features, embedding_dim: int) -> Embeddings:
    """Take the embeddings out of features; inverts `source_features`."""
    return features[:, :embedding_dim] / np.float32(math.sqrt(embedding_dim))
