"""The result table of ASTRAEA (arXiv 2506.05096), as its authors' project page shows it (read).

Budgets are 40, 50 and 70 % of the tokens. PFLOP and seconds of one video on one A100; more devices at
50 %, as speed-up over the full run on one (read off a figure; that it shows 50 % is inferred).
"""

from __future__ import annotations

from dataclasses import dataclass

BUDGETS = (0.4, 0.5, 0.7)
DEVICES = (1, 2, 4, 8)


@dataclass(frozen=True)
class Row:
    """One model: full run, then the three budgets. gigabytes: memory, full and with caches."""

    pflop: tuple[float, float, float, float]
    a100: tuple[float, float, float, float]
    vbench: tuple[float, float, float, float]
    psnr: tuple[float, float, float]
    gigabytes: tuple[float, float]
    a6000: tuple[float, float, float, float] | None = None
    speedups: tuple[float, float, float, float] | None = None


TABLE = {
    "wan-2.1-1.3b-2s": Row(
        (7.29, 3.05, 3.85, 5.38), (68.48, 30.23, 37.29, 44.71), (81.46, 80.82, 81.11, 81.28),
        (23.77, 25.67, 30.83), (7.8, 9.04), (108.30, 46.05, 56.77, 77.91), (1.9, 3.5, 6.1, 8.14),
    ),
    "wan-2.1-1.3b-4s": Row(
        (19.87, 8.20, 10.32, 14.42), (155.01, 67.61, 83.34, 114.20), (80.28, 79.78, 79.96, 80.18),
        (26.98, 28.12, 33.00), (8.97, 11.71), (253.62, 106.65, 132.62, 184.89), (1.9, 3.8, 6.7, 11.1),
    ),
    "hunyuan-video-5s": Row(
        (217.27, 113.27, 130.10, 163.77), (1226.99, 514.84, 636.35, 881.55), (80.28, 79.79, 80.20, 80.43),
        (27.61, 28.71, 33.62), (45.81, 69.01),
    ),
    "opensora-1.2-2s": Row(
        (3.29, 1.50, 1.82, 2.48), (54.09, 22.97, 28.36, 37.15), (78.14, 76.95, 77.45, 78.08),
        (27.23, 29.52, 31.78), (14.89, 20.08), (78.10, 33.67, 41.13, 54.54), (1.9, 3.5, 6.5, 11.5),
    ),
    "opensora-1.2-4s": Row(
        (6.59, 3.00, 3.65, 4.97), (109.15, 47.30, 58.62, 76.13), (79.00, 76.62, 78.07, 78.65),
        (25.65, 28.51, 30.92), (16.96, 27.98), (173.07, 74.63, 92.54, 121.57), (1.9, 4.0, 7.1, 13.2),
    ),
}  # fmt: skip

# PSNR of the page's clips against the unaccelerated one, as the page states it, OpenSora 1.2, 2 s.
CLIPS = {
    "elephant": {"ours0.7": 24.03, "ours0.5": 22.46, "ours0.4": 20.74, "pab246": 19.48, "toca0.8": 15.69},
    "panda": {"ours0.7": 22.14, "ours0.5": 20.74, "ours0.4": 18.89, "pab246": 18.64, "toca0.8": 12.37},
}
