"""Whether the files of a model are those that were exported, and decode to the same picture here."""

from lightning_codec.codec import Codec
from lightning_codec.diffusion_decoder import DiffusionDecoder
from lightning_codec.errors import UserError, one_line
from lightning_codec.images import ImageError, read_image, to_uint8
from lightning_codec.shipped.catalogue import Catalogue
from lightning_codec.shipped.sample import decode_sample, pixels_digest

# Of 255. Another kind of processor, or another torch, sums in another order: what lies next to half a level is then
# rounded to the other side. Between AVX2 and SSE4 that were at most two of 49,152 values of each model that ships.
TOLERANCE = 1


def faults(name: str, catalogue: Catalogue) -> list[str]:
    """What is wrong with a model, one line for each fault; empty where nothing is.

    Card, tensors and their hash are checked as by every loading, then the fingerprint, the stored picture's
    digest, and that the sample decodes to this picture but for one level of 255.
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
        pixels, stored = decode_sample(decoder, model.sample.read_bytes()), to_uint8(read_image(model.picture))
    except (OSError, ImageError) as error:
        return [*found, one_line(error)]
    except UserError as error:
        return [*found, f"{model.sample}: {error}"]
    digest = pixels_digest(stored)
    if digest != model.card.pixels_sha256:
        wanted = model.card.pixels_sha256
        found.append(f"{model.picture}: is not the picture of the card (SHA-256 {digest[:8]}, not {wanted[:8]})")
    elif pixels.shape != stored.shape or (pixels.int() - stored.int()).abs().max() > TOLERANCE:
        found.append(
            f"{model.sample}: decodes to another picture than {model.picture.name}, by more than {TOLERANCE} of 255: "
            "the file or the program was changed"
        )
    return found
