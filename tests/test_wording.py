"""Counts in messages."""

import pytest

from mris.wording import counted


@pytest.mark.parametrize(("count", "text"), [(0, "0 knees"), (1, "1 knee"), (2, "2 knees"), (13616, "13,616 knees")])
def test_what_is_counted_is_singular_only_where_there_is_one(count, text):
    assert counted(count, "knee") == text
