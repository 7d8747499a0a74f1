"""Whether the files of a model are those that were exported, and decode to the same picture here."""

from lightning_codec.codec import Codec
from lightning_codec.diffusion_decoder import DiffusionDecoder
from lightning_codec.errors import UserError, one_line
from lightning_codec.shipped.catalogue import Catalogue
from lightning_codec.shipped.sample import sample_pixels


def faults(name: str, catalogue: Catalogue) -> list[str]:
    """What is wrong with a model, one line for each fault; empty where nothing is.

    Card, tensors and their hash are checked as by every loading, then the fingerprint, and the 8-bit picture that the
    sample decodes to.
    """
    try:
        model = catalogue.model(name)
        is_codec = model.card.kind == "entropy codec"
        decoder = Codec.load(model) if is_codec else DiffusionDecoder.load(model)
    except (UserError, OSError) as error:
        return [one_line(error)]
    found = []
    fingerprint = decoder.fingerprint.hex()
    if fingerprint != model.card.fingerprint:
        found.append(f"{name}: its weights have the fingerprint {fingerprint}, the card says {model.card.fingerprint}")
    try:
        pixels = sample_pixels(decoder, model.sample.read_bytes())
    except OSError as error:
        found.append(one_line(error))
    except UserError as error:
        found.append(f"{model.sample}: {error}")
    else:
        if pixels != model.card.pixels_sha256:
            found.append(
                f"{model.sample}: decodes to other pixels than when it was exported (SHA-256 {pixels[:8]}, "
                f"not {model.card.pixels_sha256[:8]}): the file or the program was changed, or this processor computes "
                "otherwise"
            )
    return found
