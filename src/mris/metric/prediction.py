"""The loss on the prediction: the average of people's targets, weighed by attention, against the truth."""

from dataclasses import dataclass

import torch
import torch.distributed
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mris.metric.losses import cosine_distances
from mris.training.processes import mean_of_all

_NOWHERE = -1e9
"""Score of a candidate that must not count: finite, so that a query without any candidate gives no NaN."""


@dataclass(frozen=True)
class Candidates:
    """Targets that a synthesis may average, at the pixels that are compared.

    Attributes:
        values: the targets, any finite number where `known` is False.
        known: where they have a value; None where all do.
        subjects: integer code of each target's subject.
    """

    values: Float[Tensor, "m p"]
    known: Bool[Tensor, "m p"] | None
    subjects: Int[Tensor, " m"]


def attention(
    queries: Float[Tensor, "n d"],
    keys: Float[Tensor, "m d"],
    temperature: Float[Tensor, ""],
    admitted: Bool[Tensor, "n m"],
) -> Float[Tensor, "n m"]:
    """Weights of the candidates, softmax(cos(query, key) / temperature) over those that are admitted (P1).

    Cosines and softmax have the precision of the embeddings under autocast too.

    Returns:
        Convex weights; uniform, and worthless, in a line that admits nobody.
    """
    with torch.autocast(queries.device.type, enabled=False):
        scores = (1 - cosine_distances(queries, keys)) / temperature
        return torch.softmax(scores.masked_fill(~admitted, _NOWHERE), dim=1)


def average(weights: Float[Tensor, "n m"], candidates: Candidates) -> tuple[Float[Tensor, "n p"], Bool[Tensor, "n p"]]:
    """Average the candidates, weights renormalized at each pixel over those that have a value there.

    Returns:
        The averages, and where any candidate of some weight has a value.
    """
    with torch.autocast(weights.device.type, enabled=False):
        if candidates.known is None:
            return weights @ candidates.values, torch.ones_like(candidates.values[:1], dtype=torch.bool)
        known = candidates.known.to(weights.dtype)
        norm = weights @ known
        return weights @ (candidates.values * known) / norm.clamp(min=torch.finfo(norm.dtype).tiny), norm > 0


def prediction_loss(
    queries: Float[Tensor, "n d"],
    keys: Float[Tensor, "m d"],
    temperature: Float[Tensor, ""],
    candidates: Candidates,
    truths: Float[Tensor, "n p"],
    known: Bool[Tensor, "n p"],
    subjects: Int[Tensor, " n"],
) -> Float[Tensor, ""]:
    """Ask that the attention-weighted average of other people's targets be the own one.

        a_n(x) = softmax_n(cos(f(x), g(y_n)) / tau),  loss = mean over known pixels of |sum_n a_n(x) y_n - y(x)|    (P1)

    The own person is left out, exactly as a query leaves it out. Under distributed training the loss is scaled so that
    the average of gradients over processes is the gradient of the loss of the whole batch; every process must have the
    same candidates.

    Args:
        queries: embeddings of the sources.
        keys: embeddings of the candidates' targets.
        temperature: tau, above 0, in units of cosine similarity.
        candidates: those targets.
        truths: the sources' own targets, any finite number where `known` is False.
        known: where these have a value.
        subjects: integer code of each source's subject.

    Returns:
        A scalar in the targets' unit; queries without another person do not count, and 0 where none counts.

    Example:
        >>> targets = torch.tensor([[1.0, 1.0], [3.0, 3.0]])
        >>> others = Candidates(targets, None, torch.tensor([7, 8]))
        >>> query, known = torch.tensor([[1.0, 0.0]]), torch.ones(1, 2, dtype=torch.bool)
        >>> keys, truth, subject = torch.eye(2), targets[:1], torch.tensor([9])
        >>> float(prediction_loss(query, keys, torch.tensor(0.01), others, truth, known, subject))
        0.0
    """
    admitted = subjects[:, None] != candidates.subjects[None, :]
    synthesis, answered = average(attention(queries, keys, temperature, admitted), candidates)
    return masked_error(synthesis, truths, known & answered & admitted.any(dim=1, keepdim=True))


def masked_error(
    synthesis: Float[Tensor, "n p"], truths: Float[Tensor, "n p"], counted: Bool[Tensor, "n p"]
) -> Float[Tensor, ""]:
    """Mean absolute error over the pixels that count, in all processes that train together; 0 where none does."""
    total = torch.where(counted, (synthesis - truths).abs(), 0.0).sum()
    return mean_of_all(total, counted.sum())
