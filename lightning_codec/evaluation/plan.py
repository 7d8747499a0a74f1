"""What an evaluation has to do: its images and its units, each with the key that its result is kept by."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from lightning_codec.data.named_sets import EvaluationSet
from lightning_codec.evaluation.measures import Instruments, facts
from lightning_codec.evaluation.settings import CodecSetting
from lightning_codec.evaluation.store import unit_key
from lightning_codec.evaluation.units import (
    ENGINE_VERSION,
    CodedUnit,
    DistanceUnit,
    OriginalUnit,
    SourceImage,
    Unit,
)
from lightning_codec.files import sha256_of
from lightning_codec.images import ImageError, write_png


class Plan(NamedTuple):
    """The units of an evaluation."""

    originals: list[OriginalUnit]
    """In the order of the images' names."""
    coded: list[CodedUnit]
    """In the order of the settings, and the images of each in the order of their names."""
    distances: list[DistanceUnit]
    """Can be done when the units they name are."""


def source_images(images: EvaluationSet, limit: int | None, folder: Path) -> list[SourceImage]:
    """The first `limit` images of a set, sorted by name; procedural ones are written into `folder` as PNG.

    Raises:
        ImageError: a file cannot be read as an image.
    """
    names: Sequence[str] | None = getattr(images.images, "names", None)
    paths: Sequence[Path] | None = getattr(images.images, "paths", None)
    if names is None or paths is None:
        names, paths = _written(images, folder)
    files = sorted(zip(names, paths, strict=True))
    return [_source_image(name, path) for name, path in files[:limit]]


def _written(images: EvaluationSet, folder: Path) -> tuple[list[str], list[Path]]:
    folder.mkdir(parents=True, exist_ok=True)
    names, paths = [], []
    for index in range(len(images.images)):  # type: ignore[arg-type]  # a Dataset need not have a length; these do
        item = images.images[index]
        names.append(item.name)
        paths.append(folder / item.name)
        write_png(item.image[0], paths[-1])
    return names, paths


def _source_image(name: str, path: Path) -> SourceImage:
    try:
        digest = sha256_of(path)
        with Image.open(path) as file:
            width, height = file.size
    except Exception as error:  # as in `images`: a damaged file makes Pillow raise many types
        raise ImageError(f"{path}: cannot be read as an image ({' '.join(str(error).split())})") from None
    return SourceImage(name, path, digest, height * width)


def plan_units(
    images: Sequence[SourceImage], settings: Sequence[CodecSetting], instruments: Instruments, threads: int
) -> Plan:
    """Lay out all units of an evaluation.

    Args:
        images: sorted by name.
        settings: in the order of the results.
        instruments: the metrics that could be loaded.
        threads: of torch; numbers may depend on it in their last digits.
    """
    protocols = {fact.name: fact.protocol.key for fact in facts(instruments)}
    networks = {entry.extractor.name: [entry.extractor.weights, entry.patch_size] for entry in instruments.sets}
    common = {"engine": ENGINE_VERSION, "networks": networks, "threads": threads}
    originals = [OriginalUnit(unit_key(kind="original", image=image.digest, **common), image) for image in images]
    coded = [
        CodedUnit(
            unit_key(
                kind="coded",
                codec=setting.codec,
                setting=setting.setting,
                identity=setting.identity,
                image=image.digest,
                protocols=protocols,
                **common,
            ),
            setting,
            image,
        )
        for setting in settings
        for image in images
    ]
    real = tuple(unit.key for unit in originals)
    distances = []
    for index, setting in enumerate(settings):
        fake = tuple(unit.key for unit in coded[index * len(images) : (index + 1) * len(images)])
        for entry in instruments.sets:
            for metric in entry.metrics:
                key = unit_key(kind="distance", protocol=metric.protocol.key, real=real, fake=fake)
                distances.append(
                    DistanceUnit(
                        key,
                        metric.name,
                        setting.codec,
                        setting.setting,
                        entry.extractor.name,
                        entry.extractor.weights,
                        real,
                        fake,
                    )
                )
    return Plan(originals, coded, distances)


def longest_first(unit: Unit) -> tuple[int, float, str, str, int, str]:
    """Sort key: models first, costly ones before others, so that no long unit is left for the end.

    The units of a model follow each other, so that a process keeps the model. Classic codecs are there at once; their
    units go image by image, so that the metrics' networks see each original once (`PerceptualDistance`).
    """
    if isinstance(unit, CodedUnit):
        codec, setting, pixels = unit.setting.codec, unit.setting.setting, unit.image.pixels
        if unit.setting.single_thread:
            return (1, -pixels, unit.image.name, codec, 0, setting)
        return (0, -unit.setting.cost, codec, setting, -pixels, unit.image.name)
    if isinstance(unit, OriginalUnit):
        return (2, -unit.image.pixels, unit.image.name, "", 0, "")
    return (3, 0.0, unit.codec, unit.setting, 0, unit.metric)
