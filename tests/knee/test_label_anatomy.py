"""Anatomy says which preset a label volume has, and which volumes are no knee by the labels that are given."""

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tests.knee_volumes import knee

from mris.errors import ImageError
from mris.images.header import Side
from mris.knee.label_anatomy import label_anatomy, misfits, plausible_labels
from mris.knee.label_map import PRESETS, LabelMap, label_map
from mris.knee.label_volume import LabelVolume, canonical, read_label_volume
from mris.knee.segmentation import Segmentation, read_segmentation, segmentation_from_volume

ZIB = PRESETS["oai_zib"]


@pytest.fixture(scope="module", params=["solids", "9014797_R_00m", "9012867_R_unknown", "9031426_R_unknown"])
def plain(request: pytest.FixtureRequest, data_dir: Path) -> Segmentation:
    """A knee, and real ones: at every third voxel in the plane, the label numbers 1 to 4 alone."""
    if request.param == "solids":
        return knee((2.0, 1.4, 1.4))
    if not data_dir.is_dir():
        pytest.skip("no real segmentations")
    volume = canonical(read_label_volume(data_dir / "oai_knees" / "segmentations" / f"{request.param}_seg.nii.gz"))
    labels = np.where(np.isin(volume.voxels, (7, 8)), volume.voxels - 6 + (volume.voxels == 8), volume.voxels)
    thin = np.where(labels > 4, 0, labels)[:, ::3, ::3].astype(np.uint8)
    return Segmentation(thin, volume.affine @ np.diag([1.0, 3.0, 3.0, 1.0]), "right", request.param)


def numbered(plain: Segmentation, labels: LabelMap) -> LabelVolume:
    """The knee as a program would write it that has these numbers; the tissues that it ignores are absent."""
    voxels = np.zeros(plain.labels.shape, np.uint16)
    for tissue, numbers in labels.numbers.items():
        tibial = "tibial" in tissue
        where = plain.labels == {"femur": 1, "femoral_cartilage": 2, "tibia": 3}.get(tissue, 4)
        if tissue.startswith(("medial", "lateral")):
            filled = np.flatnonzero((plain.labels == 4).any(axis=(1, 2)))
            gap = filled[np.diff(filled).argmax()]  # the slice of the plate to the left before the gap
            right = np.arange(len(where)) > gap
            here = right if tissue.startswith("medial") == (plain.side == "left") else ~right
            where = where & here[:, None, None]
        assert where.any() or not tibial
        voxels[where] = numbers[0]
    return LabelVolume(voxels, plain.affine, "knee.nii")


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_found_by_anatomy_and_gives_the_same_tissues(name: str, plain: Segmentation) -> None:
    labels = PRESETS[name]
    volume = numbered(plain, labels)
    found = segmentation_from_volume(volume, None, plain.side)
    assert PRESETS[found.preset].numbers == labels.numbers or name == "oai_knees"
    tissues = plain.labels if labels.has_bones else np.where(plain.labels % 2 == 0, plain.labels, 0)
    assert np.array_equal(found.labels, tissues)
    assert np.array_equal(segmentation_from_volume(volume, labels, plain.side).labels, tissues)


def test_of_all_orders_of_the_four_numbers_only_the_right_one_is_taken(plain: Segmentation) -> None:
    anatomy = label_anatomy(renumbered(plain, 1, 2, 3, 4))
    for order in permutations((1, 2, 3, 4)):
        shuffled = replace(anatomy, numbers=(0, *order))
        fitting = [name for name, labels in PRESETS.items() if not misfits(shuffled, labels, plain.side)]
        assert fitting == (["oai_zib", "ski10", "kneeseg", "oai_knees"] if order == (1, 2, 3, 4) else [])


def refusal(volume: LabelVolume, labels: LabelMap | None, side: Side) -> str:
    with pytest.raises(ImageError) as caught:
        plausible_labels(volume, labels, side)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def renumbered(plain: Segmentation, *order: int) -> LabelVolume:
    return LabelVolume(np.array([0, *order], np.uint16)[plain.labels], plain.affine, "knee.nii")


def test_bones_or_cartilages_that_are_swapped_are_named(plain: Segmentation) -> None:
    assert "a femoral cartilage that lies on the tibia" in refusal(renumbered(plain, 3, 2, 1, 4), ZIB, plain.side)
    assert "a femoral cartilage that lies on the tibia" in refusal(renumbered(plain, 1, 4, 3, 2), ZIB, plain.side)
    assert "the femur below the tibia" in refusal(renumbered(plain, 3, 4, 1, 2), ZIB, plain.side)
    thick = refusal(renumbered(plain, 2, 1, 3, 4), ZIB, plain.side)
    assert "a femoral cartilage as thick as its bone" in thick or "mm3 of femur, a fragment" in thick


def test_a_knee_that_is_upside_down_is_refused(plain: Segmentation) -> None:
    turned = canonical(LabelVolume(plain.labels.astype(np.uint16), np.diag([1, 1, -1, 1.0]) @ plain.affine, "knee.nii"))
    assert "the femur below the tibia; is it upside down" in refusal(turned, ZIB, plain.side)
    bare = PRESETS["skm_tea"]
    turned = canonical(replace(numbered(plain, bare), affine=np.diag([1, 1, -1, 1.0]) @ plain.affine))
    assert "the femoral cartilage below the tibial cartilage" in refusal(turned, bare, plain.side)


def test_two_knees_in_one_volume_are_refused(plain: Segmentation) -> None:
    voxels = plain.labels.astype(np.uint16)
    between = np.zeros((int(10 / plain.spacing[0]), *voxels.shape[1:]), np.uint16)
    apart = LabelVolume(np.concatenate([voxels, between, voxels]), plain.affine, "knee.nii")
    assert "two knees side by side; cut it to one" in refusal(apart, ZIB, plain.side)
    wide = replace(plain, affine=plain.affine @ np.diag([4.0, 1.0, 1.0, 1.0]))
    assert "mm wide, or two of them" in refusal(renumbered(wide, 1, 2, 3, 4), ZIB, plain.side)


@pytest.mark.parametrize("tissue", ["femur", "femoral_cartilage", "tibia", "medial_tibial_cartilage"])
def test_a_missing_tissue_is_named(tissue: str, plain: Segmentation) -> None:
    labels = PRESETS["cartimorph"]
    volume = numbered(plain, labels)
    volume = replace(volume, voxels=np.where(volume.voxels == labels.numbers[tissue][0], 0, volume.voxels))
    assert f"holds no {tissue.replace('_', ' ')}" in refusal(volume, labels, plain.side)


def test_a_tibia_with_one_plate_is_refused_where_plates_have_no_numbers(plain: Segmentation) -> None:
    volume = numbered(plain, PRESETS["cartimorph"])
    one = LabelVolume(np.where(volume.voxels == 5, 0, volume.voxels), plain.affine, "knee.nii")
    assert "is not two plates side by side" in refusal(one, ZIB, plain.side)


def test_plates_on_the_wrong_sides_are_told_from_the_side_of_the_knee(plain: Segmentation) -> None:
    volume = numbered(plain, PRESETS["cartimorph"])
    other: Side = "left" if plain.side == "right" else "right"
    assert f"its medial plate lateral, for a {other} knee" in refusal(volume, PRESETS["cartimorph"], other)
    swapped = replace(volume, voxels=np.array([0, 1, 2, 3, 5, 4], np.uint16)[volume.voxels])
    assert f"its medial plate lateral, for a {plain.side} knee" in refusal(swapped, None, plain.side)


def test_a_volume_that_fits_another_preset_than_the_given_one_says_which(plain: Segmentation) -> None:
    volume = numbered(plain, PRESETS["nnunet_knee"])
    message = refusal(volume, ZIB, plain.side)
    assert "it is a knee by --labels nnunet_knee, not by those oai_zib" in message
    by_hand = label_map("femur=8,femoral_cartilage=2,tibia=7,tibial_cartilage=3+4")
    message = refusal(volume, by_hand, plain.side)
    assert "lies on the tibia" in message and "--labels nnunet_knee, not by those given by hand" in message


def test_where_no_preset_fits_the_nearest_and_its_fault_are_named(plain: Segmentation) -> None:
    message = refusal(renumbered(plain, 3, 2, 1, 4), None, plain.side)
    assert "fits no preset of --labels; by oai_zib, the nearest, it has a femoral cartilage" in message
    odd = renumbered(plain, 11, 12, 13, 14)
    assert "fits no preset" in refusal(odd, None, plain.side)
    assert plausible_labels(odd, by_hand := label_map("femur=11,femoral_cartilage=12,tibia=13,tibial_cartilage=14"),
                            plain.side) is by_hand  # fmt: skip


def test_a_scan_and_an_empty_volume_are_no_label_volumes() -> None:
    scan = LabelVolume(np.arange(8000, dtype=np.uint16).reshape(20, 20, 20), np.eye(4), "scan.nii")
    assert "scan.nii: holds 8,000 numbers" in refusal(scan, None, "left")
    empty = LabelVolume(np.zeros((9, 9, 9), np.uint16), np.eye(4), "empty.nii")
    assert "holds nothing but 0" in refusal(empty, ZIB, "left")


def test_borders_of_solids_are_those_of_a_plain_loop() -> None:
    voxels = np.random.default_rng(0).integers(0, 3, (5, 6, 4)).astype(np.uint16)
    affine = np.diag([2.0, 3.0, 1.0, 1.0])
    anatomy = label_anatomy(LabelVolume(voxels, affine, "random"))
    area = np.zeros((3, 3))
    for axis, face in enumerate((3.0, 2.0, 6.0)):
        for place in np.ndindex(*voxels.shape):
            other = tuple(index + (axis == at) for at, index in enumerate(place))
            if other[axis] < voxels.shape[axis] and voxels[place] != voxels[other]:
                area[voxels[place], voxels[other]] += face
                area[voxels[other], voxels[place]] += face
    assert anatomy.border == pytest.approx(area)
    assert anatomy.volume((1, 2)) == pytest.approx(6.0 * (voxels > 0).sum())
    assert anatomy.middle((2,), 1) == pytest.approx(3.0 * np.argwhere(voxels == 2)[:, 1].mean())


@pytest.mark.data
def test_real_knees_are_far_from_the_limits_of_anatomy(data_dir: Path) -> None:
    for path in sorted((data_dir / "oai_knees" / "segmentations").iterdir())[::10]:
        anatomy = label_anatomy(canonical(read_label_volume(path)))
        assert misfits(anatomy, PRESETS["oai_knees"], "right") == ()
        for cartilage, own, other in (((2,), (1, 7), (3, 8)), ((4,), (3, 8), (1, 7))):
            assert anatomy.border_share(cartilage, own) > 0.3
            assert anatomy.border_share(cartilage, other) < 0.1
            assert anatomy.thickness(cartilage) < 2.5 < 7 < anatomy.thickness(own)


def test_two_probability_maps_are_one_volume(tmp_path: Path) -> None:
    plain = knee((2.0, 1.4, 1.4))
    for name, number in (("FC", 2), ("TC", 4)):
        values = np.where(plain.labels == number, 0.9, 0.2).astype(np.float32)
        nib.save(nib.Nifti1Image(values, plain.affine), tmp_path / f"S1_L_00m_{name}_probmap.nii.gz")
    femoral, tibial = (tmp_path / f"S1_L_00m_{name}_probmap.nii.gz" for name in ("FC", "TC"))
    found = read_segmentation(femoral, None, "left")
    assert found.preset == "oai_analysis"
    assert np.array_equal(found.labels, np.where(plain.labels % 2 == 0, plain.labels, 0))
    nib.save(nib.Nifti1Image(np.float32(plain.labels), plain.affine), tibial)
    with pytest.raises(ImageError, match=r"TC_probmap\.nii\.gz: holds 0 to 4; probabilities are 0 to 1"):
        read_segmentation(femoral, None, "left")
    nib.save(nib.Nifti1Image(np.zeros((9, 9, 9), np.float32), plain.affine), tibial)
    with pytest.raises(ImageError, match=r"its grid is not that of S1_L_00m_TC_probmap\.nii\.gz"):
        read_segmentation(femoral, None, "left")
    tibial.unlink()
    with pytest.raises(ImageError, match=r"TC_probmap\.nii\.gz: there is no such file"):
        read_segmentation(femoral, None, "left")
