"""`report.html`: an evaluation in one file that opens from disk, with tables, plots and pictures to compare."""

import base64
import hashlib
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from lightning_codec.evaluation.curves import Curve
from lightning_codec.evaluation.plots import MEASURED_COLOURS, PUBLISHED_COLOURS
from lightning_codec.evaluation.report_content import ReportContent, SetRow, TableRow
from lightning_codec.evaluation.report_pictures import DecodedPicture, Embedded, PictureSet, embed
from lightning_codec.evaluation.report_tables import (
    absent_numbers,
    bd_table,
    protocols_table,
    results_table,
    sets_table,
)
from lightning_codec.files import write_atomically

__all__ = ["DecodedPicture", "PictureSet", "ReportContent", "SetRow", "TableRow", "write_report"]

_ASSETS = "report_assets"
_SCRIPTS = ("tables.js", "plots.js", "pictures.js")


def write_report(path: Path, content: ReportContent) -> None:
    """Write the report as one file that needs no other and no network. The same content gives the same bytes.

    Raises:
        ValueError, OSError: as `embed`, for its pictures.
    """
    embedded = embed(content.pictures)
    environment = Environment(
        loader=PackageLoader("lightning_codec.evaluation", _ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}  # and keys stay in their order
    style = _palette() + _asset("report.css")
    script = "\n".join(map(_asset, _SCRIPTS))
    labels = {fact.name: fact.label for fact in content.metrics}
    page = environment.get_template("report.html.j2").render(
        content=content,
        policy=_policy(style, script),
        style=style,
        script=script,
        data={"codecs": list(content.codecs), "plots": _plots(content), "pictures": _pictures(embedded, labels)},
        payloads=[text for entry in embedded.sets for text in entry.data],
        pictures_note=embedded.note,
        results=results_table(content),
        sets=sets_table(content),
        bd_rates=bd_table(content),
        protocols=protocols_table(content),
        absent_numbers=absent_numbers(content.rows, content.set_rows, labels),
    )
    write_atomically(path, page.encode("utf-8"))


def _asset(name: str) -> str:
    return resources.files("lightning_codec.evaluation").joinpath(_ASSETS, name).read_text(encoding="utf-8")


def _palette() -> str:
    """The colours of the plots in files, as variables of the style sheet, which has others for a dark screen."""
    measured = (f"--m{index}:{colour};" for index, colour in enumerate(MEASURED_COLOURS))
    published = (f"--p{index}:{colour};" for index, colour in enumerate(PUBLISHED_COLOURS))
    return f":root{{{''.join((*measured, *published))}}}\n"


def _policy(style: str, script: str) -> str:
    """A content security policy: this style and script, pictures from within the file, nothing from anywhere else."""

    def digest(text: str) -> str:
        return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")

    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest(style)}'; script-src 'sha256-{digest(script)}'"
    )


def _plots(content: ReportContent) -> list[dict[str, Any]]:
    """One plot for each metric that has curves."""
    plots = []
    for fact in content.metrics:
        curves = [_curve(curve) for curve in content.curves if curve.metric == fact.name]
        if curves:
            plots.append({"label": fact.label, "higherIsBetter": fact.higher_is_better, "curves": curves})
    return plots


def _curve(curve: Curve) -> dict[str, Any]:
    return {"codec": curve.codec, "source": curve.source, "points": curve.points}


def _pictures(embedded: Embedded, labels: dict[str, str]) -> list[dict[str, Any]]:
    """The pictures by the numbers of their payloads."""
    found = []
    number = 0
    for entry in embedded.sets:
        decoded = [
            {
                "codec": picture.codec,
                "setting": picture.setting,
                "bpp": picture.bpp,
                "values": {labels.get(metric, metric): value for metric, value in picture.values.items()},
                "payload": number + 1 + index,
            }
            for index, picture in enumerate(entry.pictures.decoded)
        ]
        found.append(
            {
                "image": entry.pictures.image,
                "width": entry.width,
                "height": entry.height,
                "note": entry.note,
                "payload": number,
                "decoded": decoded,
            }
        )
        number += len(entry.data)
    return found
