"""Classifiers on target maps as tables (the paper's Table 3); numbers are arranged and rounded, never computed."""

from collections.abc import Collection, Mapping, Sequence
from math import isfinite

from mris.defaults import CONFIDENCE
from mris.errors import CohortError, SettingsError
from mris.reporting.tables import Cell, Table, ends, number, percent
from mris.study.class_results import ClassEstimate, SeedSpread, chance_level, class_names_of, find_estimate

METRIC_TITLES = {
    "accuracy": "overall accuracy",
    "balanced_accuracy": "balanced accuracy",
    "kappa": "quadratic kappa",
    "average_precision": "average precision",
    "roc_auc": "ROC AUC",
    "macro_roc_auc": "macro ROC AUC",
}
"""Names of the metrics of all classes, for who reads a table or a figure."""

CHANCE = "chance"
"""Name of the row of what the same answer to every image gives."""

_GRADE_COLUMNS = (("accuracy", "overall"), ("balanced_accuracy", "balanced"), ("kappa", "kappa"))
_RANKING_COLUMNS = (("average_precision", "AP"), ("roc_auc", "ROC AUC"))


def grade_table(methods: Mapping[str, Sequence[ClassEstimate]], label: str, bounds: Collection[str] = ()) -> Table:
    """Accuracy of each class and overall, balanced accuracy and quadratic kappa: a row a method, chance last.

    Args:
        methods: The metrics of `mris.study.downstream.measure_classification` by method, on the same images.
        label: Name of what is classified, such as "grade".
        bounds: Methods that are no rivals, such as the true maps: never set apart as the best.

    Returns:
        The table; images and share of each class stand in the header, what is missing in the caption.

    Raises:
        CohortError: The methods were not tested on the same images.
        SettingsError: There is no method.
    """
    anyone = check_methods(methods)
    names = class_names_of(anyone)
    titles = [f"{name} ({_class_size(anyone, name)})" for name in names]
    columns = [_column(methods, bounds, "class_accuracy", name) for name in names]
    columns += [_column(methods, bounds, metric) for metric, _ in _GRADE_COLUMNS]
    chance = [Cell("")] * len(names) + [Cell(number(chance_level(anyone, metric))) for metric, _ in _GRADE_COLUMNS]
    shown = [
        find_estimate(rows, metric, name)
        for rows in methods.values()
        for metric, name in (*(("class_accuracy", name) for name in names), *((m, "") for m, _ in _GRADE_COLUMNS))
    ]
    caption = (
        f"Accuracy by {label} of a classifier on each method's maps, {_size(anyone)}, with "
        f"{100 * CONFIDENCE:g} % intervals; {CHANCE}: the most common class for all{_missing(shown)}"
    )
    header = ("method", *titles, *(title for _, title in _GRADE_COLUMNS))
    return Table(caption, header, (*_rows(methods, columns), (Cell(CHANCE), *chance)))


def progression_table(methods: Mapping[str, Sequence[ClassEstimate]], bounds: Collection[str] = ()) -> Table:
    """Average precision and area under the ROC curve of a task of two classes, beside the base rate; chance last.

    Args:
        methods: The metrics of `mris.study.downstream.measure_classification` by method, on the same images.
        bounds: Methods that are no rivals, such as the true maps: never set apart as the best.

    Returns:
        The table; what is missing stands in the caption.

    Raises:
        CohortError: The methods were not tested on the same images, or the task has more than two classes.
        SettingsError: There is no method.
    """
    anyone = check_methods(methods)
    positive = class_names_of(anyone)[-1]
    columns = [_column(methods, bounds, metric) for metric, _ in _RANKING_COLUMNS]
    base_rate = find_estimate(anyone, "share", positive)
    columns.append([Cell(number(base_rate.value), _ends(base_rate))] * len(methods))
    chance = [Cell(number(chance_level(anyone, metric))) for metric, _ in _RANKING_COLUMNS]
    shown = [find_estimate(rows, metric) for rows in methods.values() for metric, _ in _RANKING_COLUMNS]
    caption = (
        f"Ranking by the probability of {positive!r} of a classifier on each method's maps, {_size(anyone)}, "
        f"{positive!r} {_class_size(anyone, positive)}, with {100 * CONFIDENCE:g} % intervals{_missing(shown)}"
    )
    header = ("method", *(title for _, title in _RANKING_COLUMNS), "base rate")
    return Table(caption, header, (*_rows(methods, columns), (Cell(CHANCE), *chance, Cell(number(base_rate.value)))))


def seed_table(spreads: Mapping[str, Sequence[SeedSpread]]) -> Table:
    """Mean and standard deviation over seeds of training, least and greatest beside: a row a method.

    Args:
        spreads: What `mris.study.downstream.measure_seeds` gave, by method, on the same images.

    Returns:
        The table: the metrics of all classes.

    Raises:
        CohortError: The methods were not tested on the same images.
        SettingsError: There is no method.
    """
    check_methods({name: [spread.mean for spread in found] for name, found in spreads.items()})
    kept = {name: [s for s in found if s.mean.class_name == ""] for name, found in spreads.items()}
    titles = [METRIC_TITLES[spread.mean.metric] for spread in next(iter(kept.values()))]
    rows = tuple((Cell(name), Cell(str(found[0].n_seeds)), *map(_spread_cell, found)) for name, found in kept.items())
    caption = "Mean ± standard deviation over seeds of training, with the least and the greatest seed"
    return Table(caption, ("method", "seeds", *titles), rows)


def check_methods(methods: Mapping[str, Sequence[ClassEstimate]]) -> Sequence[ClassEstimate]:
    """Check that all methods were tested on the same numbers of images of each class; return one method's metrics.

    Raises:
        CohortError: They were not.
        SettingsError: There is no method.
    """
    if not methods:
        raise SettingsError("no method to show: give the metrics of one at least")
    first = next(iter(methods))
    for name, rows in methods.items():
        sizes, theirs = _sizes(methods[first]), _sizes(rows)
        if sizes != theirs:
            raise CohortError(
                f"method {name!r} was tested on {theirs} images of each class, {first!r} on {sizes}: "
                "test all methods on the same images"
            )
    return methods[first]


def _ends(row: ClassEstimate) -> str:
    return ends(row.low, row.high, lambda value: number(value, 2))


def _sizes(rows: Sequence[ClassEstimate]) -> dict[str, int]:
    return {row.class_name: row.n_images for row in rows if row.metric == "class_accuracy"}


def _column(
    methods: Mapping[str, Sequence[ClassEstimate]], bounds: Collection[str], metric: str, class_name: str = ""
) -> list[Cell]:
    found = {name: find_estimate(rows, metric, class_name) for name, rows in methods.items()}
    rivals = {name: row.value for name, row in found.items() if name not in bounds and isfinite(row.value)}
    best = max(rivals.values()) if len(rivals) > 1 else None
    return [
        Cell(number(row.value), _ends(row), strong=name in rivals and row.value == best) for name, row in found.items()
    ]


def _rows(
    methods: Mapping[str, Sequence[ClassEstimate]], columns: Sequence[Sequence[Cell]]
) -> tuple[tuple[Cell, ...], ...]:
    return tuple((Cell(name), *(column[i] for column in columns)) for i, name in enumerate(methods))


def _spread_cell(spread: SeedSpread) -> Cell:
    if not isfinite(spread.sd):
        return Cell(number(spread.mean.value))
    text = f"{number(spread.mean.value)} ± {number(spread.sd)}"
    return Cell(text, f"{number(spread.least)} to {number(spread.greatest)}")


def _class_size(rows: Sequence[ClassEstimate], name: str) -> str:
    n = find_estimate(rows, "class_accuracy", name).n_images
    return f"n = {n}, {percent(find_estimate(rows, 'share', name).value)}"


def _size(rows: Sequence[ClassEstimate]) -> str:
    overall = find_estimate(rows, "accuracy")
    return f"{overall.n_images} images of {overall.n_subjects} people"


def _missing(rows: Sequence[ClassEstimate]) -> str:
    reasons = dict.fromkeys(row.reason for row in rows if row.reason)
    return f"; missing: {'; '.join(reasons)}" if reasons else ""
