"""What `fit` puts together: callbacks of the project and of the user, the logger, the checkpoints."""

from pathlib import Path

import lightning.pytorch as pl
import pytest
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from lightning_codec.callbacks import (
    CodecProgressBar,
    FrechetDistances,
    ImagePanels,
    LastCheckpoint,
    LcbWriter,
    NonFiniteGuard,
    PerceptualMetrics,
    RateDistortion,
)
from lightning_codec.commands.training import CodecCLI
from tests.commands.test_training import inside, workplace

__all__ = ["inside", "workplace"]  # fixtures


class ParsedOnly(CodecCLI):
    """Makes everything and runs nothing."""

    def _run_subcommand(self, subcommand: str) -> None:
        pass


FORCED = {
    RateDistortion,
    PerceptualMetrics,
    FrechetDistances,
    ImagePanels,
    NonFiniteGuard,
    LcbWriter,
    CodecProgressBar,
    ModelCheckpoint,
    LastCheckpoint,
}


def parsed(*arguments: str) -> pl.Trainer:
    return ParsedOnly("fit", ["--config", "experiment/exp.yaml", *arguments]).trainer


def test_a_later_list_of_callbacks_drops_none_of_the_projects_own(workplace: Path) -> None:
    (workplace / "more.yaml").write_text(
        "trainer: {callbacks: [{class_path: lightning.pytorch.callbacks.LearningRateMonitor}]}"
    )
    kinds = {type(callback) for callback in parsed("--config", "more.yaml").callbacks}  # type: ignore[attr-defined]
    assert FORCED | {LearningRateMonitor} <= kinds


@pytest.mark.parametrize(
    ("switch", "missing"),
    [("enable_progress_bar", {CodecProgressBar}), ("enable_checkpointing", {ModelCheckpoint, LastCheckpoint})],
)
def test_a_switch_of_the_trainer_turns_its_callbacks_off(switch: str, missing: set[type]) -> None:
    kinds = {type(callback) for callback in parsed(f"--trainer.{switch}", "false").callbacks}  # type: ignore[attr-defined]
    assert kinds & FORCED == FORCED - missing


def test_the_logger_is_a_csv_file_unless_one_is_configured() -> None:
    logger = parsed("--trainer.default_root_dir", "elsewhere").logger
    assert isinstance(logger, CSVLogger)
    assert logger.log_dir == "elsewhere/version_0"
    chosen = parsed("--trainer.logger", "TensorBoardLogger", "--trainer.logger.save_dir", "board").logger
    assert isinstance(chosen, TensorBoardLogger)
    assert parsed("--trainer.logger", "false").logger is None


def test_checkpoints_follow_the_validation_loss() -> None:
    checkpoint = parsed().checkpoint_callback
    assert isinstance(checkpoint, ModelCheckpoint)
    assert (checkpoint.monitor, checkpoint.mode, checkpoint.filename) == ("val/loss", "min", "best")
    assert parsed("--checkpoint.mode", "max").checkpoint_callback.mode == "max"  # type: ignore[union-attr]
