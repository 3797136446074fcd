"""Names of people and visits: spellings that look alike are one name, and those that a spreadsheet spoiled are none."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

from mris.errors import ManifestError

# With a sign or a decimal: a code such as 12E5 may be a name, 1.2E5 and 12E+5 are what spreadsheets make of numbers.
_SHORTENED = re.compile(r"[0-9]+(?:[.,][0-9]+[eE][+-]?|[eE][+-])[0-9]+")
_NUMBER = re.compile(r"([0-9]{1,3}(?:([., '’])[0-9]{3})(?:\2[0-9]{3})*|[0-9]+)(?:[.,]0{1,2})?")
_INVISIBLE = dict.fromkeys(map(ord, "\ufeff\u200b\u200e\u200f\u2060\u00ad"))


def normal_form(name: str) -> str:
    r"""Give the one spelling (Unicode NFC) of a name: "é" may be one sign, or "e" and an accent as macOS writes it.

    Signs without a picture, such as a byte order mark in mid-file, are taken out, and a space that does not break a
    line is a space. Whatever compares names takes them in this form, those of a cohort or a bundle of an earlier
    version too.

    Example:
        >>> normal_form("Ame\u0301lie") == "Am\u00e9lie"
        True
        >>> normal_form("\ufeffP\u00a07")
        'P 7'
    """
    if name.isascii():
        return name.strip()
    seen = unicodedata.normalize("NFC", name.translate(_INVISIBLE))
    return "".join(" " if unicodedata.category(sign) == "Zs" else sign for sign in seen).strip()


def subject_findings(subjects: Iterable[str]) -> dict[str, str]:
    """Tell which subjects of a table a spreadsheet has spoiled.

    Two things cannot be taken as they stand: a number that was shortened to 2.02411E+14, since several people are then
    one; and one number in two spellings, such as 007 and 7, 9990001 and 9.990.001 or 9990001.0, since one person is
    then two.

    Args:
        subjects: In their normal form.

    Returns:
        For each subject at fault what was found, the rule and the way out; empty if all is well.

    Example:
        >>> sorted(subject_findings(["007", "8", "7", "P7", "12E5"]))
        ['007', '7']
    """
    spellings: dict[str, list[str]] = defaultdict(list)
    faults = {}
    for subject in dict.fromkeys(subjects):
        number = _NUMBER.fullmatch(subject)
        if _SHORTENED.fullmatch(subject):
            faults[subject] = (
                f"{subject!r} is how Excel shortens a long number, so that several people may be one; take the table "
                "that it was made of, import it with this column as text (Data, From Text/CSV), and save as CSV UTF-8"
            )
        elif number:
            spellings[re.sub("[^0-9]", "", number[1]).lstrip("0")].append(subject)
    for found in spellings.values():
        for subject in found if len(found) > 1 else ():
            other = next(name for name in found if name != subject)
            faults[subject] = f"{subject!r} and {other!r} are one number, spelled in two ways; give a person one name"
    return faults


def require_sound_subjects(subjects: Iterable[str], table: str) -> None:
    """Refuse a table with a subject at fault (see `subject_findings`).

    Args:
        subjects: In their normal form.
        table: What the message calls it.

    Raises:
        ManifestError: Tells the first fault, and how many subjects have one.
    """
    faults = list(subject_findings(subjects).values())
    if faults:
        more = f" ({len(faults):,} subjects have such a fault)" if len(faults) > 1 else ""
        raise ManifestError(f"{table}: subject {faults[0]}{more}")
