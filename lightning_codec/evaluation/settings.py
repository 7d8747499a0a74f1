"""What is evaluated: a codec at one setting, with all that decides its bytes and pictures."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol

import PIL
import torch

from lightning_codec.errors import UserError
from lightning_codec.evaluation.baselines import (
    BASELINES,
    Baseline,
    BaselineCodec,
    ClassicCodec,
    baseline_named,
    check_quality,
)


class Source(Protocol):
    """Where a worker gets a codec from; it is sent to other processes."""

    def load(self) -> BaselineCodec:
        """The codec, ready to work."""


@dataclass(frozen=True)
class CodecSetting:
    """A codec at one setting: a point of a curve."""

    codec: str
    """Name of the curve."""
    setting: str
    """What tells this point from the others of its curve."""
    description: str
    """How the codec is used, for people."""
    identity: str
    """Weights, options and library versions: two settings of one identity give the same bytes and pictures."""
    cost: float
    """Rough seconds per megapixel, to lay out the work."""
    single_thread: bool
    """It takes one thread, whatever torch is told."""
    source: Source


class Resolved(NamedTuple):
    """The settings that can be had, and why others cannot."""

    settings: list[CodecSetting]
    absent: dict[str, str]
    """Reason by "codec:setting"."""


class BaselineRequest(NamedTuple):
    """A baseline as it was asked for."""

    name: str
    qualities: tuple[int, ...]


class ModelRequest(NamedTuple):
    """A checkpoint as it was asked for."""

    checkpoint: Path
    name: str | None = None
    """Of the curve; None for that of the decoder."""
    decoder: Literal["mse", "diffusion"] = "mse"
    sampling: Mapping[str, Any] = MappingProxyType({})
    """Settings of `SamplingConfig` to use instead of the checkpoint's."""
    seed: int = 0
    perception: float = 1.0


@dataclass(frozen=True)
class ClassicSource:
    """A classic codec by name."""

    name: str
    quality: int

    def load(self) -> BaselineCodec:
        """The codec. Raises UserError as `ClassicCodec`."""
        (baseline,) = (baseline for baseline in BASELINES if baseline.name == self.name)
        return ClassicCodec(baseline, self.quality)


@dataclass(frozen=True)
class PublishedSource:
    """A model of CompressAI by name."""

    name: str
    quality: int

    def load(self) -> BaselineCodec:
        """The codec. Raises UserError where its weights have gone since the evaluation began."""
        from lightning_codec.evaluation.compressai_models import CompressAICodec, published_model

        model = published_model(self.name)
        assert model is not None
        return CompressAICodec.load(model, self.quality)


def resolve(baselines: Iterable[BaselineRequest], models: Iterable[ModelRequest]) -> Resolved:
    """Find out what can be evaluated, baselines first, each in the order given.

    Raises:
        UserError: an unknown baseline or quality, a checkpoint that cannot be read, an option that does not fit, or one
            setting of a codec twice.
    """
    resolved = Resolved([], {})
    for request in baselines:
        found = _resolve_baseline(request)
        resolved.settings.extend(found.settings)
        resolved.absent.update(found.absent)
    resolved.settings.extend(map(_resolve_model, models))
    seen: set[tuple[str, str]] = set()
    for setting in resolved.settings:
        name = (setting.codec, setting.setting)
        if name in seen:
            raise UserError(f"{setting.codec} {setting.setting} is given twice: leave one out or name it otherwise")
        seen.add(name)
    return resolved


def _resolve_baseline(request: BaselineRequest) -> Resolved:
    baseline = baseline_named(request.name)
    if baseline is None:
        return _resolve_published(request)
    for quality in request.qualities:
        check_quality(baseline, quality)
    library = baseline.library()
    if library is None:
        reason = f"this installation cannot code it: {baseline.remedy}"
        return Resolved([], {f"{baseline.name}:{quality}": reason for quality in request.qualities})
    return Resolved([_classic_setting(baseline, library, quality) for quality in request.qualities], {})


def _classic_setting(baseline: Baseline, library: str, quality: int) -> CodecSetting:
    description = f"Pillow {PIL.__version__}, {library}: {baseline.settings}"
    source = ClassicSource(baseline.name, quality)
    return CodecSetting(baseline.name, str(quality), description, description, baseline.cost, True, source)


def _resolve_published(request: BaselineRequest) -> Resolved:
    # compressai.zoo takes seconds to load
    from lightning_codec.evaluation.compressai_models import (
        find_weights,
        published_model,
        published_models,
        weights_sha256,
    )

    model = published_model(request.name)
    if model is None:
        names = [*(baseline.name for baseline in BASELINES), *(known.name for known in published_models())]
        raise UserError(f"baseline {request.name!r}: the known ones are {', '.join(names)}")
    resolved = Resolved([], {})
    for quality in request.qualities:
        model.url(quality)
        try:
            digest = weights_sha256(find_weights(model, quality))
        except UserError as error:
            resolved.absent[f"{model.name}:{quality}"] = str(error)
            continue
        description = f"CompressAI's {model.architecture}, trained for {model.metric}, published weights"
        identity = f"{description} {digest}, torch {torch.__version__}"
        source = PublishedSource(model.name, quality)
        resolved.settings.append(CodecSetting(model.name, str(quality), description, identity, 15.0, False, source))
    return resolved


def _resolve_model(request: ModelRequest) -> CodecSetting:
    # loads CompressAI, which classic codecs and the processes that run them do without
    from lightning_codec.evaluation.model_codecs import model_setting

    return model_setting(request)
