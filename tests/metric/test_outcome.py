"""What a training came to is said in words."""

import numpy as np
import pytest

from mris.metric.outcome import Outcome


def outcome(*errors: float, mean_map: float = 0.3, recall: float = 0.5) -> Outcome:
    rows = [
        {"epoch": i, "loss/train": 1.0, "error/val": error, "error/val@mean_map": mean_map, "recall/val@1": 0.1}
        | {"recall/val@10": recall, "recall/val@20": 1.0}
        for i, error in enumerate(errors)
    ]
    found = Outcome.of(rows, "mm")
    assert found is not None
    return found


def said(found: Outcome, n_pairs: int = 100, n_people: int = 50) -> str:
    return "\n".join(found.notes(n_pairs, n_people))


def test_the_kept_epoch_is_the_first_with_the_least_error_beside_the_mean_map() -> None:
    found = outcome(0.29, 0.25, 0.25, 0.26)
    assert found.sentence() == "kept epoch 2 of 4: validation error 0.25 mm, the mean map's 0.3 mm"


@pytest.mark.parametrize(("error", "told"), [(0.31, True), (0.3, True), (0.29, False)])
def test_a_synthesis_that_is_not_better_than_the_mean_map_is_said_to_be_so(error: float, told: bool) -> None:
    assert ("not better than the mean map" in said(outcome(error))) == told


def test_a_run_whose_last_epoch_is_the_best_is_told_to_train_longer() -> None:
    assert "still falling; a new run of more epochs (--epochs 6)" in said(outcome(0.29, 0.28, 0.27))
    assert "epochs" not in said(outcome(0.29, 0.28, 0.27, 0.28))


def test_a_run_that_has_not_improved_for_long_is_told_so() -> None:
    assert "has not improved since epoch 2 of 5" in said(outcome(0.29, 0.27, 0.28, 0.28, 0.28))


def test_one_epoch_says_nothing_of_more() -> None:
    assert "epoch" not in said(outcome(0.2))


def test_retrieval_is_at_chance_as_often_as_the_level_where_people_guess() -> None:
    rng, at_chance = np.random.default_rng(0), []
    for _ in range(2000):
        found = rng.binomial(200, 0.1)
        at_chance.append(outcome(0.2, recall=found / 200).is_at_chance(100, 200))
    assert 0.93 < np.mean(at_chance) < 0.98
    assert not outcome(0.2, recall=0.5).is_at_chance(100, 50)
    assert "retrieval is at chance: 12.0 % find their own target among the 10 nearest of 100" in said(
        outcome(0.2, recall=0.12)
    )


def test_a_gallery_no_larger_than_k_says_nothing_of_chance() -> None:
    assert "chance" not in said(outcome(0.2, recall=1.0), n_pairs=10, n_people=5)


def test_a_run_without_validation_has_no_outcome() -> None:
    assert Outcome.of([{"epoch": 0.0, "loss/train": 1.0}], "mm") is None
