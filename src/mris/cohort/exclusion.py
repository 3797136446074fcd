"""The list of pairs that a preparation leaves out: read from a text file, or from the scores of map quality."""

import csv
import difflib
import hashlib
import io
import re
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from mris.cohort.manifest_file import without_separator_line
from mris.cohort.names import normal_form, require_sound_subjects, subject_findings
from mris.errors import ManifestError
from mris.reading import LARGEST_LIST, read_text
from mris.wording import first_of

_COMMENT = re.compile(r"\s#.*")
_SIDES = {"l": "left", "r": "right"}
_COMPARED = 20_000
_YES, _NO = frozenset({"1", "1.0", "true", "yes", "x"}), frozenset({"", "0", "0.0", "false", "no"})


def read_exclusions(path: str | Path) -> tuple[str, ...]:
    """Read names of pairs to leave out.

    A name is a key ("P00017/12/left"), a subject and a timepoint ("P00017/12": both sides), or a bare subject (all its
    pairs). The file is plain text with one name a line, where ``#`` begins a comment, or a CSV table with a column
    `key`: then all its rows count, or, if there is a column `flagged`, those that have 1 there.

    Args:
        path: The file, UTF-8.

    Returns:
        The names, each once, sorted; sides written out.

    Raises:
        ManifestError: The file cannot be read or is empty (comments alone are a list of nothing), a cell of
            `flagged` is neither yes nor no, or a subject is at fault (see `subject_findings`).
    """
    file = Path(path)
    try:
        text = read_text(file, LARGEST_LIST, "utf-8-sig")
    except (OSError, ValueError) as error:
        raise ManifestError(
            f"exclusion list {str(file)!r} cannot be read ({error}); give a text file of keys, one a line"
        ) from error
    if not text.strip():
        raise ManifestError(f"exclusion list {str(file)!r} is empty; give one key a line, or leave the option out")
    text, _ = without_separator_line(text)
    lines = [
        (number, line)
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    try:
        listed = _of_table(file, lines) if lines and _is_header(lines[0][1]) else None
    except csv.Error as error:
        raise ManifestError(
            f"exclusion list {str(file)!r} is not a CSV table ({error}); give one key a line"
        ) from error
    if listed is None:
        listed = [name for _, line in lines if (name := _COMMENT.sub("", line).strip())]
    names = canonical_names(listed)
    require_sound_subjects((_subject(name) for name in names), f"exclusion list {str(file)!r}")
    return names


def canonical_names(names: Iterable[str]) -> tuple[str, ...]:
    """Sort names, each once, in their normal form and with L and R written out.

    Example:
        >>> canonical_names(["P2/12/L", "P1", "P2/12/left"])
        ('P1', 'P2/12/left')
    """
    found = set()
    for name in names:
        parts = [part.strip() for part in normal_form(name).split("/")]
        found.add("/".join([*parts[:2], *(_SIDES.get(part.lower(), part) for part in parts[2:])]))
    return tuple(sorted(found))


def excluding_name(key: str, names: frozenset[str]) -> str | None:
    """Find the name that leaves a key out: the key itself, or the first parts of it.

    Example:
        >>> excluding_name("P1/12/left", frozenset({"P1/12"}))
        'P1/12'
        >>> excluding_name("P1/12/left", frozenset({"P"})) is None
        True
    """
    parts = key.split("/")
    return next((name for n in range(1, len(parts) + 1) if (name := "/".join(parts[:n])) in names), None)


def require_matches(names: Sequence[str], used: Iterable[str], keys: Iterable[str], manifest: Path) -> None:
    """Refuse a list with a name that matches no row: with a typing error in it, the bad map would stay in unseen.

    Args:
        names: All names of the list.
        used: Those that left a row out.
        keys: Keys of the manifest, to guess from.
        manifest: The manifest, for the message.

    Raises:
        ManifestError: Names the first three such names, and what is similar to the first one.
    """
    strange = sorted(set(names) - set(used))
    if not strange:
        return
    shown = first_of([repr(name) for name in strange], most=3)
    depth = strange[0].count("/") + 1
    known = sorted(_first_parts(keys, depth))
    misspelled = subject_findings(map(_subject, [strange[0], *known])).get(_subject(strange[0]))
    close = difflib.get_close_matches(strange[0], known, n=1)
    hint = (f"; did you mean {close[0]!r}?" if close else "") + (f" {misspelled}." if misspelled else "")
    raise ManifestError(
        f"the exclusion list names {shown}, which no row of {manifest} has{hint} "
        "Write subject, subject/timepoint or subject/timepoint/side; take out what is not in this manifest"
    )


def fingerprint(names: Sequence[str]) -> str | None:
    """Tell a list by its length and the SHA-256 of its names; None for an empty one, as cohorts before lists had."""
    if not names:
        return None
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    return f"a list of {len(names)} names (SHA-256 {digest[:16]})"


def _first_parts(keys: Iterable[str], depth: int) -> set[str]:
    """What keys begin with; of a long manifest the first ones, since all are compared with a name letter by letter."""
    return {"/".join(key.split("/")[:depth]) for key in islice(keys, _COMPARED)}


def _subject(name: str) -> str:
    return name.partition("/")[0]


def _is_header(line: str) -> bool:
    return "key" in _cells([line])[0][1]


def _cells(lines: Sequence[str]) -> list[tuple[int, list[str]]]:
    """Rows, each with the place of its first line."""
    reader = csv.reader(io.StringIO("\n".join(lines), newline=""), delimiter=max(",;\t", key=lines[0].count))
    found, start = [], 0
    for row in reader:
        found.append((start, [cell.strip() for cell in row]))
        start = reader.line_num
    return found


def _of_table(file: Path, lines: Sequence[tuple[int, str]]) -> list[str]:
    (_, header), *rows = _cells([line for _, line in lines])
    key, flagged = header.index("key"), header.index("flagged") if "flagged" in header else None
    named = []
    for place, row in rows:
        where = f"exclusion list {str(file)!r} row {lines[place][0]}"
        if len(row) <= max(key, flagged or 0):
            raise ManifestError(
                f"{where} has {len(row)} of {len(header)} cells, and {header[len(row)]!r} is missing; complete the row"
            )
        mark = "1" if flagged is None else row[flagged].lower()
        if mark not in _YES | _NO:
            raise ManifestError(f"{where}: flagged is {mark!r}; give 1 or 0")
        if mark in _YES:
            named.append(row[key])
    return named
