"""What one method costs, measured in a process of its own: milliseconds a query, peak memory, parameters, training.

Usage: python cost.py BUNDLE_OR_BASELINE COHORT K

Prints one line of JSON. Queries go through one by one, as they come in a clinic, and in batches of 64.
"""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

from mris.cohort.cohort import Cohort
from mris.evaluation.predictor import SynthesizerPredictor
from mris.training.callbacks import read_metrics

N_SINGLE, N_BATCHED = 50, 256


def main() -> None:
    folder, cohort = Path(sys.argv[1]), Cohort.open(sys.argv[2])
    test = cohort.split("test")
    rows = np.arange(min(len(test), N_BATCHED))
    sources, subjects = test.read_sources(rows), test.subjects[rows].tolist()
    if (folder / "bundle.json").is_file():
        from mris.synthesis.bundle import Bundle

        bundle = Bundle.open(folder)
        method = SynthesizerPredictor(bundle.synthesizer(int(sys.argv[3])), cohort.regions)
        runs = [folder.parents[1] / "metric" / name for name in members(bundle)]
        n_parameters = sum(stored_numbers(run / "encoder" / "encoder.safetensors") for run in runs)
        seconds = sum(row["seconds"] for run in runs for row in read_metrics(run / "metrics.csv"))
    else:
        from mris.baselines.predictor import open_baseline

        method = open_baseline(folder)
        n_parameters, seconds = method.n_parameters, method.card.training_seconds
    method.predict(sources[:2], subjects=subjects[:2])
    single = []
    for i in range(min(N_SINGLE, len(rows))):
        started = time.perf_counter()
        method.predict(sources[i : i + 1], subjects=subjects[i : i + 1])
        single.append(time.perf_counter() - started)
    started = time.perf_counter()
    method.predict(sources, subjects=subjects)
    batched = (time.perf_counter() - started) / len(rows)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000  # kilobytes on Linux
    found = {
        "n_parameters": n_parameters,
        "training_seconds": seconds,
        "ms_single": 1000 * float(np.median(single)),
        "ms_batched": 1000 * batched,
        "peak_megabytes": peak,
    }
    print(json.dumps(found))


def members(bundle: object) -> list[str]:
    """Names of the runs that a bundle was made of."""
    regions = [member.encoder.regions for member in bundle.members]  # type: ignore[attr-defined]
    return ["combined"] if len(regions) == 1 else [names[0] for names in regions]


def stored_numbers(path: Path) -> int:
    """Count the trained numbers of a state dict, without the running statistics of normalization."""
    from safetensors import safe_open

    with safe_open(str(path), framework="np") as file:
        names = [name for name in file.keys() if not name.endswith(("running_mean", "running_var", "_tracked"))]  # noqa: SIM118
        return sum(int(np.prod(file.get_slice(name).get_shape())) for name in names)


if __name__ == "__main__":
    main()
