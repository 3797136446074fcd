from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from mris.errors import CohortError, SettingsError
from mris.evaluation.bootstrap import resample_counts
from mris.reporting.downstream_tables import grade_table, progression_table, seed_table
from mris.reporting.tables import Table, html, markdown, number
from mris.study.class_results import ClassEstimate, find_estimate
from mris.study.downstream import ClassPredictions, measure_classification, measure_seeds

GRADES = ("0-1", "2", "3", "4")
RISE = ("stays", "rises")


def classifiers(rng: np.random.Generator, names: tuple[str, ...]) -> dict[str, ClassPredictions]:
    """Three classifiers of one hundred knees of fifty people, the last the surest."""
    truth = np.concatenate([np.arange(len(names)), rng.integers(0, len(names), 100 - len(names))])
    found = {}
    for name, skill in (("U-Net <b>", 0.3), ("MRIS | C", 1.5), ("true maps", 4.0)):
        rows = np.exp(rng.normal(size=(100, len(names))) + skill * np.eye(len(names))[truth])
        found[name] = ClassPredictions(
            tuple(f"K{i}" for i in range(100)),
            tuple(f"S{i // 2}" for i in range(100)),
            truth,
            rows / rows.sum(axis=1, keepdims=True),
            names,
        )
    return found


def measured(rng: np.random.Generator, names: tuple[str, ...]) -> dict[str, Sequence[ClassEstimate]]:
    counts = resample_counts(50, 40, rng)
    return {name: measure_classification(rows, counts) for name, rows in classifiers(rng, names).items()}


def _texts(table: Table, row: int) -> list[tuple[str, str]]:
    return [(cell.text, cell.note) for cell in table.rows[row][1:]]


def _written(row: ClassEstimate) -> tuple[str, str]:
    return number(row.value), f"[{number(row.low, 2)}, {number(row.high, 2)}]"


def test_every_number_of_the_grade_table_is_one_of_the_results(rng: np.random.Generator) -> None:
    methods = measured(rng, GRADES)
    table = grade_table(methods, "klg")
    assert [row[0].text for row in table.rows] == [*methods, "chance"]
    for i, rows in enumerate(methods.values()):
        expected = [find_estimate(rows, "class_accuracy", name) for name in GRADES]
        expected += [find_estimate(rows, metric) for metric in ("accuracy", "balanced_accuracy", "kappa")]
        assert _texts(table, i) == [_written(row) for row in expected]
    assert "100 images of 50 people, with 95 % intervals" in table.caption
    assert "missing" not in table.caption


def test_the_grade_table_states_images_and_share_of_each_class_and_what_chance_gives(rng: np.random.Generator) -> None:
    methods = measured(rng, GRADES)
    table = grade_table(methods, "klg")
    anyone = methods["true maps"]
    for name, title in zip(GRADES, table.header[1:5], strict=True):
        n = find_estimate(anyone, "class_accuracy", name).n_images
        assert title == f"{name} (n = {n}, {n}.0 %)"
    assert table.header[5:] == ("overall", "balanced", "kappa")
    largest = max(find_estimate(anyone, "share", name).value for name in GRADES)
    assert [cell.text for cell in table.rows[-1]] == ["chance", "", "", "", "", number(largest), "0.250", "0.000"]


def test_the_progression_table_states_ranking_and_base_rate(rng: np.random.Generator) -> None:
    methods = measured(rng, RISE)
    table = progression_table(methods)
    assert table.header == ("method", "AP", "ROC AUC", "base rate")
    for i, rows in enumerate(methods.values()):
        expected = (
            find_estimate(rows, "average_precision"),
            find_estimate(rows, "roc_auc"),
            find_estimate(rows, "share", "rises"),
        )
        assert _texts(table, i) == [_written(row) for row in expected]
    base_rate = number(find_estimate(methods["true maps"], "share", "rises").value)
    assert [cell.text for cell in table.rows[-1]] == ["chance", base_rate, "0.500", base_rate]


def test_the_best_method_is_strong_and_the_upper_bound_takes_no_part(rng: np.random.Generator) -> None:
    for names, make in ((GRADES, lambda m, **more: grade_table(m, "klg", **more)), (RISE, progression_table)):
        methods = measured(rng, names)
        place = 1 if names == RISE else 5
        assert [row[place].strong for row in make(methods).rows] == [False, False, True, False]
        bound = make(methods, bounds=["true maps"])
        assert [row[place].strong for row in bound.rows] == [False, True, False, False]


def test_a_single_rival_is_not_called_the_best(rng: np.random.Generator) -> None:
    methods = measured(rng, RISE)
    table = progression_table(methods, bounds=["true maps", "U-Net <b>"])
    assert not any(cell.strong for row in table.rows for cell in row)


def test_what_does_not_exist_is_a_dash_and_the_caption_says_why(rng: np.random.Generator) -> None:
    counts = resample_counts(50, 20, rng)
    methods = {
        name: measure_classification(replace(rows, truth=np.minimum(rows.truth, 2)), counts)
        for name, rows in classifiers(rng, GRADES).items()
    }
    table = grade_table(methods, "klg")
    assert [row[4].text for row in table.rows[:-1]] == ["–"] * 3
    assert [row[4].note for row in table.rows[:-1]] == [""] * 3
    assert table.caption.endswith("; missing: no test image is of class '4'")
    assert table.rows[-1][6].text == number(1 / 3)


def test_seeds_are_shown_with_their_spread(rng: np.random.Generator) -> None:
    seeds = list(classifiers(rng, RISE).values())
    counts = resample_counts(50, 20, rng)
    spreads = {"three": measure_seeds(seeds, counts), "one": measure_seeds(seeds[:1], counts)}
    table = seed_table(spreads)
    assert table.header[:3] == ("method", "seeds", "overall accuracy")
    assert [row[1].text for row in table.rows] == ["3", "1"]
    accuracy = spreads["three"][0]
    assert table.rows[0][2].text == f"{number(accuracy.mean.value)} ± {number(accuracy.sd)}"
    assert table.rows[0][2].note == f"{number(accuracy.least)} to {number(accuracy.greatest)}"
    assert (table.rows[1][2].text, table.rows[1][2].note) == (number(spreads["one"][0].mean.value), "")


def test_names_are_escaped_on_every_page(rng: np.random.Generator) -> None:
    for table in (grade_table(measured(rng, GRADES), "klg"), progression_table(measured(rng, RISE))):
        assert r"MRIS \| C" in markdown(table)
        assert {line.replace(r"\|", "").count("|") for line in markdown(table).splitlines()[2:]} == {
            len(table.header) + 1
        }
        assert "U-Net <b>" not in html(table)
        assert "U-Net &lt;b&gt;" in html(table)


def _without_last(methods: Mapping[str, Sequence[ClassEstimate]]) -> dict[str, Sequence[ClassEstimate]]:
    other = [
        replace(row, n_images=row.n_images - 1) if row.metric == "class_accuracy" else row
        for row in methods["true maps"]
    ]
    return {**methods, "true maps": other}


def test_methods_that_were_tested_on_other_images_do_not_share_a_table(rng: np.random.Generator) -> None:
    with pytest.raises(CohortError, match=r"method 'true maps' was tested on \{'0-1': .*test all methods on the same"):
        grade_table(_without_last(measured(rng, GRADES)), "klg")
    with pytest.raises(CohortError, match="method 'true maps' was tested on"):
        progression_table(_without_last(measured(rng, RISE)))


def test_four_classes_have_no_progression_table(rng: np.random.Generator) -> None:
    with pytest.raises(CohortError, match="'average_precision'"):
        progression_table(measured(rng, GRADES))


def test_a_table_of_nothing_is_refused() -> None:
    for make in (lambda: grade_table({}, "klg"), lambda: progression_table({}), lambda: seed_table({})):
        with pytest.raises(SettingsError, match="no method to show"):
            make()
