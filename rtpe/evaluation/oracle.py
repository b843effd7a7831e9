"""What a perfect decoder would get: people read with the labels' help. Bounds, never scores."""

from __future__ import annotations

import numpy as np

from rtpe.decode.peaks import local_maxima, refiner
from rtpe.geometry import index_to_point, point_to_index
from rtpe.structures import PoseMaps, Poses

PEAKS = 1000  # of a joint; more than any image has people
_REACH = 3  # cells around a joint's own that a Gaussian is drawn on
_SPREAD = 2.0  # its standard deviation in cells


def nearest_peaks(maps: PoseMaps, truth: np.ndarray, reach: np.ndarray, threshold: float, refine: str) -> Poses:
    """Every labelled person, each joint at the peak of its heatmap that is nearest to the true place.

    So no way of grouping these peaks could do better, for whoever else a peak serves, it serves this person, too; and
    nobody is found who is not there. A joint without a peak within reach is not found. Joints that nobody labelled are
    not found either: they do not count.

    Args:
        truth: (P, K, 3) x, y in original-image pixels and visibility.
        reach: (P,) pixels, how far from its place a peak may be at most.
        threshold, refine: the least height of a peak, and what refines it, as in `local_maxima` and `refiner`.

    Returns:
        P people in the order of the truth; a joint's score is the height of its peak, a person's is 1.
    """
    peaks = local_maxima(maps.heatmaps, PEAKS, threshold, kernel=3)  # the finest: no decoder has more peaks
    places = maps.to_image(refiner(refine)(maps.heatmaps, peaks.joints, peaks.ys, peaks.xs))
    points, scores = np.zeros((*truth.shape[:2], 2)), np.zeros(truth.shape[:2])
    for joint in np.unique(peaks.joints):
        own = np.flatnonzero(peaks.joints == joint)
        distances = np.linalg.norm(truth[:, None, joint, :2] - places[None, own], axis=-1)
        best = own[distances.argmin(axis=1)]
        near = (truth[:, joint, 2] > 0) & (distances.min(axis=1) <= reach)
        points[near, joint], scores[near, joint] = places[best][near], peaks.scores[best][near]
    return Poses(points, scores, np.ones(len(truth)), maps.skeleton)


def through_grid(maps: PoseMaps, truth: np.ndarray, refine: str) -> Poses:
    """Every labelled person as the grid of these maps could tell them: a Gaussian drawn on its cells, read again.

    `argmax` puts each joint to the center of its cell; the others show what they cannot undo, on a grid without border.
    A joint that lies outside the grid, as beside a crop, is lost.

    Args:
        truth: (P, K, 3) x, y in original-image pixels and visibility.

    Returns:
        P people in the order of the truth, of score 1.
    """
    exact = maps.to_image.inverse()(truth[..., :2].astype(np.float64))
    cells = np.floor(exact)
    inside = (truth[..., 2] > 0) & (cells >= 0).all(axis=-1) & (cells < maps.size_hw[::-1]).all(axis=-1)
    offsets = (exact - index_to_point(cells))[inside]  # from the center of the cell, at most half a cell each way
    steps = np.arange(-_REACH, _REACH + 1)
    across, down = (np.exp(-((steps - offsets[:, axis, None]) ** 2) / (2 * _SPREAD**2)) for axis in (0, 1))
    middle = np.full(len(offsets), _REACH)
    drawn = down[:, :, None] * across[:, None]
    read = point_to_index(refiner(refine)(drawn, np.arange(len(offsets)), middle, middle)) - _REACH
    points = np.zeros(exact.shape)
    points[inside] = maps.to_image(index_to_point(cells[inside]) + read)
    return Poses(points, inside.astype(float), np.ones(len(truth)), maps.skeleton)
