"""What the name of a segmentation file tells of a knee: subject, side and timepoint, or why that is doubtful."""

import re
from dataclasses import dataclass
from datetime import date
from typing import cast

from mris.errors import SettingsError
from mris.images.header import Side
from mris.images.image import side_name

SCHEMES = (
    "9000000_R_00m_seg.nii.gz, 9000000_20040802_SAG_3D_DESS_RIGHT.nii.gz or sub-9000000_ses-00m_hemi-R_dseg.nii.gz"
)
"""One name of each scheme that is read."""

_SIDES = ("left", "right", "l", "r")
_KINDS = frozenset(("seg", "dseg", "segmentation", "label", "labels", "labelmap", "mask", "fc", "prob", "probmap"))
_MONTHS = re.compile(r"0*(\d+)m", re.IGNORECASE)
_OAI = re.compile(r"(\d{7})_(\d{8})_SAG_3D_DESS_(LEFT|RIGHT)(?:_.*)?", re.IGNORECASE)
_BREAK = re.compile(r"[_\-. ]+")


@dataclass(frozen=True)
class NamedKnee:
    """What a name tells.

    Attributes:
        subject: Whose knee it is.
        side: Which one; None if the name does not tell.
        timepoint: Months as a number, a date as 2004-08-02, another word as it stands; "0" if there is none.
    """

    subject: str
    side: Side | None
    timepoint: str


def knee_of_stem(stem: str) -> NamedKnee:
    """Read the name of a segmentation, without its suffix.

    Three schemes are known: the subject, a side, perhaps a timepoint (``9000000_R_00m_seg``; the timepoint may stand
    before the side if it is months or a date); the study OAI's ``ID_DATE_SAG_3D_DESS_SIDE``; and BIDS, where ``sub-``,
    ``ses-`` and ``hemi-`` name the three. A subject of the first scheme is one word: of two, the second may be a visit,
    and each visit would pass for a person.

    Raises:
        SettingsError: The name can be read in more than one way; the message says what is doubtful.

    Example:
        >>> knee_of_stem("9000000_R_12m_seg")
        NamedKnee(subject='9000000', side='right', timepoint='12')
        >>> knee_of_stem("9000000_20040802_SAG_3D_DESS_LEFT_10423916_seg")
        NamedKnee(subject='9000000', side='left', timepoint='2004-08-02')
        >>> knee_of_stem("sub-P7_ses-V01_hemi-L_dseg")
        NamedKnee(subject='P7', side='left', timepoint='V01')
    """
    oai = _OAI.fullmatch(stem)
    if oai and (day := _date(oai[2])):
        return NamedKnee(oai[1], _side(oai[3]), day)
    return _of_bids(stem) if stem.lower().startswith("sub-") else _of_words(stem)


def _of_bids(stem: str) -> NamedKnee:
    parts = [part.partition("-") for part in stem.split("_")]
    values = {name.lower(): value for name, dash, value in parts if dash}
    words = [name for name, dash, _ in parts if not dash]
    sides = [side for side in map(_side, [values.get("hemi", ""), *words]) if side]
    unread = [word for word in words[:-1] if not _side(word)]  # the last one says what the file is
    if not values["sub"] or len(values) < sum(bool(dash) for _, dash, _ in parts):
        raise SettingsError("one of its entities is empty or stands twice")
    if unread:
        raise SettingsError(f"{unread[0]!r} is no entity; write the visit as ses-{unread[0]}, if it is one")
    return NamedKnee(values["sub"], _only(sides), _visit(values.get("ses", "")) or values.get("ses") or "0")


def _of_words(stem: str) -> NamedKnee:
    words = [word for word in _BREAK.split(stem) if word]
    while len(words) > 1 and words[-1].lower() in _KINDS:
        words.pop()
    places = [place for place, word in enumerate(words) if _side(word) and place > 0]
    side = _only([cast(Side, _side(words[place])) for place in places])
    before = words[: places[0]] if places else words
    after = [word for word in words[len(before) :] if not _side(word) and word.lower() not in _KINDS]
    visits = [visit for word in (*before[1:], *after) if (visit := _visit(word))]
    if len(before) != 1 and not (len(before) == 2 and _visit(before[1])):
        raise SettingsError(f"which part of {' '.join(before)!r} is the subject is not certain")
    if len(visits) > 1 or (not visits and len(after) > 1):
        raise SettingsError(f"which of {', '.join(map(repr, [*before[1:], *after]))} is the timepoint is not certain")
    return NamedKnee(before[0], side, (*visits, *after, "0")[0])


def _only(sides: list[Side]) -> Side | None:
    if len(set(sides)) > 1:
        raise SettingsError("it tells both sides")
    return sides[0] if sides else None


def _side(word: str) -> Side | None:
    return cast(Side, side_name(word)) if word.lower() in _SIDES else None


def _visit(word: str) -> str | None:
    """Months or a date, in the form that timepoints have; None for any other word."""
    months = _MONTHS.fullmatch(word)
    return months[1] if months else _date(word)


def _date(word: str) -> str | None:
    try:
        return date.fromisoformat(word).isoformat() if re.fullmatch(r"(19|20)\d{6}", word) else None
    except ValueError:  # such as month 13
        return None
