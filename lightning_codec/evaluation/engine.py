"""Evaluating codecs on a set of images: doing the units that no earlier run finished, and gathering the results."""

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NamedTuple, NoReturn, Protocol

from lightning_codec.errors import EXIT_TERMINATED
from lightning_codec.evaluation.curves import natural_key
from lightning_codec.evaluation.measures import Measures, MetricFacts, facts
from lightning_codec.evaluation.plan import Plan, longest_first, plan_units
from lightning_codec.evaluation.records import Record
from lightning_codec.evaluation.settings import CodecSetting
from lightning_codec.evaluation.store import Store
from lightning_codec.evaluation.units import Bench, CodedUnit, DistanceUnit, OriginalUnit, SourceImage, Unit
from lightning_codec.evaluation.workers import Outcome, Pool
from lightning_codec.provenance import Provenance


class Watcher(Protocol):
    """Is told how an evaluation goes on."""

    def begin(self, units: int, reused: int) -> None:
        """There are so many units, of which so many were finished by an earlier run."""

    def done(self, outcome: Outcome[Unit]) -> None:
        """A unit was done, or failed."""


class SetDistance(NamedTuple):
    """A distance between the pictures of a setting and the originals; exactly one of `value` and `reason` is None."""

    value: float | None
    std: float | None
    reason: str | None
    n_real: int
    n_fake: int


class CodedImage(NamedTuple):
    """A row of the results, and what lies beside it."""

    record: Record
    reasons: dict[str, str]
    """Why a value is None, by metric."""
    picture: Path


class Measured(NamedTuple):
    """What an evaluation found out."""

    dataset: str
    images: list[SourceImage]
    settings: list[CodecSetting]
    """Sorted by codec and setting, numbers by value."""
    metrics: list[MetricFacts]
    absent: dict[str, str]
    """Why a metric cannot be had."""
    coded: list[CodedImage]
    """Sorted by codec, setting and image; without the units that failed."""
    distances: dict[tuple[str, str], dict[str, SetDistance]]
    """By (codec, setting), then by metric."""
    originals: dict[str, Path]
    """The originals as they were read, 8-bit PNG, by name; without the units that failed."""
    failures: list[tuple[str, str]]
    """Unit and error of what failed."""

    def complete_settings(self) -> set[tuple[str, str]]:
        """The settings, as (codec, setting), that have coded all images."""
        counts = Counter((coded.record.codec, coded.record.setting) for coded in self.coded)
        return {setting for setting, count in counts.items() if count == len(self.images)}


class Workplace(NamedTuple):
    """Where and by whom units are done."""

    store: Store
    processes: int
    threads: int
    """Of each process."""
    provenance: Provenance


def evaluate(
    dataset: str,
    images: list[SourceImage],
    settings: Sequence[CodecSetting],
    measures: Measures,
    place: Workplace,
    watcher: Watcher,
) -> Measured:
    """Do all units that are not finished yet, in parallel, and gather the results.

    Args:
        dataset: name of the set.
        images: sorted by name.
        settings: what is evaluated.
        measures: the metrics.
        place: where and by whom.
        watcher: is told of the progress.

    Raises:
        UserError: another evaluation works in the same folder.
        KeyboardInterrupt: the user stopped it; what was finished is kept.
    """
    instruments = measures.load()
    metrics, absent = facts(instruments), instruments.absent
    networks = [entry.extractor.name for entry in instruments.sets]
    ordered = sorted(settings, key=lambda setting: (setting.codec, natural_key(setting.setting)))
    plan = plan_units(images, ordered, instruments, place.threads)
    del instruments  # the workers have their own
    failures = _do(plan, networks, measures, place, watcher)
    store = place.store
    return Measured(
        dataset=dataset,
        images=images,
        settings=ordered,
        metrics=metrics,
        absent=absent,
        coded=[
            _coded_image(unit, dataset, metrics, store)
            for unit in plan.coded
            if store.is_finished(unit.key, True, networks)
        ],
        distances=_set_distances(plan.distances, store),
        originals={
            unit.image.name: store.picture(unit.key)
            for unit in plan.originals
            if store.is_finished(unit.key, True, networks)
        },
        failures=failures,
    )


def _do(
    plan: Plan, networks: Sequence[str], measures: Measures, place: Workplace, watcher: Watcher
) -> list[tuple[str, str]]:
    """Do what is not finished; returns units and errors of what failed."""
    store = place.store
    failures: list[tuple[str, str]] = []
    make_work = partial(_make_work, store, measures, place.provenance, place.threads)
    pool: Pool[Unit] = Pool(make_work, place.processes, place.threads)
    with store.locked(), _ended_by_sigterm(), pool:
        pictures: list[OriginalUnit | CodedUnit] = [*plan.originals, *plan.coded]
        todo: list[Unit] = [unit for unit in pictures if not store.is_finished(unit.key, True, networks)]
        unknown = {unit.key for unit in todo}
        distances = [unit for unit in plan.distances if not store.is_finished(unit.key, False, [])]
        total = len(pictures) + len(plan.distances)
        watcher.begin(total, total - len(todo) - len(distances))

        def run(units: Sequence[Unit]) -> None:
            for outcome in pool.run(units):
                watcher.done(outcome)
                if outcome.error is None:
                    unknown.discard(outcome.unit.key)
                else:
                    failures.append((outcome.unit.label, outcome.error))

        run(sorted(todo, key=longest_first))
        run([unit for unit in distances if unknown.isdisjoint((*unit.real, *unit.fake))])
    return sorted(failures)


def _make_work(store: Store, measures: Measures, provenance: Provenance, threads: int) -> Callable[[Unit], None]:
    """What a worker process calls first."""
    return Bench(store, measures, provenance, threads).do


def _coded_image(unit: CodedUnit, dataset: str, metrics: Sequence[MetricFacts], store: Store) -> CodedImage:
    found = store.read(unit.key)
    assert found is not None
    record = Record(
        codec=unit.setting.codec,
        setting=unit.setting.setting,
        dataset=dataset,
        image=unit.image.name,
        protocols={fact.name: fact.protocol.key for fact in metrics if not fact.of_sets},
        **{name: found[name] for name in Record._fields if name in found},
    )
    return CodedImage(record, found["reasons"], store.picture(unit.key))


def _set_distances(units: Sequence[DistanceUnit], store: Store) -> dict[tuple[str, str], dict[str, SetDistance]]:
    distances: dict[tuple[str, str], dict[str, SetDistance]] = {}
    for unit in units:
        found = store.read(unit.key)
        if found is None:
            distance = SetDistance(None, None, "an image of this setting or an original failed", 0, 0)
        else:
            distance = SetDistance(**{name: found[name] for name in SetDistance._fields})
        distances.setdefault((unit.codec, unit.setting), {})[unit.metric] = distance
    return distances


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM, as a scheduler sends it, unwind as an interrupt does, so that no worker is left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(EXIT_TERMINATED)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
