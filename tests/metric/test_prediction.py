"""The loss on the prediction (P1) against a plain double loop, and what it must not depend on."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mris.metric.prediction import Candidates, attention, average, masked_error, prediction_loss

N, M, D, P = 5, 7, 4, 6


def drawn(seed: int, holes: bool) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    known = torch.rand(M, P, generator=generator) > 0.3 if holes else torch.ones(M, P, dtype=torch.bool)
    return {
        "queries": torch.randn(N, D, generator=generator),
        "keys": torch.randn(M, D, generator=generator),
        "values": torch.rand(M, P, generator=generator),
        "known": known,
        "truths": torch.rand(N, P, generator=generator),
        "truth_known": torch.rand(N, P, generator=generator) > 0.2,
        "subjects": torch.randint(0, 4, (N,), generator=generator),
        "others": torch.randint(0, 4, (M,), generator=generator),
    }


def by_plain_loops(x: dict[str, torch.Tensor], temperature: float) -> float:
    errors = []
    for i in range(N):
        scores = {}
        for j in range(M):
            if x["others"][j] != x["subjects"][i]:
                q, k = x["queries"][i].tolist(), x["keys"][j].tolist()
                cosine = sum(a * b for a, b in zip(q, k, strict=True)) / (math.hypot(*q) * math.hypot(*k))
                scores[j] = math.exp(cosine / temperature)
        for p in range(P):
            norm = sum(s for j, s in scores.items() if x["known"][j, p])
            if x["truth_known"][i, p] and norm > 0:
                found = sum(s * float(x["values"][j, p]) for j, s in scores.items() if x["known"][j, p]) / norm
                errors.append(abs(found - float(x["truths"][i, p])))
    return sum(errors) / max(len(errors), 1)


def loss_of(x: dict[str, torch.Tensor], temperature: float) -> torch.Tensor:
    whole = bool(x["known"].all())
    candidates = Candidates(x["values"], None if whole else x["known"], x["others"])
    told = (x["truths"], x["truth_known"], x["subjects"])
    return prediction_loss(x["queries"], x["keys"], torch.tensor(temperature), candidates, *told)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.booleans(), st.sampled_from([0.05, 0.3, 2.0]))
def test_the_loss_is_that_of_a_plain_double_loop(seed: int, holes: bool, temperature: float) -> None:
    x = drawn(seed, holes)
    assert float(loss_of(x, temperature)) == pytest.approx(by_plain_loops(x, temperature), abs=1e-5)


def test_the_own_person_never_counts_however_near() -> None:
    x = drawn(0, holes=False)
    x["keys"][2], x["others"][2], x["subjects"][0] = x["queries"][0], 3, 3
    before = loss_of(x, 0.1)
    x["values"][2] = 99.0
    x["subjects"][:] = 3
    x["others"][3:] = 1
    admitted = x["subjects"][:, None] != x["others"][None, :]
    weights = attention(x["queries"], x["keys"], torch.tensor(0.1), admitted)
    assert float(weights[:, 2].max()) == 0
    assert torch.isfinite(before)


def test_a_query_without_another_person_does_not_count() -> None:
    x = drawn(1, holes=False)
    x["others"][:] = 2
    x["subjects"] = torch.tensor([2, 2, 2, 2, 0])
    alone = loss_of(x, 0.1)
    assert float(alone) == pytest.approx(by_plain_loops(x, 0.1), abs=1e-6)
    x["subjects"][:] = 2
    assert float(loss_of(x, 0.1)) == 0


def test_weights_are_convex_and_gradients_finite_where_nobody_is_admitted() -> None:
    queries, keys = torch.randn(2, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    weights = attention(queries, keys, torch.tensor(0.01), torch.zeros(2, 4, dtype=torch.bool))
    assert torch.allclose(weights.sum(dim=1), torch.ones(2))
    weights.square().sum().backward()
    assert torch.isfinite(queries.grad).all()


def test_holes_of_candidates_are_filled_by_those_who_have_a_value() -> None:
    values = torch.tensor([[1.0, 5.0], [3.0, 0.0]])
    known = torch.tensor([[True, True], [True, False]])
    found, answered = average(torch.tensor([[0.5, 0.5]]), Candidates(values, known, torch.tensor([0, 1])))
    assert found.tolist() == [[2.0, 5.0]]
    assert answered.all()


def test_autocast_leaves_weights_in_full_precision() -> None:
    x = drawn(3, holes=False)
    plain = loss_of(x, 0.05)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert float(loss_of(x, 0.05)) == float(plain)


def test_an_error_without_a_pixel_is_zero_and_has_a_gradient() -> None:
    synthesis = torch.ones(2, 3, requires_grad=True)
    error = masked_error(synthesis, torch.full((2, 3), torch.nan), torch.zeros(2, 3, dtype=torch.bool))
    error.backward()
    assert float(error.detach()) == 0
    assert np.all(synthesis.grad.numpy() == 0)


def _half_of_a_batch(rank: int, folder: str) -> None:
    """A process of a gloo pair: its half of the queries, all candidates, its loss and gradients."""
    os.environ.update(GLOO_SOCKET_IFNAME="lo")
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    x = torch.load(f"{folder}/batch.pt", weights_only=True)
    mine = slice(0, 2) if rank == 0 else slice(2, 4)
    for name in ("queries", "truths", "truth_known", "subjects"):
        x[name] = x[name][mine].clone()
    x["queries"].requires_grad_()
    x["keys"].requires_grad_()
    loss = loss_of(x, 0.2)
    loss.backward()
    torch.save((loss.detach(), x["queries"].grad / 2, x["keys"].grad / 2), f"{folder}/rank{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_have_the_prediction_loss_and_gradients_of_one(tmp_path: Path) -> None:
    x = drawn(5, holes=True)
    for name in ("queries", "truths", "truth_known", "subjects"):
        x[name] = x[name][:4].clone()
    torch.save(x, tmp_path / "batch.pt")
    torch.multiprocessing.spawn(_half_of_a_batch, (str(tmp_path),), nprocs=2)
    (first, *of_first), (second, *of_second) = (
        torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)
    )
    x["queries"].requires_grad_()
    x["keys"].requires_grad_()
    whole = loss_of(x, 0.2)
    whole.backward()
    assert float((first + second) / 2) == pytest.approx(float(whole.detach()), rel=1e-5)
    torch.testing.assert_close(torch.cat([of_first[0], of_second[0]]), x["queries"].grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(of_first[1] + of_second[1], x["keys"].grad, rtol=1e-4, atol=1e-6)
