"""Reading MR scans: the same volume whatever the files' order and orientation, or a reason why it is none."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian
from tests.mr_scans import affine_of, described, place, small_scan, write_enhanced, write_nifti, write_series

from mris.errors import ImageError
from mris.knee.mr.resample import Turn
from mris.knee.mr.series import Scan, read_scan

AFFINE = affine_of()


def assert_same_place(scan: Scan, voxels: np.ndarray, affine: np.ndarray) -> None:
    """Each voxel has the same value at the same place of the body."""
    found, wanted = Turn(scan.affine, scan.voxels.shape), Turn(affine, voxels.shape)
    np.testing.assert_array_equal(found.there(scan.voxels), wanted.there(voxels))
    np.testing.assert_allclose(found.turned_affine, wanted.turned_affine, atol=2e-3)


@pytest.mark.parametrize("order", ["RAS", "PIR", "PIL", "RIA", "LPI", "ASL"])
@pytest.mark.parametrize("tilt", [0.0, 12.0])
def test_a_series_lies_where_its_slices_say(tmp_path: Path, order: str, tilt: float) -> None:
    affine = affine_of(tilt=tilt, order=order)
    write_series(tmp_path / "dicom", small_scan(), affine)
    scan = read_scan(tmp_path / "dicom")
    assert_same_place(scan, small_scan(), affine)
    assert (scan.side, scan.subject, scan.timepoint) == ("left", "S001", "2024-03-15")


def test_names_and_numbers_of_files_do_not_matter(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "dicom", small_scan(), AFFINE)
    for number, path in enumerate(np.random.default_rng(1).permutation(paths)):
        shutil.move(path, path.with_name(f"IM{number}"))
    (tmp_path / "dicom" / "notes.txt").write_text("of the scan")
    assert_same_place(read_scan(tmp_path / "dicom"), small_scan(), AFFINE)


def test_an_enhanced_file_equals_a_file_a_slice(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "enhanced.dcm", small_scan(), AFFINE)
    assert_same_place(read_scan(tmp_path / "enhanced.dcm"), small_scan(), AFFINE)


def test_frames_have_slopes_of_their_own(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "enhanced.dcm", 2 * small_scan(), AFFINE, slopes=True)
    assert_same_place(read_scan(tmp_path / "enhanced.dcm"), 2 * small_scan(), AFFINE)


def test_a_series_in_two_enhanced_files_equals_a_file_a_slice(tmp_path: Path) -> None:
    for number, part in enumerate((slice(0, 13), slice(13, 28))):
        path = tmp_path / f"{number}.dcm"
        write_enhanced(path, small_scan(), AFFINE, part, SOPInstanceUID=f"1.2.3.{number}")
    assert_same_place(read_scan(tmp_path), small_scan(), AFFINE)


def test_a_nifti_and_an_nrrd_equal_the_series(tmp_path: Path) -> None:
    write_nifti(tmp_path / "scan.nii.gz", small_scan(), AFFINE)
    assert_same_place(read_scan(tmp_path / "scan.nii.gz"), small_scan(), AFFINE)
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.ReadImage(str(tmp_path / "scan.nii.gz"))
    sitk.WriteImage(image, str(tmp_path / "scan.nrrd"))
    assert_same_place(read_scan(tmp_path / "scan.nrrd"), small_scan(), AFFINE)


@pytest.mark.parametrize("axes", [b"-3", b"93", b"x"])
def test_an_mha_of_a_strange_number_of_axes_does_not_end_the_process(tmp_path: Path, axes: bytes) -> None:
    sitk = pytest.importorskip("SimpleITK")
    sitk.WriteImage(sitk.GetImageFromArray(small_scan()), str(tmp_path / "scan.mha"))
    content = (tmp_path / "scan.mha").read_bytes()
    (tmp_path / "scan.mha").write_bytes(content.replace(b"NDims = 3", b"NDims = " + axes))
    with pytest.raises(ImageError, match=rf"has '{axes.decode()}' axes \(NDims\)"):
        read_scan(tmp_path / "scan.mha")


def test_two_echoes_become_the_root_of_their_mean_square(tmp_path: Path) -> None:
    first, second = small_scan(), small_scan(1)
    write_series(tmp_path / "dicom", first, AFFINE, EchoTime="4.7", EchoNumbers=1)
    write_series(tmp_path / "dicom", second, AFFINE, first=100, EchoTime="14.2", EchoNumbers=2)
    scan = read_scan(tmp_path / "dicom")
    wanted = np.sqrt((first.astype(float) ** 2 + second.astype(float) ** 2) / 2)
    np.testing.assert_allclose(np.sort(scan.voxels.ravel()), np.sort(wanted.ravel()), rtol=1e-5)
    assert "two echoes" in scan.notes[0]


def test_a_copy_of_a_slice_is_left_out_with_a_note(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "dicom", small_scan(), AFFINE)
    shutil.copy(paths[7], tmp_path / "dicom" / "copy of 7.dcm")
    scan = read_scan(tmp_path / "dicom")
    assert_same_place(scan, small_scan(), AFFINE)
    assert scan.notes == ("1 file of a slice that was there already, left out",)


def test_slices_that_an_exporter_gave_one_identity_are_no_copies(tmp_path: Path) -> None:
    write_series(tmp_path / "dicom", small_scan(), AFFINE, SOPInstanceUID="1.2.3.4")
    assert_same_place(read_scan(tmp_path / "dicom"), small_scan(), AFFINE)


@pytest.mark.parametrize("name", ["SAG 3D DESS HEAD COIL", "DESS QUADCOIL"])
def test_a_coil_in_the_name_of_a_series_makes_it_no_map(tmp_path: Path, name: str) -> None:
    write_series(tmp_path / "dicom", small_scan(), AFFINE, SeriesDescription=name)
    assert read_scan(tmp_path / "dicom").side == "left"


def test_slices_that_the_header_announces_and_are_not_there_are_noted(tmp_path: Path) -> None:
    write_series(tmp_path / "dicom", small_scan(), AFFINE, ImagesInAcquisition=40)
    assert "28 of the 40 images" in read_scan(tmp_path / "dicom").notes[0]


def test_a_header_that_names_both_sides_names_none(tmp_path: Path) -> None:
    write_series(tmp_path / "dicom", small_scan(), AFFINE, SeriesDescription="DESS RIGHT")
    assert read_scan(tmp_path / "dicom").side is None


Fault = Callable[[Path, list[Path]], object]


def changed(path: Path, **changes: object) -> None:
    dataset = pydicom.dcmread(path)
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)


def moved(path: Path, mm: float) -> None:
    dataset = pydicom.dcmread(path)
    dataset.ImagePositionPatient = [*dataset.ImagePositionPatient[:2], f"{dataset.ImagePositionPatient[2] + mm:.4f}"]
    dataset.save_as(path)


def all_changed(**changes: object) -> Fault:
    return lambda folder, paths: [changed(path, **changes) for path in paths]


def over_time(folder: Path, paths: list[Path]) -> None:
    write_series(folder, small_scan(2), AFFINE, first=300)


FAULTS: dict[str, tuple[Fault, str]] = {
    "a gap": (
        lambda _, paths: [path.unlink() for path in paths[10:12]],
        "about 2 slices are missing (a gap of 7.20 mm",
    ),
    "another slice at one place": (lambda _, paths: moved(paths[5], 2.4), "two slices lie at one place"),
    "uneven slices": (lambda _, paths: moved(paths[5], 0.8), "apart; give one of even slices"),
    "a series over time": (over_time, "(4D)"),
    "few slices": (lambda _, paths: [path.unlink() for path in paths[9:]], "has 9 slices, as a localizer"),
    "a localizer": (all_changed(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "is a localizer"),
    "a CT": (all_changed(Modality="CT"), "its Modality is 'CT', but MR is read"),
    "a map of T2": (all_changed(SeriesDescription="SAG T2 MAP"), "is a map of relaxation"),
    "a map of T2*": (all_changed(SeriesDescription="SAG T2* MAP"), "is a map of relaxation"),
    "a map of diffusion": (all_changed(ImageType=["DERIVED", "PRIMARY", "ADC"]), "is a map of relaxation"),
    "a value twice": (all_changed(SamplesPerPixel=[1, 1]), "cannot be read as DICOM"),
    "color": (all_changed(PhotometricInterpretation="RGB", SamplesPerPixel=3), "is in color"),
    "several directions": (
        lambda _, paths: changed(paths[3], ImageOrientationPatient=[0, 1, 0, 0, 0, -1]),
        "lie in several directions",
    ),
    "several sizes": (lambda _, paths: changed(paths[3], Rows=15), "have several sizes"),
    "no place": (lambda _, paths: changed(paths[3], ImagePositionPatient=None), "does not say where its slices lie"),
    "a cut file": (lambda _, paths: paths[3].write_bytes(paths[3].read_bytes()[:-400]), "0003.dcm: "),
    "two series": (lambda _, paths: changed(paths[3], SeriesInstanceUID="1.2.4"), "holds 2 series"),
    "gigantic sizes": (all_changed(Rows=60000, Columns=60000), "voxels, more than the"),
    "a hip's size": (all_changed(PixelSpacing=["20", "20"]), "but a scan of a knee is 50 to 400 mm"),
    "nothing": (lambda folder, _: shutil.rmtree(folder) or folder.mkdir(), "holds 0 files"),
    "other files": (
        lambda folder, paths: [path.unlink() for path in paths] and (folder / "a.txt").write_text("a"),
        "holds no DICOM image",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_series_that_is_no_volume_of_a_knee_is_refused_with_the_reason(tmp_path: Path, fault: str) -> None:
    damage, message = FAULTS[fault]
    damage(tmp_path / "dicom", write_series(tmp_path / "dicom", small_scan(), AFFINE))
    with pytest.raises(ImageError, match=re.escape(message)) as raised:
        read_scan(tmp_path / "dicom")
    assert "\n" not in str(raised.value)


def test_slices_of_two_echoes_and_copies_do_not_make_up_for_missing_ones(tmp_path: Path) -> None:
    few = small_scan()[:, :, :12]
    write_series(tmp_path / "dicom", few, AFFINE, EchoTime="5")
    shutil.copytree(tmp_path / "dicom", tmp_path / "dicom" / "copies")
    write_series(tmp_path / "dicom", few, AFFINE, first=100, EchoTime="15")
    with pytest.raises(ImageError, match="has 12 slices, as a localizer has"):
        read_scan(tmp_path / "dicom")


def test_more_than_two_echoes_are_no_picture_for_anatomy(tmp_path: Path) -> None:
    for number in range(3):
        write_series(tmp_path / "dicom", small_scan(), AFFINE, first=100 * number, EchoTime=str(10 * (number + 1)))
    with pytest.raises(ImageError, match="has 3 echoes"):
        read_scan(tmp_path / "dicom")


def test_frames_that_do_not_say_where_they_lie_are_refused(tmp_path: Path) -> None:
    dataset = described(0, NumberOfFrames=30)
    place(dataset, AFFINE, 0)
    dataset.Rows = dataset.Columns = 8
    dataset.PixelData = bytes(30 * 8 * 8 * 2)
    dataset.save_as(tmp_path / "frames.dcm", enforce_file_format=True)
    with pytest.raises(ImageError, match="does not say of each where it lies"):
        read_scan(tmp_path / "frames.dcm")


def test_inverted_frames_are_refused(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "frames.dcm", small_scan(), AFFINE, PhotometricInterpretation="MONOCHROME1")
    with pytest.raises(ImageError, match=r"its frames are inverted \(MONOCHROME1\)"):
        read_scan(tmp_path / "frames.dcm")


def test_a_file_that_inflates_without_end_is_refused_before_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(tmp_path / "dicom", small_scan(), AFFINE)
    report = described(99, TextValue="a" * (1 << 20))
    report.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    report.save_as(tmp_path / "dicom" / "report.dcm", enforce_file_format=True)
    assert_same_place(read_scan(tmp_path / "dicom"), small_scan(), AFFINE)
    monkeypatch.setattr("mris.images.dicom._SMALL_INFLATED", 1 << 19)
    with pytest.raises(ImageError, match=r"report\.dcm: inflates beyond"):
        read_scan(tmp_path / "dicom")


def test_an_enhanced_file_that_was_cut_is_refused(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "cut.dcm", small_scan(), AFFINE)
    (tmp_path / "cut.dcm").write_bytes((tmp_path / "cut.dcm").read_bytes()[:-5000])
    with pytest.raises(ImageError, match=r"cut\.dcm"):
        read_scan(tmp_path / "cut.dcm")


def colored(path: Path) -> None:
    rgb = np.zeros((26, 30, 28), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(rgb, AFFINE), path)


NIFTI_FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "four axes": (lambda path: write_nifti(path, np.ones((26, 30, 28, 3), np.float32), AFFINE), "is no volume"),
    "labels": (lambda path: write_nifti(path, small_scan() % 5, AFFINE), "as labels do"),
    "color": (colored, "one real number a voxel"),
    "one value": (lambda path: write_nifti(path, np.ones((26, 30, 28), np.float32), AFFINE), "all of its voxels are 1"),
    "one foot": (lambda path: write_nifti(path, small_scan(), affine_of((0.5, 0.5, 0.5))), "a scan of a knee is 50"),
}


@pytest.mark.parametrize("fault", NIFTI_FAULTS)
def test_a_nifti_that_is_no_scan_of_a_knee_is_refused(tmp_path: Path, fault: str) -> None:
    write, message = NIFTI_FAULTS[fault]
    write(tmp_path / "scan.nii.gz")
    with pytest.raises(ImageError, match=re.escape(message)):
        read_scan(tmp_path / "scan.nii.gz")
