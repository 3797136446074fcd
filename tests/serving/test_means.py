"""The table of means tells of every map what NumPy tells of its file, however often the command runs."""

import csv

import numpy as np
import pytest

from mris.database.database import EmbeddingDatabase
from mris.errors import ImageError, OutputError, SettingsError
from mris.images.read import read_image
from mris.images.transforms import SourcePreparation
from mris.serving.files import FileOptions, synthesize_files
from mris.synthesis.synthesizer import Synthesizer

OPTIONS = FileOptions(formats=("nifti",), pictures=False)


@pytest.fixture
def synthesizer(make_cohort, projection_encoder, tmp_path, rng):
    cohort = make_cohort([f"S{i:02d}" for i in range(12)], rng=rng)
    encoder = projection_encoder.of(cohort)
    database = EmbeddingDatabase.build(tmp_path / "db.lance", cohort, encoder, progress=False)
    return Synthesizer(encoder, database, 4, preparation=SourcePreparation(size=(8, 8)))


@pytest.fixture
def files(tmp_path, rng):
    names = [tmp_path / f"{name}.npy" for name in ("b", "a", "c")]
    for path in names:
        np.save(path, rng.random((8, 8)))
    return names


def table(folder):
    with (folder / "means.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def expected(folder, stem):
    pixels = read_image(folder / f"{stem}.nii.gz").pixels.astype(np.float64)
    return [(stem, float(f"{np.nanmean(one):.6g}"), int(np.isfinite(one).sum())) for one in pixels]


def told(rows):
    return [(row["query"], float(row["mean"]), int(row["n_pixels"])) for row in rows if not row["part"]]


def test_means_are_those_of_the_maps_sorted_and_the_same_after_a_second_run(synthesizer, files, tmp_path):
    out = tmp_path / "out"
    list(synthesize_files(synthesizer, files, out, OPTIONS))
    rows = table(out)
    assert told(rows) == [row for stem in "abc" for row in expected(out, stem)]
    assert [row["region"] for row in rows[:2]] == list(synthesizer.database.header.regions)
    assert {row["unit"] for row in rows} == {"mm"}
    before = (out / "means.csv").read_bytes()
    list(synthesize_files(synthesizer, files[:2], out, OPTIONS))
    assert (out / "means.csv").read_bytes() == before


def test_a_query_of_other_pixels_replaces_its_own_rows_alone(synthesizer, files, tmp_path, rng):
    out = tmp_path / "out"
    list(synthesize_files(synthesizer, files, out, OPTIONS))
    before = {row["query"]: row["mean"] for row in table(out)}
    np.save(files[0], rng.random((8, 8)))
    list(synthesize_files(synthesizer, files[:1], out, OPTIONS))
    after = {row["query"]: row["mean"] for row in table(out)}
    assert [name for name in "abc" if after[name] != before[name]] == ["b"]
    assert told(table(out)) == [row for stem in "abc" for row in expected(out, stem)]


def test_maps_that_were_written_before_a_file_stopped_the_work_are_in_the_table(
    synthesizer, files, tmp_path, monkeypatch
):
    monkeypatch.setattr("mris.serving.files.BATCH_SIZE", 1)
    with pytest.raises(ImageError):
        list(synthesize_files(synthesizer, [files[0], tmp_path / "absent.npy"], tmp_path / "out", OPTIONS))
    assert told(table(tmp_path / "out")) == expected(tmp_path / "out", "b")


def test_parts_are_means_over_their_pixels_and_an_empty_one_has_none(synthesizer, files, tmp_path):
    region, shape = synthesizer.database.header.regions[0], synthesizer.database.header.target_shape[1:]
    upper = np.zeros(shape, bool)
    upper[: shape[0] // 2] = True
    parts = {region: {"upper": upper, "nothing": np.zeros(shape, bool)}}
    options = FileOptions(formats=("nifti",), pictures=False, parts=parts)
    list(synthesize_files(synthesizer, files[:1], tmp_path / "out", options))
    whole, above, nothing, _ = table(tmp_path / "out")
    values = read_image(tmp_path / "out" / "b.nii.gz").pixels[0, : shape[0] // 2].astype(np.float64)
    assert (whole["part"], above["part"]) == ("", "upper")
    assert float(above["mean"]) == float(f"{np.nanmean(values):.6g}")
    assert int(above["n_pixels"]) == np.isfinite(values).sum()
    assert (nothing["mean"], nothing["n_pixels"]) == ("", "0")
    odd = FileOptions(formats=("nifti",), pictures=False, parts={region: {"odd": np.ones((2, 3), bool)}})
    with pytest.raises(SettingsError, match=r"part 'odd' .* has \(2, 3\) pixels, but maps have"):
        list(synthesize_files(synthesizer, files[:1], tmp_path / "other", odd))


@pytest.mark.parametrize("text", ["site,age\n1,2\n", "query,region,part,mean,unit,n_pixels\na,b\n", ""])
def test_a_table_of_another_kind_is_refused_before_any_map_is_written(synthesizer, files, tmp_path, text):
    out = tmp_path / "out"
    out.mkdir()
    (out / "means.csv").write_text(text)
    with pytest.raises(OutputError, match="choose another folder"):
        list(synthesize_files(synthesizer, files, out, OPTIONS))
    assert [path.name for path in out.iterdir()] == ["means.csv"] and (out / "means.csv").read_text() == text


def test_the_table_never_replaces_a_query(synthesizer, files, tmp_path):
    query = files[0].rename(tmp_path / "means.csv")
    with pytest.raises(SettingsError, match="would replace a query"):
        list(synthesize_files(synthesizer, [query], tmp_path, OPTIONS))
