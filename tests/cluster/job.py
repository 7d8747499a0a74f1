"""Trainings that take seconds, as configuration files."""

from pathlib import Path

STEPS = 13
STEPS_PER_EPOCH = 10
GLOBAL_BATCH = 4

NETWORK = """\
      channels: [4, 6, 8]
      latent_channels: 12
      analysis_units: 0
      synthesis_units: 0
      entropy: {{hyper_channels: 4, channel_groups: [2, 4, 6], window: 4, blocks: 1}}
"""
ENTROPY = f"""\
model:
  class_path: lightning_codec.modules.EntropyModelModule
  init_args:
    network:
{NETWORK}\
    lmbda: 0.01
    optimizer: {{{{lr: 0.001, warmup_steps: 2}}}}
"""
DIFFUSION = """\
model:
  class_path: lightning_codec.modules.DiffusionDecoderModule
  init_args:
    codec: {codec}
    decoder:
      unet: {{channels: [6, 8, 8], units: 1, attention: false, patch: 2, head_channels: 4}}
    loss: {{perceptual: none, rollout: 1}}
    sampling: {{steps: 1}}
    ema_decay: 0.9
    optimizer: {{lr: 0.001, warmup_steps: 2}}
"""
REST = f"""\
seed_everything: 0
data:
  crop_size: 64
  batch_size: {GLOBAL_BATCH}
  samples_per_epoch: {STEPS_PER_EPOCH * GLOBAL_BATCH}
  num_workers: 0
  eval_sets: [dead_leaves]
  eval_limit: 1
trainer:
  accelerator: cpu
  max_steps: {STEPS}
  num_sanity_val_steps: 0
  log_every_n_steps: 1
  default_root_dir: {{root}}
"""


def write_config(folder: Path, codec: Path | None = None) -> Path:
    """Write a configuration into a folder, in which its runs will lie: of a codec, or of a decoder for `codec`."""
    path = folder / "job.yaml"
    text = (ENTROPY if codec is None else DIFFUSION) + REST
    path.write_text(text.format(root=folder / "runs", codec=codec))
    return path
