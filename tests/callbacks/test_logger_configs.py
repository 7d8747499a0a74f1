from pathlib import Path

import pytest
from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from lightning_codec.tracking.wandb_run import WandbConfig

CONFIGS = Path(__file__).parents[2] / "configs" / "logger"


def parse(name: str) -> tuple[ArgumentParser, Namespace]:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(Trainer, "trainer", skip={"callbacks", "plugins", "strategy", "profiler"})
    return parser, parser.parse_args([f"--config={CONFIGS / name}.yaml"])


@pytest.mark.parametrize(("name", "logger"), [("csv", CSVLogger), ("tensorboard", TensorBoardLogger)])
def test_runs_get_their_own_folder(name: str, logger: type[Logger], tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "version_0").mkdir(parents=True)
    parser, config = parse(name)
    trainer = parser.instantiate_classes(config).trainer
    assert type(trainer.logger) is logger
    assert trainer.log_dir == "runs/version_1"


def test_wandb_is_offline():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(WandbConfig, "wandb")
    config = parser.parse_args([f"--config={CONFIGS / 'wandb.yaml'}"])
    assert parser.instantiate_classes(config).wandb == WandbConfig(mode="offline", project="lightning_codec")


def test_every_file_is_tested():
    assert {path.stem for path in CONFIGS.iterdir()} == {"csv", "tensorboard", "wandb"}
