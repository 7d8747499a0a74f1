"""Jobs on a cluster: what Slurm is asked for, what is checked before a start, and sweeps."""
