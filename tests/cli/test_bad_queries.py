"""``mris synthesize`` given files that are no query: one line names the file, results of others stay."""

import gzip
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as PillowImage
from pydicom.data import get_testdata_file

RNG = np.random.default_rng(5)
PIXELS = RNG.random((16, 16)).astype(np.float32)


def saved(path: Path, array: np.ndarray) -> Path:
    np.save(path, array, allow_pickle=array.dtype == object)
    return path


def cut(path: Path, n: int) -> Path:
    path.write_bytes(path.read_bytes()[:n])
    return path


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def picture(path: Path, array: np.ndarray, **options: object) -> Path:
    PillowImage.fromarray(array).save(path, **options)
    return path


def volume(path: Path, shape: tuple[int, ...]) -> Path:
    nib.save(nib.Nifti1Image(RNG.random(shape).astype(np.float32), np.eye(4)), path)
    return path


def frames(path: Path) -> Path:
    pages = [PillowImage.fromarray(np.full((16, 16), i, np.uint8)) for i in range(3)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    return path


BAD = {
    "missing": lambda f: f / "absent.npy",
    "a folder": lambda f: f,
    "empty": lambda f: written(f / "x.npy", b""),
    "truncated NPY": lambda f: cut(saved(f / "x.npy", PIXELS), 200),
    "truncated NPZ": lambda f: cut(written(f / "x.npz", _npz(f)), 100),
    "truncated PNG": lambda f: cut(picture(f / "x.png", (PIXELS * 255).astype(np.uint8)), 120),
    "truncated NIfTI": lambda f: cut(volume(f / "x.nii", (16, 16, 1)), 500),
    "truncated gzip": lambda f: cut(volume(f / "x.nii.gz", (16, 16, 1)), 300),
    "gzip of nothing": lambda f: written(f / "x.nii.gz", gzip.compress(b"")),
    "not what its suffix says": lambda f: written(f / "x.dcm", b"no DICOM" * 40),
    "no known suffix": lambda f: written(f / "x.docx", b"text"),
    "objects": lambda f: saved(f / "x.npy", np.array([[{}]], dtype=object)),
    "text": lambda f: saved(f / "x.npy", np.array([["a", "b"]])),
    "complex": lambda f: saved(f / "x.npy", PIXELS + 1j),
    "one axis": lambda f: saved(f / "x.npy", PIXELS[0]),
    "four axes": lambda f: saved(f / "x.npy", np.zeros((2, 2, 4, 4))),
    "no pixels": lambda f: saved(f / "x.npy", np.zeros((0, 16))),
    "other channels": lambda f: saved(f / "x.npy", RNG.random((2, 16, 16))),
    "all zero": lambda f: saved(f / "x.npy", np.zeros((16, 16))),
    "constant": lambda f: saved(f / "x.npy", np.full((16, 16), 7.0)),
    "all NaN": lambda f: saved(f / "x.npy", np.full((16, 16), np.nan)),
    "infinite": lambda f: saved(f / "x.npy", np.where(PIXELS > 0.9, np.inf, PIXELS)),
    "color PNG": lambda f: picture(f / "x.png", RNG.integers(0, 255, (16, 16, 3), np.uint8)),
    "multi-frame TIFF": lambda f: frames(f / "x.tiff"),
    "multi-frame DICOM": lambda f: Path(shutil.copy(get_testdata_file("rtdose.dcm"), f / "x.dcm")),
    "color DICOM": lambda f: Path(shutil.copy(get_testdata_file("SC_rgb_small_odd.dcm"), f / "x.dcm")),
    "volume": lambda f: volume(f / "x.nii.gz", (16, 16, 9)),
    "absent key of an archive": lambda f: Path(f"{written(f / 'x.npz', _npz(f))}::other"),
}


def _npz(folder: Path) -> bytes:
    np.savez(folder / "made.npz", image=PIXELS)
    return (folder / "made.npz").read_bytes()


@pytest.mark.parametrize("make", BAD.values(), ids=BAD)
def test_a_bad_query_is_named_in_one_line_or_skipped_and_counted(
    run_cli, refused, tiny_bundle: Path, tmp_path: Path, make
) -> None:
    good = saved(tmp_path / "good.npy", PIXELS)
    bad = make(tmp_path)
    out = ["--out", tmp_path / "out", "--formats", "npz", "--no-pictures", "--quiet"]
    name = bad.name.partition("::")[0]
    assert name in refused("synthesize", tiny_bundle, bad, *out)
    assert not list((tmp_path / "out").glob("x*"))
    outcome = run_cli("synthesize", tiny_bundle, bad, good, *out, "--on-error", "skip")
    assert outcome.code == 0
    assert "1 of 2 files" in outcome.out
    (skipped,) = outcome.err.splitlines()
    assert skipped.startswith("skipped: ") and name in skipped
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"good.npz", "good_provenance.json", "means.csv"}


GOOD = {
    "8-bit PNG": lambda f: picture(f / "x.png", (PIXELS * 255).astype(np.uint8)),
    "16-bit PNG": lambda f: picture(f / "x.png", (PIXELS * 65535).astype(np.uint16)),
    "gray stored as color": lambda f: picture(f / "x.png", np.repeat((PIXELS[..., None] * 255).astype(np.uint8), 3, 2)),
    "compressed TIFF": lambda f: picture(f / "x.tiff", (PIXELS * 65535).astype(np.uint16), compression="tiff_lzw"),
    "float TIFF": lambda f: picture(f / "x.tiff", PIXELS),
    "NIfTI of one slice": lambda f: volume(f / "x.nii.gz", (16, 16, 1)),
    "some NaN": lambda f: saved(f / "x.npy", np.where(PIXELS > 0.9, np.nan, PIXELS)),
    "float64, another size": lambda f: saved(f / "x.npy", RNG.random((40, 31))),
    "DICOM, JPEG 2000": lambda f: Path(shutil.copy(get_testdata_file("MR_small_jp2klossless.dcm"), f / "x.dcm")),
    "DICOM, run lengths": lambda f: Path(shutil.copy(get_testdata_file("MR_small_RLE.dcm"), f / "x.dcm")),
}


@pytest.mark.parametrize("make", GOOD.values(), ids=GOOD)
def test_what_can_be_read_is_synthesized(run_cli, tiny_bundle: Path, tmp_path: Path, make) -> None:
    out = ["--out", tmp_path / "out", "--formats", "npz", "--no-pictures", "--quiet"]
    outcome = run_cli("synthesize", tiny_bundle, make(tmp_path), *out)
    assert (outcome.code, outcome.err) == (0, "")
    with np.load(tmp_path / "out" / "x.npz") as arrays:
        assert arrays["image"].shape == (2, 16, 16)
        assert np.isfinite(arrays["image"]).any()


def test_results_never_replace_a_query(refused, tiny_bundle: Path, tmp_path: Path) -> None:
    query = picture(tmp_path / "knee.png", (PIXELS * 255).astype(np.uint8))
    before = query.read_bytes()
    assert "replace a query" in refused("synthesize", tiny_bundle, query, "--out", tmp_path, "--quiet")
    assert query.read_bytes() == before
    assert list(tmp_path.iterdir()) == [query]


@pytest.mark.data
def test_parts_of_an_atlas_that_the_maps_do_not_have_are_refused(refused, tiny_bundle, tmp_path, data_dir) -> None:
    query = saved(tmp_path / "x.npy", PIXELS)
    atlas = data_dir / "oai_atlas"
    said = refused("synthesize", tiny_bundle, query, "--out", tmp_path / "out", "--atlas", atlas, "--quiet")
    assert "leave out --atlas" in said and not (tmp_path / "out").exists()


def test_where_no_region_is_cut_a_center_is_refused(refused, tiny_bundle: Path, tmp_path: Path) -> None:
    query = saved(tmp_path / "x.npy", PIXELS)
    said = refused("synthesize", tiny_bundle, query, "--center", "8,8", "--out", tmp_path / "out", "--quiet")
    assert "center" in said


def test_a_subject_to_keep_out_who_is_not_there_is_noted(run_cli, tiny_bundle: Path, tmp_path: Path) -> None:
    query = saved(tmp_path / "x.npy", PIXELS)
    arguments = ["--exclude-subject", "S0001", "--out", tmp_path / "out", "--no-pictures", "--quiet"]
    outcome = run_cli("synthesize", tiny_bundle, query, *arguments)
    assert outcome.code == 0
    assert outcome.err.startswith("note: ") and "'S0001'" in outcome.err


def test_when_nothing_could_be_used_the_exit_code_says_so(run_cli, tiny_bundle: Path, tmp_path: Path) -> None:
    arguments = ["--out", tmp_path / "out", "--on-error", "skip", "--quiet"]
    outcome = run_cli("synthesize", tiny_bundle, tmp_path / "absent.npy", *arguments)
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1].startswith("mris: no file could be used")


def test_results_of_earlier_queries_stay_when_a_later_one_stops_the_command(
    run_cli, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mris.serving.files.BATCH_SIZE", 1)
    good, bad = saved(tmp_path / "good.npy", PIXELS), written(tmp_path / "bad.npy", b"")
    arguments = ["--out", tmp_path / "out", "--formats", "nifti", "--no-pictures", "--quiet"]
    assert run_cli("synthesize", tiny_bundle, good, bad, *arguments).code == 2
    assert json.loads((tmp_path / "out" / "good_provenance.json").read_text())["contributions"]
