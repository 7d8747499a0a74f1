"""One Weights & Biases run for each job: its id in the run folder, its steps explicit, its media within a budget."""

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from lightning_codec.errors import UserError
from lightning_codec.files import write_atomically
from lightning_codec.tracking.history import Entry

RUN_ID = "wandb_run_id"
STEP = "trainer/global_step"  # as Lightning's logger names it


@dataclass(frozen=True)
class WandbConfig:
    """Whether and where a run shows in Weights & Biases.

    Args:
        mode: `off`; `offline`: into the run folder, no account, no network, nothing waits (`wandb sync` or
            `lightning-codec wandb-sync` upload it); `online`.
        project: of the run.
        entity: user or team; default: the account's.
        name: of the run; default: one that W&B makes up.
        group: of runs that belong together.
        tags: of the run.
        media: how many pictures and tables the run gets at most; all are in the run folder anyway.
    """

    mode: Literal["off", "offline", "online"] = "off"
    project: str = "lightning_codec"
    entity: str | None = None
    name: str | None = None
    group: str | None = None
    tags: tuple[str, ...] = ()
    media: int = 500

    def __post_init__(self) -> None:
        if self.media < 0:
            raise UserError(f"wandb: media is {self.media}: it must be 0 or more")


class WandbRun(WandbLogger):
    """Lightning's logger, with its run in the run folder.

    Only the first process starts a run. The x axis of everything is the metric `trainer/global_step`, which each call
    carries: W&B's own step counts calls and has no meaning. (Given as W&B's step, it would have to grow from call to
    call, or W&B drops what it is given.)

    Args:
        config: mode, project, names and budget.
        folder: the run's; W&B writes below `<folder>/wandb`.
        run_id: see `settled_run_id`.
        settings: the full configuration of the run, as plain values.
        media: how many pictures and tables the run has already.
        anew: begin the run with this id anew, rather than go on with it.

    Raises:
        UserError: wandb is not installed.
    """

    def __init__(
        self,
        config: WandbConfig,
        folder: Path,
        run_id: str,
        settings: dict[str, Any],
        media: int = 0,
        anew: bool = False,
    ) -> None:
        if find_spec("wandb") is None:
            raise UserError(
                "wandb: the package is not installed: pip install 'lightning_codec[wandb]', or wandb.mode off"
            )
        import wandb

        super().__init__(
            name=config.name,
            # Not through Lightning's `offline`: that sets WANDB_MODE for the whole process, and for later runs in it.
            mode=config.mode,
            project=config.project,
            entity=config.entity,
            group=config.group,
            tags=list(config.tags),
            save_dir=folder,
            id=run_id,
            # "allow" goes on with the run of this id, None writes it anew. Offline it makes no difference: every
            # process has a folder of its own with the id in it, which a server would put together.
            resume=None if anew else "allow",
            config=settings,
            # The output belongs to the terminal or the cluster's log, not to a copy that grows beside it.
            settings=wandb.Settings(console="off", save_code=False, quiet=True),
        )
        self._folder = folder
        self._media_left = config.media - media
        self._full = False
        self._lost = False

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers."""
        self._send(lambda: super(WandbRun, self).log_metrics(metrics, step))

    @rank_zero_only
    def log_entry(self, entry: Entry) -> None:
        """Log numbers, pictures and tables in one call; beyond the budget of media, only the numbers."""
        if entry.media > self._media_left:
            if not self._full:
                rank_zero_warn("wandb: the budget of media (wandb.media) is used up; the run folder has the others")
            self._full = True
            entry = Entry(entry.step, entry.metrics)
        self._media_left -= entry.media
        if entry.metrics or entry.media:
            self._send(lambda: self.experiment.log(wandb_values(entry, self._folder)))

    def _send(self, log: Callable[[], object]) -> None:
        """Log, unless wandb's process is gone: a signal to a whole job ends it first. The training needs it not."""
        if self._lost:
            return
        try:
            log()
        except OSError as error:
            self._lost = True
            rank_zero_warn(f"wandb: lost ({error}); history.jsonl has everything, see lightning-codec wandb-sync")


def wandb_values(entry: Entry, folder: Path) -> dict[str, Any]:
    """What `wandb.log` takes, with the step; a table comes as a scatter plot, which carries it.

    Pictures whose files are gone are left out.
    """
    import wandb

    values: dict[str, Any] = {**entry.metrics, STEP: entry.step}
    for tag, picture in entry.pictures.items():
        if (folder / picture.path).is_file():
            values[tag] = wandb.Image(str(folder / picture.path), caption=picture.caption)
    for tag, table in entry.tables.items():
        content = wandb.Table(columns=[*table.columns], data=table.rows)
        values[tag] = wandb.plot.scatter(content, table.x, table.y, title=tag)
    return values


def settled_run_id(folder: Path, origin: Path | None) -> str:
    """The run's id: that of `folder`, else that of the run folder `origin` which is resumed, else a new one.

    It is written into `folder` if it is not there yet.
    """
    for place in (folder, origin):
        if place is not None and (place / RUN_ID).is_file():
            run_id = (place / RUN_ID).read_text(encoding="utf-8").strip()
            break
    else:
        run_id = uuid4().hex[:8]
    if not (folder / RUN_ID).is_file():
        write_atomically(folder / RUN_ID, f"{run_id}\n".encode())
    return run_id


def finish(failed: bool) -> None:
    """End the run of this process, if there is one: Lightning leaves it open, and the next job would log into it."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        with suppress(OSError):  # its process is gone already
            wandb.finish(exit_code=int(failed))
