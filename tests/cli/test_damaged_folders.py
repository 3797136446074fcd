"""Cohorts, runs and bundles with a damaged file: each command that needs it says so in one line and writes nothing."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.command import TINY

Damage = Callable[[Path], object]


def halve(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def cut(name: str) -> Damage:
    return lambda folder: halve(folder / name)


def emptied(name: str) -> Damage:
    return lambda folder: (folder / name).write_bytes(b"")


def lost(name: str) -> Damage:
    return lambda folder: shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


def saying(name: str, text: str) -> Damage:
    return lambda folder: (folder / name).write_text(text)


def changed(name: str, **values: object) -> Damage:
    return lambda folder: (folder / name).write_text(json.dumps({**json.loads((folder / name).read_text()), **values}))


def cut_table(name: str) -> Damage:
    """Keep the first half of a table's largest file."""
    return lambda folder: halve(max((folder / name).rglob("*"), key=lambda path: path.is_file() * path.stat().st_size))


DEEP = '{"format_version": 1, "regions": ' + "[" * 100_000 + "]" * 100_000 + "}"
"""What the parser of JSON would follow until Python's stack is full."""

COHORTS = {
    "no header": lost("cohort.json"),
    "cut header": cut("cohort.json"),
    "empty header": emptied("cohort.json"),
    "header of a list": saying("cohort.json", "[]"),
    "header without a bottom": saying("cohort.json", DEEP),
    "header of another version": changed("cohort.json", format_version=99),
    "header of other counts": changed("cohort.json", n_pairs=3),
    "header of other sizes": changed("cohort.json", source_shape=[1, 64, 64]),
    "no table": lost("pairs.lance"),
    "cut table": cut_table("pairs.lance"),
}


@pytest.mark.parametrize("damage", COHORTS.values(), ids=COHORTS)
def test_a_damaged_cohort_is_refused_by_all_that_read_one(
    refused, run_cli, tiny_cohort_path: Path, tiny_run: Path, tiny_bundle: Path, tmp_path: Path, damage: Damage
) -> None:
    cohort, bundle = tmp_path / "cohort", tmp_path / "bundle"
    shutil.copytree(tiny_cohort_path, cohort)
    shutil.copytree(tiny_bundle, bundle)
    damage(cohort)
    for arguments in (
        ["train", cohort, tmp_path / "out", *TINY],
        ["index", tiny_run, cohort, tmp_path / "out", "--quiet"],
        ["evaluate", tiny_bundle, cohort, "--out", tmp_path / "out", "--quiet"],
        ["bundle", "add", bundle, cohort, "--splits", "test", "--quiet"],
    ):
        assert str(cohort).lstrip("/") in refused(*arguments)
        assert not (tmp_path / "out").exists()
    assert run_cli("bundle", "verify", bundle).code == 0


RUNS = {
    "no description": lost("encoder/encoder.json"),
    "cut description": cut("encoder/encoder.json"),
    "description of a list": saying("encoder/encoder.json", "[]"),
    "description without a bottom": saying("encoder/encoder.json", DEEP),
    "description of another network": changed("encoder/encoder.json", width=16),
    "no weights": lost("encoder/encoder.safetensors"),
    "cut weights": cut("encoder/encoder.safetensors"),
    "empty weights": emptied("encoder/encoder.safetensors"),
}


@pytest.mark.parametrize("damage", RUNS.values(), ids=RUNS)
def test_a_damaged_encoder_is_neither_indexed_nor_taken_for_a_finished_run(
    run_cli, refused, tiny_cohort_path: Path, tiny_run: Path, tmp_path: Path, damage: Damage
) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    damage(run)
    assert "encoder" in refused("index", run, tiny_cohort_path, tmp_path / "out", "--quiet")
    assert not (tmp_path / "out").exists()
    if (run / "encoder" / "encoder.json").is_file():
        assert "encoder" in refused("train", tiny_cohort_path, run, *TINY, "--resume")
    else:  # as a kill leaves it: the run is finished by a resume
        assert run_cli("train", tiny_cohort_path, run, *TINY, "--resume").code == 0
        assert run_cli("index", run, tiny_cohort_path, tmp_path / "out", "--quiet").code == 0


MEMBER = "members/inner_outer"
BUNDLES = {
    "no header": lost("bundle.json"),
    "cut header": cut("bundle.json"),
    "header of a list": saying("bundle.json", "[]"),
    "header without a bottom": saying("bundle.json", DEEP),
    "description without a bottom": saying(f"{MEMBER}/encoder.json", DEEP),
    "header of the database without a bottom": saying(f"{MEMBER}/database/database.json", DEEP),
    "header without members": changed("bundle.json", members=[]),
    "no commit": lost("commit.json"),
    "cut commit": cut("commit.json"),
    "edited commit": changed("commit.json", commit={"number": 1, "tables": {}, "files": {}, "removed": []}),
    "no member": lost(MEMBER),
    "no network": lost(f"{MEMBER}/source.onnx"),
    "cut network": cut(f"{MEMBER}/source.onnx"),
    "cut description": cut(f"{MEMBER}/encoder.json"),
    "no header of the database": lost(f"{MEMBER}/database/database.json"),
    "cut header of the database": cut(f"{MEMBER}/database/database.json"),
    "cut mask": cut(f"{MEMBER}/database/atlas_mask.1.npz"),
    "no table": lost(f"{MEMBER}/database/entries.lance"),
    "cut table": cut_table(f"{MEMBER}/database/entries.lance"),
}


@pytest.mark.parametrize("damage", BUNDLES.values(), ids=BUNDLES)
def test_a_damaged_bundle_is_refused_by_all_that_use_its_files(
    refused, tiny_cohort_path: Path, tiny_bundle: Path, tmp_path: Path, damage: Damage
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    damage(bundle)
    query = tiny_cohort_path.parent / "S000_0_left.npy"
    for arguments in (
        ["synthesize", bundle, query, "--out", tmp_path / "out", "--quiet"],
        ["evaluate", bundle, tiny_cohort_path, "--out", tmp_path / "out", "--quiet"],
        ["bundle", "verify", bundle],
    ):
        assert str(bundle).lstrip("/") in refused(*arguments)
        assert not (tmp_path / "out").exists()
