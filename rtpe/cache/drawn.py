"""Maps of people who were found without any: Gaussians at their joints."""

from __future__ import annotations

import numpy as np

from rtpe.cache.codecs.rendered import draw
from rtpe.geometry import cells
from rtpe.structures import PoseMaps, Poses

STRIDE_CELLS = 128  # on the long side of the image
SPREAD = 2.0  # in cells


def drawn_maps(poses: Poses, image_hw: tuple[int, int]) -> PoseMaps:
    """Heatmaps of people, each joint as high as its score, 128 cells on the long side.

    Args:
        poses: in original-image pixels.
    """
    size = max(image_hw) / STRIDE_CELLS
    to_image = cells(size)
    grid_hw = tuple(int(np.ceil(side / size)) for side in image_hw)
    shape = (len(poses.skeleton), *grid_hw)
    heatmaps, _ = draw(poses.moved(to_image.inverse()), shape, SPREAD)
    return PoseMaps(heatmaps, to_image, tuple(image_hw), poses.skeleton, peak_sigma=SPREAD)
