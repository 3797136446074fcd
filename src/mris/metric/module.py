"""One step and one validation of metric learning; Lightning does the rest."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize
from torch.nn.utils import clip_grad_norm_

from mris.metric.data import Judged
from mris.metric.encoders import DualEncoder
from mris.metric.losses import CrossModalTripletLoss
from mris.metric.objective import SynthesisObjective
from mris.metric.settings import TrainSettings
from mris.metric.validation import attention_weights, neighbor_weights, synthesis_error, weighted_error
from mris.retrieval import recall_at_k
from mris.training.augmentation import apply_augmentation, draw_augmentation
from mris.training.callbacks import MEAN_MAP
from mris.training.lightning_library import lightning
from mris.training.networks import embed_with_features
from mris.training.pairs import Batch, step_chance
from mris.training.processes import gathered

MONITOR = "error/val"
YARDSTICK = MONITOR + MEAN_MAP


class MetricModule(lightning.LightningModule):
    """Train two encoders by the triplet loss, the prediction loss or both; judge them by the synthesis of others.

    Args:
        encoder: the two networks.
        settings: see `TrainSettings`.
        judged: targets at the pixels that validation compares.
        seed: seed of the run; the chance of a step depends on it, the epoch and the batch only.
        synthesis: what the objectives "synthesis" and "both" ask for; None for "triplet".
    """

    def __init__(
        self,
        encoder: DualEncoder,
        settings: TrainSettings,
        judged: Judged,
        seed: int,
        synthesis: SynthesisObjective | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.settings, self.judged, self.seed = encoder, settings, judged, seed
        self.triplet = CrossModalTripletLoss(settings.margin, settings.reduction)
        self.synthesis = synthesis
        if synthesis is None and encoder.spec.target_network == "components":
            encoder.log_temperature.requires_grad_(False)  # nothing would train it, and processes would wait for it
        self.embedded: dict[str, list[Tensor]] = {}
        self.mean_map_error = synthesis_error(judged.mean_map.expand_as(judged.truths), judged.truths, judged.mask)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Augment the sources, embed, compare."""
        chance = step_chance(self.seed, self.current_epoch, batch_idx, self.global_rank)
        generator = torch.Generator(self.device).manual_seed(chance)
        draw = draw_augmentation(tuple(batch.sources.shape), self.settings.augmentation, generator)  # type: ignore[arg-type]
        sources = apply_augmentation(batch.sources, draw).contiguous(memory_format=torch.channels_last)
        embedded, features = embed_with_features(self.encoder.source, sources)
        loss = self.loss(embedded.float(), features.float(), batch, batch_idx)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"loss {loss.item()} at epoch {self.current_epoch}, batch {batch_idx}")
        self.log("loss/train", loss.detach(), on_step=False, on_epoch=True, prog_bar=True, batch_size=len(sources))
        return loss

    def loss(
        self, sources: Float[Tensor, "n d"], features: Float[Tensor, "n q"], batch: Batch, step: int
    ) -> Float[Tensor, ""]:
        """Compare a batch of embedded sources, with what their last layer read, as the objective asks."""
        loss = sources.new_zeros(())
        if self.settings.objective != "synthesis":
            targets = self.encoder.target(batch.targets.contiguous(memory_format=torch.channels_last)).float()
            weight = self.settings.triplet_weight if self.synthesis is not None else 1.0
            loss = loss + weight * self.triplet(sources, targets, batch.subjects)
        if self.synthesis is not None:
            alike = step_chance(self.seed, self.current_epoch, step, rank=0)  # all processes draw the same candidates
            target, temperature = self.encoder.target, self.encoder.temperature
            loss = loss + self.synthesis(sources, features, target, temperature, batch, alike)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forget the embeddings of the last validation."""
        self.embedded = {"sources": [], "targets": [], "gallery": []}

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:  # noqa: ARG002
        """Embed validation pairs (first loader) or the gallery's targets (second), in the float32 of later use."""
        with torch.autocast(self.device.type, enabled=False):
            if dataloader_idx == 0:
                sources, targets = self.encoder(batch.sources, batch.targets)
                self.embedded["sources"].append(sources.float().cpu())
                self.embedded["targets"].append(targets.float().cpu())
            else:
                self.embedded["gallery"].append(self.encoder.target(batch.targets).float().cpu())

    def on_validation_epoch_end(self) -> None:
        """Rank the whole validation gallery, and synthesize each validation target from training targets.

        Beside the error of this synthesis stands that of the mean training map, the same in every epoch.
        """
        counts = (len(self.judged.truths), len(self.judged.truths), len(self.judged.gallery))
        embedded = (torch.cat(parts) for parts in self.embedded.values())
        sources, targets, gallery = (gathered(part, n) for part, n in zip(embedded, counts, strict=True))
        if not (sources.isfinite().all() and targets.isfinite().all()):
            raise FloatingPointError(f"an embedding of validation after epoch {self.current_epoch}")
        self.embedded = {}
        queries, own = (normalize(part, dim=1).numpy() for part in (sources, targets))
        for k, recall in recall_at_k(queries, own, np.arange(len(own))).items():
            self.log(f"recall/val@{k}", recall, rank_zero_only=False)
        if self.synthesis is None:
            weights = neighbor_weights(sources, gallery, self.settings.n_neighbors)
        else:
            weights = attention_weights(sources, gallery, float(self.encoder.temperature.detach()))
        judged = self.judged
        self.log(MONITOR, weighted_error(weights, judged.gallery, judged.truths, judged.mask), prog_bar=True)
        self.log(YARDSTICK, self.mean_map_error, prog_bar=True)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:  # noqa: ARG002
        """Clip each encoder's gradients by itself, as the paper's authors do."""
        for network in (self.encoder.source, self.encoder.target):
            clip_grad_norm_(network.parameters(), self.settings.clip_norm)

    def configure_optimizers(self) -> Any:
        """AdamW with a learning rate for each encoder, and the schedule by epoch."""
        settings, encoder = self.settings, self.encoder
        groups: list[dict[str, Any]] = [
            {"params": list(encoder.source.parameters()), "lr": settings.lr_source},
            {"params": list(encoder.target.parameters()), "lr": settings.lr_target},
        ]
        if self.synthesis is not None:
            groups.append({"params": list(self.synthesis.parameters()), "lr": settings.lr_target})
            groups.append({"params": [encoder.log_temperature], "lr": settings.lr_source, "weight_decay": 0.0})
        optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, settings.rate)]
