"""What else than anatomy tells that two radiographs are of one person: references for retrieval without a network.

Both knees of a person stand on one plate: they share exposure, collimation and grain. Each *look* below is a few
numbers of an image that hold some of that and little or no anatomy. How well looks alone retrieve the other knee is
what a trained encoder could reach by a shortcut.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import scipy.ndimage
import scipy.stats
from jaxtyping import Float32, Float64, Int64

from mris.cohort.cohort import Cohort
from mris.images.transforms import resize_source
from mris.retrieval import own_ranks
from mris.types import Embeddings, Encoder, Sources, Targets

Look = Callable[[Float32[np.ndarray, "n h w"]], Float64[np.ndarray, "n d"]]

GRID = 16
SHRINKAGE = 0.1
"""Share of the mean variance that is added to every direction of the within-person scatter."""


def pixels_look(images: Float32[np.ndarray, "n h w"]) -> Float64[np.ndarray, "n d"]:
    """The image at 16 x 16 pixels: anatomy and exposure, coarsely."""
    return np.stack([resize_source(image[None], (GRID, GRID)).ravel() for image in images]).astype(np.float64)


def border_look(images: Float32[np.ndarray, "n h w"]) -> Float64[np.ndarray, "n d"]:
    """The outer eighth of the 16 x 16 pixels on each side: soft tissue, collimation, background."""
    frame = np.ones((GRID, GRID), dtype=np.bool_)
    frame[GRID // 8 : -(GRID // 8), GRID // 8 : -(GRID // 8)] = False
    return pixels_look(images)[:, frame.ravel()]


def gray_look(images: Float32[np.ndarray, "n h w"]) -> Float64[np.ndarray, "n d"]:
    """32 quantiles of the gray levels, wherever they stand: exposure, and no place at all."""
    return np.quantile(images.reshape(len(images), -1), np.linspace(0.01, 0.99, 32), axis=1).T


def grain_look(images: Float32[np.ndarray, "n h w"]) -> Float64[np.ndarray, "n d"]:
    """Log strength of the finest detail in 4 x 4 blocks: noise and sharpness of the plate, texture of the bone."""
    fine = images - scipy.ndimage.gaussian_filter(images, (0, 1.0, 1.0))
    n, height, width = images.shape
    trimmed = fine[:, : height - height % 4, : width - width % 4]
    blocks = trimmed.reshape(n, 4, height // 4, 4, width // 4)
    return np.log(blocks.std(axis=(2, 4)).reshape(n, -1) + 1e-4).astype(np.float64)


def blinded(images: Float32[np.ndarray, "n 1 h w"]) -> Float32[np.ndarray, "n 1 h2 w2"]:
    """Take the shortcuts away: cut off the outer eighth on each side, blur the grain, give all the same gray levels.

    Each pixel becomes its rank within its image, 0 to 1, so that all images have one histogram.
    """
    cut_rows, cut_columns = images.shape[2] // 8, images.shape[3] // 8
    inner = images[:, 0, cut_rows : images.shape[2] - cut_rows, cut_columns : images.shape[3] - cut_columns]
    smooth = scipy.ndimage.gaussian_filter(inner, (0, 1.0, 1.0))
    ranks = scipy.stats.rankdata(smooth.reshape(len(images), -1), axis=1)
    low, high = ranks.min(axis=1, keepdims=True), ranks.max(axis=1, keepdims=True)
    equal = (ranks - low) / np.maximum(high - low, 1)
    return equal.reshape(len(images), 1, *inner.shape[1:]).astype(np.float32)


def bare_look(images: Float32[np.ndarray, "n h w"]) -> Float64[np.ndarray, "n d"]:
    """The `blinded` image at 16 x 16 pixels: anatomy alone, as far as blinding reaches."""
    return pixels_look(blinded(images[:, None])[:, 0])


LOOKS: Mapping[str, Look] = {
    "16 x 16 pixels": pixels_look,
    "16 x 16 pixels, blinded": bare_look,
    "border alone": border_look,
    "gray levels alone": gray_look,
    "grain alone": grain_look,
}


@dataclass(frozen=True)
class LookEncoder:
    """A look as an encoder: standardized, then whitened by how the two knees of one training person differ.

    Whitening makes it the best linear comparison that training people give (within-class covariance normalization),
    so that a look is not held to be harmless because it was compared badly.

    Args:
        look: Numbers of an image.
        source_moments: (2, d) mean and standard deviation of the look of training sources.
        target_moments: (2, d) the same of training targets.
        whitening: (d, d).
        regions: Regions of the targets; only the first is looked at.
        fingerprint: Of the numbers above.
    """

    look: Look
    source_moments: Float64[np.ndarray, "2 d"]
    target_moments: Float64[np.ndarray, "2 d"]
    whitening: Float64[np.ndarray, "d d"]
    regions: tuple[str, ...]
    fingerprint: str

    @classmethod
    def fit(cls, look: Look, training: Cohort) -> "LookEncoder":
        """Learn moments and whitening from training pairs."""
        sources, targets = look(training.read_sources()[:, 0]), look(training.read_targets()[:, 0])
        moments = [np.stack([part.mean(axis=0), part.std(axis=0) + 1e-6]) for part in (sources, targets)]
        apart = _standardized(sources, moments[0]) - _standardized(targets, moments[1])
        scatter = apart.T @ apart / len(apart)
        scatter += SHRINKAGE * np.trace(scatter) / len(scatter) * np.eye(len(scatter))
        values, vectors = np.linalg.eigh(scatter)
        whitening = vectors / np.sqrt(values)
        told = hashlib.sha256(np.concatenate([*moments, whitening]).tobytes()).hexdigest()
        return cls(look, moments[0], moments[1], whitening, training.regions, told)

    def encode_sources(self, sources: Sources) -> Embeddings:
        """Embed sources (n, 1, h, w)."""
        return self._unit(self.look(sources[:, 0]), self.source_moments)

    def encode_targets(self, targets: Targets) -> Embeddings:
        """Embed targets (n, 1, h, w)."""
        return self._unit(self.look(targets[:, 0]), self.target_moments)

    def _unit(self, values: Float64[np.ndarray, "n d"], moments: Float64[np.ndarray, "2 d"]) -> Embeddings:
        white = _standardized(values, moments) @ self.whitening
        return np.asarray(white / np.maximum(np.linalg.norm(white, axis=1, keepdims=True), 1e-12), dtype=np.float32)


def _standardized(
    values: Float64[np.ndarray, "n d"], moments: Float64[np.ndarray, "2 d"]
) -> Float64[np.ndarray, "n d"]:
    return (values - moments[0]) / moments[1]


@dataclass(frozen=True)
class BlindedEncoder:
    """An encoder that was trained on `blinded` images, asked with images as they are.

    Args:
        encoder: It.
    """

    encoder: Encoder

    @property
    def regions(self) -> tuple[str, ...]:
        """Regions of the targets."""
        return self.encoder.regions

    @property
    def fingerprint(self) -> str:
        """The encoder's own."""
        return self.encoder.fingerprint

    def encode_sources(self, sources: Sources) -> Embeddings:
        """Blind, then embed."""
        return self.encoder.encode_sources(blinded(sources))

    def encode_targets(self, targets: Targets) -> Embeddings:
        """Blind, then embed."""
        return self.encoder.encode_targets(blinded(targets))


def matched_ranks(
    queries: Embeddings,
    gallery: Embeddings,
    look: Float64[np.ndarray, "n d"],
    n_distractors: int,
) -> Int64[np.ndarray, " n"]:
    """Rank each query's own target among those that look most like it.

    Args:
        queries: (n, d) embeddings of sources.
        gallery: (n, d) embeddings of targets; row i is the own target of query i.
        look: (n, l) a look of the targets; the own target's nearest (Euclidean, columns standardized) are its
            distractors.
        n_distractors: How many.

    Returns:
        (n,) ranks from 1 to n_distractors + 1; ties count against the query.
    """
    scaled = _standardized(look, np.stack([look.mean(axis=0), look.std(axis=0) + 1e-6]))
    squared = (scaled**2).sum(axis=1)
    apart = squared[:, None] - 2 * scaled @ scaled.T + squared
    np.fill_diagonal(apart, np.inf)
    likest = np.argsort(apart, axis=1, kind="stable")[:, :n_distractors]
    ranks = [
        own_ranks(queries[i : i + 1], gallery[np.append(others, i)], np.array([len(others)]))[0]
        for i, others in enumerate(likest)
    ]
    return np.array(ranks, dtype=np.int64)
