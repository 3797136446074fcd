"""Files that somebody else may have written: regular ones alone, bounded in size and depth."""

import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mris.reading import DEEPEST_JSON, LARGEST_JSON, parse_json, read_bytes, read_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda parts: st.lists(parts) | st.dictionaries(st.text(), parts),
)


@pytest.fixture(params=["folder", "pipe", "socket", "device that never ends", "absent"])
def no_file(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "x"
    if request.param == "folder":
        path.mkdir()
    elif request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "device that never ends":
        path = Path("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        if request.param == "socket":
            server.bind(os.path.relpath(path))  # such names are short
        yield path


def test_what_is_no_regular_file_is_refused_at_once(no_file: Path) -> None:
    started = time.perf_counter()
    with pytest.raises(OSError, match=r"it is a (folder|pipe|socket|device)|No such file"):
        read_bytes(no_file, 1 << 30)
    assert time.perf_counter() - started < 1


@given(VALUES)
def test_json_that_python_writes_is_read_as_it_was(value: Any) -> None:
    assert parse_json(json.dumps(value)) == value


@pytest.mark.parametrize("pair", ["[]", ('{"a":', "}")], ids=["lists", "objects"])
def test_json_is_read_to_a_depth_and_no_deeper(pair: tuple[str, str]) -> None:
    def nested(depth: int) -> str:
        return pair[0] * (depth - 1) + ("[]" if pair == "[]" else "{}") + pair[1] * (depth - 1)

    parse_json(nested(DEEPEST_JSON))
    for depth in (DEEPEST_JSON + 1, 900, 100_000):
        with pytest.raises(ValueError, match="more than 64 deep"):
            parse_json(nested(depth))


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_of_json_are_finite(text: str) -> None:
    with pytest.raises(ValueError, match="is no number of JSON"):
        parse_json(f"[{text}]")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"[]", "a list, not a JSON object"),
        (b"\xff{}", "utf-8"),
        (b"{", "Expecting"),
        (b" " * (LARGEST_JSON + 1), "at most"),
    ],
)
def test_a_json_file_is_one_object_in_utf8_of_bounded_size(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(ValueError, match=reason):
        read_json(tmp_path / "x.json")
