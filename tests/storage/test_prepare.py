"""A cohort for a storage is prepared here and appears there when it is whole."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("obstore", reason="the extra storage is not installed")

from mris.cohort.header import HEADER_FILE
from mris.cohort.prepare import PrepareReport, PrepareSettings, prepare_cohort
from mris.errors import CohortError, OutputError, StorageError
from mris.images.transforms import SourcePreparation
from mris.storage.address import place_of
from mris.storage.folder import folder_at
from mris.storage.objects import Objects
from mris.storage.publish import files_of, publish, standing_at

PLACE = place_of("s3://hospital/cohort")
SETTINGS = PrepareSettings(SourcePreparation((16, 16)), (16, 16), fractions={"train": 1.0}, workers=1)


@pytest.fixture
def manifest(tmp_path: Path, tiny_manifest: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    return tiny_manifest(tmp_path, n_subjects=3)


def prepared(manifest: Path, **options: bool) -> PrepareReport:
    return prepare_cohort(manifest, str(PLACE), SETTINGS, progress=False, **options)


def test_a_cohort_in_a_storage_holds_the_files_of_one_on_a_disk(
    memory: dict[str, object], manifest: Path, tmp_path: Path
) -> None:
    report = prepared(manifest)
    here = prepare_cohort(manifest, tmp_path / "here", SETTINGS, progress=False)
    assert report == here
    there = standing_at(PLACE).published.files
    alike = {name for name in files_of(tmp_path / "here") if ".lance" not in name}
    assert {name: there[name] for name in alike} == {
        name: file for name, file in files_of(tmp_path / "here").items() if name in alike
    }
    assert sum(name.startswith("pairs.lance/data/") for name in there) == 1
    assert list((tmp_path / "caches" / "mris" / "prepare").iterdir()) == []


def test_a_preparation_whose_storage_went_away_goes_on_with_what_is_prepared(
    memory: dict[str, object], manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise StorageError("the storage of s3://hospital/cohort cannot be used: it does not answer")

    with monkeypatch.context() as patch, pytest.raises(StorageError, match="does not answer"):
        patch.setattr(Objects, "send", gone)
        prepared(manifest)
    (work,) = (tmp_path / "caches" / "mris" / "prepare").iterdir()
    assert work.stat().st_mode & 0o077 == 0
    before = (work / "cohort" / HEADER_FILE).read_bytes()
    assert standing_at(PLACE) is None
    prepared(manifest)
    assert Path(folder_at(PLACE) / HEADER_FILE).read_bytes() == before
    assert not work.exists()


def test_a_user_without_a_home_folder_is_told_how_to_name_another(
    memory: dict[str, object], manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(OutputError, match="no home folder to prepare in; name another one by XDG_CACHE_HOME"):
        prepared(manifest)


def test_a_finished_cohort_is_left_as_it_is_and_another_one_is_refused(
    memory: dict[str, object], manifest: Path
) -> None:
    prepared(manifest)
    before = standing_at(PLACE)
    assert "nothing was done" in prepared(manifest).notes[-1]
    other = PrepareSettings(SourcePreparation((8, 8)), (8, 8), fractions={"train": 1.0}, workers=1)
    with pytest.raises(CohortError, match="begun with other input"):
        prepare_cohort(manifest, str(PLACE), other, progress=False)
    assert standing_at(PLACE) == before
    prepare_cohort(manifest, str(PLACE), other, progress=False, overwrite=True)
    assert standing_at(PLACE).published.id != before.published.id


def test_another_thing_in_its_place_is_never_replaced(
    memory: dict[str, object], manifest: Path, tmp_path: Path
) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "bundle.json").write_text("{}")
    publish(tmp_path / "bundle", PLACE, None)
    with pytest.raises(OutputError, match="holds something else than a cohort"):
        prepared(manifest, overwrite=True)


def test_a_process_that_does_not_see_the_copy_makes_its_own(memory: dict[str, object], manifest: Path) -> None:
    prepared(manifest)
    folder = folder_at(PLACE)
    sent = pickle.dumps(folder / HEADER_FILE)
    assert pickle.loads(sent) == folder / HEADER_FILE  # noqa: S301
    shutil.rmtree(folder.copy)
    assert Path(pickle.loads(sent)).is_file()  # noqa: S301
