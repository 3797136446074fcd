"""Records: what is read is what was written, and a file that breaks a rule costs one line that names it."""

import json
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mris.errors import BundleError
from mris.images.write import write_json
from mris.records import Record, parse_record, read_record


class Part(Record):
    name: str
    sizes: tuple[int, int]


class Card(Record):
    parts: tuple[Part, ...]
    scale: float
    format_version: Literal[2] = 2


CARD = Card(parts=(Part(name="one", sizes=(3, 4)),), scale=0.5)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(st.text(max_size=9), parts, max_size=4),
)


def read(path: Path) -> Card:
    return read_record(path, Card, BundleError, "index again")


def test_a_record_is_read_as_it_was_written_also_inside_other_values(tmp_path: Path) -> None:
    write_json(tmp_path / "card.json", CARD)
    assert read(tmp_path / "card.json") == CARD
    write_json(tmp_path / "cards.json", {"cards": [CARD]})
    assert json.loads((tmp_path / "cards.json").read_text()) == {"cards": [CARD.to_json()]}


def test_a_field_that_a_later_version_added_is_passed_over(tmp_path: Path) -> None:
    write_json(tmp_path / "card.json", {**CARD.to_json(), "color": "red"})
    assert read(tmp_path / "card.json") == CARD


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format_version": 3}, "has format_version 3; this software reads 2; use the version of mris that wrote it, "),
        ({"format_version": None}, "has format_version None; this software reads 2"),
        ({"scale": "wide"}, "is damaged (scale is 'wide': input should be a valid number"),
        ({"parts": [{"name": "one"}]}, "is damaged (parts.0.sizes is missing); restore a copy, or index again"),
        ({"parts": [{"name": "one", "sizes": [1, 2, 3]}]}, "is damaged (parts.0.sizes is [1, 2, 3]: tuple should have"),
        ({"parts": "x" * 10_000}, "is damaged (parts is 'xxxxxxxxxxxx...xxxxxxxxxxxxx': "),
    ],
)
def test_a_broken_rule_is_told_with_file_field_value_and_way_out(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    path = tmp_path / "card.json"
    write_json(path, {**CARD.to_json(), **change})
    with pytest.raises(BundleError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path} {said}") and str(caught.value).endswith("or index again")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"scale": NaN}', "[" * 100_000])
def test_a_file_that_is_no_json_object_costs_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "card.json"
    path.write_text(text)
    with pytest.raises(BundleError, match=r"card\.json is damaged \(.*\); restore a copy, or index again") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_told_in_the_words_of_its_reader(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"card\.json cannot be read \(No such file or directory\); restore"):
        read(tmp_path / "card.json")
    with pytest.raises(BundleError, match=r"^no bundle here$"):
        read_record(tmp_path / "card.json", Card, BundleError, "index again", missing="no bundle here")


@given(VALUES)
def test_any_json_is_a_record_or_one_line(values: Any) -> None:
    for tried in (values, {"format_version": 2, "parts": values, "scale": values}):
        try:
            assert isinstance(parse_record(tried, Card, BundleError, "index again", name="card"), Card)
        except BundleError as error:
            assert str(error).isprintable() and len(str(error)) < 500
