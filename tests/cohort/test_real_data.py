"""Cohorts of real organs: adrenal glands from CT masks, hippocampi from MR."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mris.cohort.cohort import Cohort
from mris.cohort.prepare import PrepareSettings, check_cohort, prepare_cohort
from mris.images.transforms import SourcePreparation

pytestmark = pytest.mark.data


def test_adrenal_glands_keep_their_thickness(data_dir: Path, tmp_path: Path) -> None:
    with np.load(data_dir / "adrenal" / "adrenal_masks_64.npz") as archive:
        masks = archive["train_images"][:50] > 0
        labels = archive["train_labels"][:50].reshape(-1)
    thickness = masks.sum(axis=3).astype(np.float32)
    lines = ["subject,timepoint,source,target,mass"]
    for index, mask in enumerate(masks):
        np.savez(tmp_path / f"{index}.npz", projection=mask.sum(axis=0).astype(np.float32), thickness=thickness[index])
        lines.append(f"{index:04d},0,{index}.npz::projection,{index}.npz::thickness,{labels[index]}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    settings = PrepareSettings(SourcePreparation((64, 64)), (64, 64), unit="voxel", stratify="mass", workers=1)
    report = prepare_cohort(tmp_path / "manifest.csv", tmp_path / "out", settings, progress=False)
    cohort = Cohort.open(tmp_path / "out")
    assert report.n_kept == 50
    np.testing.assert_array_equal(cohort.read_targets()[:, 0], thickness)  # whole numbers to 64 fit float16 exactly
    assert cohort.label("mass").tolist() == labels.tolist()
    for name, share in settings.fractions.items():
        inside = cohort.split(name)
        assert abs(len(inside) - share * 50) <= 2
        assert abs(inside.label("mass").sum() - share * labels.sum()) < 1
    assert cohort.read_sources().max() == 1.0


def test_hippocampus_slices_come_with_their_spacing_and_volumes_are_refused(data_dir: Path, tmp_path: Path) -> None:
    images = sorted((data_dir / "hippocampus" / "images").glob("*.nii.gz"))[:8]
    lines = ["subject,timepoint,source,target"]
    for path in images:
        volume = nib.load(path)
        mask = np.asarray(nib.load(data_dir / "hippocampus" / "labels" / path.name).dataobj) > 0
        pixels = np.asarray(volume.dataobj, dtype=np.float32)
        middle = pixels.shape[2] // 2
        depth = mask.sum(axis=2).astype(np.float32)
        depth[depth == 0] = np.nan
        nib.save(nib.Nifti1Image(pixels[:, :, middle], volume.affine), tmp_path / f"slice_{path.name}")
        nib.save(nib.Nifti1Image(depth, volume.affine), tmp_path / f"depth_{path.name}")
        lines.append(f"{path.name[:15]},0,slice_{path.name},depth_{path.name}")
    lines.append(f"volume,0,{images[0]},depth_{images[0].name}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    halves = {"train": 0.5, "test": 0.5}
    settings = PrepareSettings(
        SourcePreparation((32, 32)), (24, 24), fractions=halves, workers=1, on_error="skip", target_spacing=(9.0, 9.0)
    )
    checked = check_cohort(tmp_path / "manifest.csv", settings, progress=False)
    assert prepare_cohort(tmp_path / "manifest.csv", tmp_path / "out", settings, progress=False) == checked
    assert checked.n_kept == 8
    assert [finding.rule for finding in checked.findings] == ["unreadable source"]
    cohort = Cohort.open(tmp_path / "out")
    targets = cohort.read_targets()
    assert np.nanmin(targets) >= 1.0, "no voxel of the organ is thinner than one, and outside there is no value"
    assert np.isnan(targets).any(axis=(1, 2, 3)).all()
    assert cohort.atlas_mask.any()
    assert not cohort.atlas_mask.all()
