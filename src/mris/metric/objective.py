"""What metric learning asks for: pairs that find each other, a synthesis that is near the truth, or both."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mris.metric.candidates import CandidatePool
from mris.metric.components import ComponentEncoder
from mris.metric.prediction import masked_error, prediction_loss
from mris.training.pairs import Batch


class SynthesisObjective(nn.Module):
    """The error of the synthesis by attention (P1), plus that of a linear map from the same features.

    Both are told in units of the error of the mean target, so that they weigh alike whatever the targets' unit.
    The linear map is a help for the training: it is fitted again, in closed form, on whatever a database holds.

    Args:
        target: the target encoder, whose directions are fitted.
        pool: all training targets.
        pixels: positions of the compared pixels in a flattened target.
        n_features: what the source encoder's last layer reads.
    """

    mean: Tensor
    basis: Tensor
    pixels: Tensor

    def __init__(
        self, target: ComponentEncoder, pool: CandidatePool, pixels: Int[Tensor, " p"], n_features: int
    ) -> None:
        super().__init__()
        self.pool = pool
        self.register_buffer("pixels", pixels, persistent=False)
        directions = target.components.directions
        lengths = directions.square().sum(dim=1, keepdim=True)
        self.head = nn.Linear(n_features, len(directions))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        # A score of 1 is this image: directions are as long as their scores are short.
        self.register_buffer("basis", (directions / lengths.clamp(min=1e-12))[:, pixels], persistent=False)
        mean = target.components.mean[pixels]
        known = torch.ones_like(pool.values, dtype=torch.bool) if pool.known is None else pool.known
        self.mean_error = float(masked_error(mean.expand_as(pool.values), pool.values.float(), known))
        self.register_buffer("mean", mean, persistent=False)

    def forward(
        self,
        sources: Float[Tensor, "n d"],
        features: Float[Tensor, "n q"],
        target: ComponentEncoder,
        temperature: Float[Tensor, ""],
        batch: Batch,
        chance: int,
    ) -> Float[Tensor, ""]:
        """Compute the loss of a batch of embedded sources.

        Args:
            sources: embeddings, not normalized, float32.
            features: what the source encoder's last layer read, float32.
            target: embeds the candidates.
            temperature: of the attention.
            batch: the pairs, for their targets and subjects.
            chance: decides the candidates; the same for every process that trains together.
        """
        truths, known = (part.flatten(1)[:, self.pixels] for part in (batch.targets, batch.valid))
        scores, candidates = self.pool.draw(chance)
        with torch.autocast(sources.device.type, enabled=False):
            keys = target.layers(scores)
            attended = prediction_loss(sources, keys, temperature, candidates, truths, known, batch.subjects)
            regressed = self.mean + self.head(features) @ self.basis
            return (attended + masked_error(regressed, truths, known)) / max(self.mean_error, 1e-6)
