"""The cartilage atlas of OAI_analysis 2: a surface of femoral and of tibial cartilage, and their flat frame.

Files. One left knee, in the scanner's frame: a volume of each cartilage (NIfTI), a triangle mesh of one
surface with a thickness per vertex (ASCII PLY), and the place of each vertex in the plane (``*_inner_embedded.npy``).
The meshes ``*_inner_mesh_world.ply`` are not read: the tibial one has four vertices, at a rim, without a place.

Coordinates. Meshes and volumes share one frame, RAS in mm: ``x`` to the patient's right, ``y`` to the front, ``z`` up.
For a left knee the right is the inner side, so ``x`` also grows from lateral to medial. (Read as LPS, no vertex
would lie in the volumes' field of view.)

Embedding. Femur: a circle fitted to all vertices in the plane of ``y`` and ``z`` is the cross-section of a cylinder;
the first coordinate grows linearly with the angle round its axis, 1.82 degrees a unit, and the second is ``x``.
Tibia: the two principal axes of each plate, turned so that the first runs to the front and the second to lateral.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
from jaxtyping import Bool, Float, Int
from nibabel.filebasedimages import ImageFileError

from mris.errors import ImageError
from mris.images.faults import library_faults_as_image_error
from mris.reading import file_sha256

RegionName = Literal["femoral", "tibial"]

MIDDLE_X = 50.0
"""Between the lateral (below) and the medial half of the atlas' knee, RAS, mm: in the gap between the tibial plates."""

FEMORAL_AXIS = (-74.18, -57.83)
"""``y`` and ``z`` (RAS, mm) of the axis round which the femoral surface is unrolled: circle fitted to all vertices."""

WEIGHT_BEARING = (-60.0, 10.0)
"""Angles (degrees, 0 straight down, positive to the front) of the femur's weight-bearing part.

The front of the intercondylar notch is at 11 degrees, the back end of the condyles at -113: 60 % of the way is -63.
"""

CHECKSUMS = {
    "atlas_fc.nii.gz": "b07f62a87ce8f3713d749413bed9db3335a99450ba7abfdf5414e796a933dbf4",
    "atlas_tc.nii.gz": "aaa972bfae26ac62ffd051948bc4faa5368a484e410ea9376be72722b5d38973",
    "atlas_FC_mesh_with_thickness.ply": "963d03032f3dada01d3686bbf7b9bae19f0e6a1123939268c15990f2eacf1957",
    "atlas_TC_mesh_with_thickness.ply": "46c785d513679384510dfb4d9b77ddaa8a06c132c3f5ddf2aff22f883f46a687",
    "FC_inner_embedded.npy": "d5c5bc958b18742c7914ed9af965da16cd97247b74d724a2f1ebca8a75c2d947",
    "TC_inner_embedded.npy": "96bf04e99dad59319469ae681c1c4360b6787706840d083816d052086e140b2d",
}
"""SHA-256 of the files that the atlas is read from."""

_PREFIX: dict[RegionName, str] = {"femoral": "FC", "tibial": "TC"}


@dataclass(frozen=True, eq=False)
class AtlasRegion:
    """One surface of a cartilage of the atlas and its place in the plane.

    Attributes:
        name: ``"femoral"`` or ``"tibial"``.
        points: Vertices, RAS, mm.
        faces: Vertices of each triangle.
        embedding: Place of each vertex in the plane, in units of its own; the first coordinate runs to the front.
    """

    name: RegionName
    points: Float[np.ndarray, "n 3"]
    faces: Int[np.ndarray, "m 3"]
    embedding: Float[np.ndarray, "n 2"]


@dataclass(frozen=True, eq=False)
class CartilageAtlas:
    """Surfaces and volumes of the atlas; a left knee.

    Attributes:
        femoral: Surface of the femoral cartilage.
        tibial: Surface of the tibial cartilage, both plates.
        femoral_volume: Where the femoral cartilage is.
        tibial_volume: Where the tibial cartilage is.
        affine: From voxel indices to RAS, mm, of both volumes.
    """

    femoral: AtlasRegion
    tibial: AtlasRegion
    femoral_volume: Bool[np.ndarray, "i j k"]
    tibial_volume: Bool[np.ndarray, "i j k"]
    affine: Float[np.ndarray, "4 4"]


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangle mesh with scalar values at its vertices.

    Attributes:
        points: Vertices, mm.
        faces: Vertices of each triangle.
        values: Further properties of the vertices by name, for example ``"thickness"``.
    """

    points: Float[np.ndarray, "n 3"]
    faces: Int[np.ndarray, "m 3"]
    values: dict[str, Float[np.ndarray, " n"]]


def open_atlas(folder: Path) -> CartilageAtlas:
    """Read the atlas from a folder with the files of `CHECKSUMS`.

    Args:
        folder: Folder of the atlas.

    Raises:
        ImageError: If a file is missing, or differs from the published one.
    """
    for name in CHECKSUMS:
        _check_file(folder, name)
    femoral_volume, affine = _read_volume(folder / "atlas_fc.nii.gz")
    tibial_volume, other = _read_volume(folder / "atlas_tc.nii.gz")
    if not np.array_equal(affine, other):
        raise ImageError(f"{folder}: the two cartilage volumes have different affines; fetch the atlas again")
    return CartilageAtlas(
        femoral=_read_region(folder, "femoral"),
        tibial=_read_region(folder, "tibial"),
        femoral_volume=femoral_volume,
        tibial_volume=tibial_volume,
        affine=affine,
    )


def femoral_angle(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
    """Angle (degrees) round the axis of the condyles: 0 straight down, positive to the front.

    Args:
        points: Places in the atlas' frame, RAS, mm.

    Example:
        >>> femoral_angle(np.array([[50.0, -74.18, -90.0], [50.0, -40.0, -57.83]]))
        array([ 0., 90.])
    """
    y, z = FEMORAL_AXIS
    return np.asarray(np.degrees(np.arctan2(points[:, 1] - y, z - points[:, 2])))


def read_ply(path: Path) -> Mesh:
    """Read a triangle mesh from an ASCII PLY file, with the scalar properties of its vertices.

    Only what the atlas' files hold is understood: an element ``vertex`` of scalar properties, then an element ``face``
    with one list of three indices.

    Args:
        path: An ASCII PLY file.

    Raises:
        ImageError: If the file is binary, cut, has other elements, or its indices do not fit.
    """
    try:
        head, found, body = path.read_text(encoding="ascii").partition("end_header\n")
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: no ASCII PLY file ({error}); give the atlas' own mesh") from None
    header = [line.split() for line in head.splitlines() if not line.startswith("comment")]
    if not found or header[:2] != [["ply"], ["format", "ascii", "1.0"]]:
        raise ImageError(f"{path}: no ASCII PLY file; give the atlas' own mesh")
    elements = [tuple(words[1:]) for words in header if words[0] == "element"]
    scalars = [words[-1] for words in header if words[0] == "property" and words[1] != "list"]
    if [element[0] for element in elements] != ["vertex", "face"] or scalars[:3] != ["x", "y", "z"]:
        raise ImageError(
            f"{path}: PLY of {elements} with {scalars}; only meshes of vertices x, y, z and faces are read"
        )
    try:
        n_vertices, n_faces = (int(element[1]) for element in elements)
        numbers = np.array(body.split(), dtype=np.float64)
    except (IndexError, ValueError) as error:
        raise ImageError(f"{path}: damaged mesh ({error}); fetch it again") from None
    n_numbers = n_vertices * len(scalars) + n_faces * 4
    if len(numbers) != n_numbers:
        raise ImageError(f"{path}: {len(numbers)} numbers instead of {n_numbers}; the file is damaged, fetch it again")
    vertices = numbers[: n_vertices * len(scalars)].reshape(n_vertices, len(scalars))
    corners = numbers[n_vertices * len(scalars) :].reshape(n_faces, 4).astype(np.int64)
    if (corners[:, 0] != 3).any() or (corners < 0).any() or (corners[:, 1:] >= n_vertices).any():
        raise ImageError(f"{path}: faces are not triangles of the {n_vertices} vertices; fetch the file again")
    values = {name: vertices[:, i] for i, name in enumerate(scalars[3:], start=3)}
    return Mesh(points=vertices[:, :3], faces=corners[:, 1:], values=values)


def _check_file(folder: Path, name: str) -> None:
    path = folder / name
    if not path.is_file():
        raise ImageError(f"{folder}: no {name}; an atlas folder holds {', '.join(CHECKSUMS)}")
    found = file_sha256(path)
    if found != CHECKSUMS[name]:
        raise ImageError(f"{path}: SHA-256 is {found[:12]}..., not {CHECKSUMS[name][:12]}...; fetch the file again")


def _read_region(folder: Path, name: RegionName) -> AtlasRegion:
    prefix = _PREFIX[name]
    mesh = read_ply(folder / f"atlas_{prefix}_mesh_with_thickness.ply")
    embedding = np.load(folder / f"{prefix}_inner_embedded.npy", allow_pickle=False)
    if embedding.shape != (len(mesh.points), 2):
        raise ImageError(f"{folder}: embedding of shape {embedding.shape} for {len(mesh.points)} vertices ({name})")
    return AtlasRegion(name=name, points=mesh.points, faces=mesh.faces, embedding=embedding)


def _read_volume(path: Path) -> tuple[Bool[np.ndarray, "i j k"], Float[np.ndarray, "4 4"]]:
    with library_faults_as_image_error(path, "NIfTI", ImageFileError):
        image = nib.Nifti1Image.from_filename(path)
        return np.asarray(image.dataobj) > 0, np.asarray(image.affine, dtype=np.float64)
