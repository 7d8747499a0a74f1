"""A workplace with tiny trainings, and orders for `tests.runs.sabotage`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

NETWORK = (
    "{channels: [4, 6, 8], latent_channels: 8, analysis_units: 0, synthesis_units: 0, "
    "entropy: {hyper_channels: 4, channel_groups: single, global_context: false}}"
)
ENTROPY = f"""
model:
  class_path: lightning_codec.modules.EntropyModelModule
  init_args: {{network: {NETWORK}, lmbda: 0.01, optimizer: {{warmup_steps: 2}}}}
"""
DECODER = f"""
model:
  class_path: lightning_codec.modules.DiffusionDecoderModule
  init_args:
    network: {NETWORK}
    train_codec: true
    decoder: {{unet: {{channels: [6, 8, 8], units: 1, attention: false, patch: 2, head_channels: 4}}}}
    loss: {{rho: 0.0, perceptual: none, lmbda_rate: 0.01}}
    sampling: {{steps: 2}}
    optimizer: {{warmup_steps: 2}}
"""
REST = """
data: {train_folders: [photos], eval_sets: [eval], crop_size: 64, batch_size: 1, samples_per_epoch: 5, num_workers: 0}
trainer: {max_steps: 12, max_epochs: -1, accelerator: cpu, log_every_n_steps: 1, num_sanity_val_steps: 0,
  enable_progress_bar: false, enable_model_summary: false}
last: {every_n_steps: 2}
"""


def make_workplace(root: Path) -> None:
    """entropy.yaml and decoder.yaml: 12 steps in epochs of 5 on five pictures of noise, each epoch validated on two."""
    rng = np.random.default_rng(0)
    for folder, number, shape in (("photos", 5, (72, 80, 3)), ("eval", 2, (64, 64, 3))):
        (root / folder).mkdir()
        for index in range(number):
            Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(root / folder / f"{index}.png")
    (root / "entropy.yaml").write_text(ENTROPY + REST)
    (root / "decoder.yaml").write_text(DECODER + REST)


def fit(kind: str, folder: str, *more: str) -> list[str]:
    """The command that trains in runs below `folder`."""
    return ["fit", "--config", f"{kind}.yaml", "--trainer.default_root_dir", folder, *more]


def carry_out(root: Path, *orders: dict[str, Any]) -> list[list[int]]:
    """Have commands run one after the other; returns the exit codes of the processes of each."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB_", "SLURM_"))}
    done = subprocess.run(
        [sys.executable, "-m", "tests.runs.sabotage"],
        input=json.dumps(orders),
        cwd=root,
        env={**environment, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def samples(root: Path, rank: int = 0) -> list[str]:
    """What every training step has seen, in order: epoch, batch, and the sum of its pixels."""
    return (root / f"samples.log.{rank}").read_text().splitlines()


def different(a: Any, b: Any, path: str = "") -> list[str]:
    """Where two checkpoints differ, to the last bit; names of folders and what the run was called may."""
    if isinstance(a, torch.Tensor):
        return [] if torch.equal(a, b) else [path]
    if isinstance(a, dict):
        names = [name for name in a if not str(name).startswith("ModelCheckpoint")]
        assert a.keys() == b.keys(), path
        return [place for name in names for place in different(a[name], b[name], f"{path}/{name}")]
    if isinstance(a, list | tuple):
        assert len(a) == len(b), path
        return [place for i, pair in enumerate(zip(a, b, strict=True)) for place in different(*pair, f"{path}/{i}")]
    return [] if a == b or path.endswith("default_root_dir") else [path]


def assert_same_run(whole: Path, parts: Path) -> None:
    """Two run folders hold the same weights, optimiser, counters, history and tables, and nothing half written."""
    names = {path.relative_to(folder) for folder in (whole, parts) for path in folder.rglob("*") if path.is_file()}
    for name in sorted(names):
        assert (parts / name).is_file(), name
        assert (whole / name).is_file(), name
        if name.suffix == ".ckpt":
            contents = [torch.load(folder / name, weights_only=True) for folder in (whole, parts)]
            assert different(*contents) == [], name
        elif name.suffix not in (".yaml", "") and name.name not in ("manifest.json", ".lock"):
            assert (parts / name).read_bytes() == (whole / name).read_bytes(), name
