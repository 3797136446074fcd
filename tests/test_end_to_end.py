"""The whole road by the command line: digital knees, and real organs where the data is present."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tests.command import TINY, call


def mris(*arguments: object) -> None:
    assert call(*arguments) == 0, arguments


@pytest.fixture(scope="module")
def knees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("knees")
    mris("phantom", folder / "knees", "--subjects", 24, "--size", 32, "--visits", 1, "--workers", 1, "--quiet")
    mris("prepare", folder / "knees" / "manifest.csv", folder / "cohort", "--size", 32, "--mirror", "right",
         "--target-spacing", "0.9x0.8", "--workers", 1, "--quiet")  # fmt: skip
    mris("train", folder / "cohort", folder / "run", *TINY)
    mris("index", folder / "run", folder / "cohort", folder / "knees.bundle", "--quiet")
    return folder


def test_a_digital_radiograph_becomes_a_map_in_mm_with_its_neighbors(knees: Path, tmp_path: Path) -> None:
    source = next((knees / "knees").glob("P*/00_left.png"))
    mris("synthesize", knees / "knees.bundle", source, "--side", "left", "--out", tmp_path, "--quiet")
    image = nib.load(tmp_path / "00_left.nii.gz")
    values = image.get_fdata()
    assert values.shape[:2] == (32, 32)
    assert values.shape[-1] == 2
    assert sorted(map(float, image.header.get_zooms()[:2])) == pytest.approx([0.8, 0.9])
    assert np.isnan(values[0, 0]).all()
    assert 0.5 < np.nanmean(values) < 4  # mm of cartilage
    record = json.loads((tmp_path / "00_left_provenance.json").read_text())
    assert record["unit"] == "mm"
    assert len(record["contributions"][0]["neighbors"]) == 20
    for name in ("00_left.png", "00_left_neighbors.png", "00_left_spread.nii.gz"):
        assert (tmp_path / name).stat().st_size > 500, name


def test_the_report_is_one_offline_page_with_every_image_counted(knees: Path, tmp_path: Path) -> None:
    mris("evaluate", knees / "knees.bundle", knees / "cohort", "--by", "klg", "--out", tmp_path, "--quiet")
    results = json.loads((tmp_path / "results.json").read_text())
    assert {method["name"] for method in results["methods"]} == {"MRIS", "mean map", "PCA k-NN", "PCA ridge"}
    counts = {(row["label"], row["name"]): row["n_images"] for row in results["strata"]}
    total = sum(count for (label, _), count in counts.items() if label == "klg")
    assert total == next(count for (label, _), count in counts.items() if label == "") > 0
    page = (tmp_path / "report.html").read_text()
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page)
    assert "<script" not in page


@pytest.mark.slow
def test_separate_networks_for_each_region_are_mixed_in_one_bundle(knees: Path, tmp_path: Path) -> None:
    mris("train", knees / "cohort", tmp_path / "run", "--separate", *TINY)
    mris("index", tmp_path / "run", knees / "cohort", tmp_path / "mixed.bundle", "--quiet")
    source = next((knees / "knees").glob("P*/00_left.png"))
    mris("synthesize", tmp_path / "mixed.bundle", source, "--side", "left", "--out", tmp_path / "maps", "--quiet")
    record = json.loads((tmp_path / "maps" / "00_left_provenance.json").read_text())
    assert [part["regions"] for part in record["contributions"]] == [["femoral"], ["tibial"]]
    mris("evaluate", tmp_path / "mixed.bundle", knees / "cohort", "--out", tmp_path / "report", "--quiet")


@pytest.mark.slow
def test_synthesis_and_evaluation_run_where_torch_is_not_installed(knees: Path, tmp_path: Path) -> None:
    source = next((knees / "knees").glob("P*/00_left.png"))
    code = (
        "import json, sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('torch', 'lightning', 'onnx', 'safetensors', 'tensorboard'):\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from mris.cli.main import main\n"
        "for arguments in json.loads(sys.argv[1]):\n"
        "    sys.argv = ['mris', *arguments]\n"
        "    try:\n"
        "        main()\n"
        "    except SystemExit as leaving:\n"
        "        assert not leaving.code, arguments\n"
    )
    commands = [
        ["synthesize", knees / "knees.bundle", source, "--side", "left", "--out", tmp_path / "maps"],
        ["evaluate", knees / "knees.bundle", knees / "cohort", "--out", tmp_path / "report"],
        ["bundle", "verify", knees / "knees.bundle"],
    ]
    program = [sys.executable, "-c", code, json.dumps(commands, default=str)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "maps" / "00_left.nii.gz").is_file() and (tmp_path / "report" / "report.html").is_file()


@pytest.mark.slow
def test_the_demo_walks_the_whole_road_and_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo = ["demo", tmp_path / "demo", "--subjects", 60, "--size", 32, "--epochs", 1, "--quiet"]
    kept = [tmp_path / "demo" / name for name in ("cohort/cohort.json", "run/encoder/encoder.json")]

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(AssertionError, match="demo"):
        patched.setattr("mris.serving.files.synthesize_files", stop)
        mris(*demo)
    first = [(path.read_bytes(), path.stat().st_mtime_ns) for path in kept]
    assert not (tmp_path / "demo" / "maps").exists()
    mris(*demo)
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in kept] == first
    assert len(list((tmp_path / "demo" / "maps").glob("*_provenance.json"))) == 6
    assert (tmp_path / "demo" / "report" / "report.html").stat().st_size > 100_000


def walk_real(folder: Path, pairs: dict[str, tuple[np.ndarray, np.ndarray]], size: str) -> dict:
    lines = ["subject,timepoint,source,target"]
    for subject, (source, target) in pairs.items():
        np.savez(folder / f"{subject}.npz", source=source.astype(np.float32), target=target.astype(np.float32))
        lines.append(f"{subject},0,{subject}.npz::source,{subject}.npz::target")
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n")
    mris("prepare", folder / "pairs.csv", folder / "cohort", "--size", size, "--workers", 1, "--quiet")
    mris("train", folder / "cohort", folder / "run", *TINY)
    mris("index", folder / "run", folder / "cohort", folder / "bundle", "--quiet")
    query = f"{folder / next(iter(pairs))}.npz::source"
    mris("synthesize", folder / "bundle", query, "--out", folder / "maps", "--formats", "npz", "--quiet")
    mris("evaluate", folder / "bundle", folder / "cohort", "--out", folder / "report", "--quiet")
    return json.loads((folder / "report" / "results.json").read_text())


@pytest.mark.slow
@pytest.mark.data
def test_real_adrenal_glands_walk_the_road(data_dir: Path, tmp_path: Path) -> None:
    with np.load(data_dir / "adrenal" / "adrenal_masks_64.npz") as arrays:
        masks = arrays["train_images"][:60] > 0
    pairs = {f"A{i:03d}": (mask.sum(axis=0), mask.sum(axis=2)) for i, mask in enumerate(masks)}
    results = walk_real(tmp_path, pairs, "32")
    assert results["cohort"]["n_images"] == 12


@pytest.mark.slow
@pytest.mark.data
def test_real_hippocampi_walk_the_road(data_dir: Path, tmp_path: Path) -> None:
    pairs = {}
    for path in sorted((data_dir / "hippocampus" / "images").glob("*.nii.gz"))[:60]:
        image = np.asarray(nib.load(path).dataobj, dtype=np.float32)
        label = np.asarray(nib.load(data_dir / "hippocampus" / "labels" / path.name).dataobj) > 0
        pairs[path.name.removesuffix(".nii.gz")] = (image.mean(axis=0), label.sum(axis=0))
    results = walk_real(tmp_path, pairs, "48x32")
    assert results["cohort"]["n_images"] == 12
