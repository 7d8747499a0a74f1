"""`lightning-codec models`: the trained models that come with the package."""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import yaml

from lightning_codec.commands.parser import CommandParser, positive
from lightning_codec.commands.reporting import EXIT_ERROR, report
from lightning_codec.errors import UserError
from lightning_codec.shipped.card import read_facts
from lightning_codec.shipped.catalogue import Catalogue, Model, shipped

BENCHMARK = "kodak"
NONE_SHIPS = "no models ship with this version"


def run(name: str, arguments: list[str]) -> int:
    """List, describe, verify, export or split models; returns the exit code."""
    parser = CommandParser(
        name,
        "Trained models that come with the package. compress and decompress find them by themselves; "
        "lightning-codec models ACTION --help describes an action.",
        "lightning-codec models list",
    )
    actions = {"list": _list, "info": _info, "verify": _verify, "export": _export, "split": _split}
    parser.add_argument("action", choices=list(actions), help="what to do")
    parser.add_argument("rest", metavar="...", nargs=argparse.REMAINDER, help="its arguments")
    options = parser.parse_args(arguments)
    return actions[options.action](f"{name} {options.action}", options.rest)


def _list(name: str, arguments: list[str]) -> int:
    parser = CommandParser(
        name,
        "A table of the models: rate and PSNR on Kodak where they were measured, weights, size of the file.",
        f"lightning-codec {name}",
    )
    parser.parse_args(arguments)
    models = shipped().models()
    print("\n".join(_table(models)) if models else NONE_SHIPS)
    return 0


def _info(name: str, arguments: list[str]) -> int:
    parser = CommandParser(
        name,
        "The card of a model: what it is, how it was trained, what it reaches, what it is not for.",
        f"lightning-codec {name} NAME --json",
    )
    parser.add_argument("name", metavar="NAME", help="of the model")
    parser.add_argument("--json", action="store_true", help="print the card as one JSON object")
    options = parser.parse_args(arguments)
    model = shipped().model(options.name)
    print(json.dumps(asdict(model.card), indent=1) if options.json else "\n".join(_description(model)))
    return 0


def _verify(name: str, arguments: list[str]) -> int:
    parser = CommandParser(
        name,
        "Check fingerprint and tensors of the models against their cards, and decode the small file that lies beside "
        "each to the very pixels that it had when it was exported. One line for each fault; the exit code is then 2.",
        f"lightning-codec {name}",
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="of models (default: all)")
    options = parser.parse_args(arguments)
    catalogue = shipped()
    names = options.names or catalogue.names()
    if not names:
        print(NONE_SHIPS)
        return 0

    from lightning_codec.shipped.verification import faults

    correct = True
    for model in names:
        found = faults(model, catalogue)
        for fault in found:
            report(UserError(fault))
        if not found:
            print(f"{model}: correct")
        correct = correct and not found
    return 0 if correct else EXIT_ERROR


def _export(name: str, arguments: list[str]) -> int:
    parser = CommandParser(
        name,
        "Write the checkpoint of a training as a model that ships: NAME.safetensors, its weights in float16, "
        "NAME.json, its card, and NAME.lcb, a small file by which it is verified. Of a diffusion decoder, the averaged "
        "weights of its U-Net are written, for the files of a codec that was exported before.",
        f"lightning-codec {name} --model last.ckpt --name photo-3 --quality 3 --card facts.json",
    )
    parser.add_argument("--model", metavar="CKPT", type=Path, required=True, help="checkpoint, as written by fit")
    parser.add_argument("--name", metavar="NAME", required=True, help="of the model and of its files")
    parser.add_argument(
        "--quality", metavar="N", type=positive, required=True, help="rung of the ladder of rates; a decoder's codec's"
    )
    parser.add_argument(
        "--card",
        metavar="FILE.json",
        type=Path,
        required=True,
        help="data, command, seed, steps, hours, results, licence and not_for of the model",
    )
    parser.add_argument(
        "--rate", metavar="K", type=int, default=0, help="of a checkpoint of several rates: which one, from 0"
    )
    parser.add_argument(
        "--weights",
        metavar="NAME",
        help="of the file of weights, which rates of one checkpoint share (default: NAME)",
    )
    parser.add_argument("--codec", metavar="NAME", help="of a diffusion decoder: the codec whose files it decodes")
    parser.add_argument(
        "--steps",
        metavar="S",
        type=positive,
        help="of a diffusion decoder: in which it decodes where nobody says otherwise (default: as trained)",
    )
    parser.add_argument(
        "-o", "--output", metavar="FOLDER", type=Path, help="where to write (default: to the models that ship)"
    )
    options = parser.parse_args(arguments)
    if options.codec is not None and options.rate:
        raise UserError("--rate is of a codec's checkpoint: a decoder is of the rate of its --codec; leave it out")
    if options.codec is None and options.steps is not None:
        raise UserError("--steps is of a diffusion decoder: give its --codec too, or leave it out")
    facts = read_facts(options.card)

    from lightning_codec.shipped.export import Order, export_codec, export_decoder

    order = Order(options.model, options.name, options.quality, facts, options.rate, options.weights, options.steps)
    catalogue = shipped() if options.output is None else Catalogue(options.output)
    model = export_codec(order, catalogue) if options.codec is None else export_decoder(order, options.codec, catalogue)
    print(f"{model.weights}  {_kibibytes(model)} KiB  fingerprint {model.card.fingerprint}")
    return 0


def _split(name: str, arguments: list[str]) -> int:
    parser = CommandParser(
        name,
        "Write every rate of a checkpoint of several as a checkpoint of its own, FOLDER/rate-0.ckpt and so on, from "
        "which pictures are coded, other trainings start, and diffusion decoders are trained.",
        f"lightning-codec {name} --model last.ckpt -o rates",
    )
    parser.add_argument("--model", metavar="CKPT", type=Path, required=True, help="checkpoint, as written by fit")
    parser.add_argument("-o", "--output", metavar="FOLDER", type=Path, required=True, help="where to write")
    options = parser.parse_args(arguments)

    from lightning_codec.modules.multirate import split_checkpoint

    for path in split_checkpoint(options.model, options.output):
        print(path)
    return 0


def _table(models: list[Model]) -> Iterator[str]:
    width = max(len("name"), *(len(model.card.name) for model in models))
    titles = f"{'quality':>7}  {'bpp':>6}  {'PSNR':>8}  {'parameters':>10}  {'KiB':>5}"
    yield f"{'name':<{width}}  {'kind':<17}  {titles}"
    for model in models:
        card = model.card
        measured = card.facts.results.get(BENCHMARK, {})
        bpp = f"{measured['bpp']:.4f}" if "bpp" in measured else "-"
        psnr = f"{measured['psnr']:.2f} dB" if "psnr" in measured else "-"
        figures = f"{card.quality:>7}  {bpp:>6}  {psnr:>8}  {card.parameters:>10}  {_kibibytes(model):>5}"
        yield f"{card.name:<{width}}  {card.kind:<17}  {figures}"


def _description(model: Model) -> Iterator[str]:
    card, facts = model.card, model.card.facts
    rows = {
        "name": card.name,
        "kind": card.kind,
        "quality": card.quality,
        "decodes": f"files of {card.codec}, fingerprint {card.fingerprint}",
        "parameters": f"{card.parameters}, {_kibibytes(model)} KiB in float16",
        "data": facts.data,
        "training": f"{facts.steps} steps in {facts.hours:g} hours, seed {facts.seed}",
        "command": facts.command,
        "licence": facts.licence,
        "not for": facts.not_for,
    }
    rows |= {
        f"on {images}": ", ".join(f"{metric} {value:g}" for metric, value in measured.items())
        for images, measured in facts.results.items()
    }
    width = max(map(len, rows))
    yield from (f"{title:<{width}}  {text}" for title, text in rows.items())
    yield "configuration"
    for line in yaml.safe_dump(card.init_args, default_flow_style=None, sort_keys=False).splitlines():
        yield f"  {line}"


def _kibibytes(model: Model) -> int:
    """Of the file of weights, rounded up."""
    return -(-model.weights.stat().st_size // 1024)
