"""A small study on disk: NPY sources and targets and their manifest, with faults put in where a test asks for them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from mris.cohort.cohort import Cohort
from mris.cohort.prepare import PrepareSettings, prepare_cohort
from mris.images.transforms import SourcePreparation


@dataclass
class Study:
    """Files of a cohort to be; `rows` are dictionaries of cells, in the order of the columns of the first one."""

    folder: Path
    rows: list[dict[str, str]] = field(default_factory=list)

    @property
    def manifest(self) -> Path:
        path = self.folder / "manifest.csv"
        lines = [",".join(self.rows[0]), *(",".join(row.values()) for row in self.rows)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def put(self, row: int, column: str, array: np.ndarray) -> None:
        """Replace the file of one cell; `row` counts from 0."""
        np.save(self.folder / self.rows[row][column], array)


MakeStudy = Callable[..., Study]


@pytest.fixture
def make_study(tmp_path: Path, rng: np.random.Generator) -> MakeStudy:
    def make(n_subjects: int = 10, n_visits: int = 2, regions: tuple[str, ...] = ("femoral", "tibial")) -> Study:
        study = Study(tmp_path / "study")
        study.folder.mkdir()
        for subject in range(n_subjects):
            for visit in range(n_visits):
                name = f"{subject:03d}_{visit}"
                np.save(study.folder / f"source_{name}.npy", rng.random((12, 10), dtype=np.float32))
                row = {"subject": f"{subject:03d}", "timepoint": f"V{visit * 10:02d}", "source": f"source_{name}.npy"}
                for region in regions:
                    target = 3 * rng.random((8, 8), dtype=np.float32)
                    target[:2] = np.nan
                    np.save(study.folder / f"{region}_{name}.npy", target)
                    row[f"target_{region}"] = f"{region}_{name}.npy"
                study.rows.append({**row, "klg": str(subject % 3), "site": f"0{subject % 2}"})
        return study

    return make


@pytest.fixture
def settings() -> PrepareSettings:
    return PrepareSettings(SourcePreparation(size=(8, 8)), target_size=(6, 6), workers=1)


@pytest.fixture(scope="session")
def cohort_of_24(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """12 subjects, left and right side, two visits for the first four; regions "inner" and "outer"."""
    folder = tmp_path_factory.mktemp("cohort_of_24")
    rng = np.random.default_rng(5)
    lines = ["subject,timepoint,side,source,target_inner,target_outer,klg,note.of.reader,split"]
    for subject in range(12):
        for side in "LR" if subject >= 4 else "L":
            for visit in ("2", "12") if subject < 4 else ("2",):
                name = f"{subject}_{visit}_{side}"
                np.save(folder / f"x_{name}.npy", rng.random((9, 9)))
                for region in ("inner", "outer"):
                    target = rng.random((5, 5))
                    target[0] = np.nan
                    np.save(folder / f"{region}_{name}.npy", target)
                split = "test" if subject % 3 == 0 else "train"
                klg, note = ("", "clear") if subject == 1 else (str(subject % 5), "")
                files = f"x_{name}.npy,inner_{name}.npy,outer_{name}.npy"
                lines.append(f"P{subject},{visit},{side},{files},{klg},{note},{split}")
    (folder / "manifest.csv").write_text("\n".join(lines))
    source = SourcePreparation(size=(6, 6), mirror_sides=("right",))
    prepare_cohort(folder / "manifest.csv", folder / "out", PrepareSettings(source, (5, 5), workers=1), progress=False)
    return Cohort.open(folder / "out")
