"""What a door knows of the part of the body that its sources show; the rooms below it take it as an argument."""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

_FRONTAL = {"AP", "PA", "FRONTAL"}
_LATERAL = {"LL", "RL", "LLD", "RLD", "LAT", "LATERAL", "ML", "LM", "MEDIOLATERAL", "LATEROMEDIAL", "SAGITTAL"}
_OBLIQUE = {"LLO", "RLO", "LAO", "RAO", "LPO", "RPO", "OBL", "OBLIQUE"}
_AXIAL = {"AXIAL", "TANGENTIAL"}
"""Words for views that every part of the body has: DICOM's terms (PS3.3, C.8.7.1; PS3.16, CID 4010) and the usual."""


@dataclass(frozen=True)
class Anatomy:
    """What is special to one part of the body; the default knows nothing special.

    Attributes:
        name: What a source shows one of, for messages.
        plural: Several of it.
        other_views: Words, in capitals, for views of it that are not frontal, beyond those of every part.
        widest_mm: What is wider is taken for a picture of both sides; None if a width tells nothing.
        region_mm: Edge of the square region that is usual; None if nothing is.
        body_part: How BodyPartExamined names it; "" if no results are to name it.
        other_parts: How BodyPartExamined names what shows none of it.
        code: Its code for results: value, scheme and meaning.
        plate_advice: How one of them is had from a picture of both.
        center_advice: How one of them is had from a picture whose header is wrong.
        mirrored_advice: How one of them is had from a mirrored picture.
        targets: Names of target regions that belong to it: who synthesizes these has sources that show it.
        sight: Says what speaks against a prepared source's showing it, given the edge in mm of what the source shows.

    Example:
        >>> Anatomy(name="hand", plural="hands", other_views=frozenset({"BALLCATCHER"})).is_frontal("BALLCATCHER")
        False
    """

    name: str = "region"
    plural: str = "regions"
    other_views: frozenset[str] = frozenset()
    widest_mm: float | None = None
    region_mm: float | None = None
    body_part: str = ""
    other_parts: frozenset[str] = frozenset()
    code: tuple[str, str, str] = ("", "", "")
    plate_advice: str = "give a picture of one"
    center_advice: str = "give the center of the region"
    mirrored_advice: str = "mirror it back"
    targets: frozenset[str] = frozenset()
    sight: Callable[[Float32[np.ndarray, "c h w"], float], tuple[str, ...]] | None = None

    def is_frontal(self, view: str) -> bool | None:
        """Whether a view is frontal (PA, AP); None if it is not named, or in words of its own.

        Example:
            >>> anatomy = Anatomy()
            >>> [anatomy.is_frontal(view) for view in ("PA", "AP/LAT", "STANDING", "")]
            [True, False, None, None]
        """
        words = set(re.split(r"[^A-Z]+", view.upper()))
        if words & (_LATERAL | _OBLIQUE | _AXIAL | self.other_views):
            return False
        return True if words & _FRONTAL else None

    def notes_on_view(self, view: str) -> tuple[str, ...]:
        """Say that a view, as a header names it, is not frontal."""
        if self.is_frontal(view) is not False:
            return ()
        return (f"its header names the view {view!r}, but {self.plural} are seen on PA and AP views",)

    def notes_on_part(self, part: str) -> tuple[str, ...]:
        """Say that a picture is of another part of the body, as a header names it."""
        if part not in self.other_parts:
            return ()
        return (f"its header (BodyPartExamined) names {part}, which shows no {self.name}",)

    def doubts(
        self, source: Float32[np.ndarray, "c h w"], edge_mm: float | None, regions: Collection[str]
    ) -> tuple[str, ...]:
        """Say what in a prepared source speaks against its showing this part of the body.

        Args:
            source: As the encoders see it.
            edge_mm: Of what it shows; None if that is unknown: then nothing can be said.
            regions: What is synthesized from it; nothing is said where it is of another part of the body.
        """
        if self.sight is None or edge_mm is None or not set(regions) <= self.targets:
            return ()
        return self.sight(source, edge_mm)
