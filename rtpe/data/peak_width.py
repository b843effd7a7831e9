"""A teacher's peaks made wider, each as high as it is."""

from __future__ import annotations

import math

import numpy as np

from rtpe.raster import greatest

FAINT = 1 / 64  # lower values are background: they stay, and do not spread, but for the flanks of peaks
_LEAST = 1e-6  # whose logarithm stands for that of 0 and of negative values
_NEVER = -30.0  # the logarithm of a value that nothing reaches


def widen(heatmaps: np.ndarray, sigma: float, narrow: float | None) -> np.ndarray:
    """Heatmaps, (K, h, w) float32, whose Gaussian peaks of deviation `narrow` get the deviation `sigma`, in cells.

    Every value spreads as a Gaussian of its own height and of variance sigma^2 - narrow^2; where several meet, the
    highest counts, as in the maps of labels. So a Gaussian of variance v gets v + sigma^2 - narrow^2, and each peak
    keeps its height, whatever its width, unless a higher one covers it. Between cells the logarithm is a parabola, so
    a cell beside a summit may rise to the summit's height. Peaks of unknown width (None), or wide ones, stay.
    """
    if narrow is None or narrow >= sigma:
        return heatmaps
    added = sigma**2 - narrow**2
    reach = math.ceil(3 * added / sigma)  # from no further comes the value of a Gaussian within three deviations
    margin = reach + 1
    padded = np.pad(heatmaps, ((0, 0), (margin, margin), (margin, margin)))
    stacked = padded.reshape(-1, padded.shape[2])  # the channels below each other, kept apart by the padding
    lit = greatest((stacked > FAINT).astype(np.uint8), 1)
    near = greatest(lit, reach) > 0  # few cells have values nearby: only these are looked at
    values, rows = stacked.ravel(), np.flatnonzero(near)
    logs = np.log(np.maximum(values, np.float32(_LEAST)))
    logs[rows] = _spread(logs[rows], lit.ravel()[rows] > 0, added, narrow, reach)
    columns = _columnwise(near)
    logs[columns] = _spread(logs[columns], logs[columns] > _NEVER, added, narrow, reach)
    wide = np.exp(logs[rows])
    values[rows] = np.where(wide > 2 * _LEAST, np.maximum(wide, values[rows]), values[rows])
    return padded[:, margin:-margin, margin:-margin]


def _columnwise(mask: np.ndarray) -> np.ndarray:
    """The places in a flat (h, w) array at which the mask is true, column by column."""
    column, row = np.divmod(np.flatnonzero(mask.T), mask.shape[0])
    return row * mask.shape[1] + column


def _spread(line: np.ndarray, spreads: np.ndarray, added: float, narrow: float, reach: int) -> np.ndarray:
    """Along a line of cells, the logarithm of the highest value that reaches each; (N,) float32, as the line.

    A cell stands for the piece of a parabola half a cell to either side of it: value + slope t - bend t^2 / 2.

    Args:
        line: the logarithms; runs of cells with at least `reach` cells that do not spread at either end.
        spreads: (N,) bool, which cells do.
    """
    slope, bend = _parabolas(line, 2 / narrow**2)  # some peaks are narrower than most
    bend += np.float32(1 / added)
    heights = np.where(spreads, line, np.float32(2 * _NEVER))
    best = np.full_like(line, _NEVER)
    for step in range(-reach, reach + 1):
        rise = slope + np.float32(step / added)
        place = np.clip(rise / bend, np.float32(-0.5), np.float32(0.5))
        rise -= bend * place / 2
        rise *= place
        rise += heights
        rise -= np.float32(step**2 / (2 * added))
        to, source = (slice(max(way, 0), len(line) + min(way, 0)) for way in (step, -step))
        np.maximum(best[to], rise[source], out=best[to])
    return best


def _parabolas(line: np.ndarray, sharpest: float) -> tuple[np.ndarray, np.ndarray]:
    """Slope and bend at each cell, of the parabola through its neighbours; from a bend of `sharpest` on a flatter one,
    and at twice that bend a straight line.

    A bend so great is no summit but an edge: of a plateau, of what a codec kept, of a single cell. As a parabola it
    would be higher between two cells than anything around.
    """
    steps = np.diff(line, prepend=line[:1], append=line[-1:])
    before, behind = steps[:-1], steps[1:]
    bend = np.maximum(before - behind, 0)
    bend = np.minimum(bend, np.maximum(np.float32(2 * sharpest) - bend, 0))
    return np.maximum(behind + bend / 2, np.minimum(before - bend / 2, 0)), bend
