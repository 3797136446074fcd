"""The triplet loss against a plain triple loop, closed forms on the circle, and two real processes."""

import math
import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mris.metric.losses import CrossModalTripletLoss, cosine_distances, valid_negatives


def on_circle(*degrees: float) -> torch.Tensor:
    return torch.tensor([[math.cos(math.radians(a)), math.sin(math.radians(a))] for a in degrees])


def plain_loop(sources: np.ndarray, targets: np.ndarray, subjects: list[int], margin: float) -> tuple[float, int]:
    """Eq. 2 as it stands on paper."""

    def distance(x: np.ndarray, y: np.ndarray) -> float:
        return 1 - float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))

    total, count = 0.0, 0
    for a in range(len(sources)):
        for b in range(len(targets)):
            if subjects[b] != subjects[a]:
                total += max(distance(sources[a], targets[a]) - distance(sources[a], targets[b]) + margin, 0.0)
                count += 1
    return total, count


@given(
    subjects=st.lists(st.integers(0, 4), min_size=2, max_size=9), seed=st.integers(0, 1000), margin=st.floats(0.01, 1.0)
)
@settings(max_examples=60, deadline=None)
def test_the_loss_is_the_plain_triple_loop(subjects: list[int], seed: int, margin: float) -> None:
    rng = np.random.default_rng(seed)
    sources, targets = rng.normal(size=(2, len(subjects), 5))
    total, count = plain_loop(sources, targets, subjects, margin)
    arguments = (torch.from_numpy(sources), torch.from_numpy(targets), torch.tensor(subjects))
    assert CrossModalTripletLoss(margin, "sum")(*arguments).item() == pytest.approx(total, abs=1e-9)
    assert CrossModalTripletLoss(margin, "mean")(*arguments).item() == pytest.approx(total / max(count, 1), abs=1e-9)


def test_distances_on_the_circle_are_those_seen_by_eye() -> None:
    distances = cosine_distances(on_circle(0), on_circle(0, 60, 90, 180))
    assert distances[0].tolist() == pytest.approx([0, 0.5, 1, 2], abs=1e-6)


def test_mixed_precision_leaves_distances_their_precision() -> None:
    sources, targets = torch.randn(2, 40, 64, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = cosine_distances(sources, targets)
    assert torch.equal(mixed, cosine_distances(sources, targets))


def test_a_perfect_pair_costs_nothing_so_the_diagonal_is_not_in_the_sum() -> None:
    loss = CrossModalTripletLoss(0.1, "sum")
    assert loss(on_circle(0, 90), on_circle(0, 90), torch.tensor([0, 1])).item() == 0.0


def test_both_knees_and_all_visits_of_a_person_are_never_negatives() -> None:
    subjects = torch.tensor([7, 7, 7, 8])
    assert valid_negatives(subjects, subjects).sum(dim=1).tolist() == [1, 1, 1, 3]
    alone = CrossModalTripletLoss(0.1, "sum")(on_circle(0, 1, 2), on_circle(50, 9, 80), torch.tensor([7, 7, 7]))
    assert alone.item() == 0.0


def test_targets_of_ones_own_subject_get_no_gradient_from_ones_anchor() -> None:
    sources = on_circle(0, 10, 180)
    targets = on_circle(90, 100, 20).requires_grad_()
    CrossModalTripletLoss(0.1, "sum")(sources[:2], targets[:2], torch.tensor([0, 0])).backward()
    assert targets.grad is not None
    assert float(targets.grad.abs().sum()) == 0.0


def _one_of_two(rank: int, folder: str, queue: object) -> None:
    """A process of a gloo pair: its half of the batch, its loss, its gradients."""
    os.environ.update(GLOO_SOCKET_IFNAME="lo")
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    sources, targets, subjects = torch.load(f"{folder}/batch.pt", weights_only=True)
    mine = slice(rank * 4, rank * 4 + 4)
    own_sources, own_targets = sources[mine].clone().requires_grad_(), targets[mine].clone().requires_grad_()
    results = {}
    for reduction in ("sum", "mean"):
        own_sources.grad = own_targets.grad = None
        loss = CrossModalTripletLoss(0.1, reduction)(own_sources, own_targets, subjects[mine])
        loss.backward()
        results[reduction] = (loss.detach(), own_sources.grad / 2, own_targets.grad / 2)  # DDP averages over processes
    torch.save(results, f"{folder}/rank{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_have_the_loss_and_gradients_of_one_on_the_same_batch(tmp_path) -> None:
    generator = torch.Generator().manual_seed(3)
    sources = torch.randn(8, 5, generator=generator, requires_grad=True)
    targets = torch.randn(8, 5, generator=generator, requires_grad=True)
    subjects = torch.tensor([0, 1, 2, 3, 3, 4, 0, 5])  # two subjects stand in both processes
    torch.save((sources.detach(), targets.detach(), subjects), tmp_path / "batch.pt")
    torch.multiprocessing.spawn(_one_of_two, (str(tmp_path), None), nprocs=2)
    parts = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    for reduction in ("sum", "mean"):
        sources.grad = targets.grad = None
        whole = CrossModalTripletLoss(0.1, reduction)(sources, targets, subjects)
        whole.backward()
        mean_loss = (parts[0][reduction][0] + parts[1][reduction][0]) / 2
        assert mean_loss.item() == pytest.approx(whole.item(), rel=1e-5)
        for index, tensor in ((1, sources), (2, targets)):
            gathered = torch.cat([part[reduction][index] for part in parts])
            torch.testing.assert_close(gathered, tensor.grad, rtol=1e-4, atol=1e-6)
