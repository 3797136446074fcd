"""What tells whose grade rises within 72 months in the digital cohort: grade, true map, joint space on the radiograph.

    python -m benchmarks.progression [--people N] [--seed N]

Of a plain cohort only those who come after 72 months are simulated, at baseline and then, without radiographs. Areas
under the ROC curve are of people left out of the fit (five folds by person): logistic regression on 40 principal
components of the baseline maps and the grade, as strong a penalty as is best within the training folds.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mris.knee.phantom.extraction import extract_maps
from mris.knee.phantom.population import MONTHS, sample_person, subject_generator
from mris.knee.phantom.simulate import KneeState, simulate_states
from mris.knee.progression import progression_labels

LAST = MONTHS[-1]
COMPONENTS = 40
_FOLDS = partial(StratifiedGroupKFold, shuffle=True, random_state=0)


@dataclass(frozen=True)
class Knees:
    """Knees at baseline whose future is known.

    Attributes:
        states: At baseline.
        rises: Whether the grade rises; shape (n,).
        people: Number of each knee's person; shape (n,).
    """

    states: list[KneeState]
    rises: np.ndarray
    people: np.ndarray

    @property
    def grades(self) -> np.ndarray:
        return np.array([state.klg for state in self.states])

    @property
    def maps(self) -> np.ndarray:
        """True maps, only where there is an atlas; shape (n, p)."""
        return np.array([state.thickness[np.isfinite(state.thickness)] for state in self.states])

    @property
    def measured_maps(self) -> np.ndarray:
        """The same as extracted, as noisy as real ones."""
        rng = np.random.default_rng(0)
        maps = (extract_maps(state.thickness, rng, "measured") for state in self.states)
        return np.array([values[np.isfinite(values)] for values in maps])

    @property
    def joint_space(self) -> np.ndarray:
        """Medial and lateral joint space and how the femur tilts: what a radiograph shows; shape (n, 3)."""
        places = [state.placement for state in self.states]
        return np.array([(place.medial_jsw_mm, place.lateral_jsw_mm, place.slope) for place in places])


def simulated_knees(seed: int, n_people: int, *, atlas_size: int = 32) -> Knees:
    """Simulate those of a plain cohort's people who come at the last visit, and leave out knees of unknown future."""
    came = [i for i in range(n_people) if LAST in _months(seed, i)]
    visits = [state for i in came for state in _first_and_last(seed, i, atlas_size)]
    found = progression_labels(
        [state.subject for state in visits],
        [state.knee.side for state in visits],
        [state.month for state in visits],
        [state.klg if state.klg_known else np.nan for state in visits],
        horizon=LAST,
        at_ceiling="excluded",
    )
    label_of = {(s, side): y for s, side, y in zip(found.subjects, found.sides, found.labels, strict=True)}
    first = [s for s in visits if s.month == 0 and np.isfinite(label_of[s.subject, s.knee.side])]
    _, people = np.unique([state.subject for state in first], return_inverse=True)
    return Knees(first, np.array([label_of[s.subject, s.knee.side] for s in first]) > 0, people)


def _months(seed: int, index: int) -> tuple[int, ...]:
    return sample_person(subject_generator(seed, index), enriched=False, max_visits=None).months


def _first_and_last(seed: int, index: int, atlas_size: int) -> Iterator[KneeState]:
    yield from (s for s in simulate_states(seed, index, atlas_size=atlas_size) if s.month in (0, LAST))


def area_of_grade(knees: Knees) -> float:
    """Area under the ROC curve of the share of risers by grade."""
    scores = np.zeros(len(knees.rises))
    for learned, tested in _FOLDS(5).split(knees.grades, knees.rises, knees.people):
        shares = [np.append(knees.rises[learned][knees.grades[learned] == g], 0.0).mean() for g in range(5)]
        scores[tested] = np.array(shares)[knees.grades[tested]]
    return float(roc_auc_score(knees.rises, scores))


def area_of(values: np.ndarray, knees: Knees, *, with_grade: bool = True) -> float:
    """Area under the ROC curve of a regression on values (n, p), their principal components if there are many."""
    grades = np.eye(4)[knees.grades] * with_grade
    scores = np.zeros(len(knees.rises))
    for learned, tested in _FOLDS(5).split(values, knees.rises, knees.people):
        told = values
        if values.shape[1] > COMPONENTS:
            told = PCA(COMPONENTS, random_state=0).fit(values[learned]).transform(values)
        inputs = np.hstack([told, grades])
        model = GridSearchCV(
            make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
            {"logisticregression__C": [1e-3, 1e-2, 1e-1, 1.0]},
            scoring="roc_auc",
            cv=_FOLDS(4),
        )
        model.fit(inputs[learned], knees.rises[learned], groups=knees.people[learned])
        scores[tested] = model.decision_function(inputs[tested])
    return float(roc_auc_score(knees.rises, scores))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=2600)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    knees = simulated_knees(given.seed, given.people)
    print(f"{len(knees.rises)} knees of {knees.people.max() + 1} people, {100 * knees.rises.mean():.1f} % rise\n")
    print("| told by | ROC AUC |\n| --- | ---: |")
    print(f"| grade | {area_of_grade(knees):.3f} |")
    print(f"| true map and grade | {area_of(knees.maps, knees):.3f} |")
    print(f"| true map | {area_of(knees.maps, knees, with_grade=False):.3f} |")
    print(f"| map as noisy as real ones, and grade | {area_of(knees.measured_maps, knees):.3f} |")
    print(f"| joint space on the radiograph, and grade | {area_of(knees.joint_space, knees):.3f} |")


if __name__ == "__main__":
    main()
