"""What the network predicts, and how an estimate of x follows from it."""

from typing import Literal, get_args

from torch import Tensor

from lightning_codec.diffusion.dct import dct2, idct2
from lightning_codec.diffusion.process import expand, frequencies_of
from lightning_codec.diffusion.schedule import BlurSchedule

Prediction = Literal["x", "epsilon", "v", "scalar_v"]
"""Per frequency, with r^2 = alpha^2 + sigma^2, of u = DCT(x) and z = alpha u + sigma eps:

    x         the image itself. The default: an error of it is never amplified.
    epsilon   the noise (paper, Fig. 1b). u = (z - sigma eps) / alpha, where 1 / alpha reaches 10^5 with blur.
    v         (alpha eps - sigma u) / r, of unit variance where the data are.
    scalar_v  a eps - sigma u, the v of ordinary diffusion.
"""


def predicted_x(prediction: Prediction, output: Tensor, z: Tensor, t: Tensor, schedule: BlurSchedule) -> Tensor:
    """The estimate of x that a network's output stands for.

    Args:
        prediction: what the output is.
        output: of the network, pixels, [B, 3, H, W].
        z: z_t, [B, 3, H, W].
        t: [B].
        schedule: noise and blur.

    Raises:
        ValueError: unknown prediction.
    """
    if prediction == "x":
        return output
    lam, time = frequencies_of(z), expand(t)
    sigma, alpha = schedule.sigma(time), schedule.alpha(time, lam)
    u_z, u_out = dct2(z), dct2(output)
    if prediction == "epsilon":
        return idct2((u_z - sigma * u_out) / alpha)
    if prediction == "v":
        r = (alpha.square() + sigma.square()).sqrt()
        return idct2((alpha / r * u_z - sigma * u_out) / r)
    if prediction == "scalar_v":
        a = schedule.a(time)
        return idct2((a * u_z - sigma * u_out) / (a * alpha + sigma.square()))
    raise ValueError(f"prediction is {prediction!r}: it must be one of {get_args(Prediction)}")


def training_target(prediction: Prediction, x: Tensor, noise: Tensor, t: Tensor, schedule: BlurSchedule) -> Tensor:
    """What the network's output is compared with, in pixels; shapes as in `predicted_x`.

    Raises:
        ValueError: unknown prediction.
    """
    if prediction == "x":
        return x
    if prediction == "epsilon":
        return noise
    time = expand(t)
    sigma = schedule.sigma(time)
    if prediction == "scalar_v":
        return schedule.a(time) * noise - sigma * x
    if prediction == "v":
        alpha = schedule.alpha(time, frequencies_of(x))
        r = (alpha.square() + sigma.square()).sqrt()
        return idct2((alpha * dct2(noise) - sigma * dct2(x)) / r)
    raise ValueError(f"prediction is {prediction!r}: it must be one of {get_args(Prediction)}")
