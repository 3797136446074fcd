"""What a user chooses on the command line is what is done."""

import ast
import csv
import json
import re
from pathlib import Path

import lance
import pyarrow as pa
import pyarrow.parquet
import pytest
from tests.command import TINY

import mris.cli.options
from mris.cli.options import Quiet, ReadoutOptions, unfolded
from mris.cohort.header import label_column

PREPARE = ["--size", "16", "--workers", "1", "--quiet"]


@pytest.mark.parametrize("enriched", [False, True])
def test_an_enriched_cohort_has_more_osteoarthritis_and_says_what_it_is(
    run_cli, tmp_path: Path, enriched: bool
) -> None:
    arguments = ["--subjects", 30, "--size", 32, "--visits", 1, "--seed", 5, "--workers", 1, "--quiet"]
    assert run_cli("phantom", tmp_path / "knees", *arguments, *["--enriched"] * enriched).code == 0
    header = json.loads((tmp_path / "knees" / "phantom.json").read_text())
    assert header["settings"]["enriched"] is enriched
    assert (header["settings"]["seed"], header["settings"]["max_visits"], header["n_pairs"]) == (5, 1, 60)
    share = sum(header["baseline_grades"][3:]) / 60
    assert share > 0.25 if enriched else share < 0.25  # 30 % of knees have KLG 3 or 4 by design, or 17 %


def test_a_parquet_manifest_prepares_the_cohort_of_its_csv(run_cli, tiny_cohort_path: Path, tmp_path: Path) -> None:
    manifest = tiny_cohort_path.parent / "manifest.csv"
    with manifest.open(newline="") as file:
        rows = [{name: value or None for name, value in row.items()} for row in csv.DictReader(file)]
    for row in rows:
        row |= {name: str(manifest.parent / row[name]) for name in ("source", "target_inner", "target_outer")}
        row |= {"timepoint": int(row["timepoint"]), "grade": None if row["grade"] is None else int(row["grade"])}
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "pairs.parquet")
    outcome = run_cli("prepare", tmp_path / "pairs.parquet", tmp_path / "a", *PREPARE)
    assert (outcome.code, f"{len(rows)} of {len(rows)} rows kept, 0 dropped" in outcome.out) == (0, True)
    assert run_cli("prepare", manifest, tmp_path / "b", *PREPARE).code == 0
    columns = ["key", "subject", "timepoint", "side", "split", label_column("grade")]
    tables = [lance.dataset(str(tmp_path / name / "pairs.lance")).to_table(columns) for name in ("a", "b")]
    assert tables[0].equals(tables[1])
    assert tables[0].num_rows == len(rows)


def test_a_check_writes_nothing(run_cli, tiny_cohort_path: Path) -> None:
    folder = tiny_cohort_path.parent
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert run_cli("check", folder / "manifest.csv", *PREPARE).code == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_training_starts_from_a_state_dict_in_a_pt_file(
    run_cli, refused, tiny_cohort_path: Path, tiny_run: Path, tmp_path: Path
) -> None:
    import torch

    from mris.metric.encoders import DualEncoder

    state = DualEncoder.load(tiny_run / "encoder").source.state_dict()
    torch.save(state, tmp_path / "start.pt")
    frozen = ["--set", "lr_source=1e-12", "--set", "weight_decay=0"]
    started = ["train", tiny_cohort_path, tmp_path / "run", *TINY, "--seed", 9, *frozen]
    assert run_cli(*started, "--set", f"source_weights={tmp_path / 'start.pt'}").code == 0
    trained = DualEncoder.load(tmp_path / "run" / "encoder").source.state_dict()
    for name, parameter in DualEncoder.load(tiny_run / "encoder").source.named_parameters():
        if name.startswith("fc."):  # the last layer is of this cohort, not of the start
            continue
        assert torch.allclose(trained[name], parameter, atol=1e-6), name
    (tmp_path / "cut.pt").write_bytes((tmp_path / "start.pt").read_bytes()[:1000])
    again = ["train", tiny_cohort_path, tmp_path / "other", *TINY, "--set", f"source_weights={tmp_path / 'cut.pt'}"]
    assert "cut.pt" in refused(*again)
    assert not (tmp_path / "other").exists()


def test_an_address_without_ray_is_refused_by_a_dry_run_too(refused, tiny_cohort_path: Path, tmp_path: Path) -> None:
    arguments = ["prepare", tiny_cohort_path.parent / "manifest.csv", tmp_path / "out", *PREPARE]
    assert "give --engine ray" in refused(*arguments, "--address", "auto", "--dry-run")


@pytest.mark.parametrize("stray", [["--subjects", 600], ["--layout", "oai"]])
def test_options_of_radiographs_are_refused_where_mr_scans_are_made(refused, tmp_path: Path, stray: list) -> None:
    assert f"{stray[0]} is of radiographs" in refused("phantom", tmp_path / "knees", "--mr", 1, *stray)
    assert not (tmp_path / "knees").exists()


def test_every_note_of_a_command_goes_to_stderr() -> None:
    folder = Path(mris.cli.options.__file__).parent
    calls = [node for file in folder.glob("*.py") for node in ast.walk(ast.parse(file.read_text()))]
    printed = [ast.unparse(node) for node in calls if isinstance(node, ast.Call) and "echo" in ast.unparse(node.func)]
    notes = [text for text in printed if re.match(r"typer\.echo\(f?['\"]note: ", text)]
    assert notes and all(text.endswith("err=True)") for text in notes)


def test_options_that_travel_together_reach_a_command_as_one_object() -> None:
    given = []

    def command(file: str, *, choice: ReadoutOptions, quiet: Quiet = False) -> None:
        given.append((file, choice, quiet))

    asked = {"readout": "linear", "n_neighbors": 3, "weights": None, "temperature": None, "one_per_subject": True}
    unfolded(command)(file="a.png", quiet=True, **asked)
    assert given == [("a.png", ReadoutOptions("linear", 3, one_per_subject=True), True)]
