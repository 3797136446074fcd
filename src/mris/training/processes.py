"""Several processes that train together: which is which, and what they tell each other."""

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from mris.training.lightning_library import lightning, rank_zero_only
from mris.training.sampling import share


def process_rank() -> int:
    """Number of this process among those that train together; 0 for the one that writes (and where there is one)."""
    return int(getattr(rank_zero_only, "rank", None) or 0)


def process_of(trainer: lightning.Trainer | None) -> dict[str, int]:
    """A process's number and how many there are, as the plans of batches take them."""
    assert trainer is not None
    return {"rank": trainer.global_rank, "world_size": trainer.world_size}


def mean_of_all(total: Float[Tensor, ""], count: Int[Tensor, ""] | Float[Tensor, ""]) -> Float[Tensor, ""]:
    """Divide a sum by the count of all processes together, so that the average of their gradients is that of one.

    Args:
        total: sum over what this process counts.
        count: how many that are; 0 of all gives 0.
    """
    counted, world_size = count.detach().to(total.dtype), 1
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        world_size = torch.distributed.get_world_size()
        torch.distributed.all_reduce(counted)
    return total * world_size / counted.clamp(min=1)


def gathered(own: Shaped[Tensor, "m ..."], n: int) -> Shaped[Tensor, "n ..."]:
    """Rows of all `n` positions in their order, from the share of each process; the same for all of them.

    Args:
        own: a row for each position of this process's `share`, on the CPU.
        n: positions of all processes together.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return own
    parts: list[Tensor] = [own] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, own)
    whole = own.new_empty((n, *own.shape[1:]))
    for rank, part in enumerate(parts):
        whole[share(n, rank=rank, world_size=len(parts))] = part
    return whole
