"""`lightning-codec receptive-fields`: how far the attention of an entropy model looks."""

import json
from pathlib import Path

from lightning_codec.commands.parser import CommandParser


def run(name: str, arguments: list[str]) -> int:
    """Print the table, and draw it; returns the exit code."""
    parser = CommandParser(
        name,
        "The Laplacian position biases A^2 exp(-d / 2 B^2) that an entropy model has learned, for every channel "
        "group, layer and head: A^2 in logits, B^2 in latent sites of 16 pixels, and the distance d at which half of "
        "the bias is left.",
        "lightning-codec receptive-fields --model last.ckpt -o fields.png",
    )
    parser.add_argument(
        "--model", metavar="CKPT", required=True, help="checkpoint of a codec or decoder, or a model that ships"
    )
    parser.add_argument("-o", "--output", metavar="FILE.png", type=Path, help="draw them too, as .png or .svg")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    options = parser.parse_args(arguments)

    from lightning_codec.evaluation.plots import save_figure
    from lightning_codec.evaluation.receptive_fields import fields_figure, learned_fields
    from lightning_codec.networks import load_model

    model = load_model(options.model)
    fields = learned_fields(model)
    if options.output is not None:
        save_figure(fields_figure(fields, model.config.entropy.window), options.output)
    if options.json:
        print(json.dumps([{**field._asdict(), "half_distance": field.half_distance} for field in fields], indent=1))
    else:
        print(f"{'group':>5}  {'channels':>8}  {'layer':>5}  {'head':>4}  {'A^2':>7}  {'B^2':>7}  {'half at':>7}")
        for f in fields:
            numbers = f"{f.amplitude:>7.3f}  {f.squared_width:>7.3f}  {f.half_distance:>7.3f}"
            print(f"{f.group:>5}  {f.channels:>8}  {f.layer:>5}  {f.head:>4}  {numbers}")
    return 0
