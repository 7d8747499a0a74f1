"""`lightning-codec preflight`: what would make a training hang or fail, before it starts."""

import os

from lightning_codec.commands.parser import CommandParser


def run(name: str, arguments: list[str]) -> int:
    """Check this node; returns the exit code."""
    parser = CommandParser(
        name,
        "Check what `fit` with the same arguments needs: tasks, devices and nodes of a Slurm job, the port where its "
        "processes meet, the run folder, the images. One line for every fault, all at once, and exit code 2. Under "
        "srun every node is checked. In a Slurm job the commands of the Trainer do the same at their start.",
        "lightning-codec preflight --config configs/experiment/base_photos.yaml --trainer.devices 4",
    )
    parser.usage = f"{parser.prog} [-h] [arguments of fit]"
    _, fit_arguments = parser.parse_known_args(arguments)

    from lightning_codec.cluster.preflight import Launch, node_name, stop_at_faults
    from lightning_codec.commands.resolved import fit_configuration

    launch = Launch.of(fit_configuration(fit_arguments))
    stop_at_faults(launch)
    if os.environ.get("SLURM_LOCALID", "0") == "0":
        print(
            f"preflight: {node_name(os.environ)}: {launch.num_nodes} node(s) x {launch.devices} {launch.accelerator} "
            f"process(es), run folder and images are in order"
        )
    return 0
