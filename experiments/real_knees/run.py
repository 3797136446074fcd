"""Real radiographs to real thickness maps, one subject left out at a time.

    python experiments/real_knees/run.py --maps DIR --work DIR [--bilateral DIR] [--data DIR] [--out DIR] [--smoke]

The maps are those of make_maps.py. Encoders start from random weights, from digital knees, and, with --bilateral (an
encoder of experiments/bilateral), from left-right retrieval of 1,800 real radiographs. Every fold is kept in DIR: a run
that was stopped goes on.
"""

import argparse
import csv
import os
import platform
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

CHOSEN = "MRIS, k = 20"
"""Named before the first look at a real fold: the best number of neighbors for 30 digital knees (results/power.md)."""
N_RESAMPLES = 2000
CROP_MM = 92.0
"""Width of the real crops: their plateaus are about 190 of 224 pixels wide, which is 75 to 80 mm."""


@dataclass(frozen=True)
class Start:
    """Where encoders start: weights of the source and of the target encoder, None for random ones."""

    name: str
    source: Path | None = None
    target: Path | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=Path, required=True, help="folder of make_maps.py, with maps.csv")
    parser.add_argument("--work", type=Path, required=True, help="folder for finished folds")
    parser.add_argument("--bilateral", type=Path, help="encoder folder of experiments/bilateral to start from")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("MRIS_DATA", "../shared/data")) / "oai_knees")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="two folds of one step, for the tests")
    given = parser.parse_args()
    import torch

    from mris.evaluation.references import REFERENCE_NAMES

    torch.set_num_threads(given.threads)
    cohort = paired_cohort(given.data, given.maps, given.work)
    starts = [Start("random"), digital_start(given.work, smoke=given.smoke)]
    if given.bilateral is not None:
        starts.append(saved_start("real radiographs", given.bilateral, given.work, target=False))
    people = np.unique(cohort.subjects)[: 2 if given.smoke else None]
    errors: dict[str, np.ndarray] = {}
    ranks: dict[str, np.ndarray] = {}
    for start in starts:
        folds = [fold_of(given.work, cohort, subject, start, smoke=given.smoke) for subject in people]
        for name in folds[0][0]:
            title = name if name in REFERENCE_NAMES else f"{name}, {start.name} start"
            errors[title] = np.stack([fold[0][name] for fold in folds])
        ranks[start.name] = np.array([fold[1] for fold in folds])
    write_results(given.out, cohort, errors, ranks)


def paired_cohort(data: Path, maps: Path, work: Path):
    """The knees that have a radiograph and a map of the same visit, as a cohort; one a person."""
    from learn import SIZE

    from mris.cohort.cohort import Cohort
    from mris.cohort.prepare import PrepareSettings, prepare_cohort
    from mris.images.transforms import SourcePreparation
    from mris.images.write import atomic_write

    with (data / "index.csv").open(encoding="utf-8", newline="") as file:
        index = [row for row in csv.DictReader(file) if row["radiograph"]]
    columns = ("subject", "timepoint", "side", "source", "target_femoral", "target_tibial", "split", "klg")
    rows, without = [], []
    for row in index:
        folder = maps / row["segmentation"].removesuffix(".nii.gz")
        femoral, tibial = folder / "FC_2d_thickness.npy", folder / "TC_2d_thickness.npy"
        if not (femoral.is_file() and tibial.is_file()):
            without.append(row["segmentation"])
            continue
        source = (data / "radiographs" / row["radiograph"]).resolve()
        values = (
            row["subject"],
            "0",
            row["side"],
            source,
            femoral.resolve(),
            tibial.resolve(),
            "train",
            row["kl_grade"],
        )
        rows.append(values)
    print(
        f"{len(index)} knees with a radiograph: {len(rows)} with maps, {len(without)} without {without}",
        file=sys.stderr,
    )
    work.mkdir(parents=True, exist_ok=True)
    with atomic_write(work / "pairs.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    size = (SIZE, SIZE)
    settings = PrepareSettings(SourcePreparation(size, mirror_sides=("right",)), size, workers=1)
    prepare_cohort(work / "pairs.csv", work / "cohort", settings)
    return Cohort.open(work / "cohort")


def digital_start(work: Path, *, smoke: bool) -> Start:
    """Encoders that learned from digital knees whose pictures are cropped and equalized like the real ones."""
    from learn import SIZE, encoder_of, recipe
    from skimage import exposure, io

    from mris.cohort.cohort import Cohort
    from mris.cohort.prepare import PrepareSettings, prepare_cohort
    from mris.images.transforms import SourcePreparation
    from mris.images.write import write_png
    from mris.knee.crop import REGION_MM
    from mris.knee.phantom.cohort import write_phantom

    place = work / "digital"
    if not (place / "encoder").is_dir():
        size = (SIZE, SIZE)
        n = 8 if smoke else 800
        fractions = {"train": 0.75, "val": 0.25} if smoke else {"train": 0.95, "val": 0.05}
        whole = round(SIZE * REGION_MM / CROP_MM)
        report = write_phantom(
            place / "phantom", n_subjects=n, size=whole, seed=32, enriched=True, max_visits=1, extraction="smooth"
        )
        first = (whole - SIZE) // 2
        for picture in sorted((place / "phantom").glob("*/*.png")):
            pixels = io.imread(picture)
            if pixels.shape[0] == whole:
                part = pixels[first : first + SIZE, first : first + SIZE]
                write_png(picture, (255 * exposure.equalize_adapthist(part, clip_limit=0.02)).astype(np.uint8))
        settings = PrepareSettings(
            SourcePreparation(size, mirror_sides=("right",)), size, workers=1, fractions=fractions
        )
        prepare_cohort(report.manifest, place / "cohort", settings)
        cohort = Cohort.open(place / "cohort")
        encoder = encoder_of(
            cohort, recipe(int(fractions["train"] * n), **({"epochs": 1, "validate_every": 1} if smoke else {})), seed=0
        )
        encoder.save(place / "encoder")
    return saved_start("digital", place / "encoder", work, target=True)


def saved_start(name: str, encoder: Path, work: Path, *, target: bool) -> Start:
    """Put the weights of a saved encoder where a training can start from them."""
    from safetensors.torch import save_file

    from mris.metric.encoders import DualEncoder

    saved = DualEncoder.load(encoder)
    paths = []
    for part, network in (("source", saved.source), ("target", saved.target if target else None)):
        path = work / f"start_{name.replace(' ', '_')}_{part}.safetensors"
        if network is not None:
            save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)
        paths.append(path if network is not None else None)
    return Start(name, *paths)


def fold_of(work: Path, cohort, subject: str, start: Start, *, smoke: bool) -> tuple[dict[str, np.ndarray], int]:
    """Leave one person out: errors (mm) of both regions by method, and the rank of the own map among all maps."""
    from learn import encoder_of, recipe, references, region_errors, retrieval

    kept = work / "folds" / start.name.replace(" ", "_") / f"{subject}.npz"
    if kept.is_file():
        with np.load(kept, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files if name != "rank"}, int(archive["rank"])
    others = np.unique(cohort.subjects[cohort.subjects != subject])
    splits = np.where(cohort.subjects == subject, "test", "train").astype(object)
    splits[cohort.subjects == others[0]] = "val"  # chooses nothing: the last epoch counts
    fold = cohort.with_splits(splits)
    known, test = fold.split("train", "val"), fold.split("test")
    changes = {"source_weights": start.source, "target_weights": start.target}
    short = {"epochs": 1, "validate_every": 1} if smoke else {}
    encoder = encoder_of(fold, recipe(len(others) - 1, **changes, **short), seed=0)
    predictions = references(known, test, 0) | retrieval(encoder, known, test)
    truth = test.read_targets()
    errors = {name: region_errors(truth, predicted).mean(axis=0) for name, predicted in predictions.items()}
    everyone = encoder.encode_targets(cohort.read_targets())
    similarity = everyone @ encoder.encode_sources(test.read_sources()).mean(axis=0)
    own = similarity[cohort.subjects == subject].max()
    rank = int((similarity[cohort.subjects != subject] > own).sum())
    kept.parent.mkdir(parents=True, exist_ok=True)
    from mris.images.write import write_npz

    write_npz(kept, **errors, rank=np.array(rank))
    return errors, rank


def write_results(out: Path, cohort, errors: dict[str, np.ndarray], ranks: dict[str, np.ndarray]) -> None:
    from mris.evaluation.bootstrap import percentile_interval, resample_counts, resampled_means, subject_codes
    from mris.images.write import atomic_write, write_json

    n = len(next(iter(errors.values())))
    codes, _ = subject_codes([str(i) for i in range(n)])
    counts = resample_counts(n, N_RESAMPLES, np.random.default_rng(0))
    base = errors["mean map"].mean(axis=1)
    rows, record = [], {}
    for name, values in errors.items():
        columns = np.column_stack([values, values.mean(axis=1), values.mean(axis=1) - base])
        low, high = percentile_interval(resampled_means(columns, codes, counts))
        mean = columns.mean(axis=0)
        better = float((columns[:, 3] < 0).mean())
        cells = [f"{mean[i]:.3f} [{low[i]:.3f}, {high[i]:.3f}]" for i in range(3)]
        difference = "" if name == "mean map" else f"{mean[3]:+.3f} [{low[3]:+.3f}, {high[3]:+.3f}]"
        rows.append(
            f"| {name} | {' | '.join(cells)} | {difference} | {'' if name == 'mean map' else f'{better:.0%}'} |"
        )
        record[name] = {"mean": mean.tolist(), "low": low.tolist(), "high": high.tolist(), "share_better": better}
    recalls = [
        f"| {name} | {' | '.join(f'{(rank < k).mean():.0%}' for k in (1, 5, 10))} | {np.median(rank) + 1:.0f} |"
        for name, rank in ranks.items()
    ]
    day, machine = datetime.now(UTC).date().isoformat(), f"{platform.system()} {platform.machine()}"
    lines = [
        "# Real radiographs to real thickness maps",
        "",
        f"`python experiments/real_knees/run.py --maps DIR --work DIR --bilateral DIR`, {day}, {machine}.",
        f"{n} people, one knee each, every one left out once. Median absolute error over pixels (mm), mean over",
        "people, 95 % intervals by person. The last columns compare with the mean map: difference of the mean of both",
        f"regions, share of people with less error. Named beforehand: {CHOSEN}.",
        "",
        "| method | femoral | tibial | both | against the mean map | better in |",
        "| --- | --- | --- | --- | --- | ---: |",
        *rows,
        "",
        f"The own map among all {n} maps (never trained on), chance {1 / n:.0%} / {5 / n:.0%} / {10 / n:.0%}:",
        "",
        "| start | R@1 | R@5 | R@10 | median rank |",
        "| --- | ---: | ---: | ---: | ---: |",
        *recalls,
    ]
    grades = {str(g): int((cohort.label("klg") == g).sum()) for g in range(5)}
    write_json(out / "real_knees.json", {"made": day, "n": n, "grades": grades, "methods": record})
    with atomic_write(out / "real_knees.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
