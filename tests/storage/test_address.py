"""What a place is: a folder of this machine, or the address of one in a storage, and never a mixture."""

from pathlib import Path

import pytest
from tests.command import call

from mris.cohort.cohort import Cohort
from mris.errors import SettingsError
from mris.storage.address import Address, local_folder, place_of


@pytest.mark.parametrize("text", ["s3://b/a/cohort", "gs://b/cohort", "az://b/knees.bundle", "s3://b"])
def test_an_address_written_down_and_read_again_is_the_same(text: str) -> None:
    place = place_of(text)
    assert isinstance(place, Address)
    assert str(place) == text
    assert place_of(text + "/") == place_of(place) == place


@pytest.mark.parametrize("text", ["hands:2024.bundle", "a/b", ".", "/data/s3/x", "C:/data"])
def test_what_has_no_scheme_is_a_path_as_it_was(text: str) -> None:
    assert place_of(text) == Path(text) == local_folder(text, "OUT") == local_folder(Path(text), "OUT")


def test_a_file_address_is_the_folder_that_it_names(tmp_path: Path) -> None:
    assert place_of(f"file://{tmp_path}/two%20words") == tmp_path / "two words"


@pytest.mark.parametrize(
    "text",
    [
        "s3://key:secret@b/cohort",
        "az://b/cohort?sig=secret",
        "s3://b/cohort#secret",
        "s3://b/../secret",
        "s3://b//secret",
        "s3:///secret",
        "s3://b/se cret",
        "file://secret",
        "ftp://secret/cohort",
    ],
)
def test_an_address_with_more_in_it_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(SettingsError, match=r"address|storage") as caught:
        place_of(text)
    assert "secret" not in str(caught.value)


def test_an_address_that_was_made_a_path_is_refused_not_taken_for_a_folder() -> None:
    with pytest.raises(SettingsError, match="lost a slash"):
        Cohort.open(Path("s3://hospital/cohort"))


@pytest.mark.parametrize(
    "words",
    [
        ("train", "cohort", "s3://hospital/run"),
        ("index", "s3://hospital/run", "cohort", "knees.bundle"),
        ("serve", "s3://hospital/knees.bundle"),
        ("bench", "s3://hospital/knees.bundle"),
        ("experiment", "s3://hospital/cohort", "--out", "out"),
        ("prepare", "s3://hospital/pairs.csv", "cohort"),
        ("synthesize", "digital", "s3://hospital/knee.dcm"),
        ("synthesize", "digital", "knee.dcm", "--out", "s3://hospital/maps"),
        ("evaluate", "digital", "cohort", "--out", "s3://hospital/report"),
        ("evaluate", "s3://hospital/knees.bundle", "cohort"),
        ("demo", "https://hospital/demo"),
        ("train", "file:///nowhere/cohort", "file:///nowhere/run"),
    ],
)
def test_a_command_refuses_an_address_where_it_cannot_go_and_makes_nothing(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(*words) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "storage" in line or "file://" in line
    assert list(tmp_path.iterdir()) == []
