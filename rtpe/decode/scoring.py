"""How sure a person is, by what its score will be judged: object keypoint similarity."""

from __future__ import annotations

import numpy as np

from rtpe.skeleton import Skeleton

AREA_OF_VARIANCE = 4.0  # joints of a standing person vary by about a quarter of the area of the box around them


def expected_similarity(cells: np.ndarray, scores: np.ndarray, skeleton: Skeleton, error: float) -> np.ndarray:
    """The mean over all K joints of heat times the similarity that a misplacement by the usual error leaves, (P,).

    The mean of exp(-d^2 / 2 v) over Gaussian errors d of the plane is v / (v + error^2), v being what the labels vary.
    Nobody is taken for smaller than a cell.

    Args:
        cells: (P, K, 2) points in cells.
        scores: (P, K) heat, 0 where a joint is missing.
        error: standard deviation of a joint's place along each axis, in cells.
    """
    found = scores > 0
    number = np.maximum(found.sum(axis=1), 1)[:, None]
    center = (cells * found[..., None]).sum(axis=1) / number
    squared = ((cells - center[:, None]) ** 2).sum(axis=-1)
    area = AREA_OF_VARIANCE * (squared * found).sum(axis=1, keepdims=True) / number
    variance = np.maximum(area, 1) * (2 * np.array(skeleton.sigmas)) ** 2
    return (scores * variance / (variance + error**2)).mean(axis=1)
