"""Targets without sources: a bundle takes them in, the readouts that need no source use them, and nothing else does."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mris.cohort.cohort import Cohort
from mris.database.verify import VerifyReport
from mris.errors import DatabaseError
from mris.synthesis.bundle import Bundle


@pytest.fixture
def alone(tiny_bundle: Path, tiny_cohort_path: Path, tmp_path: Path, run_cli: Callable) -> Path:
    """A cohort of three people's targets, prepared from a manifest without a column of sources."""
    header, regions = Cohort.open(tiny_cohort_path).header, Cohort.open(tiny_cohort_path).regions
    rng, lines = np.random.default_rng(0), [f"subject,timepoint,side,split,{','.join(f'target_{r}' for r in regions)}"]
    for name in ("new0", "new1", "new2"):
        for region in regions:
            np.save(tmp_path / f"{name}_{region}.npy", rng.uniform(1, 3, header.target_shape[1:]).astype(np.float32))
        lines.append(f"{name},0,left,train,{','.join(f'{name}_{r}.npy' for r in regions)}")
    (tmp_path / "targets.csv").write_text("\n".join(lines) + "\n")
    size = "x".join(map(str, header.target_shape[1:]))
    spacing = header.target_spacing
    given = [] if spacing is None else ["--target-spacing", "x".join(map(str, spacing))]
    origin = ["--simulated"] if header.origin == "simulated" else []
    prepared = run_cli(
        *("prepare", tmp_path / "targets.csv", tmp_path / "alone", "--no-sources", "--target-size", size),
        *("--unit", header.unit, "--quiet", *given, *origin),
    )
    assert prepared.code == 0, prepared
    return tmp_path / "alone"


@pytest.fixture
def grown(alone: Path, tiny_bundle: Path, tmp_path: Path, run_cli: Callable) -> Bundle:
    shutil.copytree(tiny_bundle, tmp_path / "grown.bundle")
    added = run_cli("bundle", "add", tmp_path / "grown.bundle", alone, "--quiet")
    assert added.code == 0, added
    assert "added 3 targets" in added.out
    assert "note: they have no sources: readouts neighbors, attention and few use them, linear leaves" in added.err
    return Bundle.open(tmp_path / "grown.bundle")


def test_targets_alone_count_for_the_readouts_that_need_no_source(
    grown: Bundle, tiny_bundle: Path, tiny_cohort_path: Path
) -> None:
    before, source = Bundle.open(tiny_bundle), Cohort.open(tiny_cohort_path).read_sources([0])
    for readout, changes in (("attention", True), ("linear", False), ("blend", True), ("few", True)):
        was, now = (bundle.synthesizer(readout=readout).synthesize(source)[0] for bundle in (before, grown))
        told = {key for key in now.contributions[0].all_keys.tolist() if key.startswith("new")}
        assert bool(told) == changes
        assert np.allclose(was.image, now.image, equal_nan=True, atol=1e-6) != changes


def test_verification_counts_the_entries_without_a_source(grown: Bundle) -> None:
    report = grown.verify()
    assert report.ok
    (found,) = report.databases.values()
    assert isinstance(found, VerifyReport) and found.n_without_source == 3
    assert "3 entries have no source: the linear readout leaves them out" in found.summary()


def test_a_bundle_of_targets_alone_cannot_give_a_linear_readout(grown: Bundle, tiny_cohort_path: Path) -> None:
    known = sorted({name for name in grown.subjects.tolist() if not name.startswith("new")})
    grown.remove(known, purge=True)
    source = Cohort.open(tiny_cohort_path).read_sources([0])
    with pytest.raises(DatabaseError, match="holds no entry with a source; use --readout attention"):
        grown.synthesizer(readout="linear").synthesize(source)
    assert np.isfinite(grown.synthesizer(readout="attention").synthesize(source)[0].image).any()


def test_a_cohort_of_targets_alone_is_no_cohort_to_train_index_or_evaluate_on(
    alone: Path, tiny_run: Path, tiny_bundle: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    told = "has no sources: its targets can be added to a bundle"
    for command in (
        ("train", alone, tmp_path / "run", "--quiet"),
        ("index", tiny_run, alone, tmp_path / "b", "--quiet"),
        ("evaluate", tiny_bundle, alone, "--split", "train", "--out", tmp_path / "r", "--quiet"),
    ):
        assert told in refused(*command)


def test_a_manifest_that_lacks_sources_by_mistake_is_still_refused(alone: Path, refused: Callable[..., str]) -> None:
    manifest = alone.with_name("targets.csv")
    assert "lacks the column 'source'" in refused("prepare", manifest, alone.with_name("other"), "--quiet")
