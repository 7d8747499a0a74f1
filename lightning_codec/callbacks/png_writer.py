"""`predict` with `.lcb` files as inputs: their pictures."""

import argparse
from dataclasses import asdict

from lightning_codec.callbacks.predict_writer import Output, PredictionWriter
from lightning_codec.checkpoint import weights_digest
from lightning_codec.commands.parser import memory_size
from lightning_codec.data import PredictInput
from lightning_codec.diffusion.samplers import SamplerName
from lightning_codec.diffusion_decoder import DecodeOptions, DiffusionDecoder
from lightning_codec.errors import UserError
from lightning_codec.images import encode_png
from lightning_codec.modules.prediction import DecodedFile, DecoderName, Decoding, FilePredictor, picture_decoder


class PngWriter(PredictionWriter):
    """Writes the pictures of `.lcb` files as PNG, as `PredictionWriter`.

    They are those of `decompress` with the same options.

    Args:
        output_dir: the folder of the pictures, made if needed; default: `predictions` in the run's folder. The same
            folder and the same inputs again: an interrupted run goes on.
        overwrite: begin anew, and replace whatever is there.
        threads: on a CPU, of each process; as many as the files were coded with. Default: as many as `decompress` uses,
            whatever the number of processes.
        decoder: mse: least distortion, at once; diffusion: realistic texture, by a model that has that decoder. What
            follows is for the latter.
        steps: of the sampler; default: the model's.
        sampler: default: the model's.
        seed: of the noise, at least 0; same file, same seed, same picture. Default: 0.
        perception: from 0, the picture of decoder mse, to 1, the most realistic one, which is the default.
        memory_limit: of the whole program, such as 1500MiB or 4GiB; large pictures are decoded in tiles.
    """

    reads_coded = True
    extension = ".png"
    key = "png_writer"

    def __init__(
        self,
        output_dir: str | None = None,
        overwrite: bool = False,
        threads: int | None = None,
        decoder: DecoderName = "mse",
        steps: int | None = None,
        sampler: SamplerName | None = None,
        seed: int | None = None,
        perception: float | None = None,
        memory_limit: str | None = None,
    ) -> None:
        super().__init__(output_dir, overwrite, threads)
        given = {
            "steps": steps,
            "sampler": sampler,
            "seed": seed,
            "perception": perception,
            "memory_limit": memory_limit,
        }
        useless = [name for name, value in given.items() if value is not None]
        if decoder != "diffusion" and useless:
            raise UserError(f"png_writer: {useless[0]} is for decoder diffusion: give that, or leave it out")
        if steps is not None and steps < 1:
            raise UserError(f"png_writer: steps is {steps}: it must be 1 or more")
        if seed is not None and not 0 <= seed < 2**63:
            raise UserError(f"png_writer: seed is {seed}: it must be at least 0 and below 2^63")
        if perception is not None and not 0.0 <= perception <= 1.0:
            raise UserError(f"png_writer: perception is {perception}: it must lie in [0, 1]")
        defaults = DecodeOptions()
        options = DecodeOptions(
            defaults.seed if seed is None else seed,
            defaults.perception if perception is None else perception,
            None if memory_limit is None else _bytes(memory_limit),
        )
        self.decoding = Decoding(decoder, steps, sampler, options)

    def prepare(self, module: FilePredictor) -> None:
        """Tell the module how to decode."""
        module.decoding = self.decoding

    def job(self, module: FilePredictor) -> dict[str, object]:
        """Which model, and how it decodes.

        Raises:
            UserError: it cannot.
        """
        codec = module.codec()
        picture_decoder(codec, self.decoding)
        job: dict[str, object] = {"outputs": self.extension, "model": codec.fingerprint.hex()}
        job["decoder"] = self.decoding.decoder
        if self.decoding.decoder == "diffusion":
            assert isinstance(codec, DiffusionDecoder)
            job["denoiser"] = weights_digest(codec.denoiser.config, codec.denoiser)[:4].hex()
            job |= asdict(self.decoding.sampling(codec.sampling)) | asdict(self.decoding.options)
        return job

    def output(self, result: bytes | DecodedFile, batch: PredictInput) -> Output:
        """The picture."""
        assert isinstance(result, DecodedFile)
        height, width = result.x_hat.shape[-2:]
        return Output(encode_png(result.x_hat), width, height, result.bytes)


def _bytes(memory_limit: str) -> int:
    try:
        return memory_size(memory_limit)
    except argparse.ArgumentTypeError as error:
        raise UserError(f"png_writer: memory_limit is {error}") from error
