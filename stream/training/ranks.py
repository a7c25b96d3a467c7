"""Several processes that train one adapter, each on its share of every batch, as `torchrun` and `accelerate launch` start them.

Only the adapter's gradients travel, once a step, added up; all else every process works out for itself and finds the same.
Experimental on cards: it is tested with two processes on one processor.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

Item = TypeVar("Item")

_OF_A_LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, slots=True)
class Ranks:
    """A process among those of a run.

    Attributes:
        rank: its number, from 0; the first writes and tells.
        world: how many there are.
    """

    rank: int = 0
    world: int = 1

    @property
    def is_first(self) -> bool:
        """Whether it is the one that writes and tells."""
        return self.rank == 0

    def own(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return this process' share."""
        return items[self.rank :: self.world]

    def add_up(self, tensors: Sequence[Any]) -> None:
        """Replace each tensor by its sum over all processes, in one message."""
        if self.world == 1:
            return
        import torch

        flat = torch.cat([tensor.flatten() for tensor in tensors])
        torch.distributed.all_reduce(flat)
        for tensor, summed in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(summed.view_as(tensor))

    def agreed(self, value: float, device: str) -> float:
        """Return the first process' value, so that no decision differs by a rounding or a clock."""
        if self.world == 1:
            return value
        import torch

        told = torch.tensor([value], dtype=torch.float32 if device.startswith("mps") else torch.float64, device=device)
        torch.distributed.broadcast(told, src=0)
        return float(told)


ALONE = Ranks()
"""One process."""


def launched() -> bool:
    """Say whether a launcher started this process as one of several."""
    return all(os.environ.get(name) for name in _OF_A_LAUNCHER) and int(os.environ["WORLD_SIZE"]) > 1


def own_device() -> str | None:
    """Return the card that a launcher meant for this process; None: no launcher started it, or there are no cards."""
    import torch

    return f"cuda:{os.environ['LOCAL_RANK']}" if launched() and torch.cuda.is_available() else None


def join(device: str) -> Ranks:
    """Meet the other processes, where a launcher started several."""
    if not launched():
        return ALONE
    import torch

    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    return Ranks(torch.distributed.get_rank(), torch.distributed.get_world_size())
