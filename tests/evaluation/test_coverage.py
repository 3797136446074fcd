"""How much intervals hold, counted again by a plain loop; and the table and sentence made of it."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.synthesis.conftest import export_linear

from mris.database.build import commit_first
from mris.errors import SettingsError
from mris.evaluation.bundle_evaluation import evaluate_bundle
from mris.evaluation.coverage import PREDICTED
from mris.evaluation.results import ALL, read_results, write_results
from mris.evaluation.verdict import verdict
from mris.reporting.interval_table import interval_table
from mris.reporting.tables import markdown
from mris.synthesis.build_bundle import build_bundle
from mris.synthesis.bundle import Bundle

__all__ = ["export_linear"]

SPLITS = ["train"] * 30 + ["calibration"] * 62 + ["test"] * 24


@pytest.fixture
def cohort(make_cohort, rng):
    return make_cohort([f"P{row // 2:02d}" for row in range(len(SPLITS))], rng=rng, split=SPLITS)


@pytest.fixture
def bundle(tmp_path, cohort, export_linear):
    return build_bundle([export_linear(cohort)], cohort, tmp_path / "b", progress=False)


@pytest.fixture
def results(bundle, cohort):
    return evaluate_bundle(bundle, cohort, by=("klg",), n_bootstrap=20, references=False, progress=False).results


def test_coverage_and_width_are_those_of_a_plain_loop(results, bundle, cohort):
    test, synthesizer = cohort.split("test"), bundle.synthesizer()
    inside, widths, means = [], [], []
    for source, truth in zip(test.read_sources(), test.read_targets(), strict=True):
        (synthesis,) = synthesizer.stream([source])
        known = np.isfinite(truth) & cohort.split("train").atlas_mask
        held = (synthesis.lower <= truth) & (truth <= synthesis.upper)
        inside.append(held[known].mean())
        widths.append((synthesis.upper - synthesis.lower)[known].mean())
        facts = synthesis.contributions[0].intervals.means
        means.append(
            np.mean([one.lower <= np.nanmean(region) <= one.upper for one, region in zip(facts, truth, strict=True)])
        )
    (row,) = [row for row in results.intervals if (row.region, row.stratum.name) == ("combined", ALL)]
    assert (row.value, row.width) == pytest.approx((np.mean(inside), np.mean(widths)), rel=1e-5)
    assert row.of_means == pytest.approx(np.mean(means))
    assert row.low <= row.value <= row.high and row.level == 0.9 and 0 <= row.strange <= 1
    assert (row.stratum.n_images, row.stratum.n_subjects) == (24, 12)


def test_every_label_and_region_has_its_rows_which_come_back_from_a_file(results, tmp_path):
    rows = results.intervals
    assert {row.region for row in rows} == {"femoral", "tibial", "combined"}
    assert {row.stratum.label for row in rows} <= {"", "klg", PREDICTED}
    assert sum(row.stratum.n_images for row in rows if (row.stratum.label, row.region) == ("klg", "tibial")) == 24
    write_results(tmp_path / "results.json", results)
    assert read_results(tmp_path / "results.json").intervals == rows


def test_a_bundle_without_intervals_has_no_rows(bundle, cohort):
    from mris.synthesis.readouts import SynthesisSettings

    found = evaluate_bundle(
        *(bundle, cohort), synthesis=SynthesisSettings(3), n_bootstrap=20, references=False, progress=False
    )
    assert found.results.intervals == ()


def test_intervals_cost_no_synthesis_of_their_own(bundle, cohort, monkeypatch):
    from mris.synthesis.bundle_synthesizer import BundleSynthesizer
    from mris.synthesis.readouts import SynthesisSettings

    synthesize, asked = BundleSynthesizer.synthesize, []

    def counted(self, sources, exclude_subjects=None):
        asked[-1] += len(sources)
        return synthesize(self, sources, exclude_subjects)

    monkeypatch.setattr(BundleSynthesizer, "synthesize", counted)
    for wanted in (SynthesisSettings(), SynthesisSettings(3)):  # with intervals, and without
        asked.append(0)
        evaluate_bundle(bundle, cohort, synthesis=wanted, n_bootstrap=20, references=False, progress=False)
    assert asked[0] == asked[1]


def test_the_table_tells_share_width_and_means_and_the_verdict_a_share_that_fails(results):
    (row,) = [row for row in results.intervals if (row.region, row.stratum.name) == ("combined", ALL)]
    text = markdown(interval_table(results))
    assert "(90 % stated)" in text and f"{100 * row.value:.1f} %" in text
    short = replace(row, value=0.8, low=0.75, high=0.85)
    said = verdict(replace(results, intervals=(short,)))
    assert "The intervals of MRIS hold fewer pixels than stated: 80.0 % [75.0, 85.0] instead of 90 %." in said
    assert not any("intervals" in one for one in verdict(replace(results, intervals=(replace(row, low=0, high=1),))))


def test_a_bundle_from_before_readouts_is_evaluated_by_the_readout_of_its_time(
    tmp_path, cohort, export_linear, monkeypatch
):
    from mris.database import build
    from mris.synthesis.readouts import SynthesisSettings

    monkeypatch.setattr(build, "n_features_of", lambda _: 0)
    new = build_bundle([export_linear(cohort)], cohort, tmp_path / "old", progress=False)
    header, (member,) = json.loads((new.path / "bundle.json").read_text()), new.header.members
    for name in ("readout", "calibration"):
        del header["members"][0][name]
    (new.path / "bundle.json").write_text(json.dumps(header))
    folder = f"members/{member.name}/database"
    entries = json.loads((new.path / folder / "database.json").read_text())
    del entries["n_features"], entries["n_components"]
    (new.path / folder / "database.json").write_text(json.dumps(entries))
    commit_first(new.path, {folder: new.members[0].database.state}, ["bundle.json"])

    old = Bundle.open(new.path)
    given = {"n_bootstrap": 20, "references": False, "progress": False}
    found = evaluate_bundle(old, cohort, **given)
    paper = evaluate_bundle(old, cohort, synthesis=SynthesisSettings(20, "similarity"), **given)
    np.testing.assert_array_equal(found.per_image.values, paper.per_image.values)
    assert found.results.settings.readouts["MRIS"] == "20 neighbors, similarity weights"
    assert found.results.intervals == ()
    with pytest.raises(SettingsError, match="made without the sources of its entries; index again, or take"):
        evaluate_bundle(old, cohort, synthesis=SynthesisSettings(readout="linear"), **given)
