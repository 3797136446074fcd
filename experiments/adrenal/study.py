"""Adrenal glands of AdrenalMNIST3D: projection -> thickness map.

Usage: python experiments/adrenal/study.py DATA [WORK]    (DATA: folder of adrenal_masks_64.npz)
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from real_pairs import read_study, results_table, run_fold, write_page

HERE = Path(__file__).resolve().parent
TEXT = """
1,188 glands of the training set, of which every tenth validates (chooses the epoch) and the others train and are
the database; the 98 glands of the official validation set are the test; studies of earlier recipes looked at them
too. Source: the sum of the mask over its first axis; target: the sum over its third axis, in voxels, on the whole
64 x 64 frame (0 is a true value: no gland there). The data does not say which two glands are one person's, so each
counts as a person of its own; a negative can be the same person's other gland.

Reference points on 298 other glands (pooled RMSE, voxels): mean map 2.23, k-NN on 64 principal components 1.79, ridge
on them 1.72, the 20 truly nearest training maps 1.37.
"""


def split_of(part: str, i: int) -> str:
    """Split of gland `i` of the data's own part "train" or "val": every tenth of the training glands validates."""
    if part == "val":
        return "test"
    return "val" if i % 10 == 0 else "train"


def write_manifest(data: Path, folder: Path, split_of: Callable[[str, int], str] = split_of) -> Path:
    """Write each gland's projection and thickness map, and the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["subject,timepoint,source,target,split,abnormal"]
    with np.load(data / "adrenal_masks_64.npz") as arrays:
        for name in ("train", "val"):
            labels = arrays[f"{name}_labels"].ravel()
            for i, mask in enumerate(arrays[f"{name}_images"]):
                subject = f"{name}{i:04d}"
                np.savez(
                    folder / f"{subject}.npz",
                    source=(mask > 0).sum(axis=0).astype(np.float32),
                    target=(mask > 0).sum(axis=2).astype(np.float32),
                )
                pair = f"{subject}.npz::source,{subject}.npz::target"
                lines.append(f"{subject},0,{pair},{split_of(name, i)},{labels[i]}")
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


def main() -> None:
    data = Path(sys.argv[1])
    work = Path(sys.argv[2] if len(sys.argv) > 2 else "runs") / "adrenal"
    study = read_study(HERE / "settings.toml")
    manifest = write_manifest(data, work / "pairs")
    parts = [run_fold(manifest, work, study, seed) for seed in study.seeds]
    command = "python experiments/adrenal/study.py DATA"
    write_page(HERE / "results.md", "Adrenal glands", TEXT, results_table(parts, study.unit), command)


if __name__ == "__main__":
    main()
