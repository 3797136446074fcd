"""An encoder pair without training, for cohorts of `cohorts.synthetic_cohort`: both sides see the same field."""

import numpy as np

from mris.types import Embeddings, Sources, Targets


class FieldEncoder:
    """Embeds a source and the first region of a target as the field that both show inside that region's mask."""

    fingerprint = "f" * 64

    def __init__(self, mask: np.ndarray, regions: tuple[str, ...] = ("femoral", "tibial")) -> None:
        self.regions = regions
        self._mask = mask

    def encode_sources(self, sources: Sources) -> Embeddings:
        return self._embedded((sources[:, 0][:, self._mask] - 0.5) / 0.2)

    def encode_targets(self, targets: Targets) -> Embeddings:
        return self._embedded((np.nan_to_num(targets[:, 0])[:, self._mask] - 2.0) / 0.3)

    def _embedded(self, fields: np.ndarray) -> Embeddings:
        norm = np.linalg.norm(fields, axis=1, keepdims=True)
        return (fields / np.maximum(norm, 1e-9)).astype(np.float32)
