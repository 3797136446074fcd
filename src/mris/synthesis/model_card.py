"""The model card of a bundle: what it is for, what it was made from, and what it must not be used for."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped

from mris.cohort.few_people import FEWEST_SUBJECTS, OTHERS, values_of_few
from mris.cohort.origin import Origin
from mris.synthesis.readouts import Readout
from mris.training.card import EncoderCard

_LONGEST_CODE, _MOST_VALUES = 3, 12
"""Letters of a text that is a code and no name; values of a label that is listed."""

_TEXT = """\
# Model card: bundle {identity}

Made {created} by {software}.
{origin}
## What it does

It looks up the people in its database whose target images fit a source image best, and puts their target images
together.
The result is a weighted sum of other people's images, in {unit}, whose weights sum to 1; the spread map is how far
these images are apart.
Regions: {regions}.

## Intended use

Research on groups of people whose images resemble those of the database, prepared as below. **It is not a medical
device**: it is not fit for diagnosis, treatment or any other decision about a person. A synthesis shows what is usual
for similar people; a lesion that cannot be seen in the source cannot be in it.

## Personal data

Embeddings and target images in `members/*/database` come from people and can identify them. Keep, share and delete
this folder as you would the images themselves. To take a person off the disk,
remove the subject and purge: removal alone only hides the entries.

## Database

| | |
|---|---|
| entries | {n_entries} |
| subjects | {n_subjects} |
| splits of the cohorts | {splits} |
{distributions}

Numbers are entries. Values that fewer than {fewest} subjects share are counted together, as others.

## Encoders

{encoders}

Source preparation: {preparation}.

## Readout

{readouts}

The encoders have seen the people they were trained on, whoever is in the database today: taking somebody out of the
database makes a synthesis do without that person's images, not without what the encoders learned from them.

## Evaluation

{evaluation}
"""

_SIMULATED = """
**Made from simulated images.** Encoders or database come from images that a computer made; no result of this bundle
says anything about a person.
"""

_NOT_EVALUATED = (
    "Not evaluated yet. `mris evaluate` measures it on people that took no part in training; judge it on a population "
    "like yours, and check that neighbors are not chosen by site or device."
)


def model_card(
    *,
    identity: str,
    created: str,
    software: str,
    unit: str,
    cards: Sequence[EncoderCard],
    subjects: Shaped[np.ndarray, " N"],
    splits: Shaped[np.ndarray, " N"],
    sides: Shaped[np.ndarray, " N"],
    labels: Sequence[Mapping[str, Any]],
    readouts: Sequence[Readout | None],
    origin: Origin = "unknown",
    evaluation: str = "",
) -> str:
    """Write the card in Markdown.

    Args:
        identity: The bundle's id.
        created: When it was made.
        software: Name and version that made it.
        unit: Unit of the targets.
        cards: One for each pair of encoders.
        subjects: Subject of each entry.
        splits: Split of each entry in the cohort that it came from.
        sides: Side of each entry.
        labels: Labels of each entry.
        origin: Whether it was made from images of people or simulated ones.
        readouts: How people's images become one, one for each pair of encoders; None for the paper's way.
        evaluation: What is known of its error; the card says how to find out where this is empty.
    """
    preparation = cards[0].preparation
    if preparation.region_mm is not None:
        region = f"{preparation.region_mm:g} mm region"
    elif preparation.extent_mm is not None:
        region = "whole image of {:g} x {:g} mm".format(*preparation.extent_mm)
    else:
        region = "whole image of unknown extent"
    return _TEXT.format(
        identity=identity,
        created=created,
        software=software,
        origin=_SIMULATED if origin == "simulated" else "",
        unit=unit,
        regions=", ".join(name for card in cards for name in card.regions),
        fewest=FEWEST_SUBJECTS,
        n_entries=len(subjects),
        n_subjects=len(np.unique(subjects)),
        splits=_shares([str(split) for split in splits], subjects) or "none",
        distributions="\n".join(_distributions(subjects, sides, labels)),
        encoders="\n".join(_encoder_line(card) for card in cards),
        preparation=f"{region}, {preparation.size[0]} x {preparation.size[1]} pixels, {preparation.percentile:g}th "
        f"percentile scaled, mirrored sides: {', '.join(preparation.mirror_sides) or 'none'}",
        readouts="\n".join(map(_readout_line, cards, readouts)),
        evaluation=evaluation or _NOT_EVALUATED,
    )


def _readout_line(card: EncoderCard, readout: Readout | None) -> str:
    used = readout or Readout()
    return f"- {', '.join(card.regions)}: {used.describe()} ({used.reason})."


def _encoder_line(card: EncoderCard) -> str:
    source, target = (" x ".join(map(str, shape)) for shape in (card.source_shape, card.target_shape))
    return (
        f"- {', '.join(card.regions)}: source {source}, target {target}, {card.embedding_dim} dimensions, "
        f"fingerprint `{card.fingerprint}`"
    )


def _distributions(
    subjects: Shaped[np.ndarray, " N"], sides: Shaped[np.ndarray, " N"], labels: Sequence[Mapping[str, Any]]
) -> list[str]:
    """One line for the sides and for each label of few values; then, by name alone, the labels that are left out."""
    sided = [place for place, side in enumerate(sides) if side]
    columns: dict[str, tuple[list[int], list[Any]]] = {"side": (sided, [str(sides[place]) for place in sided])}
    for place, row in enumerate(labels):
        for name, value in row.items():
            places, values = columns.setdefault(name, ([], []))
            places.append(place)
            values.append(value)
    lines, left_out = [], []
    for name, (places, values) in columns.items():
        written = name.replace("|", "/")
        counts = Counter("missing" if value is None else value for value in values)
        if not (name == "side" or all(_is_code(value) for value in values)) or len(counts) > _MOST_VALUES:
            left_out.append(written)
        elif counts:
            lines.append(f"| {written} | {_shares(values, subjects[places])} |")
    if left_out:
        lines.append(f"| labels left out (words, or many values) | {', '.join(left_out)} |")
    return lines


def _is_code(value: Any) -> bool:
    """Whether a value of a label can be shown: a number or a short code; other text may be a name."""
    return value is None or not isinstance(value, str) or len(value) <= _LONGEST_CODE


def _shares(values: Sequence[Any], subjects: Shaped[np.ndarray, " n"]) -> str:
    """Count the entries of each value that enough subjects share; the others together."""
    entries, few = Counter(values), values_of_few(values, subjects.tolist())
    shown = [value for value in entries if value not in few]
    # Numbers by size, before words: 10 comes after 2. Missing ones come last.
    shown.sort(key=lambda value: (value is None, isinstance(value, str), value))
    texts = [f"{_written(value)}: {entries[value]}" for value in shown]
    if few:
        n_people = len({subject for value, subject in zip(values, subjects.tolist(), strict=True) if value in few})
        count = str(sum(entries[value] for value in few))
        texts.append(f"{OTHERS}: {count if n_people >= FEWEST_SUBJECTS else f'fewer than {FEWEST_SUBJECTS} subjects'}")
    return ", ".join(texts).replace("|", "/")


def _written(value: Any) -> str:
    """Write a value of a label; a table keeps grades as floats, but a grade is a whole number."""
    if value is None:
        return "missing"
    return f"{value + 0.0:.15g}" if isinstance(value, float) else str(value)  # no "-0"
