"""Training targets on a grid of cells, rendered late: points travel, dense maps are made where they are used."""

from __future__ import annotations

import torch
from torch import Tensor

from rtpe.geometry import index_to_point


def gaussian_maps(points: Tensor, size_hw: tuple[int, int], sigma: float) -> Tensor:
    """One Gaussian of height 1 a joint, centred exactly on the point; people of one image merge by the maximum.

    Args:
        points: (B, P, K, 3) x, y in cells (centres at + 0.5) and visibility; 0 draws nothing.
        size_hw: h, w of the grid.
        sigma: standard deviation in cells.

    Shape: -> (B, K, h, w).
    """
    height, width = size_hw
    batch, _, joints, _ = points.shape
    merged = points.new_zeros(batch, joints, height, width)
    present = (points[..., 2] > 0).any(2).nonzero()
    x, y, visible = points[present[:, 0], present[:, 1]].unbind(-1)
    across = torch.exp(
        -((index_to_point(torch.arange(width, device=points.device)) - x[..., None]) ** 2) / (2 * sigma**2)
    )
    down = torch.exp(
        -((index_to_point(torch.arange(height, device=points.device)) - y[..., None]) ** 2) / (2 * sigma**2)
    )
    down = down * (visible[..., None] > 0)
    # a Gaussian of two variables is a product of two of one: no exponentials per cell. One image at a time: its maps,
    # unlike those of a batch, stay in the processor's cache, and images with few people do not wait for the others
    for image, rows, columns in zip(present[:, 0].tolist(), down, across):
        torch.maximum(merged[image], rows[:, :, None] * columns[:, None, :], out=merged[image])
    return merged


def cell_indices(points: Tensor, size_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """In which cell each joint lies, as an index into the flattened grid, and whether it is labelled.

    Shape: points (B, P, K, 3) in cells -> (B, P, K) int64, (B, P, K) bool.
    """
    height, width = size_hw
    x = points[..., 0].floor().long().clamp(0, width - 1)
    y = points[..., 1].floor().long().clamp(0, height - 1)
    return y * width + x, points[..., 2] > 0
