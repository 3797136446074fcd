"""Train a ResNet-18 on target maps and their labels: one run, one folder, by the trainer of the encoders."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, Int64
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from mris.errors import TrainingError
from mris.study.settings import ClassifierSettings
from mris.training.checkpoint_file import write_tensors
from mris.training.lightning_library import lightning
from mris.training.networks import build_network
from mris.training.pairs import PrefetchedBatches, in_order, scale_targets
from mris.training.run import Run
from mris.training.run_folder import ReadMaps, RunCard
from mris.training.sampling import epoch_batches
from mris.training.trainer import check_devices
from mris.types import Targets

WEIGHTS_FILE = "classifier.safetensors"

_BATCH = 64


@dataclass(frozen=True)
class LabeledMaps:
    """Target maps with what a classifier learns from them.

    Attributes:
        maps: (n, r, h, w) in the targets' unit, NaN outside the atlas mask.
        classes: (n,) class of each map, 0 to n_classes - 1.
        subjects: (n,) subject of each map.
        n_classes: how many classes there are, also where one is absent here.

    Raises:
        TrainingError: shapes contradict, a class is out of range, or all maps are of one class.
    """

    maps: Targets
    classes: Int64[np.ndarray, " n"]
    subjects: Sequence[str]
    n_classes: int

    def __post_init__(self) -> None:
        n = len(self.maps)
        if self.maps.ndim != 4 or self.classes.shape != (n,) or len(self.subjects) != n:
            raise TrainingError(
                f"maps {self.maps.shape}, classes {self.classes.shape} and {len(self.subjects)} subjects do not belong "
                "together; give (n, r, h, w), (n,) and n"
            )
        if n == 0:
            raise TrainingError("there is no labeled map to learn from; check the label and the split")
        if self.classes.min() < 0 or self.classes.max() >= self.n_classes:
            raise TrainingError(f"classes reach from {self.classes.min()} to {self.classes.max()} of {self.n_classes}")
        if len(np.unique(self.classes)) < 2:
            raise TrainingError(
                f"all {n} maps are of class {self.classes[0]}; a classifier needs two classes: check the label"
            )


class MapBatch(NamedTuple):
    """Maps as the network sees them, and their classes."""

    maps: Float[Tensor, "n r h w"]
    classes: Int[Tensor, " n"]


class ClassifierModule(lightning.LightningModule):
    """Cross entropy of a ResNet-18 on maps.

    Args:
        network: maps (n, r, h, w) to logits (n, classes).
        settings: see `ClassifierSettings`.
    """

    def __init__(self, network: nn.Module, settings: ClassifierSettings) -> None:
        super().__init__()
        self.network, self.settings = network, settings

    def training_step(self, batch: MapBatch, batch_idx: int) -> Tensor:
        """Classify a batch."""
        logits = self.network(batch.maps.contiguous(memory_format=torch.channels_last)).float()
        loss = nn.functional.cross_entropy(logits, batch.classes)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"loss {loss.item()} at epoch {self.current_epoch}, batch {batch_idx}")
        self.log("loss/train", loss.detach(), on_step=False, on_epoch=True, prog_bar=True, batch_size=len(batch.maps))
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:  # noqa: ARG002
        """Clip the gradients as those of the encoders are."""
        clip_grad_norm_(self.network.parameters(), self.settings.clip_norm)

    def configure_optimizers(self) -> Any:
        """AdamW with the schedule by epoch."""
        settings = self.settings
        optimizer = torch.optim.AdamW(self.network.parameters(), settings.lr, weight_decay=settings.weight_decay)
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, settings.rate)]


class ClassifierData(lightning.LightningDataModule):
    """Batches of labeled maps; the plan of an epoch depends on the seed and its number only."""

    def __init__(self, labeled: LabeledMaps, settings: ClassifierSettings, seed: int) -> None:
        super().__init__()
        self.labeled, self.settings, self.seed = labeled, settings, seed
        self.subjects = np.asarray(labeled.subjects)

    def read(self, positions: Int[np.ndarray, " n"]) -> MapBatch:
        """Read one batch."""
        maps = torch.from_numpy(np.ascontiguousarray(self.labeled.maps[positions], dtype=np.float32))
        return MapBatch(
            scale_targets(maps, self.settings.target_scale), torch.from_numpy(self.labeled.classes[positions])
        )

    def train_dataloader(self) -> PrefetchedBatches[MapBatch]:
        """Plan the current epoch."""
        assert self.trainer is not None
        plan = epoch_batches(
            self.subjects,
            self.settings.batch_size,
            sampler=self.settings.sampler,
            seed=self.seed,
            epoch=self.trainer.current_epoch,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
        )
        return PrefetchedBatches(self.read, plan)


class Classifier:
    """A trained classifier of maps."""

    def __init__(self, network: nn.Module, target_scale: float) -> None:
        self.network, self.target_scale = network.eval(), target_scale

    @torch.inference_mode()
    def probabilities(self, maps: Targets) -> Float64[np.ndarray, "n classes"]:
        """Probability of each class for each map, rows summing to 1.

        Args:
            maps: (n, r, h, w) in the targets' unit, NaN outside the mask.
        """
        parts = [
            self.network(scale_targets(torch.from_numpy(np.asarray(maps[rows], dtype=np.float32)), self.target_scale))
            for rows in in_order(len(maps), _BATCH)
        ]
        return np.asarray(torch.cat(parts).double().softmax(dim=1).numpy())


def train_classifier(
    labeled: LabeledMaps,
    run: str | Path,
    settings: ClassifierSettings,
    *,
    seed: int = 0,
    resume: bool = False,
    progress: bool = True,
) -> Classifier:
    """Train a ResNet-18 to tell a label from target maps (the paper's Table 3); the last epoch is kept.

    Args:
        labeled: maps (true or synthesized), classes and subjects.
        run: a new folder; it then holds run.json, metrics.csv, curves.png, checkpoints/ and classifier.safetensors.
        settings: see `mris.study.settings.preset`.
        seed: decides starting weights and batches.
        resume: continue an interrupted run; a finished one is loaded.
        progress: show bars on a terminal, a line an epoch elsewhere.

    Returns:
        The classifier, on the CPU.

    Raises:
        TrainingError: one class only, the folder holds another run, or the loss stopped being finite.
        OutputError: the folder cannot be written.
    """
    card = RunCard(
        kind="classifier",
        seed=seed,
        settings=settings.model_dump(mode="json"),
        defaults=settings.defaults(),
        maps=ReadMaps(shape=labeled.maps.shape, sha256=_digest(labeled), n_classes=labeled.n_classes),
    )
    training = Run.open(run, card, result=WEIGHTS_FILE, resume=resume)
    weights = training.folder / WEIGHTS_FILE
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build_network(
            "resnet18", channels=labeled.maps.shape[1], embedding_dim=labeled.n_classes, width=settings.width
        )
    if training.finished:
        network.load_state_dict(load_file(weights))
        return Classifier(network, settings.target_scale)
    check_devices(settings.accelerator, settings.devices, settings.num_nodes)
    data, module = ClassifierData(labeled, settings, seed), ClassifierModule(network, settings)
    training.fit(module, data, settings, part="network", monitor=None, progress=progress)
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    training.finish(lambda: write_tensors(weights, tensors))
    return Classifier(network, settings.target_scale)


def _digest(labeled: LabeledMaps) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(labeled.maps).view(np.uint8).data)
    digest.update(labeled.classes.tobytes())
    digest.update("\n".join(labeled.subjects).encode())
    return digest.hexdigest()
