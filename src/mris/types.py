"""Shape aliases and the one protocol that crosses rooms.

Axes are named once, here: ``n`` images of a batch, ``c`` source channels, ``r`` target regions, ``h`` x ``w``
pixels, ``p`` of them inside a mask, ``d`` embedding dimensions, ``k`` neighbors.
"""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64

Sources = Float32[np.ndarray, "n c h w"]
"""Prepared source images, intensities scaled so that the 99th percentile of an image is 0.99."""

Targets = Float32[np.ndarray, "n r h w"]
"""Target images in their own unit (mm for a thickness map), NaN where a target has no value."""

TargetMap = Float32[np.ndarray, "r h w"]
"""One target image."""

AtlasMask = Bool[np.ndarray, "r h w"]
"""Where a target can have a value."""

Pixels = Float32[np.ndarray, "n p"]
"""Targets as lines of their pixels inside a mask, in the order of its true pixels; NaN where a target has no value."""

Embeddings = Float32[np.ndarray, "n d"]
"""Embeddings, one row an image, of Euclidean norm 1."""

Features = Float32[np.ndarray, "n q"]
"""What a linear readout reads of a source, one row an image: what its encoder learned, then principal components."""

Similarities = Float[np.ndarray, "n k"]
"""Cosine similarities in [-1, 1]."""

Rows = Int64[np.ndarray, "n k"]
"""Positions in a database; -1 where there was no further neighbor."""


class Encoder(Protocol):
    """A pair of trained encoders with one embedding space.

    `mris.DualEncoder` (torch) and `mris.synthesis.bundle.OnnxEncoder` (ONNX Runtime) are such pairs.
    """

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of weights and settings: equal fingerprints mean comparable embeddings."""

    @property
    def regions(self) -> tuple[str, ...]:
        """Names of the target regions that the target encoder reads, in the order of its channels."""

    def encode_sources(self, sources: Sources) -> Embeddings:
        """Embed prepared source images."""

    def encode_targets(self, targets: Targets) -> Embeddings:
        """Embed targets that hold exactly this encoder's regions; NaN becomes 0 for the network only."""


@runtime_checkable
class FeatureEncoder(Protocol):
    """An `Encoder` that also gives what a linear readout reads."""

    @property
    def n_learned(self) -> int:
        """How many of the features were learned; they stand first."""

    @property
    def n_components(self) -> int:
        """How many of the features are principal components of the source; they stand last."""

    def describe_sources(self, sources: Sources) -> tuple[Embeddings, Features]:
        """Give the embeddings and the features of prepared source images."""
