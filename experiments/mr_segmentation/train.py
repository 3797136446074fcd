"""Train the two networks of ``mris segment`` on digital knees alone, and write their weights into the package.

Usage: python experiments/mr_segmentation/train.py [WORK] [--only coarse|fine] [--out FOLDER]

WORK holds pool and checkpoints, by default runs/mr; FOLDER is that of the package by default.

A run that was stopped goes on from its checkpoint. Nothing is downloaded and no scan of a person is used.
"""

import argparse
import dataclasses
import hashlib
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import torch
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

sys.path.insert(0, str(Path(__file__).resolve().parent))
from network import Probabilities, UNet
from patches import COARSE, FINE, Settings, make_pool, random_patch

from mris.images.write import atomic_write, write_json
from mris.knee.mr.model import CARD_FILE, CLASSES, COARSE_FOLDER, MODEL_FILE, PACKAGED, ModelCard
from mris.knee.mr.tissues import N_CLASSES


def loss_of(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Cross entropy, and half of one minus the mean soft Dice of the tissues that are there.

    Dice alone makes thin tissues thicker where it is unsure.
    """
    entropy = functional.cross_entropy(logits, wanted)
    share = torch.softmax(logits, dim=1)
    axes = (0, 2, 3, 4)
    overlap, size = (share * wanted).sum(axes), share.sum(axes) + wanted.sum(axes)
    present = wanted.sum(axes) > 50
    present[0] = False
    dice = (2 * overlap + 1) / (size + 1)
    return entropy + (0.5 * (1 - dice[present]).mean() if present.any() else 0.0)


def rate_at(step: int, settings: Settings) -> float:
    """Learning rate: it rises, then falls as one over the root of the steps done, however many there will be."""
    done = (step + 1) / settings.settled
    return settings.learning_rate * min(done, done**-0.5)


def train(work: Path, name: str, settings: Settings) -> torch.nn.Module:
    """Optimize until the steps are used up; gives the running mean of the weights."""
    pool = make_pool(work / "pool", settings)
    torch.manual_seed(settings.seed)
    network = UNet(settings.channels, N_CLASSES, settings.guided)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(settings.average))
    optimizer = torch.optim.AdamW(network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    parts = {"network": network, "average": average, "optimizer": optimizer}
    checkpoint, first, spent = work / f"{name}.pt", 0, 0.0
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        for key, part in parts.items():
            part.load_state_dict(state[key])
        first, spent = state["step"], state["spent"]
    start, recent = time.monotonic() - spent, 0.0
    for step in range(first, settings.steps):
        rng = np.random.default_rng([settings.seed, 1, step])
        inputs, wanted = random_patch(pool, settings, rng)
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, settings)
        loss = loss_of(network(torch.from_numpy(inputs)[None]), torch.from_numpy(wanted)[None])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        average.update_parameters(network)
        recent = loss.item() if step == first else 0.98 * recent + 0.02 * loss.item()
        spent, last = time.monotonic() - start, step + 1 == settings.steps
        if step % 20 == 0 or last:
            print(f"{name} step {step + 1}/{settings.steps}  {spent / 60:.1f} min  loss {recent:.3f}", flush=True)
        if step % 50 == 49 or last:
            state = {key: part.state_dict() for key, part in parts.items()}
            with atomic_write(checkpoint) as path:
                torch.save(state | {"step": step + 1, "spent": spent}, path)
    return average.module


def export(network: torch.nn.Module, settings: Settings, folder: Path) -> None:
    """Write the network as ONNX with weights of 16 bit, which are made 32 bit when it is loaded, and its card."""
    edge, path = settings.patch, folder / MODEL_FILE
    with atomic_write(path) as temporary:
        torch.onnx.export(
            Probabilities(network).eval(),
            (torch.zeros(1, 1 + N_CLASSES * settings.guided, edge, edge, edge),),
            str(temporary),
            input_names=["patch"],
            output_names=["probabilities"],
            opset_version=17,
            dynamo=False,
        )
        halved(temporary)
    card = ModelCard(
        classes=CLASSES[:N_CLASSES],
        spacing_mm=(settings.step_mm,) * 3,
        patch=(edge,) * 3,
        guided=settings.guided,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        trained_by="experiments/mr_segmentation/train.py on digital knees only",
        settings=dataclasses.asdict(settings),
        n_weights=sum(one.numel() for one in network.parameters()),
    )
    write_json(folder / CARD_FILE, card)


def halved(path: Path) -> None:
    """Store large weights of a network with 16 bit, and cast them where they are used."""
    model = onnx.load(path)
    casts = []
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size > 1000:
            name = tensor.name
            tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), name + "_half"))
            casts.append(onnx.helper.make_node("Cast", [name + "_half"], [name], to=onnx.TensorProto.FLOAT))
    for place, cast in enumerate(casts):
        model.graph.node.insert(place, cast)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", nargs="?", type=Path, default=Path("runs/mr"))
    parser.add_argument("--out", type=Path, default=PACKAGED)
    parser.add_argument("--only", choices=["coarse", "fine"], help="one of the two networks, which need not wait")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name, settings, folder in (("coarse", COARSE, options.out / COARSE_FOLDER), ("fine", FINE, options.out)):
        if options.only in (None, name):
            export(train(options.work, name, settings), settings, folder)


if __name__ == "__main__":
    main()
