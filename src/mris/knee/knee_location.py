"""Where the knees of a plate are and which side each is: by the caller, a sheet or the detector, never by a guess."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from mris.errors import ImageError
from mris.images.header import Side
from mris.images.image import Image
from mris.images.transforms import MUCH_OUTSIDE, share_outside
from mris.knee.anatomy import KNEE
from mris.knee.radiograph import Center, KneeLocation

if TYPE_CHECKING:
    from mris.knee.joint_detector import JointDetection
    from mris.knee.oai_sheets import PlateKeypoints

Detector = Callable[[Image], "Sequence[JointDetection]"]

LEAST_DISTANCE_MM = 80.0
"""Centers of two knees of one person are never nearer: a knee alone is about that wide.

On the 11,021 plates with both knees of the public OAI sheets, the nearest are 126 mm apart (by the spacing that their
columns suggest).
"""

SIDES: tuple[Side, Side] = ("right", "left")
"""In the order in which they stand on a frontal plate."""

_GIVE_CENTERS = "give its center by hand (--right ROW,COLUMN, --left ROW,COLUMN, or a sheet)"


def locate_knees(
    plate: Image,
    *,
    centers: Mapping[Side, Center] | None = None,
    side: Side | None = None,
    keypoints: "PlateKeypoints | None" = None,
    detector: Detector | None = None,
    least_confidence: float | None = None,
) -> tuple[KneeLocation, ...]:
    """Locate the knees of a plate.

    Centers come from the caller, else from a row of a sheet, else from the detector. Sides come with the centers; of
    detected knees, a single one takes its side from the header or from `side`, two take theirs from their position.
    Whatever header, position and caller say of a side must agree.

    Args:
        plate: The radiograph; the detector needs its spacing.
        centers: Center of each knee that is wanted.
        side: The side of a plate that shows one knee.
        keypoints: A row of a sheet.
        detector: Finds joints in an image; `mris.knee.joint_detector.detect_joints` by default.
        least_confidence: Detections below it are not believed; by default that of the detector's module.

    Returns:
        One or two knees, the right one first.

    Raises:
        ImageError: If there is no knee, a center is outside the plate or not believed, two centers are too near for two
            knees, a side is unknown, or two sources of a side contradict each other.

    Example:
        >>> import numpy as np
        >>> plate = Image(np.ones((1, 300, 400), np.float32), spacing=(1.0, 1.0))
        >>> [knee.side for knee in locate_knees(plate, centers={"left": (150, 310), "right": (150, 90)})]
        ['right', 'left']
    """
    if centers and keypoints is not None:
        raise ImageError(f"{_name(plate)}: centers are given both by hand and by a sheet; give one of them")
    if centers:
        knees = [KneeLocation(name, centers[name], "given", "given") for name in SIDES if name in centers]
    elif keypoints is not None:
        pairs = zip(SIDES, (keypoints.right, keypoints.left), strict=True)
        knees = [KneeLocation(name, center, "sheet", "sheet") for name, center in pairs if center is not None]
    else:
        knees = _detected(plate, side, detector, least_confidence)
    if not knees:
        raise ImageError(f"{_name(plate)}: no knee is located; {_GIVE_CENTERS}")
    for knee in knees:
        _check_inside(plate, knee)
    _check_sides(plate, knees, side)
    if len(knees) == 2:
        _check_pair(plate, knees)
    return tuple(knees)


def notes_on_plate(plate: Image, knees: Sequence[KneeLocation], size_mm: float) -> tuple[str, ...]:
    """Say what of a plate whose knees are located deserves a look.

    Args:
        plate: The plate.
        knees: As `locate_knees` gave them.
        size_mm: Edge of their regions.

    Example:
        >>> import numpy as np
        >>> plate = Image(np.ones((1, 300, 400), np.float32), spacing=(1.0, 1.0))
        >>> notes_on_plate(plate, locate_knees(plate, centers={"right": (0, 150)}), 140.0)
        ('50% of the region of the right knee lies outside the plate; check its center',)
    """
    notes = list(_notes_on_view(plate.header.view, by_position=any(knee.side_source == "position" for knee in knees)))
    notes += [*plate.header.notes, *KNEE.notes_on_part(plate.header.body_part)]
    if plate.laterality is not None and len(knees) == 2:
        notes.append(f"its header ({_sides_source(plate)}) says {plate.laterality} alone; both are taken as given")
    for knee in knees:
        outside = share_outside(plate, size_mm, knee.center)
        if outside > MUCH_OUTSIDE:
            share = f"{outside:.0%} of the region of the {knee.side} knee"
            notes.append(f"{share} lies outside the plate; check its center")
    return tuple(notes)


def _notes_on_view(view: str, *, by_position: bool) -> tuple[str, ...]:
    """Say what of a plate's view deserves a look; `by_position`, sides come from the knees' places on it."""
    if not by_position or KNEE.is_frontal(view) is not None:
        return KNEE.notes_on_view(view)
    found = f"the view {view!r} is not known" if view else "the view is not stated"
    return (f"{found} and taken for frontal",)


def _detected(
    plate: Image, side: Side | None, detector: Detector | None, least_confidence: float | None
) -> list[KneeLocation]:
    """Knees that the detector finds with enough confidence, each with a side that something names."""
    if plate.spacing is None:
        raise ImageError(
            f"{_name(plate)}: knees are found by their size, but the pixel spacing is unknown; give it (--spacing)"
        )
    if KNEE.is_frontal(plate.header.view) is False:
        raise ImageError(
            f"{_name(plate)}: its header names the view {plate.header.view!r}, but knees are found on PA and AP views; "
            + _GIVE_CENTERS
        )
    if side is not None and plate.laterality not in (None, side):
        raise ImageError(
            f"{_name(plate)}: --side says {side}, but its header ({_sides_source(plate)}) says {plate.laterality}; "
            "mend one of them"
        )
    if detector is None or least_confidence is None:
        from mris.knee.joint_detector import MIN_CONFIDENCE, detect_joints

        detector = detect_joints if detector is None else detector
        least_confidence = MIN_CONFIDENCE if least_confidence is None else least_confidence
    found = sorted(detector(plate), key=lambda detection: detection.center[1])
    believed = [detection for detection in found if detection.confidence >= least_confidence]
    both = len(plate.header.sides) == 2
    single = None if both else side or plate.laterality
    doubted = [detection for detection in found if detection not in believed]
    # A plate that is said to show one knee may leave a weak second peak unexplained; no other plate may.
    if doubted and (single is None or not believed):
        raise ImageError(f"{_name(plate)}: {_doubt(doubted, believed, least_confidence, may_be_one=not both)}")
    match believed:
        case [one]:
            if both:
                raise ImageError(
                    f"{_name(plate)}: its header says that it shows both knees, but only the one at {_place(one)} is "
                    f"found; {_GIVE_CENTERS}"
                )
            if single is None:
                raise ImageError(
                    f"{_name(plate)}: shows one knee, at {_place(one)}, and its header does not say which; give --side "
                    "left or right, or, if it shows another, the centers by hand"
                )
            source: Literal["given", "header"] = "header" if plate.laterality else "given"
            return [KneeLocation(single, one.center, source, "detector", one.confidence)]
        case [first, second]:
            order: Sequence[Side] = SIDES[::-1] if plate.header.mirrored else SIDES
            named = zip(order, (first, second), strict=True)
            knees = [KneeLocation(s, d.center, "position", "detector", d.confidence) for s, d in named]
            return sorted(knees, key=lambda knee: SIDES.index(knee.side))
        case []:
            return []
    raise ImageError(f"{_name(plate)}: {len(believed)} knees are found, but a person has two; {_GIVE_CENTERS}")


def _doubt(
    doubted: "Sequence[JointDetection]", believed: "Sequence[JointDetection]", least: float, *, may_be_one: bool
) -> str:
    """Say which detection is not believed, and what to do."""
    if not believed:
        best = max(doubted, key=lambda detection: detection.confidence)
        return (
            f"no knee is found for sure: the likeliest, at {_place(best)}, has a confidence of {best.confidence:.2f}, "
            f"below {least:.2f}; {_GIVE_CENTERS}"
        )
    worst = min(doubted, key=lambda detection: detection.confidence)
    return (
        f"the knee at {_place(worst)} is found with a confidence of {worst.confidence:.2f}, below {least:.2f}; "
        f"{_GIVE_CENTERS}" + (", or --side if the plate shows one knee" if may_be_one else "")
    )


def _place(detection: "JointDetection") -> str:
    return f"row {detection.center[0]:.0f}, column {detection.center[1]:.0f}"


def _check_inside(plate: Image, knee: KneeLocation) -> None:
    rows, columns = plate.size
    row, column = knee.center
    inside = math.isfinite(row) and math.isfinite(column) and 0 <= row <= rows - 1 and 0 <= column <= columns - 1
    if not inside:
        raise ImageError(
            f"{_name(plate)}: the center of the {knee.side} knee (row {row:g}, column {column:g}; "
            f"{knee.center_source}) is outside its {rows} x {columns} pixels; give the center in pixels of this file"
        )


def _check_sides(plate: Image, knees: Sequence[KneeLocation], side: Side | None) -> None:
    """Hold the sides of all knees against the header and the caller."""
    found = " and ".join(knee.side for knee in knees)
    if side is not None and [knee.side for knee in knees] != [side]:
        raise ImageError(
            f"{_name(plate)}: --side says that it shows the {side} knee alone, but {found} "
            f"{'is' if len(knees) == 1 else 'are'} located by {knees[0].center_source}; mend one of them"
        )
    # A header often tells the examination's side, not the picture's; but a single knee by hand may be the wrong one.
    both_by_hand = len(knees) == 2 and all(knee.side_source == "given" for knee in knees)
    if plate.laterality is not None and [knee.side for knee in knees] != [plate.laterality] and not both_by_hand:
        raise ImageError(
            f"{_name(plate)}: its header ({_sides_source(plate)}) says that it shows the {plate.laterality} knee "
            f"alone, but {found} {'is' if len(knees) == 1 else 'are'} located by {knees[0].center_source}; mend the "
            "header, or, if it shows both, give both centers by hand (--right ROW,COLUMN --left ROW,COLUMN)"
        )


def _check_pair(plate: Image, knees: Sequence[KneeLocation]) -> None:
    """Hold the positions of the right and the left knee against each other."""
    right, left = (knee.center for knee in knees)
    if plate.spacing is not None:
        distance = math.hypot(*((a - b) * mm for a, b, mm in zip(right, left, plate.spacing, strict=True)))
        if distance < LEAST_DISTANCE_MM:
            raise ImageError(
                f"{_name(plate)}: the centers of its two knees are {distance:.0f} mm apart, but two knees are at least "
                f"{LEAST_DISTANCE_MM:g}; check the centers and the spacing"
            )
    if KNEE.is_frontal(plate.header.view) is not False and (right[1] < left[1]) == plate.header.mirrored:
        found, rule = ("right", "a frontal plate shows it at the left")
        if plate.header.mirrored:
            found, rule = ("left", "the header's PatientOrientation says that this plate is mirrored")
        raise ImageError(
            f"{_name(plate)}: the right knee (column {right[1]:g}) stands at the {found} of the left one (column "
            f"{left[1]:g}) in the picture, but {rule}; are the centers swapped?"
        )


def _sides_source(plate: Image) -> str:
    return plate.header.sides_source or "header"


def _name(plate: Image) -> str:
    return f"image {plate.origin}"
