"""From visits and Kellgren-Lawrence grades (KLG) to one label a knee: does the grade rise within some months?

No knee is dropped. One whose future cannot be known is *not evaluable*, with the reason, and counted.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from mris.cohort.cohort import Cohort
from mris.errors import CohortError, SettingsError
from mris.knee.choices import check_choice
from mris.knee.klg_sheet import VISIT_MONTHS, WORST_GRADE

RISES, STAYS = "rises", "does not rise"
NO_BASELINE, NO_READ, AT_CEILING = "no baseline grade", "no read at the horizon", "baseline grade 4"
OUTCOMES = (RISES, STAYS, NO_BASELINE, AT_CEILING, NO_READ)
"""What can become of a knee; the last three are the reasons why one is not evaluable."""

Definition = Literal["at-horizon", "any-read"]
Ceiling = Literal["stays", "excluded"]
Strings = Shaped[np.ndarray, " n"] | Sequence[str]
Months = Int64[np.ndarray, " n"] | Sequence[int]
Grades = Float64[np.ndarray, " n"] | Sequence[float]

_MONTH = re.compile(r"(\d{1,4})(_MONTHS?)?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class ProgressionLabels:
    """One label a knee, in the order of subject and side (as text).

    Attributes:
        subjects: Subject of each knee; shape (n,), strings.
        sides: Its side; shape (n,), strings.
        labels: 1 if the grade rises, 0 if it does not, NaN if that cannot be known; shape (n,).
        reasons: Why a knee is not evaluable (one of `OUTCOMES`), "" for one that is; shape (n,), strings.
        baseline: Grade at month 0, NaN where there is none; shape (n,).
        horizon: Months within which the grade rises or does not.
    """

    subjects: Shaped[np.ndarray, " n"]
    sides: Shaped[np.ndarray, " n"]
    labels: Float64[np.ndarray, " n"]
    reasons: Shaped[np.ndarray, " n"]
    baseline: Float64[np.ndarray, " n"]
    horizon: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def counts(self) -> dict[str, int]:
        """Knees of each of the `OUTCOMES`, zeros included; their sum is the number of knees."""
        return {
            RISES: int((self.labels == 1).sum()),
            STAYS: int((self.labels == 0).sum()),
            **{reason: int((self.reasons == reason).sum()) for reason in OUTCOMES[2:]},
        }

    @property
    def n_evaluable(self) -> int:
        """Knees whose label is not NaN."""
        return int((~np.isnan(self.labels)).sum())

    @property
    def base_rate(self) -> float:
        """Share of the evaluable knees that rise, in [0, 1]; NaN if none is evaluable."""
        return self.counts[RISES] / self.n_evaluable if self.n_evaluable else float("nan")

    def summary(self) -> str:
        """Give all counts in one line."""
        counts = self.counts
        share = f" ({100 * self.base_rate:.1f} %)" if self.n_evaluable else ""
        reasons = ", ".join(f"{counts[reason]} {reason}" for reason in OUTCOMES[2:])
        return (
            f"{self.n_evaluable} of {len(self)} knees are evaluable at {self.horizon} months: "
            f"{counts[RISES]} rise{share}, {counts[STAYS]} do not; not evaluable: {reasons}"
        )

    def at_baseline(self, subjects: Strings, sides: Strings, timepoints: Strings) -> Float64[np.ndarray, " n"]:
        """Put the labels on the baseline rows of a cohort.

        Args:
            subjects: Subject of each row; shape (n,).
            sides: Side of each row, spelled as in these labels; shape (n,).
            timepoints: Timepoint of each row, as `months_of` reads them; shape (n,).

        Returns:
            The knee's label at its row of month 0; NaN at other rows, at knees that are not evaluable, and at knees
            that these labels do not hold. Shape (n,).

        Raises:
            CohortError: The lengths differ, a timepoint is not a month, or there are baseline rows and none is of
                a knee in these labels.
        """
        names, where = _texts("subjects", subjects), _texts("sides", sides)
        months = months_of(timepoints)
        _check_lengths({"subjects": names, "sides": where, "timepoints": months})
        knees = zip(self.subjects.tolist(), self.sides.tolist(), strict=True)
        label_of = dict(zip(knees, self.labels.tolist(), strict=True))
        rows = np.flatnonzero(months == 0)
        wanted = [(str(names[row]), str(where[row])) for row in rows]
        if wanted and not any(knee in label_of for knee in wanted):
            known = _knee(*next(iter(label_of))) if label_of else "no knee at all"
            raise CohortError(
                f"none of the {len(wanted)} baseline rows, such as {_knee(*wanted[0])}, is of a knee with a label, "
                f"such as {known}; spell subjects and sides alike in both"
            )
        placed = np.full(len(months), np.nan)
        placed[rows] = [label_of.get(knee, np.nan) for knee in wanted]
        return placed


def progression_labels(
    subjects: Strings,
    sides: Strings,
    months: Months,
    grades: Grades,
    *,
    horizon: int = 72,
    definition: Definition = "at-horizon",
    at_ceiling: Ceiling = "stays",
) -> ProgressionLabels:
    """Label each knee by whether its grade rises above that of month 0 within the horizon.

    A knee is evaluable if it has a grade at month 0 and one at the horizon itself. One without a read at the horizon
    is not evaluable even where an earlier read has risen: to keep such risers, and drop those who had not risen
    when they left, would raise the share of risers. Visits after the horizon are not looked at.

    The defaults, on the OAI's public sheet (`mris.knee.klg_sheet`), give the published shares of knees that rise within
    12, 24, 36, 48 and 72 months: 6.2, 8.3, 11.1, 13.6 and 20.9 %. ``definition="any-read"`` gives 6.2, 9.2, 12.2,
    14.8 and 22.2 %; ``at_ceiling="excluded"`` gives 6.4, 8.6, 11.4, 13.9 and 20.9 %.

    Args:
        subjects: Subject of each visit; shape (n,).
        sides: Side of each visit; shape (n,). Subject and side name a knee.
        months: Month of each visit, a whole number of at least 0; shape (n,). Month 0 is the baseline.
        grades: KLG of each visit, 0 to 4, NaN where it was not read; shape (n,).
        horizon: Months, at least 1.
        definition: Which grade is held against the baseline's: the one "at-horizon", or the highest of "any-read"
            after month 0 and up to the horizon. They differ where a grade rises and falls again.
        at_ceiling: A knee of grade 4 at month 0 cannot rise: it "stays" (label 0, if it has a read at the horizon),
            or it is "excluded" (not evaluable).

    Returns:
        A label for each knee of the rows, whatever the order of the rows. A knee with several reasons has the first
        in the order of `OUTCOMES`.

    Raises:
        SettingsError: The horizon is below 1, or a choice is unknown.
        CohortError: The arrays differ in length, a month or a grade is impossible, or a knee has a month twice.

    Example:
        >>> found = progression_labels(["A", "A", "B"], ["left"] * 3, [0, 72, 0], [1.0, 2.0, 0.0])
        >>> found.labels.tolist(), found.reasons.tolist()
        ([1.0, nan], ['', 'no read at the horizon'])
    """
    check_choice("definition", definition, Definition)
    check_choice("at_ceiling", at_ceiling, Ceiling)
    if horizon < 1:
        raise SettingsError(f"horizon is {horizon} months; choose at least 1")
    names, where = _texts("subjects", subjects), _texts("sides", sides)
    month, grade = _whole_months(months), _numbers(grades)
    _check_lengths({"subjects": names, "sides": where, "months": month, "grades": grade})
    _check_visits(names, where, month, grade)
    first, knee = _knees(names, where)
    _check_unique(names, where, knee, month)

    baseline, last = np.full(len(first), np.nan), np.full(len(first), np.nan)
    baseline[knee[month == 0]] = grade[month == 0]
    last[knee[month == horizon]] = grade[month == horizon]
    highest = last.copy()
    if definition == "any-read":
        follow_up = (month > 0) & (month <= horizon)
        np.fmax.at(highest, knee[follow_up], grade[follow_up])

    reasons = np.full(len(first), "", dtype=f"<U{max(map(len, OUTCOMES))}")
    reasons[np.isnan(last)] = NO_READ
    if at_ceiling == "excluded":
        reasons[baseline == WORST_GRADE] = AT_CEILING
    reasons[np.isnan(baseline)] = NO_BASELINE
    labels = np.where(reasons == "", (highest > baseline).astype(np.float64), np.nan)
    return ProgressionLabels(names[first], where[first], labels, reasons, baseline, horizon)


def baseline_labels(
    subjects: Strings,
    sides: Strings,
    timepoints: Strings,
    grades: Grades,
    *,
    horizon: int = 72,
    definition: Definition = "at-horizon",
    at_ceiling: Ceiling = "stays",
) -> Float64[np.ndarray, " n"]:
    """Label the baseline rows of a cohort by the grades of its own later rows.

    A cohort has a row only where both images exist. If grades were read at other visits too, take the labels from
    the table of all reads, and place them with `ProgressionLabels.at_baseline`.

    Args:
        subjects: Subject of each row (`Cohort.subjects`); shape (n,).
        sides: Side of each row (`Cohort.sides`); shape (n,).
        timepoints: Timepoint of each row (`Cohort.timepoints`), as `months_of` reads them; shape (n,).
        grades: KLG of each row (`Cohort.label("klg")`), NaN where missing; shape (n,).
        horizon: See `progression_labels`; so are the next two.
        definition: Which grade is held against the baseline's.
        at_ceiling: What becomes of baseline grade 4.

    Returns:
        Shape (n,): the knee's label (1 rises, 0 does not, NaN not evaluable) at its row of month 0, NaN elsewhere.

    Raises:
        SettingsError: As `progression_labels`.
        CohortError: As `progression_labels` and `months_of`.

    Example:
        >>> baseline_labels(["A", "A"], ["left", "left"], ["V00", "V08"], [2.0, 2.0]).tolist()
        [0.0, nan]
    """
    found = progression_labels(
        subjects, sides, months_of(timepoints), grades, horizon=horizon, definition=definition, at_ceiling=at_ceiling
    )
    return found.at_baseline(subjects, sides, timepoints)


def cohort_progression(cohort: Cohort, label: str, months: int) -> Float64[np.ndarray, " n"]:
    """Label the baseline pairs of a cohort by whether the grade in a label rises; grade 4 cannot and has no part.

    Args:
        cohort: Pairs of several visits.
        label: The label that holds the grade.
        months: See `progression_labels`.

    Returns:
        Shape (n,): 1 rises, 0 does not, NaN at other visits and where it cannot be known.

    Raises:
        CohortError: There is no such label, or as `baseline_labels`.
    """
    grades = cohort.label(label)
    return baseline_labels(
        cohort.subjects, cohort.sides, cohort.timepoints, grades, horizon=months, at_ceiling="excluded"
    )


def months_of(timepoints: Strings) -> Int64[np.ndarray, " n"]:
    """Read the months of timepoints.

    Args:
        timepoints: Whole months ("0", "12"), perhaps with the word ("12_MONTH"), or codes of `VISIT_MONTHS`
            ("V00", "v08"); shape (n,).

    Returns:
        Months; shape (n,).

    Raises:
        CohortError: A timepoint is none of these.

    Example:
        >>> months_of(["0", "V01", "24_MONTH"]).tolist()
        [0, 12, 24]
    """
    names = _texts("timepoints", timepoints)
    month_of = {name: _month(name) for name in set(names.tolist())}
    return np.array([month_of[name] for name in names.tolist()], dtype=np.int64)


def _month(name: str) -> int:
    text = name.strip()
    if text.upper() in VISIT_MONTHS:
        return VISIT_MONTHS[text.upper()]
    match = _MONTH.fullmatch(text)
    if not match:
        raise CohortError(
            f"timepoint {name!r} is not a month; labels of progression need whole months such as '0' and '72', "
            f"or the visits {', '.join(VISIT_MONTHS)}"
        )
    return int(match[1])


def _knee(subject: str, side: str) -> str:
    return f"knee {subject}/{side}" if side else f"knee {subject}"


def _texts(name: str, values: Strings) -> Shaped[np.ndarray, " n"]:
    found = np.asarray(values, dtype=np.str_)
    if found.ndim != 1:
        raise CohortError(f"{name} have the shape {found.shape}; give one a row, shape (n,)")
    return found


def _whole_months(values: Months) -> Int64[np.ndarray, " n"]:
    found = np.asarray(values)
    if found.size and found.dtype.kind not in "iu":
        raise CohortError(f"months are of type {found.dtype}; give whole numbers (`months_of` reads timepoints)")
    return found.astype(np.int64)


def _numbers(values: Grades) -> Float64[np.ndarray, " n"]:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise CohortError(f"grades are not numbers ({error}); give 0 to {WORST_GRADE}, NaN if missing") from error


def _check_lengths(columns: Mapping[str, Shaped[np.ndarray, " n"]]) -> None:
    if len({array.shape for array in columns.values()}) > 1:
        found = ", ".join(f"{name} {array.shape}" for name, array in columns.items())
        raise CohortError(f"the arrays differ in shape: {found}; give one value a row in each")


def _check_visits(
    names: Shaped[np.ndarray, " n"],
    sides: Shaped[np.ndarray, " n"],
    months: Int64[np.ndarray, " n"],
    grades: Float64[np.ndarray, " n"],
) -> None:
    impossible = ~(np.isnan(grades) | np.isin(grades, np.arange(WORST_GRADE + 1)))
    for bad, what, rule in (
        (months < 0, "month", "months count from the baseline, month 0"),
        (impossible, "grade", f"a KLG is 0, 1, 2, 3 or {WORST_GRADE}, NaN where it was not read"),
    ):
        if bad.any():
            row = int(np.argmax(bad))
            value = (months if what == "month" else grades)[row]
            raise CohortError(
                f"{_knee(names[row], sides[row])} has the {what} {value:g} (row {row}, and {int(bad.sum()) - 1} "
                f"further rows); {rule}"
            )


def _knees(
    names: Shaped[np.ndarray, " n"], sides: Shaped[np.ndarray, " n"]
) -> tuple[Int64[np.ndarray, " k"], Int64[np.ndarray, " n"]]:
    """First row of each knee, in the order of subject and side, and the position of each row's knee in that order."""
    _, subject = np.unique(names, return_inverse=True)
    known, side = np.unique(sides, return_inverse=True)
    _, first, knee = np.unique(subject * len(known) + side, return_index=True, return_inverse=True)
    return first, knee


def _check_unique(
    names: Shaped[np.ndarray, " n"],
    sides: Shaped[np.ndarray, " n"],
    knee: Int64[np.ndarray, " n"],
    months: Int64[np.ndarray, " n"],
) -> None:
    order = np.lexsort((months, knee))
    repeated = order[1:][(np.diff(knee[order]) == 0) & (np.diff(months[order]) == 0)]
    if len(repeated):
        row = repeated[0]
        raise CohortError(
            f"{_knee(names[row], sides[row])} has month {months[row]} more than once ({len(repeated)} rows too many "
            "in all); keep one row a visit"
        )
