"""Fixtures every room shares."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.written_cohort import write_cohort

from mris.cohort.cohort import Cohort
from mris.images.transforms import SourcePreparation

_NEIGHBOR_OF_THE_REPOSITORY = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real images (never committed); a test that needs them skips, saying so, where they are absent."""
    folder = Path(os.environ.get("MRIS_DATA", _NEIGHBOR_OF_THE_REPOSITORY))
    if not folder.is_dir():
        pytest.skip(f"real data absent: no folder {folder} (set MRIS_DATA)")
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261122)


@pytest.fixture
def make_cohort(tmp_path: Path) -> Callable[..., Cohort]:
    """Write a small cohort without going through files: ``make_cohort(subjects, size=(8, 8), ...)``."""

    def make(
        subjects: Sequence[str],
        *,
        rng: np.random.Generator,
        name: str = "cohort",
        timepoints: Sequence[str] | None = None,
        split: str | Sequence[str] = "train",
        regions: Sequence[str] = ("femoral", "tibial"),
        size: tuple[int, int] = (8, 8),
        targets: np.ndarray | None = None,
        sources: np.ndarray | None = None,
        grades: Sequence[int | None] | None = None,
        spacing: tuple[float, float] | None = (0.5, 0.5),
    ) -> Cohort:
        n = len(subjects)
        if targets is None:
            targets = rng.uniform(0.5, 3.0, (n, len(regions), *size)).astype(np.float32)
            targets[:, :, :2] = np.nan  # outside the atlas
        if sources is None:
            sources = rng.uniform(0, 1, (n, 1, *size)).astype(np.float32)
        if timepoints is None:
            timepoints = [str(12 * list(subjects[:row]).count(subject)) for row, subject in enumerate(subjects)]
        if grades is None:
            grades = [row % 5 for row in range(n)]
        return write_cohort(
            tmp_path / name,
            sources,
            targets,
            subjects=subjects,
            splits=[split] * n if isinstance(split, str) else list(split),
            timepoints=list(timepoints),
            labels={"klg": pa.array(list(grades), pa.int64())},
            regions=regions,
            atlas_mask=~np.isnan(targets).all(axis=0),
            spacing=spacing,
        )

    return make


@dataclass(frozen=True)
class ProjectionEncoder:
    """A fixed random linear map of the pixels, made a unit vector: equal images have equal embeddings."""

    source_matrix: np.ndarray
    target_matrix: np.ndarray
    regions: tuple[str, ...] = ("femoral", "tibial")
    fingerprint: str = "f" * 64

    @classmethod
    def of(cls, cohort: Cohort, dimensions: int = 16, seed: int = 5, **fields: object) -> "ProjectionEncoder":
        rng = np.random.default_rng(seed)
        header = cohort.header
        source = rng.standard_normal((int(np.prod(header.source_shape)), dimensions)).astype(np.float32)
        target = rng.standard_normal((int(np.prod(header.target_shape)), dimensions)).astype(np.float32)
        return cls(source, target, **{"regions": header.regions, **fields})  # type: ignore[arg-type]

    def encode_sources(self, sources: np.ndarray) -> np.ndarray:
        return self._unit(sources, self.source_matrix)

    def encode_targets(self, targets: np.ndarray) -> np.ndarray:
        return self._unit(np.nan_to_num(targets), self.target_matrix)

    @staticmethod
    def _unit(images: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        vectors = images.reshape(len(images), -1) @ matrix
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


@pytest.fixture
def projection_encoder() -> type[ProjectionEncoder]:
    return ProjectionEncoder


def write_tiny_manifest(folder: Path, *, n_subjects: int = 24, size: int = 16, seed: int = 0) -> Path:
    """Write pairs that share a latent: a bright blob whose place decides the target's slope and level.

    Two regions, two visits, both sides of some subjects; targets are NaN outside a disk.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / (size - 1) - 0.5
    disk = x**2 + y**2 < 0.24
    lines = ["subject,timepoint,side,source,target_inner,target_outer,grade"]
    for i in range(n_subjects):
        place = rng.uniform(-0.3, 0.3, 2)
        for timepoint in (0, 12):
            for side in ("left", "right")[: 1 + i % 2]:
                here = place + rng.normal(0, 0.01, 2)
                stem = f"S{i:03d}_{timepoint}_{side}"
                blob = np.exp(-((x - here[0]) ** 2 + (y - here[1]) ** 2) / 0.02) + 0.02 * rng.random((size, size))
                np.save(folder / f"{stem}.npy", blob.astype(np.float32))
                level = 1.5 + 2 * here[0] + 2 * here[1] * x
                for region, sign in (("inner", 1), ("outer", -1)):
                    target = np.where(disk, level + sign * 0.5 * y, np.nan).astype(np.float32)
                    np.save(folder / f"{stem}_{region}.npy", target)
                grade = "" if i == 0 else str(i % 3)
                lines.append(f"S{i:03d},{timepoint},{side},{stem}.npy,{stem}_inner.npy,{stem}_outer.npy,{grade}")
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


@pytest.fixture(scope="session")
def tiny_manifest() -> Callable[..., Path]:
    """The function that writes such pairs."""
    return write_tiny_manifest


@pytest.fixture(scope="session")
def tiny_cohort_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared cohort of 24 subjects, 16 x 16 pixels, two regions."""
    from mris.cohort.prepare import PrepareSettings, prepare_cohort

    folder = tmp_path_factory.mktemp("tiny")
    manifest = write_tiny_manifest(folder)
    settings = PrepareSettings(
        SourcePreparation((16, 16)),
        (16, 16),
        fractions={"train": 0.6, "val": 0.2, "test": 0.2},
        workers=1,
        target_spacing=(0.5, 0.5),
    )
    prepare_cohort(manifest, folder / "cohort", settings, progress=False)
    return folder / "cohort"


def _session_members(session: int) -> list[str]:
    members = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            members.append(entry.parent.name)
    return members


@pytest.fixture
def wait_until_gone() -> Callable[[int], None]:
    """Wait until no process of a killed leader's session is left; fail if some outlive it (on Linux)."""

    def wait(session: int) -> None:
        deadline = time.monotonic() + 10
        while _session_members(session):
            assert time.monotonic() < deadline, f"workers outlive their parent: {_session_members(session)}"
            time.sleep(0.05)

    return wait
