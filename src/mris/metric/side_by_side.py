"""Two encoders at once on a CPU: one core's threads for each, forward and backward.

The convolutions of small images are too short for many threads: two threads on one convolution gain little, and lose
much as soon as another program wants a core, since each convolution waits for the slower thread. The two encoders do
not depend on each other, so each may have half of the threads for its whole pass.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class _SideBySide(torch.autograd.Function):
    """Both passes keep a graph of their own, so that both can also go backward at once (as in checkpointing)."""

    @staticmethod
    def forward(
        ctx: Any, thread: ThreadPoolExecutor, first: nn.Module, second: nn.Module, x: Tensor, y: Tensor, _: Tensor
    ) -> tuple[Tensor, Tensor]:
        precision = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")  # states of this thread only
        pending = thread.submit(_run, second, y, precision)
        ctx.outputs = _run(first, x, precision), pending.result()
        ctx.thread = thread
        a, b = ctx.outputs
        return a.detach(), b.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[None, ...]:
        a, b = ctx.outputs
        pending = ctx.thread.submit(b.backward, gradients[1])
        a.backward(gradients[0])
        pending.result()
        return (None,) * 6


def _run(network: nn.Module, images: Tensor, precision: tuple[bool, torch.dtype]) -> Tensor:
    enabled, dtype = precision
    with torch.enable_grad(), torch.autocast("cpu", dtype, enabled=enabled):
        embedded: Tensor = network(images)
        return embedded


def run_side_by_side(
    thread: ThreadPoolExecutor, first: nn.Module, second: nn.Module, x: Tensor, y: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute ``first(x), second(y)`` at once; gradients reach the parameters of both as usual.

    Args:
        thread: runs `second`; one worker.
        first: one network.
        second: another one; they share no parameter.
        x: input of `first`; it gets no gradient.
        y: input of `second`; it gets no gradient.
    """
    trigger = torch.zeros((), requires_grad=True)  # without such an input autograd would not go backward
    pair: tuple[Tensor, Tensor] = _SideBySide.apply(thread, first, second, x, y, trigger)  # type: ignore[no-untyped-call]
    return pair


@contextmanager
def half_of_the_threads() -> Iterator[None]:
    """Give each of two passes half of torch's threads while this lasts."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(max(1, n_threads // 2))
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)
