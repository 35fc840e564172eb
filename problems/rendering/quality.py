"""How close a picture is to another: PSNR and SSIM, and what an error against exact means for the truth."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import DataError
from .cameras import Camera
from .counts import cache_folder, cache_key
from .frame import render
from .gaussians import Gaussians

Array = npt.NDArray[Any]


def psnr(image: Array, exact: Array) -> float:
    """Peak signal to noise of pictures clipped to 0..1, dB; infinite where they are equal.

    >>> round(psnr(np.full((2, 2, 3), 0.5), np.full((2, 2, 3), 0.6)), 6)
    20.0
    """
    first, second = _pair(image, exact)
    error = float(np.mean((first - second) ** 2))
    return -10 * math.log10(error) if error > 0 else math.inf


def ssim(image: Array, exact: Array) -> float:
    """Structural similarity of pictures (h, w, 3) clipped to 0..1, mean over pixels and channels.

    Wang et al. 2004: Gaussian window of 11 pixels and standard deviation 1.5, constants 0.01 and 0.03.

    >>> ssim(np.eye(16)[..., None], np.eye(16)[..., None])
    1.0
    """
    first, second = _pair(image, exact)
    if min(first.shape[:2]) < 11:
        raise DataError(f"SSIM needs pictures of 11 pixels or more each way, got {first.shape[:2]}.")
    a, b = _blur(first), _blur(second)
    aa, bb, ab = _blur(first * first) - a * a, _blur(second * second) - b * b, _blur(first * second) - a * b
    c1, c2 = 0.01**2, 0.03**2
    score = (2 * a * b + c1) * (2 * ab + c2) / ((a * a + b * b + c1) * (aa + bb + c2))
    return float(score.mean())


def implied_loss(against_exact: float, truth: float) -> float:
    """PSNR lost against the ground truth, dB: of a model that reaches `truth` dB there, drawn with
    `against_exact` dB against its own exact picture, were the errors independent.

    >>> round(implied_loss(50, 33.5), 2)
    0.1
    """
    return 10 * math.log10(1 + 10 ** ((truth - against_exact) / 10))


def drawn_psnr(scene: Gaussians, camera: Camera, **point: Any) -> float:
    """PSNR of a frame at an algorithm point against exact blending, dB; kept on disk as counts are.

    point: tile, extent, group, check as of `frame.render`.
    """
    path = cache_folder() / f"{cache_key(drawn_psnr, scene, camera, point)}.txt"
    with suppress(OSError, ValueError):
        return float(path.read_text())
    value = psnr(render(scene, camera, **point).image, render(scene, camera).image)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_text(repr(value))
        part.replace(path)
    return value


def _pair(image: Array, exact: Array) -> tuple[Array, Array]:
    if image.shape != exact.shape:
        raise DataError(f"pictures to compare must have one shape, got {image.shape} and {exact.shape}.")
    return np.clip(image, 0, 1).astype(np.float64), np.clip(exact, 0, 1).astype(np.float64)


def _blur(picture: Array) -> Array:
    """Windows of 11 x 11 that lie within the picture, weighted."""
    weight = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    weight /= weight.sum()
    high, wide = picture.shape[0] - 10, picture.shape[1] - 10
    down = np.sum([w * picture[i : high + i] for i, w in enumerate(weight)], axis=0)
    return np.asarray(np.sum([w * down[:, i : wide + i] for i, w in enumerate(weight)], axis=0))
