"""The digital cohort in the layout of the OAI study: the same knees, on plates that hold to the DICOM standard.

Plates are four times coarser than real ones here (`DETECTORS`), so that they are quickly made.
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless
from scipy import ndimage

from mris.errors import OutputError, SettingsError
from mris.images.image import Image
from mris.images.read import read_image
from mris.knee.klg_sheet import read_klg_sheet
from mris.knee.oai_files import MAP_FILES, map_folder, plate_file
from mris.knee.oai_sheets import month_name, month_number, read_folds
from mris.knee.phantom import plate as plates
from mris.knee.phantom import simulate_subject, write_phantom
from mris.knee.phantom.atlas import REGIONS
from mris.knee.phantom.oai_layout import OAI, OAI_NUMBERS, number_of
from mris.knee.phantom.simulate import subject_name

SIZE, SEED = 48, 20
DETECTORS = (((503, 612), 0.7), ((880, 1070), 0.4))
CALL = {"n_subjects": 3, "size": SIZE, "seed": SEED, "max_visits": 2, "workers": 1, "progress": False, "layout": OAI}


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module", autouse=True)
def coarse_plates() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(plates, "DETECTORS", DETECTORS)
        yield


@pytest.fixture(scope="module")
def written(coarse_plates: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "oai"
    write_phantom(folder, **CALL)
    return folder


@pytest.fixture(scope="module")
def headers(written: Path) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in sorted((written / "radiographs").rglob("001"))]


def test_the_region_round_a_center_of_the_sheet_is_the_knees_picture(written: Path) -> None:
    """Linear between the picture's pixels, its middle on the center; what remains is the rounding to 12 bits."""
    pictures = {
        (visit.state.subject, visit.state.month, visit.state.knee.side): visit.radiograph
        for index in range(3)
        for visit in simulate_subject(SEED, index, size=SIZE, max_visits=2)
    }
    for fold in read_folds(written / "sheets"):
        for visit, centers in zip(fold.visits, fold.keypoints, strict=True):
            image = read_image(plate_file(written / "radiographs", visit.xray))
            reach = np.arange(-95, 96) if image.spacing == (0.7, 0.7) else np.arange(-170, 171)
            at = (SIZE - 1) / 2 + reach * image.spacing[0] / (140.0 / SIZE)
            assert at.min() > 0
            for side, center in (("left", centers.left), ("right", centers.right)):
                picture = pictures.pop((visit.patient, month_number(visit.month), side)) / 16.0
                expected = ndimage.map_coordinates(picture, np.meshgrid(at, at, indexing="ij"), order=1)
                row, column = (int(place) + reach for place in center)
                assert np.abs(image.pixels[0][np.ix_(row, column)] - expected).max() < 1.1
    assert not pictures, "every knee at every visit is on a plate"


def test_maps_are_those_of_the_subject_as_doubles_with_nan_outside(written: Path) -> None:
    for visit in simulate_subject(SEED, 1, size=SIZE, max_visits=2):
        state = visit.state
        folder = map_folder(written / "thickness", state.subject, month_name(state.month), state.knee.side)
        for region, name in enumerate(REGIONS):
            stored = np.load(folder / MAP_FILES[name], allow_pickle=False)
            assert stored.dtype == np.float64
            assert np.isnan(stored).any()
            assert np.array_equal(stored, visit.thickness[region].astype(np.float64), equal_nan=True)


def test_plates_have_both_spacings_both_interpretations_and_no_name(headers: list[pydicom.Dataset]) -> None:
    at_patient = {tuple(map(float, header.PixelSpacing)) for header in headers if "PixelSpacing" in header}
    at_detector = {tuple(map(float, header.ImagerPixelSpacing)) for header in headers if "ImagerPixelSpacing" in header}
    assert (at_patient, at_detector) == ({(0.7, 0.7)}, {(0.4, 0.4)})
    assert {(header.Rows, header.Columns) for header in headers} == {size for size, _ in DETECTORS}
    assert {header.PhotometricInterpretation for header in headers} == {"MONOCHROME1", "MONOCHROME2"}
    for header in headers:
        assert (header.BitsAllocated, header.BitsStored, header.HighBit) == (16, 12, 11)
        assert header.pixel_array.max() < 4096
        assert (header.PatientName, header.PatientBirthDate) == ("", "")
        assert re.fullmatch(r"P20-0000[0-2]", header.PatientID)
        assert header.file_meta.TransferSyntaxUID == JPEG2000Lossless


def test_a_subject_keeps_its_detector(headers: list[pydicom.Dataset]) -> None:
    by_subject: dict[str, set[int]] = {}
    for header in headers:
        by_subject.setdefault(header.PatientID, set()).add(header.Rows)
    assert {len(rows) for rows in by_subject.values()} == {1}


def test_bone_is_bright_whatever_the_photometric_interpretation(written: Path, headers: list[pydicom.Dataset]) -> None:
    for header in headers:
        pixels = read_image(Path(header.filename)).pixels[0]
        corner, middle = pixels[:20, :8].mean(), pixels[:, pixels.shape[1] // 4].mean()
        assert middle > 2.0 * corner, header.PhotometricInterpretation


def test_identifiers_are_valid_and_each_is_of_one_plate(headers: list[pydicom.Dataset]) -> None:
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        found = [header[keyword].value for header in headers]
        assert len(set(found)) == len(headers)
        assert all(uid.is_valid and uid.startswith("2.25.") for uid in found)
    assert len({header.AccessionNumber for header in headers}) == len(headers)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (dicom3tools)")
def test_a_validator_finds_no_error_in_a_plate(headers: list[pydicom.Dataset]) -> None:
    for header in headers:
        result = subprocess.run(["dciodvfy", header.filename], capture_output=True, text=True, check=False)
        # Synthetic Data (0008,001C) is younger than many validators.
        lines = [line for line in (result.stdout + result.stderr).splitlines() if "0x0008,0x001c" not in line]
        assert "Error" not in "\n".join(lines)
        assert "CRImage" in result.stdout + result.stderr


def test_the_grade_that_counts_at_a_visit_is_the_plain_layouts(written: Path) -> None:
    states = {
        (visit.state.subject, visit.state.knee.side, visit.state.month): visit.state
        for index in range(3)
        for visit in simulate_subject(SEED, index, size=SIZE, max_visits=2)
    }
    first = grades_of(written, "15-first")
    assert {key: grade for key, grade in first.items() if not np.isnan(grade)} == {
        key: state.klg for key, state in states.items() if state.klg_known
    }
    only_15, only_37 = grades_of(written, "15-only"), grades_of(written, "37-only")
    assert all(np.isnan(grade) for (_, _, month), grade in only_15.items() if month == 72)
    assert any(month == 72 and not np.isnan(grade) for (_, _, month), grade in only_37.items())
    twice = [abs(grade - only_15[key]) for key, grade in only_37.items() if not np.isnan(only_15[key] + grade)]
    assert twice
    assert max(twice) <= 1


def grades_of(folder: Path, reading: str) -> dict[tuple[str, str, int], float]:
    subjects, sides, months, grades = read_klg_sheet(folder / "sheets" / "KLG_score.csv", reading)  # type: ignore[arg-type]
    keys = zip(subjects.tolist(), sides.tolist(), months.tolist(), strict=True)
    return dict(zip(keys, grades.tolist(), strict=True))


def test_three_subjects_fill_train_test_and_the_fold_of_validation(written: Path) -> None:
    folds = {fold.name: {visit.patient for visit in fold.visits} for fold in read_folds(written / "sheets")}
    assert folds == {"test_set": {"P20-00001"}, "fold1": {"P20-00000"}, "fold5": {"P20-00002"}}


def test_a_subject_is_the_same_whoever_else_is_there_and_however_many_visits_are_kept(
    written: Path, tmp_path: Path
) -> None:
    write_phantom(tmp_path / "less", **{**CALL, "n_subjects": 2, "max_visits": 1})
    less, more = digests(tmp_path / "less"), digests(written)
    files = {name: digest for name, digest in less.items() if not name.endswith((".csv", ".json"))}
    assert files
    assert files == {name: more[name] for name in files}


def test_interrupted_it_is_finished_by_the_same_call(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, save = tmp_path / "oai", np.save
    count = iter(range(1000))

    def stops(*arguments: object, **options: object) -> None:
        if next(count) == 10:
            raise OSError(28, "No space left on device")
        save(*arguments, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patched, pytest.raises(OutputError, match="No space left on device"):
        patched.setattr(np, "save", stops)
        write_phantom(folder, **CALL)
    report = write_phantom(folder, **CALL)
    assert report.n_reused == 1
    assert report.manifest == folder / "sheets"
    assert digests(folder) == digests(written)


def test_the_two_layouts_are_never_mixed(written: Path, tmp_path: Path) -> None:
    plain = {name: value for name, value in CALL.items() if name != "layout"}
    before = digests(written)
    with pytest.raises(SettingsError, match=r"other settings: layout 'oai' \(asked: 'plain'\)"):
        write_phantom(written, **plain)
    assert digests(written) == before
    write_phantom(tmp_path / "plain", **{**plain, "n_subjects": 1, "max_visits": 1})
    with pytest.raises(SettingsError, match=r"layout 'plain' \(asked: 'oai'\)"):
        write_phantom(tmp_path / "plain", **{**CALL, "n_subjects": 1, "max_visits": 1})
    assert "layout" not in json.loads((tmp_path / "plain" / "phantom.json").read_text())["settings"]


@pytest.mark.slow
def test_two_workers_write_what_one_writes(tmp_path: Path) -> None:
    """Other processes do not see the coarse plates, so both ways take real ones here."""
    script = tmp_path / "write.py"
    script.write_text(
        "from mris.knee.phantom import write_phantom\n"
        "from mris.knee.phantom.oai_layout import OAI\n"
        "if __name__ == '__main__':\n"
        "    for n in (1, 2):\n"
        f"        write_phantom(f'{tmp_path}/{{n}}', n_subjects=2, size=32, max_visits=1, workers=n, progress=False, "
        "layout=OAI)\n"
    )
    subprocess.run([sys.executable, str(script)], check=True)
    assert digests(tmp_path / "1") == digests(tmp_path / "2")


@pytest.mark.slow
def test_plates_of_real_size_have_the_two_sizes_of_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(plates, "DETECTORS", (((2010, 2446), 0.175), ((3520, 4280), 0.1)))
    write_phantom(tmp_path / "oai", **{**CALL, "n_subjects": 2, "max_visits": 1})
    found = {}
    for path in (tmp_path / "oai" / "radiographs").rglob("001"):
        image: Image = read_image(path)
        found[image.size] = image.spacing
        assert path.stat().st_size < 4e6, "compressed"
    assert found == {(2010, 2446): (0.175, 0.175), (3520, 4280): (0.1, 0.1)}


def test_numbers_for_names_and_raw_pixels_change_nothing_else(written: Path, tmp_path: Path) -> None:
    write_phantom(tmp_path / "numbers", **{**CALL, "layout": OAI_NUMBERS})
    for named, numbered in zip(read_folds(written / "sheets"), read_folds(tmp_path / "numbers/sheets"), strict=True):
        for one, other in zip(named.visits, numbered.visits, strict=True):
            assert other.patient == number_of(one.patient)
            assert int(other.patient) > 9_000_000
            plate = plate_file(tmp_path / "numbers/radiographs", other.xray)
            assert pydicom.dcmread(plate).file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
            expected = read_image(plate_file(written / "radiographs", one.xray))
            np.testing.assert_array_equal(read_image(plate).pixels, expected.pixels)
        assert [(one.month, one.right, one.left) for one in named.keypoints] == [
            (other.month, other.right, other.left) for other in numbered.keypoints
        ]


def test_no_two_subjects_have_one_number() -> None:
    names = [subject_name(seed, index) for seed in (0, 1, 3, 12, 120) for index in (0, 1, 17, 12_345, 999_999)]
    assert len({number_of(name) for name in names}) == len(names)
