"""What a step of a baseline does with its gradients."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.precision import MixedPrecision

from mris.baselines.module import AdversarialModule, TranslationModule
from mris.baselines.pix2pix import build_discriminator, build_generator
from mris.baselines.settings import BaselineSettings
from mris.training.pairs import Batch


class _ScaledLoss(MixedPrecision):
    """The scaler of float16 on 32 bits, so that nothing but the scale differs."""

    def __init__(self) -> None:
        super().__init__("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**10))

    @contextmanager
    def forward_context(self) -> Iterator[None]:
        yield


class _Descent:
    """Plain steps: Adam's do not depend on the length of a gradient, and so would not show how it was clipped."""

    def configure_optimizers(self: Any) -> Any:
        networks = [self.network, self.discriminator] if hasattr(self, "discriminator") else [self.network]
        optimizers = [torch.optim.SGD(network.parameters(), 1.0) for network in networks]
        return optimizers, [torch.optim.lr_scheduler.ConstantLR(one, 1.0) for one in optimizers]


class _Adversarial(_Descent, AdversarialModule): ...


class _Translation(_Descent, TranslationModule): ...


def _steps(adversarial: bool, plugins: list[Any]) -> list[torch.Tensor]:
    """How far one step moves each network, as norms."""
    torch.manual_seed(0)
    settings = BaselineSettings.model_validate({"method": "pix2pix", "clip_norm": 1e-2, "rotation": 0.0})
    mask = torch.ones(1, 32, 32, dtype=torch.bool)
    generator = build_generator(1, 1, source_size=(32, 32), width=8)
    module: TranslationModule = _Translation(generator, settings, mask, 0, 4)
    if adversarial:
        discriminator = build_discriminator(1, 1, target_size=(32, 32), width=8)
        module = _Adversarial(generator, discriminator, settings, mask, 0, 4)
    networks = list(module.children())[: 1 + adversarial]
    before = [torch.nn.utils.parameters_to_vector(network.parameters()).detach().clone() for network in networks]
    sources, targets = torch.rand(2, 4, 1, 32, 32)
    batch = Batch(sources, targets, torch.ones_like(targets, dtype=torch.bool), torch.arange(4))
    trainer = Trainer(
        accelerator="cpu",
        max_steps=1 + adversarial,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        plugins=plugins,
    )
    trainer.fit(module, torch.utils.data.DataLoader([batch], batch_size=None))
    after = [torch.nn.utils.parameters_to_vector(network.parameters()).detach() for network in networks]
    return [(new - old).norm() for new, old in zip(after, before, strict=True)]


@pytest.mark.parametrize("adversarial", [False, True])
def test_gradients_are_clipped_at_their_own_scale(adversarial: bool) -> None:
    for plugins in ([], [_ScaledLoss()]):
        for step in _steps(adversarial, plugins):
            assert float(step) == pytest.approx(1e-2, rel=1e-3)
