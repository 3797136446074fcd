"""Train the joint detector on phantom plates, calibrate its confidence, and write the weights into the package.

Usage: python experiments/joint_detector/train.py [WORK]    (WORK: pools and checkpoint, default runs/joint_detector)

A run that was stopped goes on from its checkpoint. Nothing is downloaded and no picture of a person is used.
"""

import hashlib
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import torch
from scipy.special import expit
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

sys.path.insert(0, str(Path(__file__).resolve().parent))
from network import HeatMapNetwork, Probabilities

from mris.images.write import atomic_write, write_json
from mris.knee.joint_detector import MIN_CONFIDENCE, PIXEL_MM, STRIDE, WEIGHTS, detector_input, heat_peaks
from plates import LARGEST, Draw, Pool, make_pool, random_plate, random_shape

HERE = Path(__file__).resolve().parent
RIGHT_MM = 8.0
"""A detection this near the joint is right: a region of 140 mm then still shows all of it."""
LOST = 0.03
"""Share of right detections on validation plates that fall below the threshold."""


def heat_target(draw: Draw, sd_mm: float, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Heat map that is wanted, and the weight of each of its pixels (0 where any answer is right)."""
    r, c = np.mgrid[: shape[0], : shape[1]] * float(STRIDE) + (STRIDE - 1) / 2
    target, weight = np.zeros(shape, np.float32), np.ones(shape, np.float32)
    for row, column in draw.centers:
        distance = np.hypot(r - row, c - column) * PIXEL_MM
        target = np.maximum(target, np.exp(-0.5 * (distance / sd_mm) ** 2).astype(np.float32))
    for row, column in draw.hidden:
        weight[(np.hypot(r - row, c - column) * PIXEL_MM < 30.0) & (target < 0.05)] = 0.0
    return target, weight


def make_batch(pool: Pool, rng: np.random.Generator, n: int, sd_mm: float) -> tuple[torch.Tensor, ...]:
    """Random plates of one size: inputs, heat maps, weights."""
    shape = random_shape(rng)
    draws = [random_plate(pool, rng, shape) for _ in range(n)]
    inputs = np.stack([detector_input(draw.pixels) for draw in draws])
    size = (inputs.shape[2] // STRIDE, inputs.shape[3] // STRIDE)
    pairs = [heat_target(draw, sd_mm, size) for draw in draws]
    heat, weight = (np.stack(part)[:, None] for part in zip(*pairs, strict=True))
    weight[:, :, -(-shape[0] // STRIDE) :] = 0.0
    weight[:, :, :, -(-shape[1] // STRIDE) :] = 0.0
    return torch.from_numpy(inputs), torch.from_numpy(heat), torch.from_numpy(weight)


def loss_of(odds: torch.Tensor, heat: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Cross entropy with soft targets, heavier at the joints."""
    each = functional.binary_cross_entropy_with_logits(odds, heat, reduction="none")
    return (each * weight * (1.0 + 10.0 * heat)).sum() / weight.sum() * 100.0


def train(work: Path, study: dict) -> HeatMapNetwork:
    """Optimize until the samples or the minutes are used up."""
    pool = make_pool(work / "training.npz", study["seed"], study["training_subjects"], study["training_plates"])
    torch.manual_seed(study["seed"])
    network = HeatMapNetwork().to(memory_format=torch.channels_last)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(study["average"]), use_buffers=True)
    optimizer = torch.optim.AdamW(network.parameters(), study["learning_rate"], weight_decay=study["weight_decay"])
    n_steps = study["samples"] // study["batch_size"]
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, study["learning_rate"], n_steps, pct_start=0.1)
    parts = {"network": network, "average": average, "optimizer": optimizer, "rate": rate}
    checkpoint, first, spent = work / "checkpoint.pt", 0, 0.0
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        first, spent = state["step"], state["spent"]
    start = time.monotonic() - spent
    network.train()
    for step in range(first, n_steps):
        rng = np.random.default_rng([study["seed"], step])
        inputs, heat, weight = make_batch(pool, rng, study["batch_size"], study["target_mm"])
        loss = loss_of(network(inputs.to(memory_format=torch.channels_last)), heat, weight)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        rate.step()
        average.update_parameters(network)
        spent = time.monotonic() - start
        last = step + 1 == n_steps
        if step % 10 == 0 or last:
            print(f"step {step + 1}/{n_steps}  {spent / 60:.1f} min  loss {loss.item():.3f}", flush=True)
        if step % 50 == 49 or last:
            state = {name: part.state_dict() for name, part in parts.items()}
            with atomic_write(checkpoint) as path:
                torch.save(state | {"step": step + 1, "spent": spent}, path)
    print(f"trained in {spent / 60:.1f} min")
    return average.module


def validate(network: HeatMapNetwork, pool: Pool, study: dict) -> dict[str, np.ndarray]:
    """Peaks of random plates of other subjects: log share of heat, mm to the nearest joint; joints without a peak."""
    rng = np.random.default_rng([study["seed"], 5])
    network.eval()
    share, distance, missed = [], [], []
    for _ in range(study["validation_draws"]):
        draw = random_plate(pool, rng, random_shape(rng))
        with torch.no_grad():
            heat = torch.sigmoid(network(torch.from_numpy(detector_input(draw.pixels))[None]))[0, 0].numpy()
        hidden = np.asarray(draw.hidden).reshape(-1, 2)
        joints = np.asarray(draw.centers).reshape(-1, 2)
        found = heat_peaks(heat, draw.pixels.shape)
        reached = set()
        for row, column, part in found:
            at = STRIDE * np.array([row, column]) + (STRIDE - 1) / 2
            if len(hidden) and np.hypot(*(hidden - at).T).min() * PIXEL_MM < 30.0:
                continue
            mm = np.hypot(*(joints - at).T) * PIXEL_MM if len(joints) else np.array([np.inf])
            if mm.min() < RIGHT_MM:
                reached.add(int(mm.argmin()))
            share.append(float(np.log(max(part, 1e-6))))
            distance.append(float(mm.min()))
        missed.append(len(joints) - len(reached))
    return {"share": np.array(share), "distance": np.array(distance), "missed": np.array(missed)}


def calibrate(found: dict[str, np.ndarray]) -> tuple[dict[str, float], float]:
    """Logistic regression of "right" on the log share of heat; the threshold at which `LOST` of the right are lost.

    Returns:
        Scale and offset such that the threshold has confidence `MIN_CONFIDENCE`, and the threshold's share of heat.
    """
    share, right = found["share"], found["distance"] < RIGHT_MM
    scale, offset = 1.0, 0.0
    for _ in range(50):  # Newton steps
        p = expit(scale * share + offset)
        design = np.stack([share, np.ones_like(share)])
        hessian = (design * (p * (1 - p) + 1e-9)) @ design.T + 1e-6 * np.eye(2)
        change = np.linalg.solve(hessian, design @ (right - p))
        scale, offset = scale + change[0], offset + change[1]
    threshold = float(np.quantile(share[right], LOST))
    shift = np.log(MIN_CONFIDENCE / (1.0 - MIN_CONFIDENCE))
    return {"scale": float(scale), "offset": float(shift - scale * threshold)}, float(np.exp(threshold))


def export(network: HeatMapNetwork, path: Path) -> None:
    """Write the network as ONNX with free rows and columns."""
    shipped = Probabilities(network).to(memory_format=torch.contiguous_format).eval()
    with atomic_write(path) as temporary:
        torch.onnx.export(
            shipped,
            (torch.zeros(1, 2, *LARGEST),),
            str(temporary),
            input_names=["plate"],
            output_names=["heat"],
            dynamic_axes={"plate": {2: "rows", 3: "columns"}, "heat": {2: "heat_rows", 3: "heat_columns"}},
            opset_version=17,
            dynamo=False,
        )


def main() -> None:
    torch.set_num_threads(1)
    work = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/joint_detector")
    study = tomllib.loads((HERE / "settings.toml").read_text())
    network = train(work, study)
    pool = make_pool(
        work / "validation.npz", study["seed"] + 1, study["validation_subjects"], study["validation_plates"]
    )
    found = validate(network, pool, study)
    calibration, threshold = calibrate(found)
    right = found["distance"] < RIGHT_MM
    sure = found["share"] * calibration["scale"] + calibration["offset"] >= 0
    validation = {
        "plates": study["validation_draws"],
        "right_mm": RIGHT_MM,
        "right_peaks": int(right.sum()),
        "right_and_sure": int((right & sure).sum()),
        "other_peaks": int((~right).sum()),
        "other_and_sure": int((~right & sure).sum()),
        "joints_not_reached": int(found["missed"].sum()),
    }
    print(f"validation: {validation}")
    WEIGHTS.parent.mkdir(exist_ok=True)
    export(network, WEIGHTS)
    write_json(
        WEIGHTS.with_suffix(".json"),
        {
            "pixel_mm": PIXEL_MM,
            "stride": STRIDE,
            "input": "two channels: 1st to 99th percentile to -1..1; local z score over 42 mm, 3 deviations to 1",
            "output": "heat of the joint centres, 0..1, a pixel for two input pixels",
            "calibration": calibration,
            "threshold_share": threshold,
            "validation": validation,
            "trained_by": "experiments/joint_detector/train.py on phantom plates only",
            "settings": study,
            "n_weights": sum(p.numel() for p in network.parameters()),
            "sha256": hashlib.sha256(WEIGHTS.read_bytes()).hexdigest(),
        },
    )


if __name__ == "__main__":
    main()
