"""A knee of simple solids, as a label volume and as an atlas: two condyles of a cylinder on two elliptic plates.

A left knee in the atlas' frame: x grows from lateral to medial, and the medial plate is the longer one.
"""

from pathlib import Path

import nibabel as nib
import numpy as np

from mris.knee.cartilage_atlas import FEMORAL_AXIS, MIDDLE_X, AtlasRegion, CartilageAtlas
from mris.knee.segmentation import FEMORAL_CARTILAGE, FEMUR, TIBIA, TIBIAL_CARTILAGE, Segmentation

CENTER = np.array([MIDDLE_X, *FEMORAL_AXIS])
RADIUS, FEMORAL_MM, GAP_MM, TIBIAL_MM = 17.0, 2.0, 0.6, 2.8
TOP = -(RADIUS + FEMORAL_MM + GAP_MM)
"""Height of the plateau below the axis of the femur."""
CONDYLES = ((-20.0, -4.0), (4.0, 22.0))
PLATES = ((-12.0, 8.0, 11.0), (13.0, 9.0, 16.0))
"""Middle along x, then half widths along x and y."""
RIGHT = np.diag([-1.0, 1.0, 1.0, 1.0])


def labels_at(points: np.ndarray, femoral_mm: float = FEMORAL_MM, tibial_mm: float = TIBIAL_MM) -> np.ndarray:
    """Tissue at each place (..., 3) of the atlas' world."""
    x, y, z = np.moveaxis(points - CENTER, -1, 0)
    radius, angle = np.hypot(y, z), np.degrees(np.arctan2(y, -z))
    in_condyle = np.logical_or.reduce([(x > low) & (x < high) for low, high in CONDYLES])
    low = z < 12.0
    in_plate = np.logical_or.reduce([((x - m) / a) ** 2 + (y / b) ** 2 < 1 for m, a, b in PLATES])
    labels = np.zeros(points.shape[:-1], np.uint8)
    labels[(radius < RADIUS) & low & (np.abs(x) < 24)] = FEMUR
    covered = (radius >= RADIUS) & (radius < RADIUS + femoral_mm) & (angle > -95) & (angle < 80)
    labels[covered & in_condyle] = FEMORAL_CARTILAGE
    labels[(z < TOP - tibial_mm) & (z > TOP - 16) & (np.abs(x) < 25) & (np.abs(y) < 19)] = TIBIA
    labels[(z < TOP) & (z >= TOP - tibial_mm) & in_plate] = TIBIAL_CARTILAGE
    return labels


def grid_affine(spacing: tuple[float, float, float]) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and affine of a volume round the knee."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = CENTER - [32.0, 32.0, 44.0]
    return tuple(int(np.ceil(size / s)) for size, s in zip((64.0, 64.0, 66.0), spacing, strict=True)), affine


def knee(
    spacing: tuple[float, float, float] = (1.0, 0.7, 0.7),
    motion: np.ndarray | None = None,
    side: str = "left",
    **solids: float,
) -> Segmentation:
    """The knee, moved by an affine `motion` of the world, and mirrored at x = 0 if it is a right one."""
    shape, affine = grid_affine(spacing)
    motion = np.eye(4) if motion is None else motion
    around = np.eye(4)
    around[:3, 3] = CENTER
    motion = around @ motion @ np.linalg.inv(around)
    middle = motion @ [*CENTER, 1.0]
    affine[:3, 3] += (middle - [*CENTER, 1.0])[:3]
    world = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    back = np.linalg.inv(motion)
    labels = labels_at(world @ back[:3, :3].T + back[:3, 3], **solids)
    if side == "right":
        affine = RIGHT @ affine
        labels, affine = (
            labels[::-1].copy(),
            affine @ np.array([[-1, 0, 0, shape[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
        )
    return Segmentation(labels, affine, side, "knee of solids")  # type: ignore[arg-type]


def atlas(mesh: float = 1.0) -> CartilageAtlas:
    """The same knee as an atlas: joint-side meshes, their places in the plane, volumes.

    With `mesh` a half or less the vertices lie as densely as those of the real atlas, and maps have no gaps.
    """
    segmentation = knee((0.8, 0.8, 0.8))
    femoral, tibial = [], []
    for low, high in CONDYLES:
        x, angle = np.meshgrid(
            np.arange(low + 0.5, high, 0.7 * mesh), np.radians(np.arange(-93, 79, 2.0 * mesh)), indexing="ij"
        )
        radius = RADIUS + FEMORAL_MM
        points = np.stack([x, radius * np.sin(angle), -radius * np.cos(angle)], axis=-1)
        femoral.append((points, np.stack([np.degrees(angle) / 1.82, x], axis=-1), np.ones(x.shape, bool)))
    for middle, a, b in PLATES:
        x, y = np.meshgrid(np.arange(middle - a, middle + a, 0.7 * mesh), np.arange(-b, b, 0.7 * mesh), indexing="ij")
        inside = ((x - middle) / a) ** 2 + (y / b) ** 2 < 0.95
        tibial.append((np.stack([x, y, np.full_like(x, TOP)], axis=-1), np.stack([y, -x], axis=-1), inside))
    return CartilageAtlas(
        femoral=_region("femoral", femoral),
        tibial=_region("tibial", tibial),
        femoral_volume=segmentation.labels == FEMORAL_CARTILAGE,
        tibial_volume=segmentation.labels == TIBIAL_CARTILAGE,
        affine=segmentation.affine,
    )


def _region(name: str, sheets: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> AtlasRegion:
    points, faces, places, n = [], [], [], 0
    for sheet, flat, inside in sheets:
        number = np.full(inside.shape, -1)
        number[inside] = n + np.arange(inside.sum())
        a, b, c, d = number[:-1, :-1], number[1:, :-1], number[:-1, 1:], number[1:, 1:]
        triangles = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, b, c), (b, d, c))])
        points.append(sheet[inside] + CENTER)
        places.append(flat[inside])
        faces.append(triangles[(triangles >= 0).all(axis=1)])
        n += int(inside.sum())
    return AtlasRegion(name, np.concatenate(points), np.concatenate(faces), np.concatenate(places))  # type: ignore[arg-type]


def write_segmentation(path: Path, segmentation: Segmentation, dtype: type = np.uint8) -> Path:
    """Write a label volume as NIfTI, with the numbers of the preset ``oai_zib``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(segmentation.labels.astype(dtype), segmentation.affine), path)
    return path
