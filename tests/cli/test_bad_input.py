"""Every command, given what cannot work: one clear line, exit code 2, and what was there is there still."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from tests.command import TINY

from mris.cohort.cohort import Cohort
from mris.synthesis.bundle import Bundle
from mris.training.callbacks import read_metrics

COMMANDS = ("phantom", "check", "prepare", "train", "index", "synthesize", "evaluate", "demo", "bundle")


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(run_cli, command: str) -> None:
    outcome = run_cli(command, "--help")
    assert outcome.code == 0
    assert "Usage" in outcome.out


def test_the_version_is_that_of_the_package(run_cli) -> None:
    import mris

    assert run_cli("--version").out.strip() == mris.__version__


def test_an_unknown_option_is_a_usage_error(run_cli) -> None:
    outcome = run_cli("train", "a", "b", "--eppochs", "3")
    assert outcome.code == 2
    assert "--epochs" in outcome.err


# --- check and prepare -------------------------------------------------------------------------------------------


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A folder with three good pairs and one row that a test may spoil."""
    rng = np.random.default_rng(0)
    for i in range(4):
        np.save(tmp_path / f"x{i}.npy", rng.random((12, 12)).astype(np.float32))
        np.save(tmp_path / f"y{i}.npy", rng.random((12, 12)).astype(np.float32))
    return tmp_path


def manifest(folder: Path, rows: list[str], header: str = "subject,timepoint,source,target") -> Path:
    path = folder / "pairs.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


GOOD = [f"S{i},0,x{i}.npy,y{i}.npy" for i in range(3)]
SPLITS = ("--fractions", "train=0.5,val=0.5", "--size", "8", "--quiet")


def spoil_missing(folder: Path) -> str:
    return "S3,0,absent.npy,y3.npy"


def spoil_truncated_npy(folder: Path) -> str:
    (folder / "x3.npy").write_bytes((folder / "x3.npy").read_bytes()[:100])
    return "S3,0,x3.npy,y3.npy"


def spoil_empty(folder: Path) -> str:
    (folder / "x3.npy").write_bytes(b"")
    return "S3,0,x3.npy,y3.npy"


def spoil_object_array(folder: Path) -> str:
    np.save(folder / "x3.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return "S3,0,x3.npy,y3.npy"


def spoil_nan_target(folder: Path) -> str:
    np.save(folder / "y3.npy", np.full((12, 12), np.nan, dtype=np.float32))
    return "S3,0,x3.npy,y3.npy"


def spoil_black_source(folder: Path) -> str:
    np.save(folder / "x3.npy", np.zeros((12, 12), dtype=np.float32))
    return "S3,0,x3.npy,y3.npy"


def spoil_color(folder: Path) -> str:
    pixels = np.random.default_rng(0).integers(0, 255, (12, 12, 3), dtype=np.uint8)
    PillowImage.fromarray(pixels).save(folder / "x3.png")
    return "S3,0,x3.png,y3.npy"


def spoil_frames(folder: Path) -> str:
    frames = [PillowImage.fromarray(np.full((12, 12), i, dtype=np.uint8)) for i in range(3)]
    frames[0].save(folder / "x3.tiff", save_all=True, append_images=frames[1:])
    return "S3,0,x3.tiff,y3.npy"


def spoil_truncated_png(folder: Path) -> str:
    PillowImage.fromarray(np.eye(12, dtype=np.uint8)).save(folder / "x3.png")
    (folder / "x3.png").write_bytes((folder / "x3.png").read_bytes()[:50])
    return "S3,0,x3.png,y3.npy"


def spoil_cube(folder: Path) -> str:
    np.save(folder / "x3.npy", np.zeros((30, 12, 12), dtype=np.float32))
    return "S3,0,x3.npy,y3.npy"


SPOILED = [value for name, value in list(globals().items()) if name.startswith("spoil_")]


@pytest.mark.parametrize("spoil", SPOILED, ids=lambda function: function.__name__)
def test_a_bad_file_is_named_and_nothing_is_written_or_it_is_skipped_and_counted(
    run_cli, refused, pairs: Path, tmp_path: Path, spoil
) -> None:
    path = manifest(pairs, [*GOOD, spoil(pairs)])
    said = refused("prepare", path, tmp_path / "cohort", *SPLITS)
    assert "S3/0" in said
    assert not (tmp_path / "cohort" / "cohort.json").exists()
    assert "S3/0" in refused("check", path, *SPLITS)
    skipped = run_cli("prepare", path, tmp_path / "other", *SPLITS, "--on-error", "skip")
    assert skipped.code == 0
    assert "3 of 4 rows kept, 1 dropped" in skipped.out
    assert json.loads((tmp_path / "other" / "report.json").read_text())["n_kept"] == 3


def test_a_16_bit_picture_is_read_as_it_is(run_cli, pairs: Path, tmp_path: Path) -> None:
    PillowImage.fromarray((np.arange(144, dtype=np.uint16) * 400).reshape(12, 12)).save(pairs / "x3.png")
    path = manifest(pairs, [*GOOD, "S3,0,x3.png,y3.npy"])
    assert run_cli("prepare", path, tmp_path / "cohort", *SPLITS).code == 0


@pytest.mark.parametrize(
    ("rows", "header", "says"),
    [
        (GOOD, "subject,timepoint,sorce,target", "source"),
        ([*GOOD, "S0,0,x3.npy,y3.npy"], "subject,timepoint,source,target", "S0/0"),
        ([f"S0,{i},x{i}.npy,y{i}.npy" for i in range(3)], "subject,timepoint,source,target", "subject"),
        ([], "subject,timepoint,source,target", "row"),
    ],
    ids=["wrong column", "duplicate key", "one subject only", "no rows"],
)
def test_a_bad_manifest_costs_one_line(refused, pairs: Path, tmp_path: Path, rows, header, says) -> None:
    said = refused("prepare", manifest(pairs, rows, header), tmp_path / "cohort", *SPLITS)
    assert says in said


def test_mixed_sides_and_leaking_splits_are_named(refused, pairs: Path, tmp_path: Path) -> None:
    rows = ["S0,0,left,x0.npy,y0.npy", "S1,0,,x1.npy,y1.npy"]
    assert "side" in refused(
        "prepare", manifest(pairs, rows, "subject,timepoint,side,source,target"), tmp_path / "cohort", *SPLITS
    )
    rows = ["S0,0,x0.npy,y0.npy,train", "S0,1,x1.npy,y1.npy,val"]
    assert "S0" in refused(
        "prepare", manifest(pairs, rows, "subject,timepoint,source,target,split"), tmp_path / "cohort", *SPLITS
    )


def test_missing_and_empty_manifests_bad_sizes_and_files_in_the_way(refused, pairs: Path, tmp_path: Path) -> None:
    refused("prepare", tmp_path / "absent.csv", tmp_path / "cohort", *SPLITS)
    (tmp_path / "empty.csv").write_text("")
    refused("prepare", tmp_path / "empty.csv", tmp_path / "cohort", *SPLITS)
    path = manifest(pairs, GOOD)
    for size in ("tall", "1.5", "0", "nan", "1e400", "8x8x8"):
        assert f"--size is '{size}'" in refused("prepare", path, tmp_path / "cohort", "--size", size)
        assert f"--target-size is '{size}'" in refused("check", path, "--target-size", size)
    assert "--fractions" in refused("prepare", path, tmp_path / "cohort", "--fractions", "half")
    refused("prepare", path, path, *SPLITS)
    assert path.read_text().startswith("subject")


def test_a_check_lists_every_problem(refused, pairs: Path) -> None:
    missing = [f"T{i},0,absent{i}.npy,y0.npy" for i in range(30)]
    said = refused("check", manifest(pairs, [*GOOD, *missing]), *SPLITS)
    assert all(f"absent{i}.npy" in said for i in range(30))
    assert "3 of 33 rows kept, 30 dropped" in said


def test_a_dry_run_of_prepare_lists_every_problem_and_fails(run_cli, refused, pairs: Path, tmp_path: Path) -> None:
    cut = spoil_truncated_png(pairs)
    command = ("prepare", manifest(pairs, [*GOOD, cut, "T1,0,absent.npy,y0.npy"]), tmp_path / "cohort", *SPLITS)
    for options in ((), ("--on-error", "skip")):
        said = refused(*command, "--dry-run", *options)
        assert "mris: 2 of 5 rows cannot be used" in said
        assert all(name in said for name in ("S3/0", "absent.npy", "3 of 5 rows kept"))
    assert not (tmp_path / "cohort").exists()
    assert run_cli("prepare", manifest(pairs, GOOD), *command[2:], "--dry-run").code == 0


def test_a_cohort_is_not_prepared_over_another_one(run_cli, refused, pairs: Path, tmp_path: Path) -> None:
    path = manifest(pairs, GOOD)
    assert run_cli("prepare", path, tmp_path / "cohort", *SPLITS).code == 0
    before = snapshot(tmp_path / "cohort")
    assert "overwrite" in refused("prepare", path, tmp_path / "cohort", *SPLITS, "--seed", "5")
    assert snapshot(tmp_path / "cohort") == before


# --- train -------------------------------------------------------------------------------------------------------


def test_training_refuses_what_it_cannot_use(refused, tiny_cohort_path: Path, tiny_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    refused("train", tmp_path, out, *TINY)
    assert "did you mean 'margin'" in refused("train", tiny_cohort_path, out, "--set", "margn=0.2")
    assert "margin" in refused("train", tiny_cohort_path, out, "--set", "margin=-1")
    assert "name=value" in refused("train", tiny_cohort_path, out, "--set", "margin")
    (tmp_path / "bad.toml").write_text("epochs = = 3")
    assert "bad.toml" in refused("train", tiny_cohort_path, out, "--settings", tmp_path / "bad.toml")
    assert "patella" in refused("train", tiny_cohort_path, out, "--regions", "patella", *TINY)
    before = snapshot(tiny_run)
    assert "not empty" in refused("train", tiny_cohort_path, tiny_run, *TINY)
    assert snapshot(tiny_run) == before
    assert not out.exists()


def test_a_region_of_an_earlier_cohort_does_not_lead_a_run_out_of_its_folder(
    run_cli, refused, tiny_cohort_path: Path, tmp_path: Path
) -> None:
    older = shutil.copytree(tiny_cohort_path, tmp_path / "cohort")
    header = json.loads((older / "cohort.json").read_text())
    header["regions"][0] = "../escaped"
    (older / "cohort.json").write_text(json.dumps(header))
    said = refused("train", older, tmp_path / "run", "--separate", "--dry-run")
    assert "has a region '../escaped': a region's name is also that of a folder" in said
    assert run_cli("train", older, tmp_path / "run", "--dry-run").code == 0


@pytest.mark.parametrize("seed", [-1, 10**30])
def test_a_seed_that_no_generator_takes_is_a_usage_error(
    run_cli, tiny_cohort_path: Path, tmp_path: Path, seed: int
) -> None:
    outcome = run_cli("train", tiny_cohort_path, tmp_path / "run", f"--seed={seed}", *TINY)
    assert outcome.code == 2
    assert "--seed" in outcome.err
    assert run_cli("baseline", "train", tiny_cohort_path, tmp_path / "run", f"--seed={seed}").code == 2
    assert not (tmp_path / "run").exists()


def test_a_negative_seed_of_resampling_is_a_usage_error(run_cli, tmp_path: Path) -> None:
    outcome = run_cli("evaluate", tmp_path / "bundle", tmp_path / "cohort", "--seed=-1")
    assert outcome.code == 2
    assert "--seed" in outcome.err


def test_a_dry_run_writes_nothing(run_cli, tiny_cohort_path: Path, tmp_path: Path) -> None:
    outcome = run_cli("train", tiny_cohort_path, tmp_path / "run", "--dry-run")
    assert outcome.code == 0
    assert "margin = 0.1" in outcome.out
    assert not (tmp_path / "run").exists()


def test_a_training_says_what_it_came_to_and_nothing_of_epochs_before(
    run_cli, tiny_cohort_path: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert run_cli("train", tiny_cohort_path, run, "--dry-run", "--set", "batch_size=1000").err == ""
    trained = run_cli("train", tiny_cohort_path, run, *TINY, "--epochs", "2")
    said = trained.out.splitlines()
    assert "note: " in trained.err and "note: " not in trained.out
    rows = read_metrics(run / "metrics.csv")
    kept = min(rows, key=lambda row: row["error/val"])
    place = next(i for i, line in enumerate(said) if line.startswith("trained "))
    assert said[place + 1] == (
        f"kept epoch {kept['epoch'] + 1:.0f} of 2: validation error {kept['error/val']:.4g} mm, the mean map's "
        f"{kept['error/val@mean_map']:.4g} mm"
    )
    again = run_cli("train", tiny_cohort_path, run, *TINY, "--epochs", "2", "--resume").out.splitlines()
    assert again[-len(said) + place :] == said[place:], "a finished run says it again"


def test_fewer_subjects_than_a_batch_still_train(run_cli, tiny_cohort_path: Path, tmp_path: Path) -> None:
    arguments = [*TINY, "--set", "batch_size=64"]
    assert run_cli("train", tiny_cohort_path, tmp_path / "run", *arguments).code == 0


# --- index and bundle --------------------------------------------------------------------------------------------


def test_indexing_refuses_what_it_cannot_use(
    refused, tiny_cohort_path: Path, tiny_run: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    assert "no finished run" in refused("index", tmp_path, tiny_cohort_path, tmp_path / "b")
    assert "no split" in refused("index", tiny_run, tiny_cohort_path, tmp_path / "b", "--splits", "")
    assert "validation" in refused("index", tiny_run, tiny_cohort_path, tmp_path / "b", "--splits", "validation")
    before = snapshot(tiny_bundle)
    assert "exists" in refused("index", tiny_run, tiny_cohort_path, tiny_bundle)
    assert snapshot(tiny_bundle) == before
    assert not (tmp_path / "b").exists()


def test_a_bundle_lists_adds_removes_purges_and_verifies(
    run_cli, refused, tiny_cohort_path: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "copy.bundle"
    shutil.copytree(tiny_bundle, bundle)
    listed = run_cli("bundle", "list", bundle, "--subjects").out
    subject = listed.splitlines()[-1].split("\t")[0]
    assert subject.startswith("S0")
    assert "nobody" in refused("bundle", "remove", bundle, "nobody")
    assert "are there already" in run_cli("bundle", "add", bundle, tiny_cohort_path).out
    before = snapshot(bundle)
    for splits in ("", " , ", "tset"):
        assert "split" in refused("bundle", "add", bundle, tiny_cohort_path, "--splits", splits)
    assert snapshot(bundle) == before
    outcome = run_cli("bundle", "remove", bundle, subject)
    assert "earlier versions still hold their bytes" in outcome.out
    assert "1 removed subject still on the disk" in run_cli("bundle", "list", bundle).out
    outcome = run_cli("bundle", "remove", bundle, subject, "--purge", "--no-wait")
    assert outcome.code == 0 and f"removed before: {subject}; their bytes are off the disk now" in outcome.out
    for path in bundle.rglob("*"):
        assert not path.is_file() or subject.encode() not in path.read_bytes(), path
    assert run_cli("bundle", "add", bundle, tiny_cohort_path, "--splits", "test", "--quiet").code == 0
    assert run_cli("bundle", "verify", bundle).code == 0
    graph = next(bundle.rglob("source.onnx"))
    spoiled = bytearray(graph.read_bytes())
    spoiled[len(spoiled) // 2] ^= 1
    graph.write_bytes(spoiled)
    assert "damaged" in refused("bundle", "verify", bundle)


def test_a_folder_that_is_no_bundle_is_refused_everywhere(refused, tiny_cohort_path: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.eye(4, dtype=np.float32))
    refused("bundle", "list", tmp_path)
    refused("synthesize", tmp_path, tmp_path / "x.npy", "--out", tmp_path / "out")
    refused("evaluate", tmp_path, tiny_cohort_path, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_database_of_another_encoder_is_refused(
    run_cli, refused, tiny_cohort_path: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    assert run_cli("train", tiny_cohort_path, tmp_path / "run", *TINY, "--seed", "7").code == 0
    assert run_cli("index", tmp_path / "run", tiny_cohort_path, tmp_path / "other.bundle", "--quiet").code == 0
    member = next((tmp_path / "other.bundle" / "members").iterdir())
    shutil.rmtree(member / "database")
    shutil.copytree(next((tiny_bundle / "members").iterdir()) / "database", member / "database")
    assert "database.json is damaged or edited" in refused("bundle", "list", tmp_path / "other.bundle")
    shutil.copyfile(tiny_bundle / "commit.json", tmp_path / "other.bundle" / "commit.json")
    shutil.copyfile(tiny_bundle / "bundle.json", tmp_path / "other.bundle" / "bundle.json")
    assert "is not the file that was indexed" in refused("bundle", "list", tmp_path / "other.bundle")


# --- synthesize and evaluate -------------------------------------------------------------------------------------


@pytest.fixture
def query(tmp_path: Path) -> Path:
    path = tmp_path / "query.npy"
    np.save(path, np.random.default_rng(3).random((16, 16)).astype(np.float32))
    return path


def test_one_bad_query_stops_or_is_skipped_and_counted(
    run_cli, refused, tiny_bundle: Path, query: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.npy").write_bytes(query.read_bytes()[:90])
    out = tmp_path / "out"
    assert "bad.npy" in refused("synthesize", tiny_bundle, tmp_path / "bad.npy", "--out", out, "--quiet")
    outcome = run_cli(
        "synthesize", tiny_bundle, query, tmp_path / "bad.npy", "--out", out, "--on-error", "skip", "--quiet"
    )
    assert outcome.code == 0
    assert "1 of 2 files" in outcome.out
    assert "bad.npy" in outcome.err


def test_an_excluded_subject_is_never_a_neighbor_and_weights_sum_to_one(
    run_cli, tiny_bundle: Path, query: Path, tmp_path: Path
) -> None:
    arguments = ["synthesize", tiny_bundle, query, "-k", "5", "--formats", "npz", "--no-pictures", "--quiet"]
    assert run_cli(*arguments, "--out", tmp_path / "a").code == 0
    record = json.loads((tmp_path / "a" / "query_provenance.json").read_text())
    neighbors = record["contributions"][0]["neighbors"]
    assert sum(neighbor["weight"] for neighbor in neighbors) == pytest.approx(1, abs=1e-5)
    subject = neighbors[0]["subject"]
    assert run_cli(*arguments, "--exclude-subject", subject, "--out", tmp_path / "b").code == 0
    again = json.loads((tmp_path / "b" / "query_provenance.json").read_text())
    assert subject not in {neighbor["subject"] for neighbor in again["contributions"][0]["neighbors"]}


def test_more_neighbors_than_the_bundle_has_cost_a_note_and_the_provenance_says_how_many(
    run_cli, tiny_bundle: Path, query: Path, tmp_path: Path
) -> None:
    arguments = ["synthesize", tiny_bundle, query, "--formats", "npz", "--no-pictures", "--quiet", "--out", tmp_path]
    subjects = Bundle.open(tiny_bundle).subjects.tolist()
    n_people, one = len(set(subjects)), ["--one-per-subject"]
    for options, used, held in (
        ([], len(subjects), f"{len(subjects)} entries"),
        (one, n_people, f"{n_people} subjects"),
        (
            [*one, "--exclude-subject", subjects[0]],
            n_people - 1,
            f"{n_people - 1} subjects without subject {subjects[0]!r}",
        ),
    ):
        outcome = run_cli(*arguments, "-k", "500", *options)
        assert outcome.code == 0
        assert outcome.err == f"note: k is 500, cut to {used}: bundle {tiny_bundle} holds {held}\n"
        record = json.loads((tmp_path / "query_provenance.json").read_text())
        assert [part["readout"]["n_neighbors"] for part in record["contributions"]] == [500]
        assert [part["n_neighbors"] for part in record["contributions"]] == [used]
    assert run_cli(*arguments, "-k", n_people, *one).err == ""


def test_an_evaluation_with_more_neighbors_than_the_bundle_has_says_so(
    run_cli, tiny_bundle: Path, tiny_cohort_path: Path, tmp_path: Path
) -> None:
    options = ["--n-neighbors", "500", "--no-references", "--bootstrap", "10", "--quiet", "--out", tmp_path]
    outcome = run_cli("evaluate", tiny_bundle, tiny_cohort_path, *options)
    assert outcome.code == 0
    n_entries = len(Bundle.open(tiny_bundle).keys)
    assert f"note: k is 500, cut to {n_entries}: bundle {tiny_bundle} holds {n_entries} entries\n" in outcome.err


def test_an_evaluation_with_fewer_training_pairs_than_neighbors_judges_the_references_too(
    run_cli, tiny_bundle: Path, tiny_cohort_path: Path, tmp_path: Path
) -> None:
    options = ["--n-neighbors", "500", "--bootstrap", "10", "--quiet", "--out", tmp_path]
    outcome = run_cli("evaluate", tiny_bundle, tiny_cohort_path, *options)
    assert outcome.code == 0
    n = len(Cohort.open(tiny_cohort_path).split("train"))
    assert f"k is 500, cut to {n} for PCA k-NN: split train of the cohort holds {n} pairs\n" in outcome.err
    assert "PCA k-NN" in outcome.out


def test_an_evaluation_says_that_the_database_holds_people_of_the_queries(
    run_cli, tiny_bundle: Path, tiny_cohort_path: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_bundle, tmp_path / "more.bundle")
    assert run_cli("bundle", "add", tmp_path / "more.bundle", tiny_cohort_path, "--splits", "test", "--quiet").code == 0
    more = ["--also", f"more={tmp_path / 'more.bundle'}", "--no-references", "--bootstrap", "10", "--quiet"]
    outcome = run_cli("evaluate", tiny_bundle, tiny_cohort_path, *more, "--out", tmp_path / "out")
    assert outcome.code == 0
    n_people = len(set(Cohort.open(tiny_cohort_path).split("test").subjects.tolist()))
    assert f"note: the database of 'more' holds maps of {n_people} subjects of the queries; each query " in outcome.err
    assert outcome.err.count("of the queries") == 1


def test_nonsense_options_of_synthesis_cost_one_line(refused, tiny_bundle: Path, query: Path, tmp_path: Path) -> None:
    out = ["--out", tmp_path / "out", "--quiet"]
    assert "--center" in refused("synthesize", tiny_bundle, query, "--center", "middle", *out)
    assert "--formats" in refused("synthesize", tiny_bundle, query, "--formats", "bmp", *out)
    refused("synthesize", tiny_bundle, tmp_path / "absent.npy", *out)
    query.with_name("file").write_text("in the way")
    refused("synthesize", tiny_bundle, query, "--out", query.with_name("file"), "--quiet")


def test_files_of_one_name_in_two_folders_give_two_results(
    run_cli, tiny_bundle: Path, query: Path, tmp_path: Path
) -> None:
    copies = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        copies.append(shutil.copy(query, tmp_path / name / "scan.npy"))
    out = tmp_path / "out"
    assert run_cli("synthesize", tiny_bundle, *copies, "--out", out, "--no-pictures", "--quiet").code == 0
    assert {path.name for path in out.glob("*.nii.gz") if "spread" not in path.name} == {
        "a_scan.nii.gz",
        "b_scan.nii.gz",
    }


def test_evaluation_refuses_unknown_labels_splits_and_merges(
    refused, tiny_bundle: Path, tiny_cohort_path: Path, tmp_path: Path
) -> None:
    arguments = ["evaluate", tiny_bundle, tiny_cohort_path, "--out", tmp_path / "out", "--quiet"]
    assert "grade" in refused(*arguments, "--by", "klg")
    assert "test" in refused(*arguments, "--split", "tset")
    assert "LABEL:VALUE=STRATUM" in refused(*arguments, "--merge", "grade")
    refused(*arguments, "--split", "train")
    assert not (tmp_path / "out").exists()


def test_a_cohort_prepared_otherwise_is_not_judged(
    run_cli, refused, tiny_manifest, tiny_bundle: Path, tmp_path: Path
) -> None:
    path = tiny_manifest(tmp_path)
    arguments = ["--size", "16", "--mirror", "right", "--workers", "1", "--quiet"]
    assert run_cli("prepare", path, tmp_path / "mirrored", *arguments).code == 0
    assert "source preparation" in refused("evaluate", tiny_bundle, tmp_path / "mirrored", "--quiet")
