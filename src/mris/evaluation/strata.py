"""Groups of images by a label. Every image is in exactly one group of each label; none is dropped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Shaped

from mris.cohort.cohort import Cohort
from mris.cohort.few_people import OTHERS, values_of_few
from mris.errors import SettingsError
from mris.evaluation.results import ALL, MISSING

MAX_STRATA = 20
"""More values than this are a measurement, not groups."""

Merge = Mapping[str, Mapping[str, str]]
"""For a label, the group that a value goes to: ``{"grade": {"0": "0-1", "1": "0-1"}}``."""


@dataclass(frozen=True)
class Group:
    """The images of one stratum.

    Args:
        label: Name of the label, "" for all images.
        name: Value of the label, or `OTHERS` for the values that few people share.
        member: (n,) which images belong to it.
        pooled: The values that `OTHERS` holds, merged as asked for.
    """

    label: str
    name: str
    member: Bool[np.ndarray, " n"]
    pooled: tuple[str, ...] = ()

    @property
    def values(self) -> tuple[str, ...]:
        """The values of the label that it holds, merged as asked for."""
        return self.pooled or (self.name,)


def groups_of(cohort: Cohort, by: Sequence[str], merge: Merge | None = None) -> tuple[Group, ...]:
    """Group a cohort's images: all of them first, then the values of each label in their order, missing ones last.

    Values that fewer than `mris.cohort.few_people.FEWEST_SUBJECTS` people share are one group, `OTHERS`, in the end:
    a row of a table for three people says something of each.

    Args:
        cohort: The images.
        by: Names of labels.
        merge: Values that share a group (see `Merge`); a value that is not named keeps its own.

    Returns:
        The groups. The groups of one label hold each image once.

    Raises:
        CohortError: The cohort has no such label (the message lists those it has).
        SettingsError: A label has more than `MAX_STRATA` values, is named twice, or a merge names a label not in `by`.
    """
    merge = merge or {}
    if len(set(by)) < len(by):
        raise SettingsError(f"labels {list(by)} name one twice; name each once")
    stray = sorted(set(merge) - set(by))
    if stray:
        raise SettingsError(f"merge names {stray}, which are not among the labels {list(by)}; add them there")
    groups = [Group("", ALL, np.ones(len(cohort), dtype=np.bool_))]
    for label in by:
        groups += _groups_of_label(label, cohort.label(label), cohort.subjects, merge.get(label, {}))
    return tuple(groups)


def values_by_label(groups: Sequence[Group]) -> dict[str, list[str]]:
    """List the values of each label that some image has, those of few people among them."""
    found: dict[str, list[str]] = {}
    for group in groups:
        found.setdefault(group.label, []).extend(group.values)
    return found


def check_merge(merge: Merge, cohorts: Sequence[Cohort]) -> None:
    """Refuse to merge values that no image has: a typing error would leave strata apart in silence.

    Args:
        merge: Values that share a group.
        cohorts: Views of which at least one has each value.

    Raises:
        CohortError: A cohort has no such label.
        SettingsError: No image has a value that is to be merged; the message lists those there are.
    """
    for label, stratum_of in merge.items():
        values = sorted({value_name(value) for cohort in cohorts for value in cohort.label(label)}, key=_position)
        stray = [value for value in stratum_of if value not in values]
        if stray:
            shown = ", ".join(values[:MAX_STRATA]) + (", ..." if len(values) > MAX_STRATA else "")
            raise SettingsError(f"merge of {label!r}: no image has the value {stray[0]!r}; there are: {shown}")


def _groups_of_label(
    label: str, values: Shaped[np.ndarray, " n"], subjects: Shaped[np.ndarray, " n"], merge: Mapping[str, str]
) -> list[Group]:
    names = np.array([value_name(value) for value in values], dtype=object)
    merged = np.array([merge.get(name, name) for name in names], dtype=object)
    # A merged group stands where the first of its values stands.
    order = list(dict.fromkeys(merge.get(name, name) for name in sorted(set(names), key=_position)))
    if len(order) > MAX_STRATA:
        raise SettingsError(
            f"label {label!r} has {len(order)} different values; strata need at most {MAX_STRATA}: "
            "put ranges into a label column of their own, or merge values"
        )
    few = values_of_few(merged.tolist(), subjects.tolist())
    groups = [Group(label, name, merged == name) for name in order if name not in few]
    if few:
        pooled = tuple(name for name in order if name in few)
        groups.append(Group(label, OTHERS, np.isin(merged.astype(np.str_), pooled), pooled))
    return groups


def value_name(value: str | float) -> str:
    """Name a value of a label, `MISSING` where it is absent."""
    if isinstance(value, str):
        return value.strip() or MISSING
    return MISSING if np.isnan(value) else f"{value + 0.0:g}"  # no "-0"


def _position(name: str) -> tuple[bool, tuple[object, ...]]:
    try:
        return (name == MISSING, (0, float(name)))
    except ValueError:
        return (name == MISSING, (1, name))
