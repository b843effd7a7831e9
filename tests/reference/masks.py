"""The covered share of each cell the slow way: every cell asks many points whether the mask is there."""

import numpy as np


def covered(mask, view, size_hw, stride, outside, a_side=16):
    """(h, w) float 0..1: of a_side x a_side points of each cell, the share that the mask, (H, W) of 0 and 1, covers."""
    h, w = size_hw
    y, x = np.mgrid[: h * a_side, : w * a_side] + 0.5
    places = view.inverse()(np.stack([x, y], -1) * stride / a_side)
    column, row = np.floor(np.moveaxis(places, -1, 0)).astype(int)
    inside = (row >= 0) & (column >= 0) & (row < mask.shape[0]) & (column < mask.shape[1])
    seen = np.where(inside, mask[row.clip(0, mask.shape[0] - 1), column.clip(0, mask.shape[1] - 1)], outside)
    return seen.reshape(h, a_side, w, a_side).mean((1, 3))
