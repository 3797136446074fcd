"""Images side by side on one scale: examples, neighbors, error maps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from mris.drawing import Figure, colormaps
from mris.evaluation.pictures import ErrorMaps, Example
from mris.reporting.grid import Grid, Shades, aspect_of, bias_map, errors_map, shades_between


@dataclass(frozen=True)
class Scales:
    """Color bars that all examples share.

    Args:
        values: Of target values.
        errors: Of errors and spreads.
    """

    values: Shades
    errors: Shades


def shared_scales(examples: Sequence[Example]) -> Scales:
    """Choose one scale for the panels of all examples.

    The ends are percentiles, so that one bad pixel does not darken the rest.
    """
    truths = [example.truth for example in examples]
    errors = [picture.error for example in examples for picture in example.pictures]
    values = shades_between(_percentile(truths, 0.5, 0.0), _percentile(truths, 99.5, 1.0))
    return Scales(values, (errors_map(), 0.0, _percentile(errors, 99.0, 1.0)))


def example_figure(example: Example, regions: Sequence[str], unit: str, scales: Scales) -> Figure:
    """Show truth and source, and below a row a method: its synthesis, its absolute error, its spread if it has one.

    Args:
        example: The query.
        regions: Names of the regions.
        unit: Unit of the targets.
        scales: The color bars.
    """
    spreads = any(picture.explanation is not None for picture in example.pictures)
    n, groups = len(regions), 3 if spreads else 2
    grid = Grid(1 + len(example.pictures), [n] * groups, aspect_of(example.truth), titled_rows=2)
    for r, region in enumerate(regions):
        grid.image(0, r, example.truth[r], scales.values, f"truth, {region}" if n > 1 else "truth", bold=True)
    grid.image(0, n, example.source[0], (colormaps["gray"], 0, 1), "source", bold=True)
    for group, title in enumerate(("synthesis", "absolute error", "spread of neighbors")[:groups]):
        grid.title_group(1, group, title)
    for row, picture in enumerate(example.pictures, start=1):
        grid.label_row(row, picture.method)
        for r in range(n):
            grid.image(row, r, picture.image[r], scales.values)
            grid.image(row, n + r, picture.error[r], scales.errors)
            if picture.explanation is not None:
                inside = np.where(np.isfinite(example.truth[r]), picture.explanation.spread[r], np.nan)
                grid.image(row, 2 * n + r, inside, scales.errors)
    grid.bar(0, 0, scales.values, unit)
    grid.bar(1, groups - 1, scales.errors, f"error, spread ({unit})" if spreads else f"error ({unit})")
    return grid.figure


def neighbors_figure(example: Example, regions: Sequence[str], unit: str, scales: Scales) -> Figure | None:
    """Show the truth, a synthesis and the neighbors it is made of; None if no method has neighbors."""
    told = [picture for picture in example.pictures if picture.explanation is not None]
    if not told or told[0].explanation is None:
        return None
    picture, explanation = told[0], told[0].explanation
    own_captions = any(captions != explanation.captions[0] for captions in explanation.captions)
    titled = len(regions) if own_captions else 1
    grid = Grid(len(regions), [2, len(explanation.neighbors)], aspect_of(example.truth), titled_rows=titled)
    for r, region in enumerate(regions):
        named = ["truth", picture.method] if r == 0 else ["", ""]
        titles = [*named, *(explanation.captions[r] if r < titled else [""] * len(explanation.neighbors))]
        for column, image in enumerate([example.truth[r], picture.image[r], *explanation.neighbors[:, r]]):
            grid.image(r, column, image, scales.values, titles[column], bold=column == 0)
        grid.label_row(r, region if len(regions) > 1 else "")
    grid.bar(0, 0, scales.values, unit)
    return grid.figure


def error_map_figure(maps: ErrorMaps, unit: str) -> Figure:
    """Show each method's mean absolute error at each pixel, on one scale."""
    high = _percentile([maps.absolute], 99.5, 1.0)
    return _method_maps(maps, maps.absolute, (errors_map(), 0.0, high), f"mean absolute error ({unit})")


def bias_map_figure(maps: ErrorMaps, unit: str) -> Figure:
    """Show each method's mean of synthesis minus truth at each pixel: red is too much, blue too little."""
    high = _percentile([np.abs(maps.signed)], 99.5, 1.0)
    return _method_maps(maps, maps.signed, (bias_map(), -high, high), f"synthesis − truth, mean ({unit})")


def _method_maps(maps: ErrorMaps, images: Float32[np.ndarray, "methods r h w"], shades: Shades, title: str) -> Figure:
    grid = Grid(len(maps.regions), [len(maps.methods)], aspect_of(images[0]), titled_rows=1)
    for r, region in enumerate(maps.regions):
        for m, method in enumerate(maps.methods):
            grid.image(r, m, images[m, r], shades, method if r == 0 else "")
        grid.label_row(r, region if len(maps.regions) > 1 else "")
    grid.bar(0, 0, shades, title)
    return grid.figure


def _percentile(images: Sequence[np.ndarray], percent: float, otherwise: float) -> float:
    values = np.concatenate([image[np.isfinite(image)] for image in images]) if images else np.zeros(0)
    found = float(np.percentile(values, percent)) if values.size else otherwise
    return found if found > 0 or percent < 50 else otherwise
