"""The atlas of OAI_analysis 2: its frame, its parts, and folders that are not whole."""

import hashlib
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial import cKDTree

from mris.errors import ImageError
from mris.knee import cartilage_atlas
from mris.knee.cartilage_atlas import (
    CHECKSUMS,
    FEMORAL_AXIS,
    MIDDLE_X,
    CartilageAtlas,
    femoral_angle,
    open_atlas,
    read_ply,
)

HEADER = """ply
format ascii 1.0
comment by hand
element vertex 4
property double x
property double y
property double z
property double thickness
element face 2
property list uchar int vertex_indices
end_header
"""
BODY = "0 0 0 1.5\n1 0 0 2.5\n0 1 0 0\n1 1 0.5 3\n3 0 1 2\n3 1 3 2\n"


@pytest.fixture(scope="module")
def atlas(data_dir: Path) -> CartilageAtlas:
    return open_atlas(data_dir / "oai_atlas")


@pytest.fixture
def small_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the atlas' file names, two triangles a mesh, and checksums that fit."""
    for prefix in ("FC", "TC"):
        (tmp_path / f"atlas_{prefix}_mesh_with_thickness.ply").write_text(HEADER + BODY)
        np.save(tmp_path / f"{prefix}_inner_embedded.npy", np.arange(8.0).reshape(4, 2))
        volume = nib.Nifti1Image(np.ones((2, 2, 2), np.uint8), np.eye(4))
        nib.save(volume, tmp_path / f"atlas_{prefix.lower()}.nii.gz")
    accept(tmp_path, monkeypatch)
    return tmp_path


def accept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the checksums those of the folder's files."""
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in CHECKSUMS}
    monkeypatch.setattr(cartilage_atlas, "CHECKSUMS", sums)


@pytest.mark.data
def test_the_vertices_of_the_meshes_lie_on_the_surface_of_the_volumes(atlas: CartilageAtlas) -> None:
    for region, volume in ((atlas.femoral, atlas.femoral_volume), (atlas.tibial, atlas.tibial_volume)):
        voxels = np.argwhere(volume) @ atlas.affine[:3, :3].T + atlas.affine[:3, 3]
        distance, _ = cKDTree(voxels).query(region.points[::10])
        assert np.mean(distance) < 0.5
        as_lps = region.points[::500] * [-1, -1, 1]
        assert cKDTree(voxels).query(as_lps)[0].min() > 10


@pytest.mark.data
def test_the_femur_is_unrolled_by_the_angle_round_the_stated_axis(atlas: CartilageAtlas) -> None:
    region = atlas.femoral
    np.testing.assert_allclose(region.embedding[:, 1], region.points[:, 0], atol=1e-9)
    angle = femoral_angle(region.points)
    line = np.polyfit(region.embedding[:, 0], angle, 1)
    assert np.abs(np.polyval(line, region.embedding[:, 0]) - angle).max() < 0.05
    radius = np.hypot(region.points[:, 1] - FEMORAL_AXIS[0], region.points[:, 2] - FEMORAL_AXIS[1])
    assert radius.std() / radius.mean() < 0.1


@pytest.mark.data
def test_the_atlas_is_a_left_knee_whose_longer_plate_is_medial(atlas: CartilageAtlas) -> None:
    y, medial = atlas.tibial.points[:, 1], atlas.tibial.points[:, 0] > MIDDLE_X
    assert np.ptp(y[medial]) > 1.2 * np.ptp(y[~medial])
    gap = np.abs(atlas.tibial.points[:, 0] - MIDDLE_X).min()
    assert gap > 4  # no plate comes near the middle


@pytest.mark.data
def test_a_changed_byte_is_found_and_the_file_named(data_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(data_dir / "oai_atlas", tmp_path / "atlas", copy_function=shutil.copyfile)
    (tmp_path / "atlas").chmod(0o755)
    path = tmp_path / "atlas" / "TC_inner_embedded.npy"
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"TC_inner_embedded\.npy: SHA-256 is .*, not 96bf04e99dad"):
        open_atlas(tmp_path / "atlas")


def test_a_folder_without_one_of_the_files_says_which(small_folder: Path) -> None:
    (small_folder / "atlas_tc.nii.gz").unlink()
    with pytest.raises(ImageError, match=r"no atlas_tc\.nii\.gz; an atlas folder holds atlas_fc"):
        open_atlas(small_folder)


def test_a_small_atlas_is_read_as_written(small_folder: Path) -> None:
    atlas = open_atlas(small_folder)
    assert [region.name for region in (atlas.femoral, atlas.tibial)] == ["femoral", "tibial"]
    assert atlas.femoral.points.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0.5]]
    assert atlas.tibial.faces.tolist() == [[0, 1, 2], [1, 3, 2]]
    assert atlas.tibial_volume.all()


def test_an_embedding_of_another_mesh_is_refused(small_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(small_folder / "FC_inner_embedded.npy", np.zeros((3, 2)))
    accept(small_folder, monkeypatch)
    with pytest.raises(ImageError, match=r"embedding of shape \(3, 2\) for 4 vertices \(femoral\)"):
        open_atlas(small_folder)


def test_volumes_in_two_frames_are_refused(small_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nib.save(nib.Nifti1Image(np.ones((2, 2, 2), np.uint8), 2 * np.eye(4)), small_folder / "atlas_tc.nii.gz")
    accept(small_folder, monkeypatch)
    with pytest.raises(ImageError, match="different affines"):
        open_atlas(small_folder)


def test_a_mesh_keeps_the_values_of_its_vertices(tmp_path: Path) -> None:
    path = tmp_path / "mesh.ply"
    path.write_text(HEADER + BODY)
    assert read_ply(path).values["thickness"].tolist() == [1.5, 2.5, 0.0, 3.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + BODY[:20], "8 numbers instead of 24"),
        (HEADER + BODY.replace("3 1 3 2", "3 1 4 2"), "not triangles of the 4 vertices"),
        (HEADER + BODY.replace("3 1 3 2", "4 1 3 2"), "not triangles"),
        (HEADER + BODY.replace("2.5", "two"), "damaged mesh"),
        (HEADER.replace("face 2", "face two") + BODY, "damaged mesh"),
        (HEADER.replace("face 2", "face") + BODY, "damaged mesh"),
        (HEADER + BODY.replace("0 1 0 0", "0 1 0"), "23 numbers instead of 24"),
        (HEADER.replace("element face 2", "element edge 2") + BODY, "only meshes of vertices x, y, z and faces"),
        (HEADER.replace("double x", "double u") + BODY, "only meshes of vertices x, y, z"),
        (HEADER.replace("ascii", "binary_little_endian") + BODY, "no ASCII PLY file"),
        ("solid x\n", "no ASCII PLY file"),
        ("ply\n\xff", "no ASCII PLY file"),
    ],
)
def test_a_file_that_is_no_such_mesh_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mesh.ply"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ImageError, match=message):
        read_ply(path)
