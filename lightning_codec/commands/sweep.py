"""`lightning-codec sweep`: a grid of trainings."""

import argparse
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_codec.commands.parser import CommandParser, positive
from lightning_codec.commands.slurm import PROGRAM, add_resources, deliver, resolved
from lightning_codec.errors import UserError

if TYPE_CHECKING:
    from lightning_codec.cluster.sweep import Sweep


def run(name: str, arguments: list[str]) -> int:
    """Run, submit or collect a sweep; returns the exit code."""
    parser = CommandParser(
        name,
        "Train and test every combination of some settings, each in a folder of its own below the sweep's: here, so "
        "many processes at a time, or as an array of Slurm jobs. The same command again skips what is finished and "
        "goes on with the rest; more values may be added. In the end rd.csv holds a line for every member and set of "
        "images, images.csv one for every image. All arguments of `fit` are passed on.",
        "lightning-codec sweep --config configs/experiment/base_photos.yaml -o sweeps/rates "
        "--set model.init_args.lmbda=0.0035,0.013 --set seed_everything=0,1 --slurm --gpus-per-node 4 --submit",
    )
    parser.usage = f"{parser.prog} -o FOLDER --set KEY=A,B [options] [those of fit]"
    parser.add_argument("-o", "--output", metavar="FOLDER", type=Path, required=True, help="of the sweep")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=A,B,...",
        help="a setting of the configuration and its values, such as model.init_args.lmbda=0.0035,0.013; repeatable",
    )
    parser.add_argument(
        "--against",
        metavar="KEY=A,B,...",
        help="write savings.csv and changes.csv too: what the others save of the bytes of the members with each of "
        "these values, and by how much their pictures differ, image by image",
    )
    parser.add_argument(
        "--with",
        dest="others",
        action="append",
        default=[],
        type=Path,
        metavar="images.csv",
        help="with --against: compare with members of the same sweep on another machine too; repeatable",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--local", type=positive, default=1, metavar="N", help="run here, N members at a time (1)")
    how.add_argument("--slurm", action="store_true", help="write an array job for what is not finished")
    how.add_argument("--collect", action="store_true", help="only write rd.csv from what is finished")
    parser.add_argument("--submit", action="store_true", help="with --slurm: submit the job too")
    add_resources(parser)
    options, fit_arguments = parser.parse_known_args(arguments)

    from lightning_codec.cluster.grid import parse_axis
    from lightning_codec.cluster.sweep import Sweep

    if options.collect:
        return _collect(Sweep.read(options.output), options.against, options.others)
    if not options.set:
        raise UserError(f"nothing to sweep: give --set KEY=A,B,...; see {parser.prog} --help")
    sweep = Sweep(options.output, tuple(fit_arguments), tuple(parse_axis(text) for text in options.set))
    if options.against is not None:
        from lightning_codec.cluster.pairing import check_baselines

        check_baselines(sweep.axes, parse_axis(options.against, "--against"))
    for member in sweep.members:
        _check(sweep, member.arguments)
    if options.slurm:
        return _submit(sweep, options)
    sweep.begin()
    return _run_here(sweep, options)


def _check(sweep: "Sweep", arguments: list[str]) -> None:
    """Find a mistake in the configuration of a member before the first one runs."""
    from lightning_codec.commands.resolved import fit_configuration

    if any(word.partition("=")[0] == "--trainer.default_root_dir" for word in sweep.arguments):
        raise UserError("--trainer.default_root_dir: each member has a folder below -o; leave it out")
    fit_configuration([*sweep.arguments, *arguments])


def _run_here(sweep: "Sweep", options: argparse.Namespace) -> int:
    from lightning_codec.cluster.sweep import run_here

    members, processes = sweep.members, options.local
    done = sum(map(sweep.finished, members))
    print(f"{len(members)} members, {done} of them finished already; {processes} at a time", flush=True)
    failed = 0
    for ended in run_here(sweep, PROGRAM, processes):
        if ended.failure is None:
            done += 1
        else:
            failed += 1
        print(f"[{done}/{len(members)}] {ended.member.name}: {ended.failure or 'finished'}", flush=True)
    _collect(sweep, None if failed else options.against, options.others)
    if failed:
        raise UserError(f"{failed} of {len(members)} members have failed; mend it and give the same command again")
    return 0


def _submit(sweep: "Sweep", options: argparse.Namespace) -> int:
    from lightning_codec.cluster.script import Place, sweep_script

    wanted = [index for index, member in enumerate(sweep.members) if not sweep.finished(member)]
    _, resources = resolved(options, list(sweep.arguments))
    sweep.begin()
    print(f"{len(sweep.members)} members, {len(sweep.members) - len(wanted)} of them finished already")
    if not wanted:
        return _collect(sweep, options.against, options.others)
    folder = sweep.folder.absolute()
    place = Place(options.job_name or folder.name, Path(os.getcwd()), PROGRAM, folder / "slurm")
    arguments = [*sweep.arguments, *resources.trainer_arguments()]
    script = sweep_script(place, resources, arguments, sweep.members, wanted)
    deliver(script, folder / "slurm" / "job.sh", place.logs, options.submit)
    against = [] if options.against is None else ["--against", options.against]
    against += [word for path in options.others for word in ("--with", str(path))]
    collect = shlex.join(["lightning-codec", "sweep", "-o", str(sweep.folder), "--collect", *against])
    print(f"table, when they have finished: {collect}")
    return 0


def _collect(sweep: "Sweep", against: str | None, others: list[Path]) -> int:
    from lightning_codec.cluster.images import write_images
    from lightning_codec.cluster.sweep import collect

    path, missing = collect(sweep)
    print(f"table: {path}")
    path, images = write_images(sweep, others)
    print(f"every image: {path}")
    if missing:
        print(f"not in them, not finished: {', '.join(missing)}")
    if against is not None:
        from lightning_codec.cluster.changes import write_changes
        from lightning_codec.cluster.grid import parse_axis
        from lightning_codec.cluster.pairing import pairs
        from lightning_codec.cluster.savings import write_savings

        compared = pairs(sweep, images, parse_axis(against, "--against"))
        print(f"savings: {write_savings(sweep.folder, compared)}")
        print(f"changes: {write_changes(sweep.folder, compared)}")
    return 0
