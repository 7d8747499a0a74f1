"""Timing of calls against one another."""

import statistics
import time
from collections.abc import Callable, Mapping


def alternate(calls: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median wall seconds of each call.

    The calls take turns (A B C A B C ...), after one round that is not counted, so that a machine whose speed drifts
    slows all of them alike.

    Args:
        calls: what to time, by name.
        repeats: counted rounds, at least 1.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}
