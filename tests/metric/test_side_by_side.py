"""Two encoders at once give what they give one after the other."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from mris.metric.networks import build_network
from mris.metric.side_by_side import half_of_the_threads, run_side_by_side


@pytest.fixture
def networks() -> tuple[torch.nn.Module, torch.nn.Module]:
    torch.manual_seed(0)
    return tuple(build_network("resnet18", channels=c, embedding_dim=8, width=4) for c in (1, 2))


def test_embeddings_gradients_and_running_statistics_are_those_of_the_plain_passes(networks) -> None:
    first, second = networks
    x, y = torch.rand(6, 1, 32, 32), torch.rand(6, 2, 32, 32)
    states = [{k: v.clone() for k, v in network.state_dict().items()} for network in networks]
    plain = first(x), second(y)
    (plain[0] * plain[1]).sum().backward()
    expected = [p.grad.clone() for network in networks for p in network.parameters()]
    after = [{k: v.clone() for k, v in network.state_dict().items()} for network in networks]
    for network, state in zip(networks, states, strict=True):
        network.load_state_dict(state)
        network.zero_grad()
    with ThreadPoolExecutor(1) as thread:
        a, b = run_side_by_side(thread, first, second, x, y)
        (a * b).sum().backward()
    torch.testing.assert_close((a, b), plain)
    torch.testing.assert_close([p.grad for network in networks for p in network.parameters()], expected)
    torch.testing.assert_close([dict(network.state_dict()) for network in networks], after)


def test_autocast_reaches_both_threads(networks) -> None:
    with ThreadPoolExecutor(1) as thread, torch.autocast("cpu", torch.bfloat16):
        a, b = run_side_by_side(thread, *networks, torch.rand(2, 1, 32, 32), torch.rand(2, 2, 32, 32))
    assert a.dtype == b.dtype == torch.bfloat16


def test_an_error_in_the_other_thread_is_raised_here(networks) -> None:
    with ThreadPoolExecutor(1) as thread, pytest.raises(RuntimeError, match="channels"):
        run_side_by_side(thread, *networks, torch.rand(2, 1, 32, 32), torch.rand(2, 5, 32, 32))


def test_the_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    with half_of_the_threads():
        assert torch.get_num_threads() == max(1, before // 2)
    assert torch.get_num_threads() == before
