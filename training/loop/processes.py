"""Several processes that train one network, one for each GPU, started by ``torchrun``."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from nuhtc.runtime.ground.errors import TrainingError, first_line

T = TypeVar("T")

PATIENCE = timedelta(hours=2)
"""How long a process waits for the others, who may be writing or reading."""


@dataclass(frozen=True)
class Processes:
    """One process among those that train together."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this one speaks and writes for all."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """Return every ``count``-th item, so that together the processes have each item once."""
        return list(items[self.rank :: self.count])

    def gather(self, items: list[T]) -> list[T]:
        """Put the processes' shares together again, in the order of :meth:`share`'s input."""
        if self.count == 1:
            return items
        shares: list[list[T]] = [[] for _ in range(self.count)]
        dist.all_gather_object(shares, items)
        longest = max(len(share) for share in shares)
        return [share[i] for i in range(longest) for share in shares if i < len(share)]

    @torch.no_grad()
    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over the processes, in one exchange."""
        if self.count == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1).float() for tensor in tensors])
        dist.all_reduce(flat)
        flat /= self.count
        start = 0
        for tensor in tensors:
            tensor.copy_(flat[start : start + tensor.numel()].view_as(tensor))
            start += tensor.numel()

    def average_gradients(self, network: nn.Module) -> None:
        """Replace the gradients by their mean over the processes."""
        self.average([p.grad for p in network.parameters() if p.grad is not None])

    def average_buffers(self, *modules: nn.Module) -> None:
        """Replace the running statistics by their mean over the processes."""
        self.average([b for module in modules for b in module.buffers() if b.is_floating_point()])

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.count > 1:
            dist.barrier()


@contextmanager
def processes(device: torch.device) -> Iterator[Processes]:
    """Join the other processes if ``torchrun`` started several.

    Parameters
    ----------
    device
        Where this process's tensors are; decides how they are exchanged.

    Raises
    ------
    TrainingError
        The others cannot be reached.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise TrainingError(
            f"the {count} processes cannot reach each other ({first_line(error)}); "
            "start them with torchrun"
        ) from error
    try:
        yield Processes(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def own_device(name: str) -> torch.device:
    """Return the device of this process: ``auto`` takes a GPU if there is one, else the CPU."""
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
