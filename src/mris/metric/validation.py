"""What an epoch of metric learning is judged by beside recall: the error of synthesis by retrieval."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize


def neighbor_weights(
    queries: Float[Tensor, "n d"], gallery: Float[Tensor, "m d"], n_neighbors: int
) -> Float[Tensor, "n m"]:
    """Weigh the k nearest of a gallery by their similarity (Eq. 4), and the others by 0; rows do not sum to 1."""
    similarities, rows = _cosines(queries, gallery).topk(min(n_neighbors, len(gallery)), dim=1)
    return torch.zeros(len(queries), len(gallery)).scatter_(1, rows, similarities.clamp(min=1e-6))


def attention_weights(
    queries: Float[Tensor, "n d"], gallery: Float[Tensor, "m d"], temperature: float
) -> Float[Tensor, "n m"]:
    """Weigh all of a gallery by attention (P1)."""
    return torch.softmax(_cosines(queries, gallery) / temperature, dim=1)


def weighted_error(
    weights: Float[Tensor, "n m"], gallery: Float[Tensor, "m p"], truths: Float[Tensor, "n p"], mask: Bool[Tensor, " p"]
) -> float:
    """Mean absolute error of a weighted average of other subjects' targets; see `synthesis_error`.

    A pixel that nobody of weight knows takes the gallery's mean.

    Args:
        weights: of each target of the gallery, for each truth.
        gallery: other subjects' targets, pixels flattened, NaN where they have no value.
        truths: the targets that are synthesized, likewise.
        mask: where a target can have a value.
    """
    return synthesis_error(_average(weights, gallery), truths, mask)


def _cosines(queries: Float[Tensor, "n d"], gallery: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    return normalize(queries.float(), dim=1) @ normalize(gallery.float(), dim=1).T


def _average(weights: Float[Tensor, "n m"], targets: Float[Tensor, "m p"]) -> Float[Tensor, "n p"]:
    """Average over the targets that have a value at a pixel; the gallery's mean where nobody of weight has."""
    known = targets.isfinite()
    values = torch.where(known, targets, 0.0)
    mean = values.sum(dim=0) / known.sum(dim=0).clamp(min=1)
    norm = weights @ known.float()
    return torch.where(norm > 0, weights @ values / norm.clamp(min=1e-12), mean)


def synthesis_error(synthesis: Float[Tensor, "n p"], truths: Float[Tensor, "n p"], mask: Bool[Tensor, " p"]) -> float:
    """Mean absolute error of synthesized targets, in the targets' unit.

    Per target the mean over pixels where the truth has a value and `mask` allows one, then the mean over targets.

    Args:
        synthesis: what is judged, pixels flattened, with a value at every such pixel.
        truths: the targets themselves, NaN where they have no value.
        mask: where a target can have a value.

    Example:
        >>> truths = torch.tensor([[1.0, 2.0], [3.0, torch.nan]])
        >>> synthesis_error(torch.full((2, 2), 2.0), truths, torch.tensor([True, True]))
        0.75
    """
    judged = truths.isfinite() & mask
    errors = torch.where(judged, (synthesis - truths).abs(), 0.0).sum(dim=1) / judged.sum(dim=1).clamp(min=1)
    return float(errors[judged.any(dim=1)].mean())
