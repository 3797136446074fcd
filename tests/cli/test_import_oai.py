"""``mris phantom --layout oai``, ``mris import oai``, ``mris prepare``: the same cohort as the direct road gives."""

import csv
import json
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from scipy.interpolate import BSpline

from mris.cohort.cohort import Cohort
from mris.images.read import read_image
from mris.images.transforms import mirror, scale_intensity
from mris.knee.phantom import plate as plates

SIZE = 64
PHANTOM = ("--subjects", 3, "--size", SIZE, "--seed", 20, "--visits", 2, "--workers", 1, "--quiet")
PREPARE = ("--size", SIZE, "--mirror", "right", "--workers", 1, "--quiet")
COARSE = (((503, 612), 0.7), ((880, 1070), 0.4))
REAL = (((2010, 2446), 0.175), ((3520, 4280), 0.1))


@pytest.fixture(scope="module")
def coarse_plates() -> Iterator[None]:
    """Plates four times coarser than real ones, so that they are quickly made."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(plates, "DETECTORS", COARSE)
        yield


@pytest.fixture(scope="module")
def call() -> Callable[..., int]:
    from mris.cli.main import main

    def run(*arguments: object) -> int:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("sys.argv", ["mris", *map(str, arguments)])
            try:
                main()
            except SystemExit as leaving:
                return int(leaving.code or 0)
        return 0

    return run


@pytest.fixture(scope="module")
def written(coarse_plates: None, call: Callable[..., int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("import") / "oai"
    assert call("phantom", folder, "--layout", "oai", *PHANTOM) == 0
    return folder


@pytest.fixture(scope="module")
def direct(call: Callable[..., int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("direct")
    assert call("phantom", folder / "knees", *PHANTOM) == 0
    assert (
        call("prepare", folder / "knees" / "manifest.csv", folder / "cohort", "--fractions", "train=1", *PREPARE) == 0
    )
    return folder


def importing(folder: Path) -> tuple[object, ...]:
    places = {name: folder / name for name in ("sheets", "radiographs", "thickness")}
    return ("import", "oai", "--quiet", *(part for name, place in places.items() for part in (f"--{name}", place)))


def spline_weights(shift: float) -> np.ndarray:
    """Cubic B-spline at whole pixels, moved by `shift` pixels: a linear interpolation followed by a triangle filter."""
    return np.nan_to_num(BSpline.basis_element([-2, -1, 0, 1, 2], extrapolate=False)(np.arange(-2, 3) - shift))


def test_the_imported_cohort_is_the_direct_one_to_interpolation_error(
    written: Path, direct: Path, call: Callable[..., int], tmp_path: Path
) -> None:
    check_same_cohort(written, direct, call, tmp_path, COARSE)


def test_an_import_of_a_digital_study_says_that_it_is_simulated(
    written: Path, call: Callable[..., int], tmp_path: Path
) -> None:
    assert call(*importing(written), tmp_path / "imported") == 0
    with (tmp_path / "imported" / "manifest.csv").open(newline="") as file:
        assert {row["image_origin"] for row in csv.DictReader(file)} == {"simulated"}


@pytest.mark.slow
def test_with_plates_of_real_size_too(
    direct: Path, call: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plates, "DETECTORS", REAL)
    assert call("phantom", tmp_path / "oai", "--layout", "oai", *PHANTOM) == 0
    check_same_cohort(tmp_path / "oai", direct, call, tmp_path, REAL)


def check_same_cohort(
    folder: Path, direct: Path, call: Callable[..., int], out: Path, detectors: tuple[tuple[object, float], ...]
) -> None:
    """Compare two cohorts: keys, sides, grades and maps are equal; sources to what interpolation explains.

    The direct picture goes to the plate linearly and back through a triangle filter: a cubic B-spline, moved by half
    a pixel of the plate because a region of an even number of pixels has no middle one. Beyond that remain 12 bits
    on the plate, 11 in the cohort, and the brightness, which is scaled to a percentile of the region.
    """
    assert call(*importing(folder), out / "imported") == 0
    assert call("prepare", out / "imported" / "manifest.csv", out / "cohort", "--region-mm", 140, *PREPARE) == 0
    ours, plain = Cohort.open(out / "cohort"), Cohort.open(direct / "cohort")
    assert sorted(ours.keys) == sorted(plain.keys)
    where = [list(plain.keys).index(key) for key in ours.keys]
    every = list(range(len(where)))
    np.testing.assert_array_equal(ours.label("klg"), np.asarray(plain.label("klg"))[where])
    assert list(ours.sides) == [plain.sides[row] for row in where]
    np.testing.assert_array_equal(ours.read_targets(every), plain.read_targets(where))
    np.testing.assert_array_equal(ours.atlas_mask, plain.atlas_mask)
    assert set(ours.splits) == {"train", "val", "test"}
    with (direct / "knees" / "manifest.csv").open(newline="") as file:
        rows = {f"{row['subject']}/{row['timepoint']}/{row['side']}": row for row in csv.DictReader(file)}
    spacings = {"A": detectors[0][1], "B": detectors[1][1]}
    assert {row["site"] for row in rows.values()} == {"A", "B"}
    inside = (slice(2, -2), slice(2, -2))
    pairs = zip(ours.keys, ours.read_sources(every)[:, 0], plain.read_sources(where)[:, 0], strict=True)
    for key, found, original in pairs:
        picture = read_image(direct / "knees" / rows[key]["source"]).pixels[0]
        weights = spline_weights(0.5 * spacings[rows[key]["site"]] * SIZE / 140.0)
        for axis in (0, 1):
            picture = ndimage.correlate1d(picture, weights, axis=axis, mode="nearest")
        expected = scale_intensity(picture[None])[0]
        expected = mirror(expected) if rows[key]["side"] == "right" else expected
        # The brightness: the border is the plate's there, the nearest pixel's here, and moves the region's minimum.
        assert np.abs(found - expected)[inside].max() < 0.01, key
        assert np.abs(found.astype(np.float64) - original).mean() < 0.012, key


def test_the_printed_command_prepares_what_was_imported(
    written: Path, run_cli: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = run_cli(*importing(written), "a folder")
    assert outcome.code == 0
    assert "12 of 12 pairs: a folder/manifest.csv" in outcome.out
    (command,) = [line.removeprefix("next: mris ") for line in outcome.out.splitlines() if line.startswith("next: ")]
    assert command.endswith(" cohort --size 256 --region-mm 140 --mirror right")
    small = [*shlex.split(command), "--size", "32", "--workers", "1", "--quiet"]
    assert "12 of 12 rows kept" in run_cli(*small).out


def test_a_dry_run_needs_the_sheets_alone_and_writes_nothing(
    written: Path, run_cli: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = run_cli("import", "oai", "--sheets", written / "sheets", "--dry-run", "--quiet")
    assert outcome.code == 0
    assert "13,616" in outcome.out
    assert "plate" not in outcome.out
    whole = run_cli(*importing(written), "out", "--dry-run")
    assert "plates by pixel spacing: " in whole.out
    assert not list(tmp_path.iterdir())


def test_missing_files_are_counted_listed_and_left_out(
    written: Path, run_cli: Callable[..., object], tmp_path: Path
) -> None:
    folder = tmp_path / "oai"
    shutil.copytree(written, folder)
    lost = folder / "thickness/P20-00001/MR_SAG_3D_DESS/LEFT_KNEE/ENROLLMENT/avsm/TC_2d_thickness.npy"
    lost.unlink()
    outcome = run_cli(*importing(folder), tmp_path / "out")
    assert outcome.code == 0
    assert "left out, no tibial map: 1 pair" in outcome.out
    assert f"P20-00001/0/left: no tibial map ({lost})" in outcome.out
    report = json.loads((tmp_path / "out" / "import.json").read_text())
    assert report["left_out"] == [{"key": "P20-00001/0/left", "reasons": {"no tibial map": str(lost)}}]
    assert report["counts"]["test"] | {"maps": 3, "usable": 3, "pairs": 4} == report["counts"]["test"]
    prepared = run_cli("prepare", tmp_path / "out" / "manifest.csv", tmp_path / "cohort", "--region-mm", 140, *PREPARE)
    assert "11 of 11 rows kept" in prepared.out


def test_what_an_import_needs_is_said(written: Path, refused: Callable[..., str], tmp_path: Path) -> None:
    assert "an import needs --radiographs, --thickness and OUT" in refused(
        "import", "oai", "--sheets", written / "sheets"
    )
    message = refused("import", "oai", "--sheets", tmp_path, "--dry-run")
    assert "holds no sheets of the OAI study; it needs test_set/" in message
    assert "the validation fold is 'fold9', but the sheets have fold1, fold5" in refused(
        *importing(written), tmp_path / "out", "--val-fold", "fold9"
    )
    assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_kept_from_an_import_with_another_result(
    written: Path, run_cli: Callable[..., object], refused: Callable[..., str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert run_cli(*importing(written), out).code == run_cli(*importing(written), out).code == 0
    message = refused(*importing(written), out, "--val-fold", "none")
    assert f"{out} holds an import with another result" in message
    assert "no import wrote it; choose another folder" in refused(*importing(written), written)


def test_broken_sheets_are_refused(written: Path, refused: Callable[..., str], tmp_path: Path) -> None:
    sheets = tmp_path / "sheets"
    shutil.copytree(written / "sheets", sheets)
    centers = sheets / "test_set" / "xray_keypoints.csv"
    swapped = centers.read_text().replace("keypoint_right,keypoint_left", "keypoint_left,keypoint_right")
    centers.write_text(swapped)
    message = refused("import", "oai", "--sheets", sheets, "--dry-run", "--quiet")
    assert "2 of 2 rows cannot be used" in message
    assert "are the columns swapped?" in message
    shutil.rmtree(sheets / "train_set" / "fold1")
    shutil.copytree(written / "sheets" / "test_set", sheets / "train_set" / "fold1")
    shutil.copy(written / "sheets" / "test_set" / "xray_keypoints.csv", centers)
    message = refused("import", "oai", "--sheets", sheets, "--dry-run", "--quiet")
    assert "1 patient in two folds: P20-00001 in fold1 and test_set" in message
    (sheets / "KLG_score.csv").unlink()
    assert "KLG_score.csv" in refused("import", "oai", "--sheets", sheets, "--dry-run", "--val-fold", "none", "--quiet")


@pytest.mark.data
def test_the_official_sheets_are_counted_beside_the_papers_numbers(
    data_dir: Path, run_cli: Callable[..., object]
) -> None:
    outcome = run_cli("import", "oai", "--sheets", data_dir / "oai_sheets", "--dry-run", "--quiet")
    lines = [" ".join(line.split()) for line in outcome.out.splitlines()]
    assert "patients 1,600 400 2,000 2,000 897 897" in lines
    assert "pairs (a knee at a visit) 10,854 2,762 13,616 13,616 8,418 8,418" in lines
    page = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "import-oai.md"
    counts = outcome.out.partition(", not used: ")[0].splitlines()[2:]  # the page names nobody's visits
    assert counts[-1] == "visits with joint centers and without images"
    assert "\n".join(counts) in page.read_text(), "the page shows what is printed"
