"""How far a fast video is from the full one: PSNR and SSIM on 8-bit RGB, and the error in the latents.

PSNR is the mean over frames of 10 log10(255^2 / MSE of the frame), the protocol that gives the figures on
ASTRAEA's page from its clips. SSIM after Wang et al. 2004: Gaussian window of 11 x 11 with deviation 1.5,
K1 = 0.01, K2 = 0.03, mean over places, channels and frames.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...errors import DataError

Array = npt.NDArray[np.float64]
Frames = npt.NDArray[np.uint8]
SAME = 100.0
"""PSNR in dB of equal frames, and the most that any frame counts: an infinite one would hide the others."""


def _checked(video: Frames, reference: Frames) -> None:
    if video.shape != reference.shape:
        raise DataError(
            f"two videos must have the same frames, height and width, got {video.shape} and "
            f"{reference.shape}."
        )
    if video.ndim != 4 or video.shape[-1] != 3 or not len(video):
        raise DataError(f"a video must have the shape (frames, height, width, 3), got {video.shape}.")


def psnr(video: Frames, reference: Frames) -> float:
    """Mean over frames of the peak signal-to-noise ratio in dB. Both (frames, height, width, 3), 8-bit."""
    _checked(video, reference)
    made = []
    for one, other in zip(video, reference, strict=True):
        error = float(np.mean(np.square(one.astype(np.int32) - other.astype(np.int32))))
        made.append(min(SAME, 10.0 * np.log10(255.0**2 / error)) if error else SAME)
    return float(np.mean(made))


def ssim(video: Frames, reference: Frames) -> float:
    """Mean structural similarity. Both (frames, height, width, 3), 8-bit, at least 11 pixels a side."""
    _checked(video, reference)
    if min(video.shape[1:3]) < 11:
        raise DataError(f"SSIM needs frames of at least 11 x 11 pixels, got {video.shape[1:3]}.")
    return float(np.mean([_frame_ssim(a, b) for a, b in zip(video, reference, strict=True)]))


def _frame_ssim(one: Frames, other: Frames) -> float:
    a, b = one.astype(float), other.astype(float)
    first, second = _window(a), _window(b)
    variance_a = _window(a * a) - first**2
    variance_b = _window(b * b) - second**2
    covariance = _window(a * b) - first * second
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance = (2 * first * second + c1) / (first**2 + second**2 + c1)
    structure = (2 * covariance + c2) / (variance_a + variance_b + c2)
    return float(np.mean(luminance * structure))


def _window(image: Array) -> Array:
    """Gaussian mean around every place that has a whole window: (h, w, 3) -> (h - 10, w - 10, 3)."""
    from scipy.ndimage import correlate1d

    kernel = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    kernel /= kernel.sum()
    smooth = correlate1d(correlate1d(image, kernel, axis=0), kernel, axis=1)
    return np.asarray(smooth[5:-5, 5:-5])


def pixels(clips: npt.NDArray[np.float32]) -> Frames:
    """Clips in [-1, 1], (n, frames, channels, h, w), as 8-bit RGB (n, frames, h, w, 3)."""
    shown = np.clip(np.rint((np.moveaxis(clips, 2, -1) + 1.0) * 127.5), 0, 255).astype(np.uint8)
    return np.repeat(shown, 3, axis=-1) if shown.shape[-1] == 1 else shown


def latent_error(latents: npt.NDArray[np.float32], reference: npt.NDArray[np.float32]) -> float:
    """Mean squared difference over the variance of the reference: 0 is equal, 1 as wrong as its mean."""
    spread = float(np.var(reference, dtype=np.float64))
    return float(np.mean(np.square(latents.astype(float) - reference))) / max(spread, 1e-12)
