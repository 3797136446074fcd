"""What the studies on real pairs share: one fold from a manifest to numbers, and the table of all folds."""

import platform
import subprocess
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import mris
from mris.baselines.settings import BaselineSettings
from mris.baselines.train import train_baseline
from mris.cohort.prepare import PrepareSettings, prepare_cohort
from mris.evaluation.bootstrap import percentile_interval, resample_counts, resampled_means
from mris.evaluation.bundle_evaluation import evaluate_bundle
from mris.evaluation.image_error import METRICS
from mris.evaluation.results import PerImage
from mris.images.transforms import SourcePreparation
from mris.metric.export import export_encoder
from mris.metric.settings import TrainSettings
from mris.metric.train import train_encoders
from mris.reporting.html import write_evaluation
from mris.synthesis.build_bundle import build_bundle
from mris.synthesis.bundle import Bundle
from mris.training.recipe import Recipe

KS = (1, 5, 10, 20)
N_BOOTSTRAP = 2000


@dataclass(frozen=True)
class Study:
    """Settings of a study: ``settings.toml`` beside its script."""

    size: tuple[int, int]
    unit: str
    seeds: tuple[int, ...]
    train: TrainSettings
    unet: BaselineSettings


def read_study(path: Path) -> Study:
    """Read ``settings.toml``: [train] is put on the preset "small", and what it shares with a U-Net on that one's."""
    from mris.baselines.settings import preset as baseline_preset
    from mris.cli.settings import resolve
    from mris.metric.settings import preset

    values = tomllib.loads(path.read_text())
    train = resolve(preset("small"), values.pop("train"))
    shared = {name: getattr(train, name) for name in Recipe.model_fields}
    unet = resolve(baseline_preset("small", "unet"), shared | values.pop("unet", {}))
    return Study(tuple(values["size"]), values["unit"], tuple(values["seeds"]), train, unet)


def run_fold(manifest: Path, folder: Path, study: Study, seed: int) -> PerImage:
    """Prepare, train, index and evaluate one split; a finished stage is kept, an interrupted one resumes."""
    settings = PrepareSettings(SourcePreparation(study.size), study.size, unit=study.unit)
    prepare_cohort(manifest, folder / "cohort", settings)
    cohort = mris.Cohort.open(folder / "cohort")
    run, bundle = folder / f"run_{seed}", folder / f"bundle_{seed}"
    resume = (run / "checkpoints" / "last.safetensors").is_file()
    encoder = train_encoders(cohort, run, settings=study.train, seed=seed, resume=resume)
    if not bundle.exists():
        build_bundle([export_encoder(encoder, folder / f"export_{seed}")], cohort, bundle, error="rmse")
    resume = (folder / f"unet_{seed}" / "checkpoints" / "last.safetensors").is_file()
    unet = train_baseline(cohort, folder / f"unet_{seed}", study.unet, seed=seed, resume=resume)
    opened = Bundle.open(bundle)
    for member in opened.header.members:
        print(f"{folder.name}: {member.readout.name} ({member.readout.reason})")
    others = {
        "MRIS, convex": opened.synthesizer(readout="attention"),
        "MRIS, 20 people": opened.synthesizer(20),
        "MRIS, few": opened.synthesizer(readout="few"),
        "U-Net": unet,
    }
    evaluation = evaluate_bundle(opened, cohort, others=others, seed=seed)
    write_evaluation(evaluation, folder / f"report_{seed}")
    return evaluation.per_image


def results_table(parts: Sequence[PerImage], unit: str) -> list[str]:
    """Put test images of all folds together: mean per-image errors and recall, intervals by subject.

    An image that was tested under several seeds counts once, with its mean over seeds. Pooled RMSE is the root of
    the mean squared error over all pixels of all images.
    """
    keys = sorted({key for part in parts for key in part.keys})
    codes = np.arange(len(keys))  # one image a subject in these studies
    counts = resample_counts(len(keys), N_BOOTSTRAP, np.random.default_rng(0))
    methods = parts[0].methods
    lines = [
        f"| method | RMSE ({unit}) | against PCA ridge | pooled RMSE ({unit}) | MAE ({unit}) | SSIM |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    ridge = _by_key(parts, keys, methods.index("PCA ridge"), "rmse")
    for m, method in enumerate(methods):
        columns = [_by_key(parts, keys, m, metric) for metric in ("rmse", "mae", "ssim")]
        squared = columns[0] ** 2
        values = np.column_stack([columns[0], squared, columns[1], columns[2]])
        low, high = percentile_interval(resampled_means(values, codes, counts))
        means = values.mean(axis=0)
        for array in (means, low, high):
            array[1] = np.sqrt(array[1])
        cells = [f"{a:.3f} [{b:.3f}, {c:.3f}]" for a, b, c in zip(means, low, high, strict=True)]
        more = 100 * (columns[0] - ridge)[:, None] / ridge.mean()
        ends = percentile_interval(resampled_means(more, codes, counts))
        against = f"{more.mean():+.1f} % [{ends[0][0]:+.1f}, {ends[1][0]:+.1f}]" if more.any() else ""
        lines.append(f"| {method} | {' | '.join([cells[0], against, *cells[1:]])} |")
    gallery = [int((ranks > 0).sum()) for part in parts for ranks in part.ranks.values()]
    n_gallery = round(float(np.mean(gallery)))
    hits = {k: _mean_by_key(parts, keys, k) for k in KS}
    values = np.column_stack(list(hits.values()))
    low, high = percentile_interval(resampled_means(values, codes, counts))
    lines += [
        "",
        f"| retrieval among {n_gallery} | {' | '.join(f'R@{k}' for k in KS)} |",
        f"| --- | {' | '.join(['---:'] * len(KS))} |",
        "| MRIS (%) | "
        + " | ".join(
            f"{100 * a:.1f} [{100 * b:.1f}, {100 * c:.1f}]" for a, b, c in zip(values.mean(0), low, high, strict=True)
        )
        + " |",
        f"| chance (%) | {' | '.join(f'{100 * min(1, k / n_gallery):.1f}' for k in KS)} |",
    ]
    return lines


def _by_key(parts: Sequence[PerImage], keys: list[str], method: int, metric: str) -> np.ndarray:
    sums, counts = np.zeros(len(keys)), np.zeros(len(keys))
    place = {key: i for i, key in enumerate(keys)}
    for part in parts:
        rows = [place[key] for key in part.keys]
        sums[rows] += part.values[method, -1, :, METRICS.index(metric)]
        counts[rows] += 1
    return sums / counts


def _mean_by_key(parts: Sequence[PerImage], keys: list[str], k: int) -> np.ndarray:
    sums, counts = np.zeros(len(keys)), np.zeros(len(keys))
    place = {key: i for i, key in enumerate(keys)}
    for part in parts:
        rows = [place[key] for key in part.keys]
        for ranks in part.ranks.values():
            sums[rows] += ranks <= k
            counts[rows] += 1
    return sums / counts


def write_page(path: Path, title: str, text: str, tables: list[str], command: str) -> None:
    """Write the results page: what was done, the numbers, and what made them."""
    stamp = datetime.now(UTC).strftime("%Y-%m-%d")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    lines = [
        f"# {title}",
        "",
        text.strip(),
        "",
        *tables,
        "",
        f"Made by `{command}` on {stamp}, mris {mris.__version__} at commit {commit.stdout.strip() or 'unknown'}, "
        f"on {_machine()}.",
        "",
    ]
    path.write_text("\n".join(lines))
    print("\n".join(lines))


def _machine() -> str:
    import os

    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return f"{os.cpu_count()} cores of {model}, no GPU, Python {platform.python_version()}"
