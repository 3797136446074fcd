"""Names of people and visits: two spellings that look alike are one name."""

import unicodedata


def normal_form(name: str) -> str:
    r"""Give the one spelling (Unicode NFC) of a name: "é" may be one sign, or "e" and an accent as macOS writes it.

    Whatever compares names takes them in this form, those of a cohort or a bundle of an earlier version too.

    Example:
        >>> normal_form("Ame\u0301lie") == "Am\u00e9lie"
        True
    """
    return unicodedata.normalize("NFC", name)
