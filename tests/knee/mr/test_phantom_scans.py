"""Digital scans as files: series, NIfTI and labels are of one grid, and whose knee it is can be read."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mris.knee.mr.phantom_scans import write_phantom_scans
from mris.knee.mr.resample import Turn
from mris.knee.mr.series import read_scan
from mris.knee.segmentation_files import knee_of_name


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    assert write_phantom_scans(folder, 2, 0, step_mm=2.5) == ["D00000_L", "D00001_R"]
    return folder


@pytest.mark.parametrize("name", ["D00000_L", "D00001_R"])
def test_series_nifti_and_labels_lie_at_one_place(scans: Path, name: str) -> None:
    series, nifti = read_scan(scans / name / "dicom"), read_scan(scans / name / f"{name}.nii.gz")
    labels = nib.load(scans / name / f"{name}_labels.nii.gz")
    one, other = Turn(series.affine, series.voxels.shape), Turn(nifti.affine, nifti.voxels.shape)
    np.testing.assert_array_equal(one.there(series.voxels), other.there(nifti.voxels))
    np.testing.assert_allclose(one.turned_affine, other.turned_affine, atol=1e-3)
    np.testing.assert_allclose(labels.affine, nifti.affine)
    assert labels.shape == nifti.voxels.shape


@pytest.mark.parametrize("name", ["D00000_L", "D00001_R"])
def test_header_and_name_say_the_same_knee(scans: Path, name: str) -> None:
    series, named = read_scan(scans / name / "dicom"), knee_of_name(scans / name / f"{name}.nii.gz")
    assert (series.subject, series.side) == (named.subject, named.side)
    assert series.notes == ()


def test_a_set_that_is_there_is_kept_and_can_grow(scans: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in scans.rglob("*.nii.gz")}
    write_phantom_scans(scans, 3, 0, step_mm=2.5)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (scans / "D00002_L" / "dicom").is_dir()


def test_people_of_another_seed_have_other_names(scans: Path) -> None:
    (name,) = write_phantom_scans(scans, 1, 3, step_mm=5.0)
    made = knee_of_name(scans / name / f"{name}.nii.gz")
    assert (made.subject, made.side) == ("D3S00000", "left")
    assert read_scan(scans / name / "dicom").subject == made.subject
