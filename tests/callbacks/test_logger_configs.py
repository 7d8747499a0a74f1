from importlib.util import find_spec
from pathlib import Path

import pytest
from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

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


def test_wandb_is_offline_and_second_to_the_csv_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parser, config = parse("wandb")
    first, second = config.trainer.logger
    assert first.class_path == "lightning.pytorch.loggers.CSVLogger"
    assert (second.init_args.offline, second.init_args.log_model) == (True, False)
    if find_spec("wandb") is None:
        pytest.skip("the extra wandb is not installed: parsed, not instantiated")
    assert parser.instantiate_classes(config).trainer.log_dir == "runs/version_0"


def test_every_file_is_tested():
    assert {path.stem for path in CONFIGS.iterdir()} == {"csv", "tensorboard", "wandb"}
