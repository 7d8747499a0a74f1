"""What all processes of a run have to agree upon, however long one of them takes."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch

from lightning_codec.errors import UserError, one_line

T = TypeVar("T")

PATIENCE = timedelta(days=365)
"""The process group of a training gives up after minutes; a share of a million files may take hours longer than
another."""


class Processes:
    """The processes of a run; every one of them must make this object, and call its methods, in the same order."""

    def __init__(self) -> None:
        self._group: Any = None
        self.rank = 0
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            self.rank = torch.distributed.get_rank()
            self._group = torch.distributed.new_group(backend="gloo", timeout=PATIENCE)

    def of_first(self, work: Callable[[], T]) -> T:
        """Do something on the first process and give its result to all.

        Raises:
            UserError: on the first process, where `work` raised one or an OSError.
            SystemExit: on the others then, with code 0: it is for the first to tell.
        """
        if self._group is None:
            return work()
        outcome: list[Any] = [None, None]
        if self.rank == 0:
            try:
                outcome[1] = work()
            except (UserError, OSError) as error:
                outcome[0] = one_line(error)
        torch.distributed.broadcast_object_list(outcome, src=0, group=self._group)
        if outcome[0] is not None:
            raise UserError(outcome[0]) if self.rank == 0 else SystemExit(0)
        result: T = outcome[1]
        return result

    def wait(self, meanwhile: Callable[[], None]) -> None:
        """Wait for all.

        Args:
            meanwhile: is called every now and then, and may raise to give up.
        """
        if self._group is None:
            return
        barrier: Any = torch.distributed.barrier(group=self._group, async_op=True)
        while not barrier.is_completed():  # a wait within torch would keep signals from being handled
            meanwhile()
            time.sleep(0.1)
        barrier.wait()
