"""`predict` as a batch coder: images to `.lcb` files, or these to PNG, over all processes, and a table of them."""

import os
import time
from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from lightning_codec.callbacks.prediction_journal import Entry, Journal
from lightning_codec.callbacks.prediction_table import write_table
from lightning_codec.data import CompressionDataModule, NamedImage, PredictInput
from lightning_codec.data.inputs import InputSet, refuse_clashes
from lightning_codec.errors import UserError
from lightning_codec.modules.prediction import DecodedFile, Failure, FilePredictor, Predicted
from lightning_codec.processes import Processes

# Lightning divides the cores among the processes of a machine, but a file depends on the number of threads.
TORCH_THREADS = torch.get_num_threads()


class Output(NamedTuple):
    """What an input has become."""

    data: bytes
    width: int
    height: int
    bytes: int
    """Of the `.lcb` file."""


class Plan(NamedTuple):
    """What the first process decides for all."""

    remaining: list[int]
    """Numbers of the inputs that are to be done."""
    run: int
    threads: int


class PredictionWriter(pl.Callback):
    """Writes what `predict_step` returns, one file for each input, and `predictions.csv` at the end.

    The file of an input is its path in the set, below the output folder, with another extension; it is either complete
    or not there. A run that was interrupted, however that was, goes on when it is repeated, with any number of
    processes: what is finished is neither read nor made again. What failed is tried again.

    Args:
        output_dir: the folder, made if needed.
        overwrite: begin anew, and replace whatever is there.
        threads: on a CPU, of each process.
    """

    reads_coded: bool
    """Whether its inputs are `.lcb` files."""
    extension: str
    """Of its outputs."""
    key: str
    """Its name in a configuration."""

    def __init__(self, output_dir: str | None, overwrite: bool, threads: int | None) -> None:
        if threads is not None and threads < 1:
            raise UserError(f"{self.key}: threads is {threads}: it must be 1 or more")
        self.output_dir = output_dir
        self.overwrite = overwrite
        self.threads = threads
        self._journal: Journal | None = None
        self._processes: Processes
        self._inputs: InputSet
        self._remaining = 0
        self._start = self._start_of_all = 0.0

    @abstractmethod
    def job(self, module: FilePredictor) -> dict[str, object]:
        """What the outputs depend on, beside the inputs and the machine."""

    @abstractmethod
    def output(self, result: bytes | DecodedFile, batch: PredictInput) -> Output:
        """The file that is written."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Take part where the inputs are of its kind.

        Raises:
            UserError: they are of the other kind, but a folder was named.
        """
        data = cast("Any", trainer).datamodule
        if (
            stage != "predict"
            or not isinstance(data, CompressionDataModule)
            or not isinstance(pl_module, FilePredictor)
        ):
            return
        assert data.predict_set is not None
        if data.predict_set.coded == self.reads_coded:
            data.choose_inputs = partial(self._begin, trainer, pl_module)
            self.prepare(pl_module)
        elif self.output_dir is not None:
            kinds = ("images", ".lcb files")[:: -1 if self.reads_coded else 1]
            raise UserError(f"{self.key} is for {kinds[0]}, data.predict_inputs are {kinds[1]}")

    def prepare(self, module: FilePredictor) -> None:
        """Tell the module what it has to know."""

    def _begin(self, trainer: pl.Trainer, module: FilePredictor, inputs: InputSet) -> Sequence[int]:
        """Which inputs are to be done; called on every process when the weights are there, before anything is done."""
        self._inputs, self._processes = inputs, Processes()
        # log_dir is a broadcast: once, and on every process
        folder = Path(self.output_dir or Path(trainer.log_dir or trainer.default_root_dir) / "predictions")
        self._journal = Journal(folder)
        job = {**self.job(module), "device": module.device.type}
        plan = self._processes.of_first(lambda: self._plan(folder, job))
        if module.device.type == "cpu":
            torch.set_num_threads(plan.threads)
        self._journal.open(plan.run, self._processes.rank)
        self._remaining = len(plan.remaining)
        finished = len(inputs) - self._remaining
        if finished and self._processes.rank == 0:
            print(f"{folder}: {finished} of {len(inputs)} files are finished already", flush=True)
        self._start_of_all = time.perf_counter()
        return plan.remaining

    def _plan(self, folder: Path, job: dict[str, object]) -> Plan:
        """Find out what is finished; on the first process.

        Raises:
            UserError: two inputs have one output, the outputs would be inputs of the next run, or as `Journal.begin`.
        """
        inputs, journal = self._inputs, self._journal
        assert journal is not None
        outputs = sorted((_target(name, self.extension), i) for i, name in enumerate(inputs.names))
        refuse_clashes((output, inputs.path(i)) for output, i in outputs)
        place = folder.resolve()
        for source in inputs.folders:
            if place.is_relative_to(source.resolve()):
                raise UserError(f"{folder}: lies in the input folder {source}; give a folder outside as output_dir")
        threads = self.threads or TORCH_THREADS
        if job["device"] == "cpu":
            job["threads"] = threads
        run = journal.begin(job, self.overwrite)
        done = (entry.name for entry in journal.entries(inputs.names) if journal.is_done(entry))
        remaining, name = [], next(done, None)
        for index, candidate in enumerate(inputs.names):
            if candidate == name:
                name = next(done, None)
            else:
                remaining.append(index)
        return Plan(remaining, run, threads)

    def on_predict_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: PredictInput,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Start the clock."""
        self._start = time.perf_counter()

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Predicted,
        batch: PredictInput,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write one file. A file that cannot be written does not cost the others."""
        if self._journal is None:
            return
        entry = Entry(batch.name, _target(batch.name, self.extension), seconds=time.perf_counter() - self._start)
        if isinstance(outputs, Failure):
            self._journal.note(entry._replace(error=outputs.reason))
        else:
            output = self.output(outputs, batch)
            sizes = entry._replace(width=output.width, height=output.height, bytes=output.bytes)
            try:
                self._write(self._journal, sizes, output.data)
            except OSError as error:
                self._journal.note(entry._replace(error=str(error)))
        _leave_if_told_to(trainer)

    def _write(self, journal: Journal, entry: Entry, data: bytes) -> None:
        """Write a file, or keep the one that is there."""
        path = journal.output / entry.output
        if journal.replaces or not path.exists():
            journal.write(entry, data)
        elif path.read_bytes() == data:  # by `compress`, or its line was lost when a machine went down
            journal.note(entry._replace(written=len(data)))
        else:
            raise OSError("kept an existing file with other content: remove it, or overwrite: true replaces all")

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Let the next run begin."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Write the table and print what it comes to, also where nothing was left to be done.

        Raises:
            UserError: an input has no output.
        """
        if stage != "predict" or self._journal is None:
            return
        self._processes.wait(partial(_leave_if_told_to, trainer))
        seconds = time.perf_counter() - self._start_of_all
        journal, self._journal = self._journal, None
        try:
            if self._processes.rank == 0:
                table = journal.output / "predictions.csv"
                total = write_table(table, journal.entries(self._inputs.names))
                print(total.line(journal.output, len(self._inputs), self._remaining, seconds), flush=True)
                total.complain(table, len(self._inputs))
        finally:
            journal.close()


def _target(name: str, extension: str) -> str:
    """Path of an output below the output folder, as `compress` and `decompress` name it."""
    return os.path.splitext(name)[0] + extension


def _leave_if_told_to(trainer: pl.Trainer) -> None:
    if trainer.received_sigterm:
        raise SIGTERMException


class LcbWriter(PredictionWriter):
    """Writes the `.lcb` files of images, as `PredictionWriter`.

    Args:
        output_dir: the folder of the files, made if needed; default: `predictions` in the run's folder. The same folder
            and the same inputs again: an interrupted run goes on.
        overwrite: begin anew, and replace whatever is there.
        threads: on a CPU, of each process; a file can be decoded with the same number only. Default: as many as
            `compress` uses, whatever the number of processes.
    """

    reads_coded = False
    extension = ".lcb"
    key = "lcb_writer"

    def __init__(self, output_dir: str | None = None, overwrite: bool = False, threads: int | None = None) -> None:
        super().__init__(output_dir, overwrite, threads)

    def job(self, module: FilePredictor) -> dict[str, object]:
        """Which model."""
        return {"outputs": self.extension, "model": module.codec().fingerprint.hex()}

    def output(self, result: bytes | DecodedFile, batch: PredictInput) -> Output:
        """The file as it came from the codec."""
        assert isinstance(result, bytes)
        assert isinstance(batch, NamedImage)
        height, width = batch.image.shape[-2:]
        return Output(result, width, height, len(result))
