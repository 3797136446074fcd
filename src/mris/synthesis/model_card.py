"""The model card of a bundle: what it is for, what it was made from, and what it must not be used for."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped

from mris.synthesis.onnx_encoder import EncoderCard

_TEXT = """\
# Model card: bundle {identity}

Made {created} by {software}.

## What it does

It looks up the people in its database whose target images fit a source image best, and averages their target images.
The result is a weighted mean of other people's images, in {unit}; the spread map is how far these images are apart.
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

## Encoders

{encoders}

Source preparation: {preparation}.

## Evaluation

{evaluation}
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
    evaluation: str = _NOT_EVALUATED,
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
        evaluation: What is known of its error.
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
        unit=unit,
        regions=", ".join(name for card in cards for name in card.regions),
        n_entries=len(subjects),
        n_subjects=len(np.unique(subjects)),
        splits=_shares(Counter(str(split) for split in splits)) or "none",
        distributions="\n".join(_distributions(sides, labels)),
        encoders="\n".join(_encoder_line(card) for card in cards),
        preparation=f"{region}, {preparation.size[0]} x {preparation.size[1]} pixels, {preparation.percentile:g}th "
        f"percentile scaled, mirrored sides: {', '.join(preparation.mirror_sides) or 'none'}",
        evaluation=evaluation,
    )


def _encoder_line(card: EncoderCard) -> str:
    source, target = (" x ".join(map(str, shape)) for shape in (card.source_shape, card.target_shape))
    return (
        f"- {', '.join(card.regions)}: source {source}, target {target}, {card.embedding_dim} dimensions, "
        f"fingerprint `{card.fingerprint}`"
    )


def _distributions(sides: Shaped[np.ndarray, " N"], labels: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line for the sides and for each label of few values; others would list people."""
    columns: dict[str, list[Any]] = {"side": [str(side) for side in sides if side]}
    for row in labels:
        for name, value in row.items():
            columns.setdefault(name, []).append("missing" if value is None else value)
    lines = []
    for name, values in columns.items():
        counts = Counter(values)
        if 0 < len(counts) <= min(12, len(values) // 2):
            lines.append(f"| {name.replace('|', '/')} | {_shares(counts)} |")
    return lines


def _shares(counts: Counter[Any]) -> str:
    # Numbers by size, before words: 10 comes after 2.
    ordered = sorted(counts.items(), key=lambda item: (isinstance(item[0], str), item[0]))
    return ", ".join(f"{_written(value)}: {count}" for value, count in ordered).replace("|", "/")


def _written(value: Any) -> str:
    """Write a value of a label; a table keeps grades as floats, but a grade is a whole number."""
    return f"{value + 0.0:.15g}" if isinstance(value, float) else str(value)  # no "-0"
