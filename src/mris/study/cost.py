"""What one method costs, measured in a process of its own: milliseconds a query, peak memory, parameters, training.

Usage: python -m mris.study.cost BUNDLE_OR_BASELINE COHORT K

Prints one line of JSON. Queries go through one by one, as they come in a clinic, and in batches of 64. Torch is never
loaded: the peak memory is that of prediction on ONNX Runtime.
"""

import csv
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from mris.cohort.cohort import Cohort
from mris.evaluation.predictor import Predictor, SynthesizerPredictor
from mris.reading import parse_json
from mris.study.experiment_results import MethodCost
from mris.synthesis.bundle import Bundle
from mris.synthesis.readouts import SynthesisSettings

N_SINGLE, N_BATCHED = 50, 256


def main() -> None:
    """Measure the method of the first argument, and print its cost."""
    folder, cohort, wanted = Path(sys.argv[1]), Cohort.open(sys.argv[2]), parse_json(sys.argv[3])
    print(measure_cost(folder, cohort, SynthesisSettings(**wanted)).model_dump_json())


def measure_cost(folder: Path, cohort: Cohort, synthesis: SynthesisSettings) -> MethodCost:
    """Measure a bundle or a baseline of an experiment on the first test pairs of its cohort.

    Args:
        folder: The method, in the folder of its seed.
        cohort: The cohort.
        synthesis: The readout that is asked of a bundle.
    """
    test = cohort.split("test")
    rows = np.arange(min(len(test), N_BATCHED))
    sources, subjects = test.read_sources(rows), test.subjects[rows].tolist()
    method: Predictor
    if (folder / "bundle.json").is_file():
        bundle = Bundle.open(folder)
        method = SynthesizerPredictor(bundle.synthesizer(**asdict(synthesis)), cohort.regions)
        runs = [folder.parents[1] / "metric" / name for name in _members(bundle)]
        n_parameters = sum(_stored_numbers(run / "encoder" / "encoder.safetensors") for run in runs)
        seconds = sum(_epoch_seconds(run / "metrics.csv") for run in runs)
    else:
        from mris.baselines.predictor import open_baseline

        method = baseline = open_baseline(folder)
        n_parameters, seconds = baseline.card.n_parameters, baseline.card.training_seconds
    method.predict(sources[:2], subjects=subjects[:2])
    single = []
    for i in range(min(N_SINGLE, len(rows))):
        started = time.perf_counter()
        method.predict(sources[i : i + 1], subjects=subjects[i : i + 1])
        single.append(time.perf_counter() - started)
    started = time.perf_counter()
    method.predict(sources, subjects=subjects)
    batched = (time.perf_counter() - started) / len(rows)
    return MethodCost(
        n_parameters=n_parameters,
        training_seconds=seconds,
        ms_single=1000 * float(np.median(single)),
        ms_batched=1000 * batched,
        peak_megabytes=peak_megabytes(),
    )


def _members(bundle: Bundle) -> list[str]:
    """Names of the runs that a bundle was made of."""
    regions = [member.encoder.regions for member in bundle.members]
    return ["combined"] if len(regions) == 1 else [names[0] for names in regions]


def peak_megabytes() -> float:
    """Most memory of this process so far, in MB (10^6 bytes).

    Linux hands `ru_maxrss` on from the process that starts another one, here the experiment with all of torch in it;
    VmHWM begins anew with the program.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        kibibytes = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(kibibytes) * 1024 / 1e6
    import resource  # where there is /proc, or no such module, it is not needed

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _epoch_seconds(path: Path) -> float:
    """Sum the seconds of a run's epochs; read here, since the reader in `mris.training.callbacks` loads torch."""
    with path.open(newline="") as file:
        return sum(float(row["seconds"]) for row in csv.DictReader(file))


def _stored_numbers(path: Path) -> int:
    """Count the trained numbers of a state dict, without the running statistics of normalization."""
    from safetensors import safe_open

    with safe_open(str(path), framework="np") as file:
        names = [name for name in file.keys() if not name.endswith(("running_mean", "running_var", "_tracked"))]  # noqa: SIM118
        return sum(int(np.prod(file.get_slice(name).get_shape())) for name in names)


if __name__ == "__main__":
    main()
