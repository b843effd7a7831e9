"""How wide a teacher's peaks are."""

from __future__ import annotations

import numpy as np

SURE = 0.3  # lower peaks may be anything, and say nothing of the width
_WIDEST = 10.0  # cells: what a plateau counts as


def peak_sigma(heatmaps: np.ndarray) -> float | None:
    """The median standard deviation, in cells, of the sure peaks of heatmaps (K, h, w); None if there is no such peak.

    By the curvature of their logarithm: exact for a Gaussian, wherever between cells it lies. A peak at the border, or
    beside a value of 0 or below, does not count.
    """
    inner = heatmaps[:, 1:-1, 1:-1]
    around = [heatmaps[:, :-2, 1:-1], heatmaps[:, 2:, 1:-1], heatmaps[:, 1:-1, :-2], heatmaps[:, 1:-1, 2:]]
    peaks = inner > SURE
    for beside in around:
        peaks &= (inner >= beside) & (beside > 0)
    if not peaks.any():
        return None
    fall = 4 * np.log(inner[peaks]) - sum(np.log(beside[peaks]) for beside in around)
    return float(1 / np.sqrt(max(np.median(fall) / 2, _WIDEST**-2)))
