"""Signals that ask a training to stop: noted at once, obeyed at the end of the step."""

import os
import signal
import threading
import time
from types import FrameType

STOPPING: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
# `timeout` and some schedulers send a signal to the process and to its group: that is one request, not two.
ONE_REQUEST = 1.0


class Stopped(Exception):  # noqa: N818 - nothing is wrong
    """The training has written its checkpoint and stops, since it was asked to."""

    def __init__(self, signum: signal.Signals, step: int) -> None:
        super().__init__(f"stopped at step {step} by {signum.name}")
        self.signum = signum
        self.step = step


class SignalWatch:
    """Remembers the first signal; a second one leaves at once, with the exit code 128 + its number."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.signals = STOPPING
        self._since = 0.0

    def listen(self, requeue: signal.Signals | None) -> None:
        """Take over the signals, also that on which a job is requeued; the Trainer gives them back at its end."""
        if requeue is not None and requeue not in self.signals:
            self.signals = (*STOPPING, requeue)
        if threading.current_thread() is threading.main_thread():
            for signum in self.signals:
                signal.signal(signum, self._receive)

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received, self._since = signal.Signals(signum), time.monotonic()
        elif time.monotonic() - self._since > ONE_REQUEST:
            os._exit(128 + signum)
