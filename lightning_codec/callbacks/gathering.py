"""Objects of all processes in one list."""

from typing import TypeVar

import torch

T = TypeVar("T")


def gather(local: list[T]) -> list[T]:
    """Collect the items of all processes, in the order of the ranks; every process must call it.

    Without a process group the list is returned as it is.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return local
    parts: list[list[T]] = [[] for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(parts, local)
    return [item for part in parts for item in part]
