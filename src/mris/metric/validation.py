"""What an epoch of metric learning is judged by: recall, and the error of synthesis by retrieval."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize


def recall_at(
    sources: Float[Tensor, "n d"], targets: Float[Tensor, "n d"], ks: Sequence[int] = (1, 5, 10, 20)
) -> dict[int, float]:
    """Share of sources whose own target (same row) is among the k most similar of all targets.

    A target exactly as similar as the own one counts as ranked before it. The whole gallery is ranked at once, so the
    result does not depend on a batch size.

    Example:
        >>> recall_at(torch.eye(3), torch.eye(3), ks=(1,))
        {1: 1.0}
    """
    similarities = _cosines(sources, targets)
    rank = (similarities >= similarities.diagonal()[:, None]).sum(dim=1)
    return {k: float((rank <= k).float().mean()) for k in ks}


def retrieval_error(
    queries: Float[Tensor, "n d"],
    truths: Float[Tensor, "n p"],
    gallery: Float[Tensor, "m d"],
    gallery_targets: Float[Tensor, "m p"],
    mask: Bool[Tensor, " p"],
    n_neighbors: int,
) -> float:
    """Mean absolute error of k-NN synthesis (Eq. 4), in the targets' unit; see `synthesis_error`.

    A pixel that no neighbor knows takes the gallery's mean.

    Args:
        queries: embeddings of the sources.
        truths: their targets, pixels flattened, NaN outside the mask.
        gallery: embeddings of other subjects' targets.
        gallery_targets: those targets.
        mask: where a target can have a value.
        n_neighbors: k.
    """
    k = min(n_neighbors, len(gallery))
    similarities, rows = _cosines(queries, gallery).topk(k, dim=1)
    weights = torch.zeros(len(queries), len(gallery)).scatter_(1, rows, similarities.clamp(min=1e-6))
    return synthesis_error(_average(weights, gallery_targets), truths, mask)


def attention_error(
    queries: Float[Tensor, "n d"],
    truths: Float[Tensor, "n p"],
    gallery: Float[Tensor, "m d"],
    gallery_targets: Float[Tensor, "m p"],
    mask: Bool[Tensor, " p"],
    temperature: float,
) -> float:
    """Mean absolute error of the average of all targets of the gallery, weighed by attention (P1).

    Args:
        queries: embeddings of the sources.
        truths: their targets, pixels flattened, NaN outside the mask.
        gallery: embeddings of other subjects' targets.
        gallery_targets: those targets.
        mask: where a target can have a value.
        temperature: of the attention.
    """
    weights = torch.softmax(_cosines(queries, gallery) / temperature, dim=1)
    return synthesis_error(_average(weights, gallery_targets), truths, mask)


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
