"""One step and one validation of a network from source to target; Lightning does the rest."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from mris.baselines.settings import BaselineSettings
from mris.training.augmentation import apply_augmentation, draw_augmentation
from mris.training.lightning_library import lightning
from mris.training.pairs import Batch, step_chance
from mris.training.processes import gathered, mean_of_all

MONITOR = "error/val"


def masked_l1(
    predictions: Float[Tensor, "n r h w"], targets: Float[Tensor, "n r h w"], valid: Bool[Tensor, "n r h w"]
) -> Float[Tensor, ""]:
    """Mean absolute difference over the pixels where the target has a value, in all processes that train together.

    No method is asked to guess the others.

    Example:
        >>> ones, valid = torch.ones(1, 1, 1, 2), torch.tensor([[[[True, False]]]])
        >>> float(masked_l1(3 * ones, ones, valid))
        2.0
    """
    return mean_of_all(((predictions - targets).abs() * valid).sum(), valid.sum())


class TranslationModule(lightning.LightningModule):
    """Train a network from sources to targets by L1; judge it by the mean absolute error of validation subjects.

    Args:
        network: maps sources (n, c, h, w) to scaled targets (n, r, h, w).
        settings: see `BaselineSettings`.
        mask: (r, h, w) where a target can have a value, the pixels that validation compares.
        seed: seed of the run; the chance of a step depends on it, the epoch and the batch only.
        n_validated: pairs that all processes validate together.
    """

    def __init__(
        self,
        network: nn.Module,
        settings: BaselineSettings,
        mask: Bool[Tensor, "r h w"],
        seed: int,
        n_validated: int,
    ) -> None:
        super().__init__()
        self.network, self.settings, self.seed, self.n_validated = network, settings, seed, n_validated
        self.register_buffer("mask", mask, persistent=False)
        self.mask: Tensor
        self.errors: list[Tensor] = []

    def augmented(self, batch: Batch, chance: int) -> Float[Tensor, "n c h w"]:
        """Sources of a batch, each with a draw of its own, as the encoders see them."""
        generator = torch.Generator(self.device).manual_seed(chance)
        draw = draw_augmentation(tuple(batch.sources.shape), self.settings.augmentation, generator)  # type: ignore[arg-type]
        return apply_augmentation(batch.sources, draw).contiguous(memory_format=torch.channels_last)

    def predicted(self, sources: Float[Tensor, "n c h w"], chance: int) -> Float[Tensor, "n r h w"]:
        """The network's answers, with dropout that `chance` decides."""
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(chance)  # dropout has no generator of its own
            answers: Tensor = self.network(sources).float()
        return answers

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """Augment the sources, predict, compare where the target has a value."""
        chance = step_chance(self.seed, self.current_epoch, batch_idx, self.global_rank)
        predictions = self.predicted(self.augmented(batch, chance), chance)
        loss = masked_l1(predictions, batch.targets, batch.valid)
        self._note("loss/train", loss, batch)
        return loss

    def _note(self, name: str, value: Tensor, batch: Batch) -> None:
        if not torch.isfinite(value):
            raise FloatingPointError(f"{name} is {value.item()} at epoch {self.current_epoch}")
        self.log(name, value.detach(), on_step=False, on_epoch=True, prog_bar=True, batch_size=len(batch.sources))

    def on_validation_epoch_start(self) -> None:
        """Forget the errors of the last validation."""
        self.errors = []

    def validation_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        """Mean absolute error of each image, in the targets' unit, over the pixels that validation compares."""
        with torch.autocast(self.device.type, enabled=False):
            predictions = self.network(batch.sources)
        judged = batch.valid & self.mask
        errors = ((predictions - batch.targets).abs() * judged).sum(dim=(1, 2, 3)) / judged.sum(dim=(1, 2, 3))
        self.errors.append(errors.cpu() * self.settings.target_scale)

    def on_validation_epoch_end(self) -> None:
        """Average over the images that have a value."""
        errors = gathered(torch.cat(self.errors), self.n_validated)
        self.log(MONITOR, float(errors[errors.isfinite()].mean()), prog_bar=True)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip the gradients as those of the encoders are; here, because float16's loss scale is off them by now."""
        for group in optimizer.param_groups:  # one, of the network whose turn it is
            clip_grad_norm_(group["params"], self.settings.clip_norm)

    def configure_optimizers(self) -> Any:
        """AdamW with the schedule by epoch."""
        settings = self.settings
        optimizer = torch.optim.AdamW(
            self.network.parameters(), settings.lr, (settings.beta1, 0.999), weight_decay=settings.weight_decay
        )
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, settings.rate)]


class AdversarialModule(TranslationModule):
    """Train a generator against a discriminator that sees source and target (Isola 2017).

        generator:      adversarial_weight * BCE(D(x, G(x)), 1) + l1_weight * L1(G(x), y)
        discriminator:  (BCE(D(x, y), 1) + BCE(D(x, G(x)), 0)) / 2

    Outside the target's own mask both maps are 0 for the discriminator, so that it cannot tell them apart by it.

    Args:
        network: the generator.
        discriminator: maps source and target to logits of patches.
        settings: see `BaselineSettings`.
        mask: (r, h, w) where a target can have a value.
        seed: seed of the run.
        n_validated: pairs that all processes validate together.
    """

    def __init__(
        self,
        network: nn.Module,
        discriminator: nn.Module,
        settings: BaselineSettings,
        mask: Bool[Tensor, "r h w"],
        seed: int,
        n_validated: int,
    ) -> None:
        super().__init__(network, settings, mask, seed, n_validated)
        self.discriminator = discriminator
        self.automatic_optimization = False

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """One step of the discriminator, then one of the generator."""
        chance = step_chance(self.seed, self.current_epoch, batch_idx, self.global_rank)
        generator_steps, discriminator_steps = self.optimizers()  # type: ignore[attr-defined]
        sources = self.augmented(batch, chance)
        made = self.predicted(sources, chance) * batch.valid
        for steps in (discriminator_steps, generator_steps):
            self.toggle_optimizer(steps)
            if steps is discriminator_steps:
                real = self._judged(sources, batch.targets, 1.0)
                loss = (real + self._judged(sources, made.detach(), 0.0)) / 2
                self._note("loss/discriminator", loss, batch)
            else:
                distance = masked_l1(made, batch.targets, batch.valid)
                loss = self.settings.l1_weight * distance
                if self.settings.adversarial_weight:
                    loss = loss + self.settings.adversarial_weight * self._judged(sources, made, 1.0)
                self._note("loss/train", distance, batch)
            steps.zero_grad()
            self.manual_backward(loss)
            steps.step()
            self.untoggle_optimizer(steps)

    def _judged(self, sources: Tensor, targets: Tensor, real: float) -> Tensor:
        """BCE of the discriminator's judgment with 1 (true) or 0 (made), over all patches."""
        logits = self.discriminator(sources, targets).float()
        with torch.autocast(self.device.type, enabled=False):  # cross entropy needs the precision
            return nn.functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, real))

    def on_train_epoch_end(self) -> None:
        """Follow the schedule, which Lightning leaves to us where there are two optimizers."""
        for schedule in self.lr_schedulers():  # type: ignore[union-attr]
            schedule.step()

    def configure_optimizers(self) -> Any:
        """Adam for each network, both with the schedule by epoch."""
        settings = self.settings
        optimizers = [
            torch.optim.Adam(network.parameters(), settings.lr, (settings.beta1, 0.999))
            for network in (self.network, self.discriminator)
        ]
        return optimizers, [torch.optim.lr_scheduler.LambdaLR(one, settings.rate) for one in optimizers]
