"""How well a calibrated bundle tells strange queries from the test people of its cohort: area under the ROC, and flags.

Strange are test images upside down, inverted, rotated by 90 degrees and mirrored, noise, digital knees of people who
have turned, and the images of folders.

Run: python benchmarks/strange.py BUNDLE COHORT --data real=FOLDER
"""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
from sklearn.metrics import roc_auc_score

from mris.cohort.cohort import Cohort
from mris.errors import ImageError
from mris.images.image import Image
from mris.images.read import read_image
from mris.images.transforms import SourcePreparation, prepare_source
from mris.knee.phantom.simulate import simulate_states, take_radiograph
from mris.synthesis.bundle import Bundle
from mris.synthesis.strangeness import Reference, Scores, combined, strangeness, strangeness_scale
from mris.types import Sources

MOST, DRAWS = 300, 200


def strange_sources(usual: Sources, rng: np.random.Generator) -> dict[str, Sources]:
    """Make what no encoder was trained on."""
    made = {
        "upside down": usual[:, :, ::-1],
        "inverted": usual.max() - usual,
        "rotated by 90 degrees": np.rot90(usual, axes=(2, 3)),
        "mirrored": usual[:, :, :, ::-1],
        "uniform noise": rng.random(usual.shape),
        "normal noise": np.clip(rng.normal(0.5, 0.2, usual.shape), 0, 1),
    }
    return {name: np.ascontiguousarray(sources, dtype=np.float32) for name, sources in made.items()}


def turned_knees(degrees: float, preparation: SourcePreparation) -> Sources:
    """Simulate left knees of people who have turned about the leg's axis; 90 degrees are a view from the side."""
    found = []
    for index in range(MOST):
        state = simulate_states(1, index, max_visits=1)[0]
        turned = replace(state, view=replace(state.view, rotation=degrees))
        image = Image.from_array(take_radiograph(turned, 128, np.random.default_rng(index)))
        found.append(prepare_source(image, preparation, side="left"))
    return np.stack(found)


def folder_sources(folder: Path, preparation: SourcePreparation) -> Sources:
    """Prepare the images of a folder, and the middle slices of its volumes; what cannot be read is left out."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            if path.name.endswith((".nii", ".nii.gz")):
                volume = np.asarray(nib.load(path).dataobj, dtype=np.float32)
                image = Image.from_array(volume[volume.shape[0] // 2])
            else:
                image = read_image(path)
            found.append(prepare_source(image, preparation, side="left"))
        except ImageError:
            continue
        if len(found) == MOST:
            break
    return np.stack(found)


def false_alarms(scores: Scores, subjects: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How many of one half of usual people are called strange by the other half, for `DRAWS` draws of halves."""
    people = np.unique(subjects)
    shares = []
    for _ in range(DRAWS):
        half = np.isin(subjects, rng.choice(people, len(people) // 2, replace=False))
        scale = strangeness_scale(scores[half], np.unique(subjects[half], return_inverse=True)[1])
        shares.append(np.mean([one.unusual for one in strangeness(scores[~half], scale)]))
    return np.array(shares)


def print_table(bundle: Bundle, cohort: Cohort, folders: Mapping[str, Path]) -> None:
    test = cohort.split("test")
    test = test.select(np.flatnonzero(test.is_baseline))
    usual = test.read_sources()
    preparation = bundle.members[0].encoder.preparation
    sources = strange_sources(usual[:MOST], np.random.default_rng(0))
    sources |= {f"digital knees turned by {angle} degrees": turned_knees(angle, preparation) for angle in (45, 90)}
    sources |= {name: folder_sources(folder, preparation) for name, folder in folders.items()}
    for member, header in zip(bundle.members, bundle.header.members, strict=True):
        scale = None if header.calibration is None else header.calibration.strangeness
        reference = Reference.of(member.database)
        assert scale is not None and reference is not None, "the bundle is not calibrated"
        print(f"member {member.name}, {scale.n_people} calibration people")
        print("| queries | images | AUROC | called strange (p <= 0.05) |\n| --- | ---: | ---: | ---: |")
        own = reference.scores(member.encoder.describe_sources(usual)[1], [None] * len(usual))
        for name, queries in {"test people": usual, **sources}.items():
            scores = reference.scores(member.encoder.describe_sources(queries)[1], [None] * len(queries))
            both = np.concatenate([combined(own, scale), combined(scores, scale)])
            area = roc_auc_score(np.repeat([0, 1], [len(own), len(scores)]), both)
            flagged = np.mean([one.unusual for one in strangeness(scores, scale)])
            told = "" if name == "test people" else f"{area:.3f}"
            print(f"| {name} | {len(queries)} | {told} | {100 * flagged:.1f} % |")
        shares = 100 * false_alarms(own, test.subjects, np.random.default_rng(0))
        low, high = np.quantile(shares, (0.05, 0.95))
        print(f"one half of the test people by the other, {DRAWS} draws: {shares.mean():.1f} % [{low:.1f}, {high:.1f}]")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--data", action="append", default=[], metavar="NAME=FOLDER")
    given = parser.parse_args()
    named = dict(rule.split("=", 1) for rule in given.data)
    print_table(
        Bundle.open(given.bundle), Cohort.open(given.cohort), {name: Path(path) for name, path in named.items()}
    )
