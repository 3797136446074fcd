"""Small prepared cohorts made of arrays: the folder that `mris prepare` leaves, without its road; and an encoder."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.written_cohort import write_cohort

from mris.cohort.cohort import Cohort
from mris.types import Embeddings, Sources, Targets


def synthetic_cohort(folder: Path, n_subjects: int = 24, size: int = 16, seed: int = 0) -> Cohort:
    """Write knees whose target is a smooth field that the source shows in part; two sides, two visits, a grade."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[0:size, 0:size] / (size - 1)
    shapes = np.stack([row, column, np.sin(np.pi * row) * np.sin(np.pi * column), np.cos(np.pi * (row - column))])
    disk = (row - 0.5) ** 2 + (column - 0.5) ** 2 < 0.2
    plates = (np.abs(row - 0.5) < 0.35) & (np.abs(column - 0.5) > 0.1)
    people = [(s, side, visit) for s in range(n_subjects) for side in ("left", "right") for visit in ("0", "12")]
    own = {s: rng.normal(size=4) for s in range(n_subjects)}
    knee = {(s, side): own[s] + 0.4 * rng.normal(size=4) for s in range(n_subjects) for side in ("left", "right")}
    sources, targets, grades = [], [], []
    for s, side, _ in people:
        code = knee[s, side]
        field = np.tensordot(code, shapes, axes=1)
        sources.append(np.clip(0.5 + 0.2 * field + 0.05 * rng.normal(size=field.shape), 0, 1)[None])
        femur, tibia = 2.0 + 0.3 * field, 1.8 + 0.3 * np.tensordot(code[::-1], shapes, axes=1)
        thick = np.stack([femur, tibia]) + 0.05 * rng.normal(size=(2, size, size))
        targets.append(np.where(np.stack([disk, plates]), np.maximum(thick, 0), np.nan))
        grades.append(float(np.clip(np.round(2 - code[0]), 0, 4)))
    grades[0] = grades[-1] = None  # one in training, one in test
    names = [f"S{s:03d}" for s, _, _ in people]
    half = n_subjects // 2
    return write_cohort(
        folder,
        np.asarray(sources, dtype=np.float32),
        np.asarray(targets, dtype=np.float32),
        subjects=names,
        splits=["train" if s < half else "test" for s, _, _ in people],
        timepoints=[visit for _, _, visit in people],
        sides=[side for _, side, _ in people],
        labels={"klg": grades, "site": ["A" if s % 2 else "B" for s, _, _ in people]},
    )


class FieldEncoder:
    """Embeds a source and the first region of a target as the field that both show inside that region's mask."""

    fingerprint = "f" * 64

    def __init__(self, mask: np.ndarray, regions: tuple[str, ...] = ("femoral", "tibial")) -> None:
        self.regions = regions
        self._mask = mask

    def encode_sources(self, sources: Sources) -> Embeddings:
        return self._embedded((sources[:, 0][:, self._mask] - 0.5) / 0.2)

    def encode_targets(self, targets: Targets) -> Embeddings:
        return self._embedded((np.nan_to_num(targets[:, 0])[:, self._mask] - 2.0) / 0.3)

    def _embedded(self, fields: np.ndarray) -> Embeddings:
        norm = np.linalg.norm(fields, axis=1, keepdims=True)
        return (fields / np.maximum(norm, 1e-9)).astype(np.float32)


@pytest.fixture
def cohort_of(tmp_path: Path) -> Callable[..., Cohort]:
    """The function `write_cohort` with a new folder for each call."""
    n_made = iter(range(1000))
    return lambda *arrays, **columns: write_cohort(tmp_path / f"cohort{next(n_made)}", *arrays, **columns)


@pytest.fixture(scope="session")
def knees(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """24 people, 12 to train; both knees, two visits; 16 x 16 pixels; the last image has no grade."""
    return synthetic_cohort(tmp_path_factory.mktemp("knees"))


@pytest.fixture(scope="session")
def encoder(knees: Cohort) -> FieldEncoder:
    """An encoder pair that retrieves well on `knees`."""
    return FieldEncoder(knees.atlas_mask[0])


@pytest.fixture(autouse=True, scope="module")
def every_value_is_named() -> Iterator[None]:
    """Strata of a few people keep their names, so that a dozen people make several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mris.cohort.few_people.FEWEST_SUBJECTS", 1)
        yield
