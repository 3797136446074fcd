"""Which values of a source's header may be copied: those that DICOM allows for their element."""

import unicodedata
from typing import Any

from pydicom import config
from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.multival import MultiValue
from pydicom.valuerep import DA, TM, DSfloat, PersonName, validate_value

from mris.images.faults import LIBRARY_FAULTS

ENUMERATED = {
    "PatientSex": ("M", "F", "O"),
    "PatientIdentityRemoved": ("YES", "NO"),
    "BurnedInAnnotation": ("YES", "NO"),
}
"""Elements that may have these values and no other."""

_FAULTS: tuple[type[Exception], ...] = (*LIBRARY_FAULTS, BytesLengthException)
"""What is raised of bytes that are no text."""

_PARSERS = {"DA": DA, "TM": TM}
_FOREIGN = "\\\N{REPLACEMENT CHARACTER}"
"""The one parts values; the other stands for bytes that could not be decoded."""
_ROOTS = ("0", "1", "2")
"""Of all UIDs (ISO/IEC 9834)."""
_COMPONENTS = 5
"""Of a person's name: family, given and middle name, prefix, suffix."""


def texts_of(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """The values of an element as texts, allowed or not; () where it is absent or empty.

    Args:
        dataset: As it was read.
        keyword: Of an element of text, whichever VR the file gives it.

    Raises:
        ValueError: They cannot be decoded, or are no texts.
    """
    try:
        value: Any = dataset.get(keyword)
        texts = _texts(value)
    except _FAULTS as error:
        raise ValueError(f"{keyword} cannot be decoded") from error
    return texts if any(texts) else ()


def allowed_texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Like `texts_of`, if DICOM allows them: their number, and the length, form and, where listed, term of each.

    Args:
        dataset: As it was read.
        keyword: Of an element of text.

    Raises:
        ValueError: They are not allowed; the message may hold one of them, so it is not for a user's eyes.

    Example:
        >>> header = Dataset()
        >>> header.PatientAge = "071Y"
        >>> allowed_texts(header, "PatientAge"), allowed_texts(header, "PatientSex")
        (('071Y',), ())
    """
    texts = texts_of(dataset, keyword)
    if len(texts) > 1 and dictionary_VM(_tag(keyword)) == "1":
        raise ValueError(f"{keyword} has {len(texts)} values")
    for text in texts:
        _check(keyword, dictionary_VR(_tag(keyword)), text)
    return texts


def _texts(value: Any) -> tuple[str, ...]:
    values = list(value) if isinstance(value, MultiValue) else [] if value is None else [value]
    if not all(isinstance(one, str | PersonName | DSfloat) for one in values):
        raise TypeError("no text")
    return tuple(str(one).strip() for one in values)


def _check(keyword: str, vr: str, text: str) -> None:
    if any(sign in _FOREIGN or unicodedata.category(sign) in ("Cc", "Cs") for sign in text):
        raise ValueError(f"{keyword} holds signs that no value may hold, or that could not be decoded")
    validate_value(vr, text, config.RAISE)
    if vr in _PARSERS:
        _PARSERS[vr](text)  # the validators take ranges, which are for queries, and the 31st of every month
    if vr == "PN" and any(group.count("^") >= _COMPONENTS for group in text.split("=")):
        raise ValueError(f"{keyword} has too many components")
    if vr == "UI" and text.partition(".")[0] not in _ROOTS:
        raise ValueError(f"{keyword} has another root")
    if text not in ENUMERATED.get(keyword, (text,)):
        raise ValueError(f"{keyword} is none of its terms")


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return tag
