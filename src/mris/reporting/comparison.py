"""The paper's Figure 3: one example of each severity, its source, its truth and every method's synthesis, side by side.

A region has two figures: the images on one scale, and their absolute errors on another. Every panel of a region is cut
to the same box, that of the pixels that count in any of the examples shown.
"""

from collections.abc import Sequence

import numpy as np

from mris.drawing import Figure, colormaps
from mris.evaluation.image_error import bounding_box
from mris.evaluation.pictures import Example
from mris.evaluation.results import MISSING
from mris.reporting.grid import Grid, aspect_of
from mris.reporting.panels import Scales
from mris.reporting.tables import error_digits

DPI = 200
"""Pixels an inch: panels are small where methods are many, and a map has 310 pixels a side."""

_WIDTH, _LARGEST, _SMALLEST = 9.6, 1.45, 0.95
"""Inches that all panels of a row should take, so that letters keep their size on a page; bounds of one panel."""

_BORDER = 2
"""Pixels around the box of a region."""


def one_a_stratum(examples: Sequence[Example], label: str | None) -> tuple[Example, ...]:
    """Take the examples that stand for the strata of a label: the median one of each, chosen by error.

    Args:
        examples: All examples of an evaluation (see `mris.evaluation.pictures.choose_examples`).
        label: The first label of the evaluation; None takes the best, the median and the worst of all images.

    Returns:
        One example a stratum, in their order; images without the label are left out.
    """
    if label is None:
        return tuple(example for example in examples if example.title in ("best", "median", "worst"))
    return tuple(
        example
        for example in examples
        if example.title.startswith(f"{label} = ") and example.title != f"{label} = {MISSING}"
    )


def comparison_figure(examples: Sequence[Example], region: int, unit: str, scales: Scales) -> Figure:
    """Show source, truth and every method's synthesis of one region: a row an example, one scale in the unit.

    Args:
        examples: The rows, at least one.
        region: Position of the region.
        unit: Unit of the targets.
        scales: The color bars.
    """
    methods = [picture.method for picture in examples[0].pictures]
    grid, box = _opened(examples, region, [1, 1 + len(methods)], titled_rows=0)
    for column, text in enumerate(["source", "truth", *methods]):
        grid.heading(column, text, bold=column < 2)
    for row, example in enumerate(examples):
        grid.label_row(row, example.title)
        grid.image(row, 0, example.source[0], (colormaps["gray"], 0, 1))
        grid.image(row, 1, example.truth[region][box], scales.values)
        for column, picture in enumerate(example.pictures, start=2):
            grid.image(row, column, picture.image[region][box], scales.values)
    grid.bar(1, 1, scales.values, unit)
    return grid.figure


def comparison_error_figure(examples: Sequence[Example], region: int, unit: str, scales: Scales) -> Figure:
    """Show every method's absolute error of one region: a row an example, the median error above each panel.

    Args:
        examples: The rows, at least one.
        region: Position of the region.
        unit: Unit of the targets.
        scales: The color bars.
    """
    methods = [picture.method for picture in examples[0].pictures]
    grid, box = _opened(examples, region, [len(methods)], titled_rows=len(examples))
    for column, text in enumerate(methods):
        grid.heading(column, text)
    digits = error_digits([[picture.region_errors[region] for row in examples for picture in row.pictures]])
    for row, example in enumerate(examples):
        grid.label_row(row, example.title)
        for column, picture in enumerate(example.pictures):
            median = picture.region_errors[region]
            title = f"{median:.{digits}f} {unit}" if np.isfinite(median) else "no pixel"
            grid.image(row, column, picture.error[region][box], scales.errors, title)
    grid.bar(0, 0, scales.errors, f"absolute error ({unit})")
    return grid.figure


def _opened(
    examples: Sequence[Example], region: int, groups: Sequence[int], titled_rows: int
) -> tuple[Grid, tuple[slice, slice]]:
    """A grid of a row an example, and the box of the pixels that have a truth in any of them."""
    truths = np.array([example.truth[region] for example in examples])
    box = bounding_box(np.isfinite(truths).any(axis=0), _BORDER)
    panel = min(max(_WIDTH / sum(groups), _SMALLEST), _LARGEST)
    aspect = aspect_of(truths[:, *box], 0.5, 1.6)
    return Grid(len(examples), groups, aspect, titled_rows=titled_rows, headed=True, panel=panel), box
