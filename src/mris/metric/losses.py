"""The subject-aware cross-modal triplet loss, as four things: distance, mining, hinge, reduction."""

from typing import Literal

import torch
import torch.distributed
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mris.training.processes import mean_of_all

Reduction = Literal["mean", "sum"]


def cosine_distances(sources: Float[Tensor, "n d"], targets: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """Distance of every source to every target, 1 - cosine similarity, in [0, 2] (Eq. 1).

    Under autocast too it has the precision of the embeddings: bfloat16 would err by some thousandths near 1, and
    neighbors differ by less.
    """
    with torch.autocast(sources.device.type, enabled=False):
        return 1 - nn.functional.normalize(sources, dim=1) @ nn.functional.normalize(targets, dim=1).T


def valid_negatives(anchors: Int[Tensor, " n"], candidates: Int[Tensor, " m"]) -> Bool[Tensor, "n m"]:
    """Which targets may serve as negatives of which anchors: those of other subjects, never of one's own.

    The other timepoints and the other side of a person are that person too; the diagonal is excluded with them.
    """
    return anchors[:, None] != candidates[None, :]


def triplet_hinges(
    distances: Float[Tensor, "n m"], positives: Int[Tensor, " n"], margin: float
) -> Float[Tensor, "n m"]:
    """Hinge of every (anchor, its positive, any target): max(d(a, p) - d(a, t) + margin, 0)."""
    own = distances.gather(1, positives[:, None])
    return (own - distances + margin).clamp(min=0)


class _GatherWithGradient(torch.autograd.Function):
    """Concatenate a tensor over all processes; each process gets back the gradients of all processes' losses."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, tensor: Tensor) -> Tensor:
        parts = [torch.empty_like(tensor) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(parts, tensor.contiguous())
        ctx.n = len(tensor)  # type: ignore[attr-defined]
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].contiguous()
        torch.distributed.all_reduce(gradient)
        start: int = torch.distributed.get_rank() * ctx.n  # type: ignore[attr-defined]
        return gradient[start : start + ctx.n]  # type: ignore[attr-defined]


class CrossModalTripletLoss(nn.Module):
    """Pull each source to its own target, push it from the targets of other subjects (Eq. 2).

        loss = sum_a sum_{b: subject(b) != subject(a)} max(d(x_a, y_a) - d(x_a, y_b) + m, 0)

    Under distributed training the targets of all processes serve as negatives, and the loss is scaled so that the
    average of gradients over processes is the gradient of the loss of the whole batch.

    Args:
        margin: m, in units of cosine distance; 0.1 in the paper.
        reduction: "mean" over the valid triplets (the loss then does not depend on the batch size), or the
            paper's "sum". They differ by a factor, which matters to gradient clipping only.

    Example:
        >>> east_and_north = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> loss = CrossModalTripletLoss(margin=0.1)
        >>> float(loss(east_and_north, east_and_north, torch.tensor([0, 1])))
        0.0
    """

    def __init__(self, margin: float = 0.1, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.margin = margin
        self.reduction = reduction

    def forward(
        self, sources: Float[Tensor, "n d"], targets: Float[Tensor, "n d"], subjects: Int[Tensor, " n"]
    ) -> Float[Tensor, ""]:
        """Compute the loss of a batch of pairs.

        Args:
            sources: embeddings of sources, row i with
            targets: the embedding of its own target, row i.
            subjects: integer code of each pair's subject.

        Returns:
            A scalar; 0 where no anchor has a negative.
        """
        n = len(sources)
        positives = torch.arange(n, device=sources.device)
        candidates, world_size = subjects, 1
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            world_size = torch.distributed.get_world_size()
            parts = [torch.empty_like(subjects) for _ in range(world_size)]
            torch.distributed.all_gather(parts, subjects.contiguous())
            candidates = torch.cat(parts)
            targets = _GatherWithGradient.apply(targets)  # type: ignore[no-untyped-call]
            positives = positives + torch.distributed.get_rank() * n
        valid = valid_negatives(subjects, candidates)
        total = (triplet_hinges(cosine_distances(sources, targets), positives, self.margin) * valid).sum()
        if self.reduction == "sum":
            return total * world_size
        return mean_of_all(total, valid.sum())
