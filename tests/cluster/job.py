"""A training that takes seconds, as a configuration file."""

from pathlib import Path

CONFIG = """\
seed_everything: 0
model:
  class_path: lightning_codec.modules.EntropyModelModule
  init_args:
    network:
      channels: [4, 6, 8]
      latent_channels: 12
      analysis_units: 0
      synthesis_units: 0
      entropy: {{hyper_channels: 4, channel_groups: [2, 4, 6], window: 4, blocks: 1}}
    lmbda: 0.01
    optimizer: {{lr: 0.001, warmup_steps: 2}}
data: {{crop_size: 64, batch_size: 2, samples_per_epoch: 12, num_workers: 0, eval_sets: [dead_leaves], eval_limit: 1}}
trainer:
  accelerator: cpu
  max_steps: 4
  num_sanity_val_steps: 0
  log_every_n_steps: 1
  default_root_dir: {root}
"""


def write_config(folder: Path) -> Path:
    """Write the configuration into a folder, in which its runs will lie."""
    path = folder / "job.yaml"
    path.write_text(CONFIG.format(root=folder / "runs"))
    return path
