"""What int8, bfloat16 and OpenVINO give a source encoder beside float32 on ONNX Runtime, and what they cost in error.

Two networks, one thread: the encoder of a bundle, and a ResNet-18 of width 64 for 256 pixels with random weights.
Int8 is static, by ONNX Runtime's own quantizer (QDQ, a scale a channel, MinMax), calibrated on training sources; what
is no convolution's stays in float32. All ways take turns in one process; times are processor time, medians of turns.

Run: python benchmarks/encoding.py BUNDLE COHORT (needs the extra train; OpenVINO, where it is installed)
"""

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from costs import in_turns, ratio
from made_database import machine
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from mris.cohort.cohort import Cohort
from mris.synthesis.bundle import Bundle
from mris.training.export import export_network
from mris.training.networks import build_network
from mris.training.onnx_runtime import onnxruntime

BATCHES = (1, 32)
FASTER, PARITY = 1.3, 0.002
"""A way of running pays from here on, with an error that is no more than this share greater."""

QUANTIZED = ["Conv", "Relu", "Add", "MaxPool", "GlobalAveragePool"]

Run = Callable[[np.ndarray], np.ndarray]


class _Sources(CalibrationDataReader):  # type: ignore[misc]
    """Hands out calibration images, one at a time."""

    def __init__(self, name: str, images: np.ndarray) -> None:
        self._feeds = iter([{name: image[None]} for image in images])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def int8(path: Path, name: str, images: np.ndarray, folder: Path) -> Path:
    """Quantize a network's convolutions."""
    whole, quantized = folder / "folded.onnx", folder / "int8.onnx"
    quant_pre_process(str(path), str(whole), skip_symbolic_shape=True)
    quantize_static(
        str(whole),
        str(quantized),
        _Sources(name, images),
        op_types_to_quantize=QUANTIZED,
        per_channel=True,
        reduce_range="vnni" not in flags(),  # without it, sums of products of 8 bit overflow (AVX2)
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        extra_options={"WeightSymmetric": True},
    )
    return quantized


def on_onnx_runtime(path: Path) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: np.asarray(session.run(None, {name: images})[0])


def on_openvino(path: Path, precision: str) -> Run:
    import openvino

    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    request = openvino.Core().compile_model(str(path), "CPU", settings).create_infer_request()
    return lambda images: np.array(request.infer([images])[0])


def ways(path: Path, name: str, images: np.ndarray, folder: Path) -> dict[str, Run]:
    """Every way of running a network that this machine has."""
    quantized = int8(path, name, images, folder)
    found = {"ONNX Runtime float32": on_onnx_runtime(path), "ONNX Runtime int8": on_onnx_runtime(quantized)}
    if find_spec("openvino"):
        found |= {"OpenVINO float32": on_openvino(path, "f32"), "OpenVINO int8": on_openvino(quantized, "f32")}
    if "bf16" in flags() and find_spec("openvino"):
        found["OpenVINO bfloat16"] = on_openvino(path, "bf16")
    return found


def flags() -> str:
    """What the processor has for narrow numbers: of VNNI (int8) and bfloat16, as Linux names them."""
    told = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), "")
    return " ".join(flag for flag in told.split() if "vnni" in flag or "bf16" in flag or "amx" in flag) or "neither"


def speeds(runs: Mapping[str, Run], images: np.ndarray, rounds: int) -> dict[str, dict[int, tuple[float, float]]]:
    """Milliseconds an image, and how many times as fast as the first way, for each size of batch."""
    found: dict[str, dict[int, tuple[float, float]]] = {name: {} for name in runs}
    first = next(iter(runs))
    for size in BATCHES:
        batches = [images[start : start + size] for start in range(0, len(images), size)]
        taken = in_turns({name: _clocked(run, batches) for name, run in runs.items()}, rounds)
        for name, seconds in taken.items():
            found[name][size] = 1000 * statistics.median(seconds) / len(images), 1 / ratio(taken, name, first)
    return found


def _clocked(run: Run, batches: list[np.ndarray]) -> Callable[[], float]:
    def once() -> float:
        started = time.process_time()
        for batch in batches:
            run(batch)
        return time.process_time() - started

    return once


def errors(bundle: Bundle, cohort: Cohort, run: Run, people: int) -> float:
    """Mean absolute error of synthesis over some people's images, with this network for sources."""
    network: Any = bundle.members[0].encoder._networks["source"]
    synthesizer = bundle.synthesizer()
    rows = np.flatnonzero(np.isin(cohort.subjects, np.unique(cohort.subjects)[:people]))
    with mock.patch.object(network, "run", lambda images: run(np.ascontiguousarray(images, dtype=np.float32))):
        made = synthesizer.synthesize(cohort.read_sources(rows), None)
    targets = cohort.read_targets(rows)
    return float(np.mean([np.nanmean(np.abs(one.image - target)) for one, target in zip(made, targets, strict=True)]))


def table(what: str, runs: Mapping[str, Run], images: np.ndarray, rounds: int, told: Mapping[str, str]) -> None:
    exact = next(iter(runs.values()))(images)
    print(f"\n{what}, {len(images)} images, medians of {rounds} turns")
    print(
        "| way | ms an image, one by one | times as fast | in batches of 32 | times as fast "
        "| largest difference | error |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | --- |")
    for name, by_size in speeds(runs, images, rounds).items():
        cells = " | ".join(f"{each:.2f} | {faster:.2f}" for each, faster in by_size.values())
        away = float(np.abs(runs[name](images) - exact).max())
        print(f"| {name} | {cells} | {away:.1e} | {told.get(name, '')} |", flush=True)


def of_bundle(bundle: Bundle, cohort: Cohort, folder: Path, people: int, rounds: int) -> None:
    path = bundle.members[0].encoder.folder / "source.onnx"
    train = cohort.split("train")
    calibration = train.read_sources(np.linspace(0, len(train) - 1, 200).astype(int)).astype(np.float32)
    runs = ways(path, "source", calibration, folder)
    splits = {name: cohort.split(name) for name in ("val", "test")}
    found = {
        name: {split: errors(bundle, of, run, people) for split, of in splits.items()} for name, run in runs.items()
    }
    exact = next(iter(found.values()))
    told = {
        name: ", ".join(f"{split} {by[split]:.5f} ({100 * (by[split] / exact[split] - 1):+.2f} %)" for split in by)
        for name, by in found.items()
    }
    val = splits["val"]
    images = val.read_sources(np.linspace(0, len(val) - 1, 64).astype(int)).astype(np.float32)
    table(f"the bundle's encoder, {images.shape[-1]} px", runs, images, rounds, told)


def of_resnet(folder: Path, rounds: int) -> None:
    torch.manual_seed(0)
    network, path = build_network("resnet18", channels=1, embedding_dim=128), folder / "resnet.onnx"
    export_network(
        network, path, input_name="source", input_shape=(1, 256, 256), output_name="embedding", tolerance=1e-3
    )
    images = np.random.default_rng(0).uniform(0, 1, (32, 1, 256, 256)).astype(np.float32)
    runs = ways(path, "source", images[:16], folder)
    table("ResNet-18, width 64, 256 px, random weights", runs, images, rounds, {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--people", type=int, default=200, help="of validation and of test")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    print(f"{machine()}; for narrow numbers: {flags()}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        of_bundle(Bundle.open(given.bundle), Cohort.open(given.cohort), Path(folder), given.people, given.rounds)
    with tempfile.TemporaryDirectory() as folder:
        of_resnet(Path(folder), given.rounds)
    print(f"(pays: {FASTER} times as fast at an error within {100 * PARITY:g} %)")


if __name__ == "__main__":
    main()
