"""Splits by subject: every row of a person lies on the same side."""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from fractions import Fraction

import numpy as np
from jaxtyping import Shaped

from mris.defaults import FRACTIONS
from mris.errors import SettingsError, SubjectLeakError, TooFewSubjectsError
from mris.wording import counted


def split_by_subject(
    subjects: Sequence[str],
    *,
    fractions: Mapping[str, float] = FRACTIONS,
    seed: int = 0,
    stratify: Sequence[Hashable] | None = None,
) -> Shaped[np.ndarray, " n"]:
    """Divide subjects among splits, so that no subject is in two of them.

    A subject's place depends on the seed and its name, never on the order of the rows. Within each stratum
    every split holds its fraction of the subjects to within one (largest remainders, and ties go where the
    strata before left the largest deficit, so that the whole keeps the fractions too).

    Args:
        subjects: The subject of each row; shape (n,).
        fractions: Share of the subjects for each split name, each in [0, 1]; they sum to 1. A split of share 0
            stays empty.
        seed: Another seed gives another division.
        stratify: A label of each row (a grade, a hospital). A subject belongs to the stratum of most of its
            rows, and to the smallest of several such; None, NaN and "" are one stratum of their own.

    Returns:
        The split's name for each row; shape (n,), strings.

    Raises:
        SettingsError: The fractions do not sum to 1.
        TooFewSubjectsError: A split would be left without a subject.

    Example:
        >>> split_by_subject(["a", "a", "b", "c"], fractions={"train": 0.67, "test": 0.33}, seed=1).tolist()
        ['train', 'train', 'train', 'test']
    """
    shares = _exact_shares(fractions)
    names = [str(subject) for subject in subjects]
    strata = _stratum_of_subjects(names, stratify)
    ranked = sorted(set(names), key=lambda subject: _rank(subject, seed))
    wanted = [name for name, share in shares.items() if share > 0]
    if len(ranked) < len(wanted):
        raise TooFewSubjectsError(
            f"{counted(len(ranked), 'subject')} cannot fill {len(wanted)} splits ({', '.join(wanted)}), since a "
            "subject is never divided; add subjects, or ask for fewer splits"
        )
    members: dict[str, list[str]] = defaultdict(list)
    for subject in ranked:
        members[strata[subject]].append(subject)
    place: dict[str, str] = {}
    filled = dict.fromkeys(shares, 0)
    seen = 0
    for stratum in sorted(members):
        seen += len(members[stratum])
        counts = _stratum_counts(len(members[stratum]), seen, shares, filled)
        remaining = iter(members[stratum])
        for name, count in counts.items():
            filled[name] += count
            place.update((next(remaining), name) for _ in range(count))
    empty = [name for name in wanted if filled[name] == 0]
    if empty:
        raise TooFewSubjectsError(
            f"split {empty[0]!r} ({float(shares[empty[0]]):.3g} of {counted(len(ranked), 'subject')}) would have no "
            "subject; raise its fraction, add subjects, or give a split column in the manifest"
        )
    return np.array([place[name] for name in names], dtype=np.str_)


def check_disjoint(subjects: Sequence[str], splits: Sequence[str]) -> None:
    """Refuse a division that puts a subject into two splits.

    Args:
        subjects: The subject of each row.
        splits: The split of each row.

    Raises:
        SubjectLeakError: Names the subjects (the first five) and their splits.
    """
    leaks = leaking_subjects(subjects, splits)
    if not leaks:
        return
    shown = "; ".join(f"{subject} is in {' and '.join(map(repr, found))}" for subject, found in list(leaks.items())[:5])
    more = f"; and {len(leaks) - 5} more" if len(leaks) > 5 else ""
    raise SubjectLeakError(f"subjects in more than one split: {shown}{more}; give each subject one split")


def leaking_subjects(subjects: Sequence[str], splits: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Find the subjects that are in more than one split.

    Args:
        subjects: The subject of each row.
        splits: The split of each row.

    Returns:
        For each such subject, sorted, its splits, sorted; empty when the splits are disjoint.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for subject, split in zip(subjects, splits, strict=True):
        found[str(subject)].add(str(split))
    return {subject: tuple(sorted(found[subject])) for subject in sorted(found) if len(found[subject]) > 1}


def _exact_shares(fractions: Mapping[str, float]) -> dict[str, Fraction]:
    """Read the fractions as the decimals they were written as: floats make 0.1 of 30 a little more than 3."""
    stated = ", ".join(f"{name} {value!r}" for name, value in fractions.items())
    if not fractions or not all(math.isfinite(value) and 0 <= value <= 1 for value in fractions.values()):
        raise SettingsError(f"split fractions are {stated or 'absent'}; each must lie in [0, 1] and they must sum to 1")
    shares = {str(name): Fraction(repr(float(value))) for name, value in fractions.items()}
    total = sum(shares.values(), start=Fraction(0))
    if abs(total - 1) > Fraction(1, 1000):
        raise SettingsError(f"split fractions ({stated}) sum to {float(total):.6g}; they must sum to 1")
    return {name: share / total for name, share in shares.items()}


def _rank(subject: str, seed: int) -> bytes:
    """Order subjects by a hash: stable over machines and library versions, and adding one moves few others."""
    return hashlib.sha256(f"{seed}/{subject}".encode()).digest()


def _stratum_of_subjects(subjects: Sequence[str], stratify: Sequence[Hashable] | None) -> dict[str, str]:
    if stratify is None:
        return dict.fromkeys(subjects, "")
    if len(stratify) != len(subjects):
        raise SettingsError(f"stratify has {len(stratify)} values for {len(subjects)} rows; give one for each row")
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for subject, value in zip(subjects, stratify, strict=True):
        votes[subject][_stratum_name(value)] += 1
    return {subject: min(count, key=lambda value: (-count[value], value)) for subject, count in votes.items()}


def _stratum_name(value: Hashable) -> str:
    missing = value is None or (isinstance(value, float | np.floating) and math.isnan(value))
    return "" if missing else str(value)


def _stratum_counts(
    n_members: int, n_seen: int, shares: Mapping[str, Fraction], filled: Mapping[str, int]
) -> dict[str, int]:
    """Round a stratum's quotas so that each is within one, and the running totals stay close to their quotas."""
    counts = {name: math.floor(share * n_members) for name, share in shares.items()}
    left_over = n_members - sum(counts.values())
    open_to_one_more = [name for name, share in shares.items() if share * n_members > counts[name]]

    def deficit(name: str) -> tuple[Fraction, bool]:
        taken = filled[name] + counts[name]
        return shares[name] * n_seen - taken, taken == 0

    for name in sorted(open_to_one_more, key=deficit, reverse=True)[:left_over]:
        counts[name] += 1
    return counts
