"""Weights of strata: what a mean would be in a population in which each severity is as common as there."""

from collections.abc import Collection, Mapping, Sequence
from math import isfinite

from mris.errors import SettingsError
from mris.evaluation.results import MISSING, PerImage, Prevalence
from mris.evaluation.strata import Group

Prevalences = Mapping[str, Mapping[str, float]]
"""For a label, the weight of each of its strata: ``{"grade": {"0-1": 0.563, "2": 0.265}}``."""


def check_prevalences(asked: Prevalences, groups: Sequence[Group], known: Mapping[str, Collection[str]]) -> None:
    """Check that weights fit the strata, before anything is measured.

    Args:
        asked: The weights; they need not sum to 1.
        groups: Strata of the test images.
        known: By label the strata of the training images, which may have some that no test image is in.

    Raises:
        SettingsError: A label has no strata here, a name is no stratum, a stratum has no weight (`MISSING` may have
            none), or a weight is negative or not finite, or all are 0.
    """
    for label, weights in asked.items():
        ours = [value for group in groups if group.label == label for value in group.values]
        if not label or not ours:
            labels = ", ".join(dict.fromkeys(group.label for group in groups if group.label)) or "none"
            raise SettingsError(
                f"prevalence names label {label!r}; this evaluation has strata of: {labels}; add it there"
            )
        strata = list(dict.fromkeys([*ours, *known.get(label, ())]))
        stray = [name for name in weights if name not in strata]
        if stray:
            raise SettingsError(
                f"prevalence of {label!r}: {stray[0]!r} is no stratum; there are: {', '.join(strata)}; "
                "merge values first if one weight is for several"
            )
        forgotten = [name for name in ours if name not in weights and name != MISSING]
        if forgotten:
            raise SettingsError(
                f"prevalence of {label!r}: stratum {forgotten[0]!r} has images but no weight; give it one "
                "(0 leaves it out)"
            )
        for name, weight in weights.items():
            if not (isfinite(weight) and weight >= 0):
                raise SettingsError(f"prevalence of {label}:{name} is {weight}; give a finite share of 0 or more")
        if not any(weight > 0 for name, weight in weights.items() if name in ours):
            raise SettingsError(
                f"prevalence of {label!r}: no stratum with a weight above 0 has an image; strata with images: "
                f"{', '.join(ours)}"
            )


def describe_prevalences(asked: Prevalences, groups: Sequence[Group], per_image: PerImage) -> tuple[Prevalence, ...]:
    """Say for each label and region which weighted strata have no image with a pixel to compare."""
    rows = []
    for label, given in asked.items():
        ours = [group for group in groups if group.label == label]
        members, weights = {group.name: group.member for group in ours}, _weights_of(ours, given)
        absent = {
            region: tuple(
                name
                for name, weight in weights.items()
                if weight > 0 and not (name in members and (per_image.n_pixels[r, members[name]] > 0).any())
            )
            for r, region in enumerate(per_image.regions)
        }
        rows.append(Prevalence(label, weights, absent))
    return tuple(rows)


def _weights_of(groups: Sequence[Group], given: Mapping[str, float]) -> dict[str, float]:
    """Weigh the strata of a label: one that holds several values weighs as much as all of them."""
    weights = {name: float(weight) for name, weight in given.items()}
    for group in groups:
        if group.name not in weights and any(value in weights for value in group.values):
            weights[group.name] = sum(weights.pop(value, 0.0) for value in group.values)
    return weights
