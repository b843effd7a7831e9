"""Peaks of heatmaps: where they are, to a cell, and then to a small part of a cell."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rtpe.errors import UserError
from rtpe.geometry import HALF, index_to_point, point_to_index

SHIFTS = "shifts"  # the refinement that a net gives itself
Refiner = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


class Peaks(NamedTuple):
    """Local maxima of K heatmaps, by joint and then from high to low.

    Attributes:
        joints, ys, xs: (N,) integers, the channel, row and column of each.
        scores: (N,) the heat there.
    """

    joints: np.ndarray
    ys: np.ndarray
    xs: np.ndarray
    scores: np.ndarray

    def only(self, index) -> Peaks:
        """The peaks at these indices, or where this mask is true, in that order."""
        return Peaks(*(column[index] for column in self))


def local_maxima(heatmaps: np.ndarray, count: int = 30, threshold: float = 0.1, kernel: int = 5) -> Peaks:
    """The highest `count` cells of each heatmap above the threshold that no cell of the window around them exceeds.

    Of equal cells in one window the first in reading order stands for all, so that a joint exactly between two cells
    is one peak. Cells that are not finite are never peaks and hide none.

    Args:
        heatmaps: (K, h, w) float.
        kernel: side of the window in cells, odd, at least 3.

    >>> heat = np.zeros((1, 4, 6))
    >>> heat[0, 1, 1:3] = 0.9
    >>> heat[0, 2, 5] = 0.4
    >>> [column.tolist() for column in local_maxima(heat, kernel=3)]
    [[0, 0], [1, 2], [1, 5], [0.9, 0.4]]
    """
    heat = np.where(np.isfinite(heatmaps), heatmaps, -np.inf)
    joints, ys, xs = np.unravel_index(np.flatnonzero(_above_next_cells(heat, threshold)), heat.shape)
    highest = windows(heat, joints, ys, xs, kernel).argmax(axis=1) == kernel * kernel // 2
    return strongest(Peaks(joints, ys, xs, heat[joints, ys, xs]).only(highest), count)


def windows(heatmaps: np.ndarray, joints: np.ndarray, ys: np.ndarray, xs: np.ndarray, kernel: int) -> np.ndarray:
    """The square of cells around each cell, (N, kernel * kernel); -inf beyond the border."""
    reach = kernel // 2
    padded = np.pad(heatmaps, ((0, 0), (reach, reach), (reach, reach)), constant_values=-np.inf)
    squares = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(1, 2))
    return squares[joints, ys, xs].reshape(-1, kernel * kernel)


def strongest(peaks: Peaks, count: int) -> Peaks:
    """The highest `count` of each joint, by joint and then from high to low; equal ones stay in their order."""
    peaks = peaks.only(np.lexsort((-peaks.scores, peaks.joints)))
    rank = np.arange(len(peaks.joints)) - np.searchsorted(peaks.joints, peaks.joints)
    return peaks.only(rank < count)


def tagged(peaks: Peaks, tags: np.ndarray) -> Peaks:
    """Those whose tags, (T, K, h, w), are finite."""
    return peaks.only(np.isfinite(tags[:, peaks.joints, peaks.ys, peaks.xs]).all(axis=0))


def _above_next_cells(heat: np.ndarray, threshold: float) -> np.ndarray:
    """A cheap sieve before the window: above the threshold and not below the four neighbours, (K, h, w) bool."""
    keep = heat > threshold
    keep[:, 1:] &= heat[:, 1:] > heat[:, :-1]
    keep[:, :-1] &= heat[:, :-1] >= heat[:, 1:]
    keep[:, :, 1:] &= heat[:, :, 1:] > heat[:, :, :-1]
    keep[:, :, :-1] &= heat[:, :, :-1] >= heat[:, :, 1:]
    return keep


def argmax(heatmaps: np.ndarray, joints: np.ndarray, ys: np.ndarray, xs: np.ndarray) -> np.ndarray:
    """The centers of the cells, (N, 2); off by up to half a cell each way.

    >>> argmax(np.zeros((1, 8, 8)), [0], [3], [5]).tolist()
    [[5.5, 3.5]]
    """
    return index_to_point(np.column_stack([xs, ys]).astype(np.float64))


def corner(heatmaps: np.ndarray, joints: np.ndarray, ys: np.ndarray, xs: np.ndarray) -> np.ndarray:
    """The corners of the cells nearest to the origin, (N, 2): a readout head's own way, half a cell off on average.

    >>> corner(np.zeros((1, 8, 8)), [0], [3], [5]).tolist()
    [[5.0, 3.0]]
    """
    return point_to_index(argmax(heatmaps, joints, ys, xs))


def quarter(heatmaps: np.ndarray, joints: np.ndarray, ys: np.ndarray, xs: np.ndarray) -> np.ndarray:
    """A quarter of a cell from the center towards the higher neighbour, (N, 2); off by up to a quarter each way.

    No step along an axis where the neighbours are equal, not finite, or one of them lies outside the map.

    >>> quarter(np.array([[[0.1, 0.6, 1.0, 0.7, 0.1]]]), [0], [0], [2]).tolist()
    [[2.75, 0.5]]
    """
    joints, ys, xs = np.asarray(joints), np.asarray(ys), np.asarray(xs)
    h, w = heatmaps.shape[1:]
    inside_x, inside_y = (xs > 0) & (xs < w - 1), (ys > 0) & (ys < h - 1)
    with np.errstate(invalid="ignore"):
        right = heatmaps[joints, ys, np.minimum(xs + 1, w - 1)] - heatmaps[joints, ys, np.maximum(xs - 1, 0)]
        down = heatmaps[joints, np.minimum(ys + 1, h - 1), xs] - heatmaps[joints, np.maximum(ys - 1, 0), xs]
    step = np.column_stack([np.sign(right) * inside_x, np.sign(down) * inside_y])
    return argmax(heatmaps, joints, ys, xs) + np.nan_to_num(step) * (HALF / 2)


def published_quarter(heatmaps: np.ndarray, joints: np.ndarray, ys: np.ndarray, xs: np.ndarray) -> np.ndarray:
    """`quarter` as published top-down code has it, (N, 2): the first two rows and columns and the last get no step.

    A peak there takes its center along both axes (SimpleBaselines, Xiao et al., arXiv:1804.06208).

    >>> published_quarter(np.tile([0.1, 0.6, 1.0, 0.7], (4, 1))[None], [0, 0], [2, 1], [2, 2]).tolist()
    [[2.75, 2.5], [2.5, 1.5]]
    """
    ys, xs = np.asarray(ys), np.asarray(xs)
    h, w = heatmaps.shape[1:]
    inside = (xs > 1) & (xs < w - 1) & (ys > 1) & (ys < h - 1)
    cells = heatmaps, joints, ys, xs
    return np.where(inside[:, None], quarter(*cells), argmax(*cells))


def dark(heatmaps: np.ndarray, joints: np.ndarray, ys: np.ndarray, xs: np.ndarray, blur: float = 0.0) -> np.ndarray:
    """The summit of a Gaussian through the 3 x 3 cells around each cell, (N, 2).

    The logarithm of a Gaussian is a parabola, so one Newton step on it is exact: off by less than .01 cell where the
    heat is a sampled Gaussian, also at the border, where the nearest inner cell is expanded. Where it is not (flat,
    not positive, a summit more than a cell away) the center of the cell is returned.
    DARK (Zhang et al., arXiv:1910.06278).

    Args:
        blur: standard deviation in cells of a Gaussian that smooths the heat first: the paper's modulation, for
            ragged maps.

    >>> cells = index_to_point(np.arange(8.0))
    >>> across, along = np.exp(-((cells - 3.3) ** 2) / 8), np.exp(-((cells - 5.9) ** 2) / 8)
    >>> dark(np.outer(along, across)[None], [0], [5], [3])
    array([[3.3, 5.9]])
    """
    h, w = heatmaps.shape[1:]
    centers = argmax(heatmaps, joints, ys, xs)
    if min(h, w) < 3:
        return centers
    inner_y, inner_x = np.clip(ys, 1, h - 2), np.clip(xs, 1, w - 2)
    logs = _log_heat(heatmaps, np.asarray(joints), inner_y, inner_x, _taps(blur))
    summits = argmax(heatmaps, joints, inner_y, inner_x) + _newton_step(logs)
    near = (np.abs(summits - centers) <= 1).all(axis=1)
    return np.where(near[:, None], summits, centers)


def _taps(blur: float) -> np.ndarray:
    """Weights that smooth a line of 2 r + 3 cells into its 3 middle ones, (3, 2 r + 3); the identity without blur."""
    reach = math.ceil(3 * blur)
    offsets = np.arange(-reach - 1, reach + 2) - np.array([[-1], [0], [1]])
    weights = np.exp(-(offsets**2) / (2 * blur**2)) * (abs(offsets) <= reach) if reach else (offsets == 0).astype(float)
    return weights / weights.sum(axis=1, keepdims=True)


def _log_heat(heatmaps: np.ndarray, joints: np.ndarray, ys: np.ndarray, xs: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """Logarithm of the smoothed 3 x 3 cells around each cell, (N, 3, 3)."""
    h, w = heatmaps.shape[1:]
    offsets = np.arange(taps.shape[1]) - taps.shape[1] // 2
    rows, columns = np.clip(ys[:, None] + offsets, 0, h - 1), np.clip(xs[:, None] + offsets, 0, w - 1)
    patches = heatmaps[joints[:, None, None], rows[:, :, None], columns[:, None, :]].astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.log(taps @ patches @ taps.T)


def _newton_step(logs: np.ndarray) -> np.ndarray:
    """From the middle of 3 x 3 values to the maximum of their parabola, (N, 3, 3) -> (N, 2); NaN if it has none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        middle = logs[:, 1, 1]
        gx, gy = (logs[:, 1, 2] - logs[:, 1, 0]) / 2, (logs[:, 2, 1] - logs[:, 0, 1]) / 2
        gxx, gyy = logs[:, 1, 2] - 2 * middle + logs[:, 1, 0], logs[:, 2, 1] - 2 * middle + logs[:, 0, 1]
        gxy = (logs[:, 2, 2] - logs[:, 2, 0] - logs[:, 0, 2] + logs[:, 0, 0]) / 4
        determinant = gxx * gyy - gxy**2
        step = np.column_stack([gxy * gy - gyy * gx, gxy * gx - gxx * gy]) / determinant[:, None]
    return np.where(((determinant > 0) & (gxx < 0))[:, None], step, np.nan)


def shifted(shifts: np.ndarray) -> Refiner:
    """The refiner that lets a net say where in the cell a peak is.

    Args:
        shifts: (2 K, h, w), see `rtpe.heads`.

    >>> shifts = np.zeros((2, 4, 4))
    >>> shifts[:, 1, 2] = [0.2, -0.4]
    >>> shifted(shifts)(np.zeros((1, 4, 4)), [0], [1], [2]).tolist()
    [[2.7, 1.1]]
    """
    pairs = shifts.reshape(-1, 2, *shifts.shape[1:])
    return lambda heatmaps, joints, ys, xs: argmax(heatmaps, joints, ys, xs) + pairs[joints, :, ys, xs]


REFINERS: dict[str, Refiner] = {"argmax": argmax, "quarter": quarter, "dark": dark, "corner": corner}


def refiner(name: str, shifts: np.ndarray | None = None) -> Refiner:
    """The sub-pixel refiner of that name: (heatmaps, joints, ys, xs) -> (N, 2) points in cell coordinates.

    Args:
        shifts: of the maps, which the one of that name needs.

    Raises:
        UserError: if there is none, or the maps have no shifts.
    """
    if name == SHIFTS:
        if shifts is None:
            raise UserError(f"refine {SHIFTS}: the maps have none: choose from {', '.join(REFINERS)}")
        return shifted(shifts)
    if name not in REFINERS:
        raise UserError(f"unknown refiner {name!r}: choose from {', '.join(REFINERS)}")
    return REFINERS[name]
