"""A folder in a storage is all there or not at all, whoever writes it and whatever ends them."""

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("obstore", reason="the extra storage is not installed")

import obstore
from hypothesis import given, settings
from hypothesis import strategies as st

from mris.errors import OutputError, StorageError
from mris.storage import objects as room
from mris.storage.address import place_of
from mris.storage.folder import changed, folder_at, newest
from mris.storage.objects import Objects
from mris.storage.publish import POINTER, Published, StoredFile, new_folder, publish, standing_at

PLACE = place_of("s3://hospital/hands")
Stores = dict[str, object]


class KilledError(Exception):
    """Stands for the end of a process."""


def written(folder: Path, **texts: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.json").write_text(text)
    return folder


def names_in(stores: Stores) -> set[str]:
    return {one["path"].partition("/")[0] for part in obstore.list(stores[str(PLACE)]) for one in part}


def text_at(name: str) -> str:
    return Path(folder_at(PLACE) / f"{name}.json").read_text()


def change_to(text: str) -> None:
    with changed(folder_at(PLACE)) as folder:
        written(folder, a=text)


@pytest.fixture
def standing(memory: Stores, tmp_path: Path) -> Stores:
    publish(written(tmp_path / "hands", a="first", b="always"), PLACE, None)
    return memory


def test_every_field_of_the_pointer_is_in_the_reference() -> None:
    reference = (Path(__file__).parents[2] / "docs" / "reference" / "files.md").read_text()
    section = reference.partition("\n## published.json\n")[2].partition("\n## ")[0]
    explained = set(re.findall(r"`(\w+)`", section))
    assert {*Published.model_fields, *StoredFile.model_fields} <= explained


def test_a_published_folder_is_read_as_it_was(standing: Stores) -> None:
    folder = folder_at(PLACE)
    assert (text_at("a"), text_at("b")) == ("first", "always")
    assert str(folder) == "s3://hospital/hands"
    assert str(folder / "a.json") == "s3://hospital/hands/a.json"
    assert folder.copy.parents[1].stat().st_mode & 0o077 == 0


def test_a_change_takes_the_place_of_the_earlier_state_which_is_deleted(standing: Stores) -> None:
    before = folder_at(PLACE)
    change_to("second")
    after = newest(before)
    assert after != before
    assert (text_at("a"), text_at("b")) == ("second", "always")
    assert names_in(standing) == {POINTER, after.id}
    assert newest(after) == after


def test_a_change_of_nothing_writes_nothing(standing: Stores) -> None:
    before = folder_at(PLACE)
    change_to("first")
    assert newest(before) == before


def test_of_two_writers_at_once_one_wins_and_the_other_is_told(standing: Stores) -> None:
    told = r"s3://hospital/hands was changed by another process"
    with pytest.raises(OutputError, match=told), changed(folder_at(PLACE)) as slow:
        change_to("the quick one's")
        written(slow, a="the slow one's")
    assert text_at("a") == "the quick one's"
    assert names_in(standing) == {POINTER, folder_at(PLACE).id}


def test_of_two_first_writers_one_wins_and_the_other_is_told(memory: Stores, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"was changed by another process"), new_folder(PLACE) as slow:
        publish(written(tmp_path / "quick", a="the quick one's"), PLACE, None)
        written(slow, a="the slow one's")
    assert text_at("a") == "the quick one's"


@pytest.mark.parametrize("step", ["send", "write"])
def test_a_killed_writer_leaves_the_earlier_state_and_the_next_one_clears_up(
    step: str, standing: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(Objects, step, die)
        change_to("never seen")
    if step == "write":
        assert len(names_in(standing)) == 3
    assert text_at("a") == "first"
    change_to("second")
    assert text_at("a") == "second"
    assert names_in(standing) == {POINTER, folder_at(PLACE).id}


def test_what_killed_writers_left_is_cleared_even_by_a_change_of_nothing(standing: Stores) -> None:
    obstore.put(standing[str(PLACE)], f"{'0' * 32}/a.json", b"of somebody")
    change_to("first")
    assert names_in(standing) == {POINTER, folder_at(PLACE).id}


def test_a_writer_at_work_loses_when_its_objects_were_taken_for_a_killed_ones(standing: Stores) -> None:
    with pytest.raises(OutputError, match="was changed by another process"), changed(folder_at(PLACE)) as slow:
        obstore.put(standing[str(PLACE)], f"{'0' * 32}/a.json", b"of somebody")
        change_to("first")
        written(slow, a="the slow one's")
    assert text_at("a") == "first"


def test_a_commit_whose_answer_was_lost_counts(standing: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Objects.write

    def without_answer(self: Objects, *given: object) -> bool:
        write(self, *given)  # type: ignore[arg-type]
        return False  # as the second try finds it

    monkeypatch.setattr(Objects, "write", without_answer)
    change_to("second")
    assert text_at("a") == "second"


def test_after_a_commit_that_failed_nothing_is_deleted(standing: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bool:
        raise StorageError("the storage of s3://hospital/hands cannot be used: it does not answer")

    monkeypatch.setattr(Objects, "write", refuse)
    with pytest.raises(StorageError, match="whether the change counts cannot be told"):
        change_to("second")
    assert len(names_in(standing)) == 3
    assert text_at("a") == "first"


def test_a_reader_takes_the_next_state_when_its_own_is_deleted_meanwhile(
    standing: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive = Objects.receive

    def late(self: Objects, *given: object) -> str:
        monkeypatch.setattr(Objects, "receive", receive)
        change_to("second")
        return receive(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Objects, "receive", late)
    assert text_at("a") == "second"


def test_a_place_with_other_objects_is_refused(memory: Stores, tmp_path: Path) -> None:
    Objects(PLACE).write("thesis.pdf", b"of somebody else", None)
    with pytest.raises(OutputError, match=r"holds other objects, such as 'thesis.pdf'"):
        publish(written(tmp_path / "hands", a="first"), PLACE, None)
    assert names_in(memory) == {"thesis.pdf"}


def test_a_changed_object_is_refused_by_its_checksum(standing: Stores) -> None:
    state = standing_at(PLACE).published.id
    obstore.put(standing[str(PLACE)], f"{state}/a.json", b"other")
    with pytest.raises(StorageError, match=r"a.json is damaged or replaced"):
        folder_at(PLACE)


@pytest.mark.parametrize("name", ["../escaped", "/etc/escaped", "a/../../escaped", "a\\b", "a//b", ""])
def test_a_hostile_list_of_files_leads_nowhere_else(name: str, standing: Stores) -> None:
    values = standing_at(PLACE).published.to_json()
    values["files"] = {name: {"size": 1, "sha256": "0" * 64}}
    obstore.put(standing[str(PLACE)], POINTER, json.dumps(values).encode())
    with pytest.raises(StorageError, match="damaged"):
        folder_at(PLACE)


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b"\xff", b'{"format_version": 9}'])
def test_a_damaged_pointer_is_refused_in_one_line(data: bytes, standing: Stores) -> None:
    obstore.put(standing[str(PLACE)], POINTER, data)
    with pytest.raises(StorageError, match=r"s3://hospital/hands/published.json") as caught:
        folder_at(PLACE)
    assert "\n" not in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(st.text(), st.sampled_from(["AccessDenied", "status code: 503", "error sending request", "NoSuchBucket", ""]))
def test_what_a_library_says_is_never_repeated(secret: str, kind: str) -> None:
    told = room._kind(RuntimeError(f"{kind} zq{secret}qz"))
    assert f"zq{secret}qz" not in told
    assert "\n" not in told
