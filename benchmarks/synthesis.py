"""Synthesis of a stream beside encoding alone (at least 80 % of its throughput), and its peak memory.

Random ResNet-18 encoders (weights do not matter for speed) are exported to ONNX with torch; the rest runs without.
Memory: 10,000 queries, each written to disk, may take 300 MB more than 100; each count is a process of its own.

Run: python benchmarks/synthesis.py
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from made_database import alternate, machine, make_database

from mris.database.database import EmbeddingDatabase
from mris.serving.outputs import write_synthesis
from mris.synthesis.batch_synthesizer import BATCH_SIZE
from mris.synthesis.onnx_encoder import OnnxEncoder
from mris.synthesis.synthesizer import Synthesizer

SIZES, N, D, QUERIES = (64, 128, 256), 2_000, 512, 96
FEW, MANY, MEMORY_SIZE, LARGEST_GROWTH_MB = 100, 10_000, 64, 300


def export(folder: Path, size: int) -> None:
    from mris.images.transforms import SourcePreparation
    from mris.metric.encoders import DualEncoder
    from mris.metric.export import export_encoder
    from mris.training.card import EncoderSpec

    spec = EncoderSpec(
        regions=("region0", "region1"),
        source_shape=(1, size, size),
        target_shape=(2, size, size),
        target_scale=3.0,
        unit="mm",
        target_spacing=(0.5, 0.5),
        preparation=SourcePreparation(size=(size, size)),
        embedding_dim=D,
    )
    export_encoder(DualEncoder(spec), folder)


def throughput(folder: Path, size: int) -> None:
    rng = np.random.default_rng(0)
    encoder = OnnxEncoder(folder / "encoder")
    database = EmbeddingDatabase.open(folder / "database")
    sources = rng.uniform(0, 1, (QUERIES, 1, size, size)).astype(np.float32)
    in_memory = Synthesizer(encoder, database, memory_limit=4 << 30)
    from_disk = Synthesizer(encoder, database, memory_limit=0)

    def encode() -> None:
        for start in range(0, QUERIES, BATCH_SIZE):
            encoder.encode_sources(sources[start : start + BATCH_SIZE])

    def stream(synthesizer: Synthesizer) -> None:
        for _ in synthesizer.stream(sources):
            pass

    stream(in_memory)  # loads network, embeddings and targets
    times = alternate([encode, lambda: stream(in_memory), lambda: stream(from_disk)], rounds=5)
    print(f"{size} px: encoding alone {QUERIES / times[0]:7.1f} images/s")
    for name, seconds in zip(("targets in memory", "targets read from disk"), times[1:], strict=True):
        ratio = times[0] / seconds
        print(f"  synthesis, {name:24s} {QUERIES / seconds:7.1f} images/s   ratio {ratio:.2f}  (at least 0.80)")


def peak_memory(folder: Path, count: int) -> float:
    command = [sys.executable, __file__, "--memory", str(folder), str(count)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def synthesize_many(folder: Path, count: int) -> None:
    synthesizer = Synthesizer(OnnxEncoder(folder / "encoder"), EmbeddingDatabase.open(folder / "database"))

    def sources() -> Iterator[np.ndarray]:
        rng = np.random.default_rng(1)
        for _ in range(count):
            yield rng.uniform(0, 1, (1, MEMORY_SIZE, MEMORY_SIZE)).astype(np.float32)

    with tempfile.TemporaryDirectory() as out:
        for number, synthesis in enumerate(synthesizer.stream(sources())):
            write_synthesis(synthesis, out, f"query{number % 50}", ("npz",))
    print(peak_megabytes())


def peak_megabytes() -> float:
    # Not getrusage: its peak survives exec, so a child would report that of its parent.
    status = Path("/proc/self/status").read_text()
    return float(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    if sys.argv[1:2] == ["--memory"]:
        synthesize_many(Path(sys.argv[2]), int(sys.argv[3]))
        return
    print(f"synthesis: ResNet-18, {D} dimensions, database of {N} entries, k = 20; {machine()}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        for size in SIZES:
            folder = Path(temporary, str(size))
            export(folder / "encoder", size)
            fingerprint = OnnxEncoder(folder / "encoder").fingerprint
            rng = np.random.default_rng(0)
            make_database(folder / "database", rng, n=N, d=D, target_shape=(2, size, size), fingerprint=fingerprint)
            throughput(folder, size)
        folder = Path(temporary, str(MEMORY_SIZE))
        few, many = peak_memory(folder, FEW), peak_memory(folder, MANY)
        print(f"peak memory: {FEW} queries {few:.0f} MB, {MANY} queries {many:.0f} MB")
        print(f"  difference {many - few:.0f} MB, ratio {many / few:.2f}  (at most {LARGEST_GROWTH_MB} MB more)")


if __name__ == "__main__":
    main()
