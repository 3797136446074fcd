"""Checkpoints: save then load is the identity, and damage costs one clear line."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mris.errors import TrainingError
from mris.training.checkpoint_file import load_checkpoint, save_checkpoint

leaves = st.none() | st.booleans() | st.integers(-1000, 1000) | st.floats(allow_nan=False) | st.text(max_size=5)
nested = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, max_size=3)
        | st.dictionaries(st.integers(0, 5), inner, min_size=1, max_size=3)
    ),
    max_leaves=8,
)


@given(value=nested)
@settings(max_examples=60, deadline=None)
def test_save_then_load_is_the_identity_on_nested_values(tmp_path_factory, value) -> None:
    path = tmp_path_factory.mktemp("checkpoint") / "a.safetensors"
    save_checkpoint({"value": value}, path)
    assert load_checkpoint(path) == {"value": value}


def test_an_optimizer_with_shared_and_empty_tensors_comes_back(tmp_path) -> None:
    weights = torch.arange(6.0).reshape(2, 3)
    state = {"state": {0: {"step": torch.tensor(3.0), "avg": weights}}, "view": weights[:, 1], "none": torch.empty(0)}
    save_checkpoint(state, tmp_path / "a.safetensors")
    loaded = load_checkpoint(tmp_path / "a.safetensors")
    assert torch.equal(loaded["state"][0]["avg"], weights)
    assert torch.equal(loaded["view"], weights[:, 1])
    assert loaded["none"].shape == (0,)


def test_a_truncated_checkpoint_costs_one_clear_line(tmp_path) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint({"weights": torch.rand(100)}, path)
    whole = path.read_bytes()
    for length in (0, 4, 50, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(TrainingError, match="cannot be read") as caught:
            load_checkpoint(path)
        assert "\n" not in str(caught.value)


def test_an_object_that_only_pickle_could_hold_is_refused_by_name(tmp_path) -> None:
    with pytest.raises(TrainingError, match=r"checkpoint/thing.*is a object"):
        save_checkpoint({"thing": object()}, tmp_path / "a.safetensors")
    assert not (tmp_path / "a.safetensors").exists()
