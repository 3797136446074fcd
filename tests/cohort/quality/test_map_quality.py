"""A broken map stands out above every sound one; a judgment depends on the maps and on nothing else."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from mris.cohort.quality.map_measures import GRID, OWN_NUMBERS, measure_map
from mris.cohort.quality.map_quality import LEAST_SUBJECTS, SCORES, MapQuality, judge_maps
from mris.cohort.quality.nearest_maps import nearest_of_others
from mris.errors import SettingsError
from mris.knee.phantom.extraction import extract_maps
from mris.knee.phantom.population import subject_generator
from mris.knee.phantom.simulate import simulate_states

REGIONS = ("femoral", "tibial")


@dataclass(frozen=True)
class Maps:
    """Targets with their rows' names."""

    targets: np.ndarray
    subjects: tuple[str, ...]
    timepoints: tuple[str, ...]
    sides: tuple[str, ...]
    regions: tuple[str, ...] = REGIONS

    @property
    def keys(self) -> list[str]:
        return ["/".join(parts) for parts in zip(self.subjects, self.timepoints, self.sides, strict=True)]

    def permuted(self, order: Sequence[int]) -> "Maps":
        names = (self.subjects, self.timepoints, self.sides)
        subjects, timepoints, sides = (tuple(values[i] for i in order) for values in names)
        return Maps(self.targets[np.array(order)], subjects, timepoints, sides, self.regions)

    def judged(self, **options: float) -> MapQuality:
        return judge_maps(
            [measure_map(target) for target in self.targets],
            keys=self.keys,
            subjects=self.subjects,
            sides=self.sides,
            regions=self.regions,
            unit="mm",
            **options,
        )


@pytest.fixture(scope="module")
def knees() -> Maps:
    """The thickness maps of 30 digital people at all their visits, with little noise."""
    rows = []
    for index in range(30):
        for position, state in enumerate(simulate_states(3, index, atlas_size=64)):
            target = extract_maps(state.thickness, subject_generator(3, index, 2, position), "smooth")
            rows.append((target, state.subject, str(state.month), state.knee.side))
    targets, subjects, timepoints, sides = zip(*rows, strict=True)
    return Maps(np.stack(targets), subjects, timepoints, sides)


def made(n_subjects: int, *, sides: int = 2, visits: int = 1, seed: int = 0, size: int = 12) -> Maps:
    """Smooth random maps of one region; column 0 has no value."""
    rng = np.random.default_rng(seed)
    rows = []
    for subject in range(n_subjects):
        for side in ("left", "right")[:sides]:
            base = 2 + 0.3 * rng.standard_normal() + 0.3 * ndimage.gaussian_filter(rng.standard_normal((size, size)), 2)
            for visit in range(visits):
                target = base + 0.02 * rng.standard_normal((size, size))
                target[:, 0] = np.nan
                rows.append((target[None].astype(np.float32), f"S{subject:02d}", str(12 * visit), side))
    targets, subjects, timepoints, named = zip(*rows, strict=True)
    return Maps(np.stack(targets), subjects, timepoints, named, ("target",))


def _scaled(maps: np.ndarray) -> np.ndarray:
    return 1.5 * maps


def _shifted(maps: np.ndarray) -> np.ndarray:
    return np.pad(maps, ((0, 0), (8, 0), (0, 0)), constant_values=np.nan)[:, :-8]


def _upside_down(maps: np.ndarray) -> np.ndarray:
    return maps[:, ::-1]


def _noisy(maps: np.ndarray) -> np.ndarray:
    return np.maximum(maps + 0.3 * np.random.default_rng(0).standard_normal(maps.shape), 0)


def _with_a_hole(maps: np.ndarray) -> np.ndarray:
    holed = maps.copy()
    holed[0, 36:52, 38:54] *= 0
    return holed


def _half(maps: np.ndarray) -> np.ndarray:
    halved = maps.copy()
    halved[:, :32] = np.nan
    return halved


def _of_another_region(maps: np.ndarray) -> np.ndarray:
    return np.stack([maps[0], maps[0]])


FAULTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "scaled": _scaled,
    "shifted": _shifted,
    "upside down": _upside_down,
    "noisy": _noisy,
    "with a hole": _with_a_hole,
    "half": _half,
    "of another region": _of_another_region,
}
NAMED = {
    "scaled": {"change"},
    "shifted": {"coverage", "outside"},
    "upside down": {"coverage", "outside"},
    "noisy": {"roughness"},
    "with a hole": {"edges", "roughness"},
    "half": {"coverage"},
    "of another region": {"outside"},
}


@dataclass(frozen=True)
class Planted:
    """A cohort before and after one fault of each kind was put in."""

    maps: Maps
    places: dict[str, int]
    before: MapQuality
    after: MapQuality


@pytest.fixture(scope="module")
def planted(knees: Maps) -> Planted:
    """Each fault is at the first visit of another person's left knee that has at least three."""
    visits: dict[tuple[str, str], list[int]] = {}
    for row, knee in enumerate(zip(knees.subjects, knees.sides, strict=True)):
        visits.setdefault(knee, []).append(row)
    rows = [found[0] for (_, side), found in visits.items() if side == "left" and len(found) >= 3]
    places = dict(zip(FAULTS, rows, strict=False))
    targets = knees.targets.copy()
    for name, row in places.items():
        targets[row] = FAULTS[name](targets[row])
    broken = replace(knees, targets=targets)
    return Planted(knees, places, knees.judged(), broken.judged())


def test_every_planted_fault_is_ranked_above_every_sound_map(planted: Planted) -> None:
    assert len(planted.places) == len(FAULTS)
    assert set(planted.after.ranking[: len(FAULTS)]) == set(planted.places.values())


@pytest.mark.parametrize("fault", FAULTS)
def test_the_reason_names_what_was_done_to_the_map(planted: Planted, fault: str) -> None:
    quality, row = planted.after, planted.places[fault]
    assert quality.flagged[row]
    strongest = quality.reasons(row)[0]
    assert strongest.split(": ")[1].split(" ")[0] in NAMED[fault], strongest
    assert "robust SDs" in strongest


def test_sound_visits_of_a_broken_map_are_not_flagged_with_it(planted: Planted) -> None:
    maps, rows = planted.maps, set(planted.places.values())
    knees = list(zip(maps.subjects, maps.sides, strict=True))
    broken = {knees[row] for row in rows}
    partners = [
        row for row, knee in enumerate(knees) if knee in broken and row not in rows and not planted.before.flagged[row]
    ]
    assert len(partners) >= 2 * len(rows)
    assert not planted.after.flagged[partners].any()


@settings(deadline=None, max_examples=8)
@given(order=st.permutations(range(30)))
def test_a_judgment_does_not_depend_on_the_order_of_the_rows(order: list[int]) -> None:
    maps = made(15)
    straight, permuted = maps.judged(), maps.permuted(order).judged()
    np.testing.assert_allclose(permuted.deviations, straight.deviations[order], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(permuted.scores, straight.scores[order], rtol=1e-5, atol=1e-6)
    assert [permuted.keys[row] for row in permuted.ranking] == [straight.keys[row] for row in straight.ranking]


@settings(deadline=None, max_examples=8)
@given(factor=st.floats(1e-3, 1e3))
def test_a_judgment_does_not_depend_on_the_unit(factor: float) -> None:
    maps = made(12, visits=2)
    scaled = replace(maps, targets=maps.targets * np.float32(factor))
    np.testing.assert_allclose(scaled.judged().deviations, maps.judged().deviations, rtol=2e-3, atol=2e-3)


def test_nobody_is_the_nearest_of_the_own_other_side_or_visit() -> None:
    maps = made(12, visits=2)
    same = maps.targets.copy()
    for row, subject in enumerate(maps.subjects):  # all four maps of a person are one and the same
        same[row] = same[maps.subjects.index(subject)]
    quality = replace(maps, targets=same).judged()
    subjects = np.array(maps.subjects)
    assert (quality.nearest >= 0).all()
    assert (subjects[quality.nearest[:, 0]] != subjects[:, None]).all()
    assert not quality.scores[:, 0, _place("copy")].any()  # and no copy of another's


def _place(name: str) -> int:
    return [score.name for score in SCORES].index(name)


def test_a_map_that_two_people_share_is_named_for_both() -> None:
    maps = made(15)
    targets = maps.targets.copy()
    targets[20] = targets[3]
    quality = replace(maps, targets=targets).judged()
    assert quality.reasons(20) == [f"the very same map as {maps.keys[3]}"]
    assert quality.reasons(3) == [f"the very same map as {maps.keys[20]}"]
    assert np.flatnonzero(quality.flagged).tolist() == [3, 20]


def test_of_two_visits_that_disagree_in_nothing_but_the_change_both_are_flagged() -> None:
    maps = made(15, visits=2)
    targets = maps.targets.copy()
    targets[0] *= 0.85  # no rarity among people
    quality = replace(maps, targets=targets).judged()
    assert np.flatnonzero(quality.flagged).tolist() == [0, 1]
    assert quality.reasons(0)[0].startswith("change ")


def test_too_few_people_are_no_reference() -> None:
    few, enough = made(LEAST_SUBJECTS - 1, visits=3), made(LEAST_SUBJECTS)
    few.targets[0] *= 100
    quality = few.judged()
    assert not quality.judged
    assert np.isnan(quality.deviations).all()
    assert np.isnan(quality.outlier).all()
    assert not quality.flagged.any()
    assert "not judged" in quality.summary()
    assert "9 people" in quality.summary()
    assert np.isfinite(quality.scores[:, 0, _place("roughness")]).all()
    assert enough.judged().judged


def test_a_deviation_is_a_standard_deviation_and_faulty_maps_hardly_stretch_it() -> None:
    rng = np.random.default_rng(2)
    z = rng.standard_normal(1_000)
    z[:80] += 50  # 8 % of all
    targets = np.broadcast_to((10 + z)[:, None, None, None], (1_000, 1, 4, 4)).astype(np.float32)
    names = tuple(f"S{row:04d}" for row in range(1_000))
    maps = Maps(targets, names, ("0",) * 1_000, ("",) * 1_000, ("target",))
    found = maps.judged().deviations[:, 0, _place("middle")]
    slope = np.polyfit(z[80:], found[80:], 1)[0]
    assert 0.6 < slope < 1.05  # 1 without faults; the 90th percentile of 92 % sound maps lies at 2 SD
    assert found[:80].min() > 20


def test_a_threshold_of_nothing_is_refused() -> None:
    with pytest.raises(SettingsError, match="threshold of map quality is 0"):
        made(2).judged(threshold=0)


def test_no_maps_are_no_error() -> None:
    quality = judge_maps([], keys=[], subjects=[], sides=[], regions=("target",), unit="mm")
    assert quality.flagged.tolist() == []
    assert quality.summary().startswith("map quality: 0 maps")


@pytest.mark.parametrize("size", [(64, 64), (50, 70), (7, 90)])
def test_the_numbers_of_a_map_are_those_of_plain_code(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    target = rng.normal(1, 1, size).astype(np.float32)
    target[rng.random(size) < 0.1] = np.nan
    target[2, 3:6] = 0
    measured = measure_map(target[None])
    bends = [
        abs(float(target[i - 1, j] + target[i + 1, j] + target[i, j - 1] + target[i, j + 1] - 4 * target[i, j]))
        for i in range(1, size[0] - 1)
        for j in range(1, size[1] - 1)
    ]
    bends, values = np.array(bends)[~np.isnan(bends)], target[~np.isnan(target)]
    expected = [
        *(bends.mean(), np.quantile(bends, 0.99, method="closest_observation")),
        *(values.min(), *np.quantile(values, [0.05, 0.5, 0.95]), values.max()),
        *(np.mean(values < 0), np.mean(values == 0)),
    ]
    np.testing.assert_allclose(measured.numbers[0], expected, rtol=0.03, atol=0.02)
    assert len(expected) == len(OWN_NUMBERS)
    cells = [min(GRID, length) for length in size]
    starts = [[cell * length // n for cell in range(n)] + [length] for n, length in zip(cells, size, strict=True)]
    for i in range(cells[0]):
        for j in range(cells[1]):
            cell = target[starts[0][i] : starts[0][i + 1], starts[1][j] : starts[1][j + 1]]
            place = i * cells[1] + j
            assert measured.shares[0, place] == pytest.approx(np.isfinite(cell).mean())
            if np.isfinite(cell).any():
                assert measured.values[0, place] == pytest.approx(np.nanmean(cell), abs=1e-5)


def _nearest_by_a_loop(
    values: np.ndarray, shares: np.ndarray, subjects: Sequence[str], row: int, k: int
) -> tuple[list[int], list[float]]:
    best: dict[str, tuple[float, float, int]] = {}
    for other, subject in enumerate(subjects):
        weights = shares[row] * shares[other]
        if subject == subjects[row] or weights.sum() < 0.5 * (shares[row] ** 2).sum():
            continue
        apart = values[row] - values[other]
        found = (weights * apart**2).sum() / weights.sum(), (weights * abs(apart)).sum() / weights.sum(), other
        best[subject] = min(best.get(subject, found), found)
    chosen = sorted((mean, other) for _, mean, other in sorted(best.values())[:k])
    return [other for _, other in chosen], [mean for mean, _ in chosen]


@pytest.mark.parametrize("k", [1, 4, 30])
def test_nearest_maps_are_those_of_a_plain_loop(k: int) -> None:
    rng = np.random.default_rng(4)
    values = rng.normal(3, 1, (60, 20)).astype(np.float32)
    shares = (rng.random((60, 20)) < 0.7).astype(np.float32) * rng.random((60, 20), dtype=np.float32)
    subjects = [f"S{number}" for number in rng.integers(0, 20, 60)]
    found = nearest_of_others(values, shares, subjects, [str(row) for row in range(60)], k=k)
    for row in range(60):
        rows, means = _nearest_by_a_loop(values, shares, subjects, row, k)
        assert found.rows[row][found.rows[row] >= 0].tolist() == rows
        np.testing.assert_allclose(found.differences[row][: len(means)], means, rtol=1e-4)
        assert np.isnan(found.differences[row][len(means) :]).all()


def test_a_sample_of_many_maps_is_the_same_in_any_order() -> None:
    rng = np.random.default_rng(5)
    values, shares = rng.normal(3, 1, (80, 20)).astype(np.float32), np.ones((80, 20), dtype=np.float32)
    names, order = [f"S{row}" for row in range(80)], rng.permutation(80)
    straight = nearest_of_others(values, shares, names, names, k=3, most_references=25)
    permuted = nearest_of_others(
        values[order],
        shares[order],
        [names[row] for row in order],
        [names[row] for row in order],
        k=3,
        most_references=25,
    )
    assert len(np.unique(straight.rows)) <= 25
    np.testing.assert_array_equal(order[permuted.rows], straight.rows[order])
