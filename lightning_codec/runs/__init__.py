"""One training run: its folder, its lock, its manifest, its checkpoints, and how it stops and goes on."""
