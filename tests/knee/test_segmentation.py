"""Label volumes become tissues, whatever axes, format and numbers the file has; bad files are named with the reason."""

import gzip
import os
import struct
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nibabel import orientations
from tests.knee_volumes import knee, write_segmentation

from mris.errors import ImageError, SettingsError
from mris.knee.label_map import PRESETS, LabelMap, label_map
from mris.knee.label_volume import read_label_volume
from mris.knee.segmentation import (
    FEMORAL_CARTILAGE,
    FEMUR,
    TIBIA,
    TIBIAL_CARTILAGE,
    Segmentation,
    cropped,
    findings_of,
    read_segmentation,
)

ZIB = PRESETS["oai_zib"]
COARSE = (2.0, 1.4, 1.4)


@pytest.fixture(scope="module")
def solids() -> Segmentation:
    return knee(COARSE)


def read(path: Path, labels: LabelMap = ZIB) -> Segmentation:
    return read_segmentation(path, labels, "left")


def save(path: Path, voxels: np.ndarray, affine: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_any_order_and_direction_of_the_axes_gives_the_same_tissues(
    order: tuple[int, ...], solids: Segmentation, tmp_path: Path
) -> None:
    for signs in product((1, -1), repeat=3):
        turn = np.array(list(zip(order, signs, strict=True)))
        voxels = orientations.apply_orientation(solids.labels, turn)
        affine = solids.affine @ orientations.inv_ornt_aff(turn, solids.labels.shape)
        found = read(save(tmp_path / "turned.nii", voxels, affine))
        assert np.array_equal(found.labels, solids.labels)
        assert found.affine == pytest.approx(solids.affine, abs=1e-4)


def test_an_oblique_anisotropic_affine_is_kept(solids: Segmentation, tmp_path: Path) -> None:
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]
    found = read(save(tmp_path / "oblique.nii.gz", solids.labels, turn @ solids.affine))
    assert found.affine == pytest.approx(turn @ solids.affine, abs=1e-4)
    assert found.spacing == pytest.approx(COARSE, abs=1e-5)
    assert found.findings == ()


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_itk_formats_give_what_nifti_gives(suffix: str, solids: Segmentation, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(solids.labels.transpose(2, 1, 0))
    image.SetSpacing(COARSE)
    image.SetDirection([-1, 0, 0, 0, -1, 0, 0, 0, 1])  # ITK counts to the left and to the back
    image.SetOrigin([-solids.affine[0, 3], -solids.affine[1, 3], solids.affine[2, 3]])
    sitk.WriteImage(image, str(tmp_path / f"knee{suffix}"))
    found = read(tmp_path / f"knee{suffix}")
    assert np.array_equal(found.labels, solids.labels)
    assert found.affine == pytest.approx(solids.affine, abs=1e-6)


def nrrd(path: Path, labels: np.ndarray, affine: np.ndarray, space: str) -> Path:
    """Write an NRRD by hand, its directions as `affine` has them in `space`; without them where it is empty."""
    vectors = " ".join(f"({','.join(f'{number:.6f}' for number in affine[:3, axis])})" for axis in range(3))
    origin = ",".join(f"{number:.6f}" for number in affine[:3, 3])
    oriented = f"space: {space}\nspace directions: {vectors}\nspace origin: ({origin})" if space else "spacings: 1 1 1"
    sizes = " ".join(str(length) for length in labels.shape)
    header = f"NRRD0004\ntype: unsigned char\ndimension: 3\nsizes: {sizes}\nencoding: raw\n{oriented}\n\n"
    path.write_bytes(header.encode() + labels.astype(np.uint8).tobytes(order="F"))
    return path


@pytest.mark.parametrize(
    ("space", "of_ras"),
    [
        ("right-anterior-superior", (1, 1, 1)),
        ("LPS", (-1, -1, 1)),
        ("left-posterior-superior", (-1, -1, 1)),
        ("left-anterior-superior", (-1, 1, 1)),
    ],
)
def test_an_nrrd_is_read_the_right_way_round_also_where_it_is_left_handed(
    space: str, of_ras: tuple[int, ...], solids: Segmentation, tmp_path: Path
) -> None:
    pytest.importorskip("SimpleITK")
    for signs in product((1, -1), repeat=3):
        turn = np.array(list(zip(range(3), signs, strict=True)))
        voxels = orientations.apply_orientation(solids.labels, turn)
        affine = solids.affine @ orientations.inv_ornt_aff(turn, solids.labels.shape)
        found = read(nrrd(tmp_path / "knee.nrrd", voxels, np.diag([*of_ras, 1]) @ affine, space))
        assert np.array_equal(found.labels, solids.labels)
        assert found.affine == pytest.approx(solids.affine, abs=1e-4)


@pytest.mark.parametrize("space", ["", "scanner-xyz", "3D-right-handed"])
def test_an_nrrd_without_a_space_of_a_body_is_refused_as_nifti_is(
    space: str, solids: Segmentation, tmp_path: Path
) -> None:
    pytest.importorskip("SimpleITK")
    with pytest.raises(ImageError, match=r"knee\.nrrd: has no orientation"):
        read(nrrd(tmp_path / "knee.nrrd", solids.labels, solids.affine, space))


def test_an_mha_without_directions_is_refused_as_nifti_is(solids: Segmentation, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    sitk.WriteImage(sitk.GetImageFromArray(solids.labels.transpose(2, 1, 0)), str(tmp_path / "knee.mha"))
    whole = (tmp_path / "knee.mha").read_bytes()
    (tmp_path / "knee.mha").write_bytes(whole.replace(b"TransformMatrix = 1 0 0 0 1 0 0 0 1\n", b""))
    with pytest.raises(ImageError, match=r"knee\.mha: has no orientation"):
        read(tmp_path / "knee.mha")


def test_two_orientations_that_disagree_about_sides_are_refused(solids: Segmentation, tmp_path: Path) -> None:
    image = nib.Nifti1Image(solids.labels, solids.affine)
    for flip in (np.diag([-1, 1, 1, 1]), np.diag([-1, -1, 1, 1]), np.diag([1, 1, -1, 1])):
        image.set_sform(flip @ solids.affine, code=1)
        image.set_qform(solids.affine, code=1)
        nib.save(image, tmp_path / "two.nii")
        with pytest.raises(ImageError, match=r"two.nii: its two orientations \(sform, qform\) disagree"):
            read(tmp_path / "two.nii")
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]  # an atlas' frame
    image.set_sform(turn @ solids.affine, code=2)
    nib.save(image, tmp_path / "two.nii")
    assert read(tmp_path / "two.nii").affine == pytest.approx(turn @ solids.affine, abs=1e-4)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32, np.float64])
def test_labels_of_any_type_are_read(dtype: type, solids: Segmentation, tmp_path: Path) -> None:
    assert np.array_equal(read(write_segmentation(tmp_path / "a.nii.gz", solids, dtype)).labels, solids.labels)


def test_meters_are_converted_and_a_singleton_time_axis_is_dropped(solids: Segmentation, tmp_path: Path) -> None:
    affine = solids.affine.copy()
    affine[:3] /= 1000
    image = nib.Nifti1Image(solids.labels[..., np.newaxis], affine)
    image.header.set_xyzt_units("meter")
    nib.save(image, tmp_path / "meters.nii")
    assert read(tmp_path / "meters.nii").affine == pytest.approx(solids.affine, abs=1e-3)


def test_lesions_of_the_bone_are_bone_and_the_patella_is_not_used(solids: Segmentation, tmp_path: Path) -> None:
    labels = solids.labels.copy()
    femur, tibia = (tuple(np.argwhere(labels == tissue)[500]) for tissue in (FEMUR, TIBIA))
    labels[femur], labels[tibia], labels[0, 0, 0] = 7, 8, 5
    found = read(save(tmp_path / "lesions.nii", labels, solids.affine), PRESETS["oai_knees"])
    assert (found.labels[femur], found.labels[tibia], found.labels[0, 0, 0]) == (FEMUR, TIBIA, 0)


def test_numbers_can_be_named(solids: Segmentation, tmp_path: Path) -> None:
    table = np.array([0, 40, 10, 300, 20], np.uint16)
    path = save(tmp_path / "own.nii", table[solids.labels], solids.affine)
    named = label_map("femur=40,femoral_cartilage=10,tibia=300,tibial_cartilage=20,ignore=9")
    assert np.array_equal(read(path, named).labels, solids.labels)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("oai", "cannot be read"),
        ("femur=1", "femoral_cartilage has no number"),
        ("femur=1,femoral_cartilage=2,tibia=3,tibial_cartilage=x", "'tibial_cartilage=x' cannot be read"),
        ("femur=1,femoral_cartilage=2,tibia=3,tibial_cartilage=3", "3 stands twice"),
        ("femur=1,femoral_cartilage=2,tibia=3,tibial_cartilage=4,meniscus=5", "'meniscus' is no tissue"),
        ("femur=0,femoral_cartilage=2,tibia=3,tibial_cartilage=4", "0 is no label"),
        ("femur=1,femur=5,femoral_cartilage=2,tibia=3,tibial_cartilage=4", "'femur=5' cannot be read"),
    ],
)
def test_labels_that_cannot_work_are_refused(text: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        label_map(text)


def test_an_unknown_label_is_named(solids: Segmentation, tmp_path: Path) -> None:
    labels = solids.labels.copy()
    labels[0, 0, 0] = 77
    with pytest.raises(ImageError, match=r"odd\.nii: holds the labels \[77\]"):
        read(save(tmp_path / "odd.nii", labels, solids.affine))


@pytest.mark.parametrize(
    ("tissue", "name"),
    [(FEMUR, "femur"), (FEMORAL_CARTILAGE, "femoral cartilage"), (TIBIA, "tibia"), (4, "tibial cartilage")],
)
def test_a_missing_tissue_and_a_fragment_are_refused(
    tissue: int, name: str, solids: Segmentation, tmp_path: Path
) -> None:
    labels = np.where(solids.labels == tissue, 0, solids.labels).astype(np.uint8)
    with pytest.raises(ImageError, match=f"holds no {name}"):
        read(save(tmp_path / "none.nii", labels, solids.affine))
    for place in np.argwhere(solids.labels == tissue)[:40]:
        labels[tuple(place)] = tissue
    with pytest.raises(ImageError, match=f"of {name}, a fragment"):
        read(save(tmp_path / "some.nii", labels, solids.affine))


def test_a_gap_islands_a_straight_edge_and_a_cut_field_of_view_are_warned_of(solids: Segmentation) -> None:
    gap, islands = solids.labels.copy(), solids.labels.copy()
    gap[12:14] = 0
    islands[::2, 0:9:2, 0:9:2] = TIBIAL_CARTILAGE
    cut = solids.labels[8:]
    assert findings_of(solids) == ()
    assert any("2 empty sagittal slices" in str(found) for found in findings_of(replace(solids, labels=gap)))
    assert any("tibial cartilage are islands" in str(found) for found in findings_of(replace(solids, labels=islands)))
    straight = np.where(
        (solids.labels == TIBIAL_CARTILAGE) & (np.arange(len(gap)) < 11)[:, None, None], 0, solids.labels
    )
    assert any("straight edge" in str(found) for found in findings_of(replace(solids, labels=straight)))
    assert any("border of the field of view" in str(found) for found in findings_of(replace(solids, labels=cut)))


@settings(deadline=None, max_examples=20)
@given(st.floats(0.0, 12.0))
def test_a_crop_keeps_every_voxel_of_cartilage_at_its_place(margin: float) -> None:
    whole = knee((3.0, 2.0, 2.0))
    part = cropped(whole, margin)
    for tissue in (FEMORAL_CARTILAGE, TIBIAL_CARTILAGE):
        places = [s.affine[:3, :3] @ np.argwhere(s.labels == tissue).T + s.affine[:3, 3:] for s in (whole, part)]
        assert places[1] == pytest.approx(places[0])


def test_files_that_are_no_label_volume_are_refused_by_name(solids: Segmentation, tmp_path: Path) -> None:
    affine, labels = solids.affine, solids.labels
    unoriented = nib.Nifti1Image(labels, None)
    unoriented.set_sform(None, code=0)
    unoriented.set_qform(None, code=0)
    nib.save(unoriented, tmp_path / "unoriented.nii")
    sheared = affine.copy()
    sheared[:3, 1] = sheared[:3, 0]
    (tmp_path / "knee.png").write_bytes(b"no volume")
    (tmp_path / "text.nii").write_text("no volume" * 100)
    (tmp_path / "text.nrrd").write_text("no volume")
    bad = {
        save(tmp_path / "scan.nii", labels + np.float32(0.5), affine): "fractions or NaN",
        save(tmp_path / "negative.nii", labels.astype(np.int16) - 1, affine): "holds -1 to 3",
        save(tmp_path / "plane.nii", labels[..., 0], affine): "is no volume",
        save(tmp_path / "series.nii", np.stack([labels, labels], -1), affine): "is no volume",
        save(tmp_path / "flat.nii", labels, sheared): "three directions",
        save(tmp_path / "km.nii", labels, np.diag([1e6, 1e6, 1e6, 1.0])): "must be 0.02 to 10 mm",
        save(tmp_path / "complex.nii", labels.astype(np.complex64), affine): "one real number",
        tmp_path / "unoriented.nii": "has no orientation",
        tmp_path / "knee.png": "is no .nii",
        tmp_path / "text.nii": "is not NIfTI",
        tmp_path / "text.nrrd": "cannot be read",
        tmp_path / "absent.nii": "no such file",
    }
    for path, reason in bad.items():
        with pytest.raises(ImageError, match=reason) as caught:
            read(path)
        assert path.name in str(caught.value)


@pytest.mark.parametrize("name", ["knee.nii", "knee.nii.gz"])
def test_a_truncated_file_is_refused_wherever_it_ends(name: str, solids: Segmentation, tmp_path: Path) -> None:
    whole = write_segmentation(tmp_path / name, solids).read_bytes()
    for share in (0.0, 0.001, 0.01, 0.4, 0.99):
        (tmp_path / name).write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ImageError, match=name):
            read(tmp_path / name)


@pytest.mark.parametrize("packed", [False, True])
def test_a_tiny_file_that_promises_a_huge_volume_costs_no_memory(
    packed: bool, solids: Segmentation, tmp_path: Path
) -> None:
    data = bytearray(write_segmentation(tmp_path / "small.nii", solids).read_bytes()[:2000])
    for n in (600, 32767):
        data[40:48] = struct.pack("<4h", 3, n, n, n)
        path = tmp_path / ("huge.nii.gz" if packed else "huge.nii")
        path.write_bytes(gzip.compress(bytes(data)) if packed else bytes(data))
        with pytest.raises(ImageError, match=r"truncated|more than the"):
            read(path)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(faults=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_damaged_header_is_refused_or_read_but_never_breaks(
    faults: list[tuple[int, int]], solids: Segmentation, tmp_path: Path
) -> None:
    data = bytearray(write_segmentation(tmp_path / "sound.nii", solids).read_bytes())
    for place, value in faults:
        data[place] = value
    (tmp_path / "damaged.nii").write_bytes(bytes(data))
    try:
        assert read(tmp_path / "damaged.nii").labels.max() <= TIBIAL_CARTILAGE
    except ImageError as error:
        assert "damaged.nii" in str(error)


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("x.mha", "ObjectType = Image\nNDims = 3\nDimSize = 9 9 9\nElementType = MET_UCHAR\nElementDataFile = {}\n"),
        ("x.nrrd", "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 9 9 9\nencoding: raw\ndata file: {}\n\n"),
        ("x.nrrd", "NRRD0004\r\ntype: uint8\r\ndimension: 3\r\nsizes: 9 9 9\r\nencoding: raw\r\ndatafile: {}\r\n\r\n"),
    ],
)
def test_a_volume_whose_voxels_are_in_another_file_is_refused(tmp_path: Path, name: str, header: str) -> None:
    os.mkfifo(tmp_path / "voxels")  # whoever opens it waits for ever
    (tmp_path / name).write_bytes(header.format(tmp_path / "voxels").encode())
    with pytest.raises(ImageError, match="its voxels are in another file"):
        read_label_volume(tmp_path / name)
