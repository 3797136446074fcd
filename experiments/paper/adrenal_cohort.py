"""The adrenal glands of AdrenalMNIST3D as a cohort of the experiment: projection -> thickness map, label "abnormal".

Usage: python experiments/paper/adrenal_cohort.py DATA OUT    (DATA: folder of adrenal_masks_64.npz)

Of the 1,188 glands of the training set every tenth validates, three of ten are the second set (classifiers), the others
train and are the database; the 98 glands of the official validation set are the test. The data does not say which two
glands are one person's, so each counts as a person.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main() -> None:
    from adrenal.study import write_manifest

    from mris.cohort.prepare import PrepareSettings, prepare_cohort
    from mris.errors import MrisError
    from mris.images.transforms import SourcePreparation

    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        manifest = write_manifest(data, out.with_name(f"{out.name}_pairs"), split_of=split_of)
        report = prepare_cohort(manifest, out, PrepareSettings(SourcePreparation((64, 64)), (64, 64), unit="voxels"))
    except MrisError as error:
        print(f"adrenal_cohort: {error}", file=sys.stderr)
        sys.exit(2)
    print(report.summary())


def split_of(part: str, i: int) -> str:
    """Split of gland `i` of the data's own part "train" or "val"."""
    if part == "val":
        return "test"
    return {0: "val", 1: "downstream", 2: "downstream", 3: "downstream"}.get(i % 10, "train")


if __name__ == "__main__":
    main()
