"""`lightning-codec wandb-sync`: a Weights & Biases run from the files of a run folder."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning_codec.commands.parser import CommandParser
from lightning_codec.errors import UserError


def run(name: str, arguments: list[str]) -> int:
    """Rebuild the run; returns the exit code."""
    parser = CommandParser(
        name,
        "Rebuild the Weights & Biases run of a training from its folder: all that history.jsonl has, at its steps, "
        "under the id that the run always had. What W&B has under that id is replaced. With --offline nothing is sent: "
        "the run is written to RUN_DIR/wandb.",
        "lightning-codec wandb-sync runs/version_0 --project my_codec",
    )
    parser.add_argument("run_dir", metavar="RUN_DIR", type=Path, help="folder of a run of fit, validate or test")
    parser.add_argument("--project", help="default: that of the run's configuration")
    parser.add_argument("--entity", help="user or team (default: that of the run's configuration)")
    parser.add_argument("--offline", action="store_true", help="write an offline run, send nothing")
    options = parser.parse_args(arguments)

    from lightning_codec.tracking.history import read_history
    from lightning_codec.tracking.wandb_run import WandbConfig, WandbRun, finish, settled_run_id

    folder: Path = options.run_dir
    entries = read_history(folder)
    if not entries:
        raise UserError(f"{folder}: its history is empty, there is nothing to rebuild a run from")
    settings = _settings(folder)
    stored = settings.get("wandb", {})
    known = {key: stored[key] for key in WandbConfig.__dataclass_fields__ if key in stored}
    config = replace(WandbConfig(**known), mode="offline" if options.offline else "online")
    for key in ("project", "entity"):
        if getattr(options, key) is not None:
            config = replace(config, **{key: getattr(options, key)})
    logger = WandbRun(config, folder, settled_run_id(folder, None), settings, anew=True)
    failed = True
    try:
        for entry in entries:
            logger.log_entry(entry)
        failed = False
    finally:
        finish(failed)
    print(f"{len(entries)} entries of {folder} in run {logger.version} of project {config.project}")
    return 0


def _settings(folder: Path) -> dict[str, Any]:
    """The full configuration of the run; empty where the folder has none.

    Raises:
        UserError: it is not readable.
    """
    import yaml

    path = folder / "config.yaml"
    if not path.is_file():
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"{path}: damaged configuration ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: not the configuration of a run")
    return content
