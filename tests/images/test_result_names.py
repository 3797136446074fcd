"""Results are named after their queries, and no two share a name."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mris.errors import SettingsError
from mris.images.result_names import result_stems

names = st.text("abc.0", min_size=1, max_size=6).filter(lambda name: name.strip("."))


def test_folders_with_dots_as_archives_make_them_are_kept_whole() -> None:
    plates = [Path("0.C.2/9000798/001"), Path("0.E.1/9000798/001")]
    assert result_stems(plates) == ["0.C.2_9000798_001", "0.E.1_9000798_001"]


@given(st.lists(st.lists(names, min_size=2, max_size=3), min_size=1, max_size=5))
def test_every_file_gets_a_stem_of_its_own_or_the_clash_is_named(parts: list[list[str]]) -> None:
    files = [Path(*one) for one in parts]
    try:
        stems = result_stems(files)
    except SettingsError as error:
        assert "would all write" in str(error)
        return
    assert len(set(stems)) == len(files)


def test_a_folder_has_no_suffix_and_a_long_key_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "scan.7").mkdir()
    key = "k" * 300
    assert result_stems([tmp_path / "scan.7", Path(f"a.npz::{key}")]) == ["scan.7", f"a_{key}"]


def test_two_files_that_differ_in_their_suffix_alone_are_refused() -> None:
    with pytest.raises(SettingsError, match="2 files would all write 'knee'"):
        result_stems([Path("a/knee.png"), Path("a/knee.dcm")])
