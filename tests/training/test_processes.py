"""Several processes share what is validated; together they have all of it, in order."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mris.baselines.module import masked_l1
from mris.training.processes import gathered
from mris.training.sampling import share


@given(n=st.integers(1, 40), world_size=st.integers(1, 8))
def test_shares_cover_every_position_and_none_is_empty(n: int, world_size: int) -> None:
    shares = [share(n, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert sorted(set().union(*(part.tolist() for part in shares))) == list(range(n))
    assert min(len(part) for part in shares) >= 1
    assert max(len(part) for part in shares) <= -(-n // world_size)


def test_one_process_keeps_its_rows() -> None:
    rows = torch.arange(6.0).reshape(3, 2)
    assert gathered(rows, 3) is rows


def _shares_of_a_process(rank: int, folder: str) -> None:
    os.environ.update(GLOO_SOCKET_IFNAME="lo")
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=3)
    for n in (7, 3, 2):
        rows = torch.arange(2.0 * n).reshape(n, 2)
        assert torch.equal(gathered(rows[share(n, rank=rank, world_size=3)], n), rows)
    predictions = _PREDICTIONS[rank].clone().requires_grad_()
    masked_l1(predictions, torch.zeros_like(predictions), _VALID[rank]).backward()
    assert predictions.grad is not None
    torch.save(predictions.grad / 3, f"{folder}/gradient{rank}.pt")  # as DDP averages
    torch.distributed.destroy_process_group()


_PREDICTIONS = torch.tensor([2.0, -1.0, 3.0]).reshape(3, 1, 1, 1, 1).expand(3, 1, 1, 1, 4)
_VALID = torch.tensor([[True, True, True, True], [True, False, False, False], [False, False, False, False]])
_VALID = _VALID.reshape(3, 1, 1, 1, 4)


@pytest.mark.slow
def test_processes_gather_rows_in_order_and_have_the_gradients_of_one(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_shares_of_a_process, (str(tmp_path),), nprocs=3)
    predictions = _PREDICTIONS.flatten(0, 1).clone().requires_grad_()
    masked_l1(predictions, torch.zeros_like(predictions), _VALID.flatten(0, 1)).backward()
    parts = [torch.load(tmp_path / f"gradient{rank}.pt", weights_only=True) for rank in range(3)]
    assert torch.equal(torch.cat(parts), predictions.grad)
