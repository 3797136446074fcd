"""Labels of progression: a plain loop over knees agrees, laws hold, the real sheet gives the published shares."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mris.cohort.cohort import Cohort
from mris.errors import CohortError, SettingsError
from mris.knee.klg_sheet import VISIT_MONTHS, read_klg_sheet
from mris.knee.progression import (
    AT_CEILING,
    NO_BASELINE,
    NO_READ,
    OUTCOMES,
    RISES,
    STAYS,
    ProgressionLabels,
    baseline_labels,
    months_of,
    progression_labels,
)

NAN = float("nan")
Visit = tuple[str, str, int, float]
DEFINITIONS, CEILINGS = ["at-horizon", "any-read"], ["stays", "excluded"]


def labels_of(visits: list[Visit], **choices: Any) -> ProgressionLabels:
    columns = [list(column) for column in zip(*visits, strict=True)] or [[], [], [], []]
    return progression_labels(*columns, **choices)  # type: ignore[arg-type]


def outcome_by_knee(found: ProgressionLabels) -> dict[tuple[str, str], str]:
    """The word for each knee, from its label and its reason."""
    words = [
        reason if math.isnan(label) else (RISES if label == 1 else STAYS)
        for label, reason in zip(found.labels.tolist(), found.reasons.tolist(), strict=True)
    ]
    assert all((reason == "") != math.isnan(label) for label, reason in zip(found.labels, found.reasons, strict=True))
    return dict(zip(zip(found.subjects.tolist(), found.sides.tolist(), strict=True), words, strict=True))


def outcome_by_loop(visits: list[Visit], horizon: int, definition: str, at_ceiling: str) -> dict[tuple[str, str], str]:
    """The same by a plain loop over knees."""
    outcome = {}
    for knee in {(subject, side) for subject, side, _, _ in visits}:
        grade_at = {month: grade for *whose, month, grade in visits if tuple(whose) == knee and not math.isnan(grade)}
        if 0 not in grade_at:
            outcome[knee] = NO_BASELINE
        elif at_ceiling == "excluded" and grade_at[0] == 4:
            outcome[knee] = AT_CEILING
        elif horizon not in grade_at:
            outcome[knee] = NO_READ
        else:
            months = [horizon] if definition == "at-horizon" else [month for month in grade_at if 0 < month <= horizon]
            outcome[knee] = RISES if any(grade_at[month] > grade_at[0] for month in months) else STAYS
    return outcome


grades = st.sampled_from([NAN, 0.0, 1.0, 2.0, 3.0, 4.0])
visits_of_knees = st.dictionaries(
    st.tuples(
        st.sampled_from(["A", "B", "C", "10", "9"]),
        st.sampled_from(["left", "right"]),
        st.sampled_from([0, 12, 48, 72, 96]),
    ),
    grades,
    max_size=40,
).map(lambda table: [(*visit, grade) for visit, grade in table.items()])


@given(visits_of_knees, st.sampled_from([12, 48, 72, 96]), st.sampled_from(DEFINITIONS), st.sampled_from(CEILINGS))
def test_labels_are_those_of_a_plain_loop(visits: list[Visit], horizon: int, definition: str, at_ceiling: str) -> None:
    found = labels_of(visits, horizon=horizon, definition=definition, at_ceiling=at_ceiling)
    assert outcome_by_knee(found) == outcome_by_loop(visits, horizon, definition, at_ceiling)


@given(visits_of_knees, st.sampled_from(DEFINITIONS), st.sampled_from(CEILINGS))
def test_every_knee_that_comes_in_is_counted_once(visits: list[Visit], definition: str, at_ceiling: str) -> None:
    found = labels_of(visits, definition=definition, at_ceiling=at_ceiling)
    knees = {visit[:2] for visit in visits}
    assert list(found.counts) == list(OUTCOMES)
    assert sum(found.counts.values()) == len(found) == len(knees)
    assert found.n_evaluable == found.counts[RISES] + found.counts[STAYS]
    words = list(outcome_by_knee(found).values())
    assert found.counts == {outcome: words.count(outcome) for outcome in OUTCOMES}


@given(visits_of_knees, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(visits: list[Visit], random: Any) -> None:
    shuffled = list(visits)
    random.shuffle(shuffled)
    one, other = labels_of(visits), labels_of(shuffled)
    for name in ("subjects", "sides", "labels", "reasons", "baseline"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@given(visits_of_knees, grades, st.sampled_from(DEFINITIONS))
def test_a_visit_after_the_horizon_changes_nothing(visits: list[Visit], grade: float, definition: str) -> None:
    before = labels_of(visits, horizon=48, definition=definition)
    later = [(*knee, 60, grade) for knee in {visit[:2] for visit in visits}]
    after = labels_of(visits + later, horizon=48, definition=definition)
    assert outcome_by_knee(before) == outcome_by_knee(after)


@given(visits_of_knees)
def test_an_evaluable_knee_with_a_higher_grade_at_the_horizon_is_a_riser_by_both_definitions(
    visits: list[Visit],
) -> None:
    grade_at = {visit[:3]: visit[3] for visit in visits}
    at, reached = (labels_of(visits, definition=definition) for definition in DEFINITIONS)
    np.testing.assert_array_equal(np.isnan(at.labels), np.isnan(reached.labels))
    for subject, side, label, label_of_any in zip(at.subjects, at.sides, at.labels, reached.labels, strict=True):
        if not math.isnan(label):
            higher = grade_at[subject, side, 72] > grade_at[subject, side, 0]
            assert (label == 1) == higher
            assert label_of_any >= label


def test_a_knee_without_a_read_at_the_horizon_is_not_evaluable_though_it_has_risen() -> None:
    visits = [("A", "left", 0, 1.0), ("A", "left", 48, 3.0), ("A", "left", 72, NAN), ("A", "left", 96, 3.0)]
    for definition in DEFINITIONS:
        found = labels_of(visits, definition=definition)
        assert np.isnan(found.labels).tolist() == [True]
        assert found.reasons.tolist() == [NO_READ]
        assert math.isnan(found.base_rate)
    assert "evaluable at 72 months: 0 rise, 0 do not" in found.summary()


def test_a_grade_that_rises_and_falls_again_is_what_the_definitions_differ_in() -> None:
    visits = [("A", "left", 0, 1.0), ("A", "left", 24, 2.0), ("A", "left", 72, 1.0)]
    assert labels_of(visits).labels.tolist() == [0.0]
    assert labels_of(visits, definition="any-read").labels.tolist() == [1.0]


def test_a_knee_that_cannot_rise_stays_or_is_excluded_as_asked() -> None:
    visits = [("A", "left", 0, 4.0), ("A", "left", 72, 4.0), ("A", "right", 0, 4.0)]
    assert outcome_by_knee(labels_of(visits)) == {("A", "left"): STAYS, ("A", "right"): NO_READ}
    excluded = labels_of(visits, at_ceiling="excluded")
    assert excluded.counts[AT_CEILING] == 2
    assert excluded.baseline.tolist() == [4.0, 4.0]


def test_a_summary_gives_all_counts() -> None:
    visits = [("A", "left", 0, 1.0), ("A", "left", 72, 2.0), ("B", "left", 0, 1.0), ("B", "left", 72, 1.0)]
    visits += [("C", "left", 0, 1.0), ("D", "left", 72, 1.0)]
    assert labels_of(visits).summary() == (
        "2 of 4 knees are evaluable at 72 months: 1 rise (50.0 %), 1 do not; "
        "not evaluable: 1 no baseline grade, 0 baseline grade 4, 1 no read at the horizon"
    )


def test_two_knees_of_one_person_and_equal_sides_of_two_people_are_different_knees() -> None:
    visits = [("A", "left", 0, 0.0), ("A", "right", 72, 1.0), ("B", "left", 72, 1.0)]
    assert labels_of(visits).counts == {RISES: 0, STAYS: 0, NO_BASELINE: 2, AT_CEILING: 0, NO_READ: 1}


@given(visits_of_knees)
def test_labels_stand_at_the_baseline_rows_and_nowhere_else(visits: list[Visit]) -> None:
    subjects, sides, months, values = ([visit[i] for visit in visits] for i in range(4))
    rows = baseline_labels(subjects, sides, [str(month) for month in months], values)
    found = labels_of(visits)
    label_of = dict(zip(zip(found.subjects.tolist(), found.sides.tolist(), strict=True), found.labels, strict=True))
    expected = [label_of[visit[:2]] if visit[2] == 0 else NAN for visit in visits]
    np.testing.assert_array_equal(rows, np.array(expected, dtype=np.float64))


def test_a_cohort_gives_the_labels_of_its_own_rows(
    make_cohort: Callable[..., Cohort], rng: np.random.Generator
) -> None:
    cohort = make_cohort(
        ["A", "B", "A", "B", "C"], rng=rng, timepoints=["0", "0", "72", "72", "0"], grades=[1, 2, 3, 2, None]
    )
    found = baseline_labels(cohort.subjects, cohort.sides, cohort.timepoints, cohort.label("klg"))
    np.testing.assert_array_equal(found, [1.0, 0.0, NAN, NAN, NAN])


def test_labels_of_a_fuller_table_go_to_the_rows_of_a_cohort() -> None:
    found = labels_of([("A", "left", 0, 1.0), ("A", "left", 72, 2.0), ("B", "left", 0, 1.0), ("B", "left", 72, 1.0)])
    placed = found.at_baseline(["B", "B", "A", "A", "X"], ["left"] * 5, ["V00", "V01", "12_MONTH", "00_MONTH", "0"])
    np.testing.assert_array_equal(placed, [0.0, NAN, NAN, 1.0, NAN])


def test_a_table_of_other_names_is_refused_instead_of_labelling_nothing() -> None:
    found = labels_of([("A", "left", 0, 1.0), ("A", "left", 72, 2.0)])
    with pytest.raises(CohortError, match=r"none of the 1 baseline rows, such as knee A, .* such as knee A/left"):
        found.at_baseline(["A", "A"], ["", ""], ["0", "72"])
    with pytest.raises(CohortError, match=r"such as no knee at all"):
        labels_of([]).at_baseline(["A"], [""], ["0"])
    assert np.isnan(found.at_baseline(["Z"], [""], ["12"])).all(), "no baseline row, nothing to find"


def test_timepoints_are_months_or_visits_of_the_study() -> None:
    assert months_of(list(VISIT_MONTHS)).tolist() == [0, 12, 24, 36, 48, 72, 96]
    assert months_of(["0", "v08", "00_MONTH", "108_month", " 12 "]).tolist() == [0, 72, 0, 108, 12]
    assert months_of([]).shape == (0,)


@pytest.mark.parametrize("name", ["V02", "baseline", "-3", "0.5", "", "12 weeks", "٣"])
def test_a_timepoint_that_is_no_month_is_named(name: str) -> None:
    with pytest.raises(CohortError) as caught:
        months_of(["0", name])
    assert f"timepoint {name!r} is not a month" in str(caught.value)


@pytest.mark.parametrize(
    ("visits", "message"),
    [
        ([("A", "left", 0, 5.0)], r"knee A/left has the grade 5 \(row 0, and 0 further rows\)"),
        ([("A", "left", 0, 1.0), ("A", "", 12, 1.5)], r"knee A has the grade 1.5 \(row 1"),
        ([("A", "left", 0, math.inf)], r"the grade inf"),
        ([("A", "left", -12, 1.0)], r"knee A/left has the month -12"),
        ([("A", "left", 0, 1.0), ("A", "left", 0, 1.0)], r"knee A/left has month 0 more than once \(1 rows too many"),
        ([("A", "left", 0.5, 1.0)], r"months are of type float64; give whole numbers"),
        ([("A", "left", 0, "high")], r"grades are not numbers"),
    ],
)
def test_impossible_visits_are_refused(visits: list[Visit], message: str) -> None:
    with pytest.raises(CohortError, match=message):
        labels_of(visits)


def test_arrays_of_different_lengths_are_refused() -> None:
    with pytest.raises(CohortError, match=r"differ in shape: subjects \(2,\), sides \(2,\), months \(1,\)"):
        progression_labels(["A", "A"], ["left"] * 2, [0], [1.0, 2.0])
    with pytest.raises(CohortError, match=r"subjects have the shape \(1, 2\)"):
        progression_labels([["A", "A"]], ["left"] * 2, [0, 72], [1.0, 2.0])  # type: ignore[list-item]
    with pytest.raises(CohortError, match=r"differ in shape: subjects \(1,\), sides \(1,\), timepoints \(2,\)"):
        labels_of([]).at_baseline(["A"], ["left"], ["0", "12"])


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"horizon": 0}, "horizon is 0 months; choose at least 1"),
        ({"definition": "ever"}, "definition is 'ever'; choose one of at-horizon, any-read"),
        ({"at_ceiling": "drop"}, "at_ceiling is 'drop'; choose one of stays, excluded"),
    ],
)
def test_choices_that_do_not_exist_are_refused(choices: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        labels_of([], **choices)


@dataclass(frozen=True)
class Published:
    """Percent of the evaluable knees that rise within 12, 24, 36, 48 and 72 months, for one way to count."""

    reading: str
    definition: str
    at_ceiling: str
    percent: tuple[float, ...]


WAYS = [
    Published("15-first", "at-horizon", "stays", (6.2, 8.3, 11.1, 13.6, 20.9)),  # the paper's cohort
    Published("15-first", "any-read", "stays", (6.2, 9.2, 12.2, 14.8, 22.2)),
    Published("15-first", "at-horizon", "excluded", (6.4, 8.6, 11.4, 13.9, 20.9)),
    Published("37-first", "at-horizon", "stays", (6.7, 8.8, 11.6, 13.9, 21.3)),
    Published("15-only", "at-horizon", "stays", (6.2, 8.3, 11.1, 13.7, NAN)),
    Published("37-only", "at-horizon", "stays", (2.3, 3.1, 10.4, 12.2, 21.3)),
]


@pytest.mark.data
@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way.reading}, {way.definition}, {way.at_ceiling}")
def test_the_real_sheet_gives_these_shares_and_its_defaults_the_published_ones(way: Published, data_dir: Path) -> None:
    visits = read_klg_sheet(data_dir / "oai_sheets" / "KLG_score.csv", way.reading)  # type: ignore[arg-type]
    for horizon, percent in zip((12, 24, 36, 48, 72), way.percent, strict=True):
        found = progression_labels(
            *visits,
            horizon=horizon,
            definition=way.definition,  # type: ignore[arg-type]
            at_ceiling=way.at_ceiling,  # type: ignore[arg-type]
        )
        # Half a unit of the last published digit.
        assert 100 * found.base_rate == pytest.approx(percent, abs=0.05001, nan_ok=True), found.summary()


@pytest.mark.data
def test_the_counts_of_the_real_sheet_are_those_of_the_page(data_dir: Path) -> None:
    sheet = data_dir / "oai_sheets" / "KLG_score.csv"
    both = progression_labels(*read_klg_sheet(sheet))
    assert both.counts == {RISES: 747, STAYS: 2821, NO_BASELINE: 63, AT_CEILING: 0, NO_READ: 5385}
    graded = both.baseline[~np.isnan(both.baseline)]
    assert len(graded) == 8953
    shares = [100 * float((graded == grade).mean()) for grade in range(5)]
    assert shares == pytest.approx([38.5, 17.8, 26.5, 13.8, 3.3], abs=0.05001)
    evaluable = both.baseline[~np.isnan(both.labels)]
    assert [int((evaluable == grade).sum()) for grade in range(5)] == [2270, 1062, 173, 63, 0]
    # Among evaluable knees and among all: the share of grade 0 or 1.
    assert [round(100 * float((group <= 1).mean())) for group in (evaluable, graded)] == [93, 56]
    by_year_four = progression_labels(*read_klg_sheet(sheet), horizon=48)
    twice = ~np.isnan(both.labels) & ~np.isnan(by_year_four.labels)
    assert twice.sum() == 3445
    risen = [100 * float(found.labels[twice].mean()) for found in (by_year_four, both)]
    assert risen == pytest.approx([11.8, 20.6], abs=0.05)
    assert progression_labels(*read_klg_sheet(sheet, "15-only")).counts[NO_READ] == 8921
    second = progression_labels(*read_klg_sheet(sheet, "37-only"))
    assert second.counts == {RISES: 758, STAYS: 2809, NO_BASELINE: 4, AT_CEILING: 0, NO_READ: 263}


@pytest.mark.data
def test_to_keep_risers_without_a_read_at_the_horizon_would_raise_their_share(data_dir: Path) -> None:
    visits = read_klg_sheet(data_dir / "oai_sheets" / "KLG_score.csv")
    found = progression_labels(*visits)
    earlier = [progression_labels(*visits, horizon=horizon).labels == 1 for horizon in (12, 24, 36, 48)]
    kept_too = (found.reasons == NO_READ) & np.any(earlier, axis=0)
    assert kept_too.sum() == 797
    naive = (found.counts[RISES] + 797) / (found.n_evaluable + 797)
    assert 100 * naive == pytest.approx(35.4, abs=0.05)


@pytest.mark.data
def test_labels_of_one_project_are_nearly_those_of_both(data_dir: Path) -> None:
    sheet = data_dir / "oai_sheets" / "KLG_score.csv"
    visits, second = read_klg_sheet(sheet), read_klg_sheet(sheet, "37-only")
    rows = visits.subjects, visits.sides, [str(month) for month in visits.months]
    one, other = (progression_labels(*reads).at_baseline(*rows) for reads in (visits, second))
    known = ~np.isnan(one) & ~np.isnan(other)
    assert known.sum() == 3567
    assert (one != other)[known].sum() == 18
