"""`lightning-codec weights`: the networks that perceptual metrics need, fetched ahead of time."""

import sys
from collections.abc import Sequence

from lightning_codec.commands.parser import CommandParser
from lightning_codec.commands.reporting import PROGRAM
from lightning_codec.errors import UserError
from lightning_codec.weights import FILES, FOLDER_VARIABLE, WeightFile, fetch, find, folders, is_intact, named


def run(name: str, arguments: list[str], files: Sequence[WeightFile] = FILES) -> int:
    """List, fetch or verify files of weights; returns the exit code.

    Args:
        name: of the command.
        arguments: after it.
        files: the known ones.
    """
    parser = CommandParser(
        name,
        "Networks that LPIPS, DISTS, FID and KID need. No metric downloads anything: what is not here is reported "
        f"as absent. They are searched for in the folder {FOLDER_VARIABLE}, then in torch hub's cache; fetch "
        "writes to the first of these. The exit code of verify is 2 when a file is damaged, or absent though named.",
        "lightning-codec weights fetch alexnet vgg16",
    )
    parser.add_argument("action", choices=["list", "fetch", "verify"], help="what to do")
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"which: {', '.join(file.name for file in files)}")
    options = parser.parse_args(arguments)
    wanted = named(options.names, files)
    if options.action == "list":
        print("\n".join(_describe(file) for file in wanted))
        print(f"fetch writes to {folders()[0]}")
    elif options.action == "fetch":
        for file in wanted:
            _fetch(file)
    else:
        _verify(wanted, all_needed=bool(options.names))
    return 0


def _describe(file: WeightFile) -> str:
    rows = {
        "file": f"{file.file}, {file.mebibytes} MiB",
        "used for": file.used_for,
        "licence": file.licence,
        "where": find(file.file) or "absent",
    }
    return "\n".join([file.name, *(f"  {title:<8}  {text}" for title, text in rows.items())])


def _fetch(file: WeightFile) -> None:
    path = find(file.file)
    if path is not None and is_intact(path):
        print(f"{file.name}: already there, {path}")
    else:
        print(f"{file.name}: {fetch(file, progress=sys.stderr.isatty())}")


def _verify(files: Sequence[WeightFile], all_needed: bool) -> None:
    """Print the state of each file.

    Raises:
        UserError: one is damaged; with `all_needed`, one is absent.
    """
    wrong = []
    for file in files:
        path = find(file.file)
        state = "absent" if path is None else "correct" if is_intact(path) else "damaged"
        print(f"{file.name}: {state}{'' if path is None else f', {path}'}")
        if state == "damaged" or (state == "absent" and all_needed):
            wrong.append(file.name)
    if wrong:
        raise UserError(f"not correct: {', '.join(wrong)}; mend it with: {PROGRAM} weights fetch {' '.join(wrong)}")
