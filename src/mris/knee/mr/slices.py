"""Geometry of a stack of slices: sorted along their normal, told apart by echo, without a gap or a double."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from mris.errors import ImageError
from mris.knee.volume_file import MAX_VOXELS
from mris.wording import counted

LEAST_SLICES = 20
"""A volume of a knee has more; a localizer has fewer."""
EDGE_MM = (50.0, 400.0)
"""Shortest and longest edge of a volume of a knee."""

_SAME_DIRECTION = 1e-3
_SAME_PLACE = 0.1
_EVEN = 0.1
_MISSING = 1.5

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Slice:
    """Where one slice lies, before its pixels are read.

    Attributes:
        file: Where its pixels are.
        position: Center of its first pixel, mm, towards left, back and head as in DICOM.
        row: Direction along a row.
        column: Direction down a column.
        spacing: Distance of its rows, and of its columns, mm.
        size: Number of its rows and columns.
        echo: Echo time in ms and number of the echo; zeros where the file does not say.
        identity: Tells two slices at one place apart from two copies of one.
        frame: Which of the file's frames it is, from 0.
        n_frames: How many the file has.
    """

    file: Path
    position: Vector
    row: Vector
    column: Vector
    spacing: tuple[float, float]
    size: tuple[int, int]
    echo: tuple[float, float] = (0.0, 0.0)
    identity: str = ""
    frame: int = 0
    n_frames: int = 1


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices that make up one volume.

    Attributes:
        echoes: For each echo its slices, sorted along their normal.
        affine: From column, row and slice to the world (right, anterior, superior), mm.
        n_copies: Copies of slices that were left out.
    """

    echoes: tuple[tuple[Slice, ...], ...]
    affine: Float[np.ndarray, "4 4"]
    n_copies: int = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of columns, rows and slices."""
        rows, columns = self.echoes[0][0].size
        return columns, rows, len(self.echoes[0])


def stack_of(slices: Sequence[Slice], origin: str) -> Stack:
    """Sort slices into one volume, or say why they are none.

    Args:
        slices: Of one series, in any order.
        origin: Of the series, for messages.

    Raises:
        ImageError: Too few slices or pixels in all; several directions, sizes or spacings; a missing, doubled or
            displaced slice; more than two echoes; several volumes at one place; no volume of a knee by its edges.
    """
    _require_one_grid(slices, origin)
    once, n_copies = _without_copies(slices)
    groups: dict[tuple[float, float], list[Slice]] = {}
    for one in once:
        groups.setdefault(one.echo, []).append(one)
    if len(groups) > 2:
        times = ", ".join(f"{time:g}" for time, _ in sorted(groups)[:8])
        raise ImageError(
            f"scan {origin}: has {len(groups)} echoes (at {times} ms), as a series that maps T2 has; give a series for "
            "anatomy, such as DESS"
        )
    fewest = min(map(len, groups.values()))
    if fewest < LEAST_SLICES:
        raise ImageError(
            f"scan {origin}: has {counted(fewest, 'slice')}, as a localizer has, but a volume has {LEAST_SLICES} or "
            "more; give that, or copy the missing slices"
        )
    normal = np.cross(slices[0].row, slices[0].column)
    echoes = tuple(_sorted(groups[echo], normal, origin) for echo in sorted(groups))
    places = [np.array([one.position for one in echo]) for echo in echoes]
    if len(echoes) == 2 and (len(places[0]) != len(places[1]) or not np.allclose(places[0], places[1], atol=0.01)):
        raise ImageError(
            f"scan {origin}: its two echoes have {len(places[0])} and {len(places[1])} slices at other places; copy or "
            "export the series again"
        )
    stack = Stack(echoes, _affine(echoes[0], origin), n_copies)
    edges = np.array(stack.shape) * np.linalg.norm(stack.affine[:3, :3], axis=0)
    require_knee_size(edges, origin)
    return stack


def require_knee_size(edges: Float[np.ndarray, " 3"], origin: str) -> None:
    """Refuse a volume whose edges (mm) are not those of a scan of a knee.

    Raises:
        ImageError: An edge is shorter or longer than `EDGE_MM`.
    """
    if edges.min() < EDGE_MM[0] or edges.max() > EDGE_MM[1]:
        found = " x ".join(f"{edge:.0f}" for edge in edges)
        raise ImageError(
            f"scan {origin}: is {found} mm, but a scan of a knee is {EDGE_MM[0]:g} to {EDGE_MM[1]:g} mm along each "
            "edge; give the series of one knee"
        )


def _require_one_grid(slices: Sequence[Slice], origin: str) -> None:
    first = slices[0]
    axes = np.array([[*one.row, *one.column] for one in slices])
    if np.abs(axes - axes[0]).max() > _SAME_DIRECTION:
        raise ImageError(f"scan {origin}: its slices lie in several directions, as in a localizer; give one volume")
    for name, values in (("sizes", {one.size for one in slices}), ("pixel spacings", {one.spacing for one in slices})):
        if len(values) > 1:
            raise ImageError(f"scan {origin}: its slices have several {name} ({sorted(values)[:3]}); give one volume")
    row, column = np.array(first.row), np.array(first.column)
    lengths = np.linalg.norm([row, column], axis=1)
    if np.abs(lengths - 1).max() > 0.01 or abs(float(row @ column)) > 0.01:
        raise ImageError(f"scan {origin}: the directions of its rows and columns are not at right angles; export again")
    n_voxels = len(slices) * first.size[0] * first.size[1]
    if n_voxels > MAX_VOXELS:
        raise ImageError(
            f"scan {origin}: {n_voxels:,} voxels, more than the {MAX_VOXELS:,} that are read; give one knee's volume"
        )


def _without_copies(slices: Sequence[Slice]) -> tuple[list[Slice], int]:
    """Leave out a slice that is there twice: the same one, copied. Some exporters give all slices one identity."""
    seen: dict[tuple[str, int, Vector], Slice] = {}
    keys = [(one.identity, one.frame, one.position) for one in slices]
    once = [one for one, key in zip(slices, keys, strict=True) if not key[0] or seen.setdefault(key, one) is one]
    return once, len(slices) - len(once)


def _sorted(slices: Sequence[Slice], normal: np.ndarray, origin: str) -> tuple[Slice, ...]:
    order = sorted(slices, key=lambda one: float(normal @ one.position))
    steps = np.diff([float(normal @ one.position) for one in order])
    step = float(np.median(steps[steps > 0.01])) if (steps > 0.01).any() else 0.0
    doubled = np.flatnonzero(steps <= _SAME_PLACE * step)
    if step == 0.0 or len(doubled) >= len(order) // 3:
        raise ImageError(
            f"scan {origin}: has several slices at most places, as a series over time (4D) has; give one time point"
        )
    if len(doubled):
        pair = " and ".join(f"{one.file.name}" for one in order[doubled[0] : doubled[0] + 2])
        raise ImageError(f"scan {origin}: two slices lie at one place ({pair}); leave one of them out")
    wide = np.flatnonzero(steps > _MISSING * step)
    if len(wide):
        n_missing = round(float((steps[wide] / step - 1).sum()))
        at = order[wide[0]].file.name
        raise ImageError(
            f"scan {origin}: about {n_missing} slices are missing (a gap of {steps[wide[0]]:.2f} mm after {at}, where "
            f"others are {step:.2f} mm apart); copy the whole series"
        )
    if np.abs(steps - step).max() > _EVEN * step:
        raise ImageError(
            f"scan {origin}: its slices are {steps.min():.2f} to {steps.max():.2f} mm apart; give one of even slices"
        )
    return tuple(order)


def _affine(slices: tuple[Slice, ...], origin: str) -> Float[np.ndarray, "4 4"]:
    first = slices[0]
    places = np.array([one.position for one in slices])
    step = (places[-1] - places[0]) / (len(places) - 1)
    if np.abs(places - places[0] - np.arange(len(places))[:, None] * step).max() > 0.1 + 0.05 * np.linalg.norm(step):
        raise ImageError(f"scan {origin}: its slices do not lie behind each other along one line; export it again")
    normal = np.cross(first.row, first.column)
    if np.linalg.norm(step - (step @ normal) * normal) > 0.02 * np.linalg.norm(step):
        raise ImageError(f"scan {origin}: its slices are sheared (a tilted stack); reformat it to a straight one")
    affine = np.eye(4)
    affine[:3, 0] = np.array(first.row) * first.spacing[1]
    affine[:3, 1] = np.array(first.column) * first.spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = places[0]
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # DICOM counts to the left and to the back
