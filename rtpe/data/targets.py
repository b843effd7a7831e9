"""Training targets on a grid of cells, rendered late: points travel, dense maps are made where they are used."""

from __future__ import annotations

import torch
from torch import Tensor

from rtpe.geometry import index_to_point


def gaussian_maps(points: Tensor, size_hw: tuple[int, int], sigma: float) -> Tensor:
    """One Gaussian of height 1 a joint, centered exactly on the point; people of one image merge by the maximum.

    Args:
        points: (B, P, K, 3) x, y in cells (centers at + 0.5) and visibility; 0 draws nothing.
        size_hw: h, w of the grid.
        sigma: standard deviation in cells.

    Shape: -> (B, K, h, w).
    """
    images, people = _steps(points)
    places = (index_to_point(torch.arange(side, device=points.device)) for side in size_hw)
    x, y, visible = people[..., None].unbind(-2)
    down, across = (torch.exp(-((place - at) ** 2) / (2 * sigma**2)) for place, at in zip(places, (y, x)))
    down = down * (visible > 0)
    merged = points.new_zeros(len(points), points.shape[2], *size_hw)
    # a Gaussian of two variables is a product of two of one: no exponentials per cell
    for image, rows, columns in zip(images, down, across):
        torch.maximum(merged[image], rows[..., :, None] * columns[..., None, :], out=merged[image])
    return merged


def _steps(points: Tensor) -> tuple[list[int | slice], Tensor]:
    """What is drawn at once: in which images, and whom, of (B, P, K, 3).

    On a processor one person at a time: an image's maps, unlike those of a batch, stay in its cache, and images with
    few people do not wait for the others. A GPU wants few large steps: one person of each image at a time.

    Shape: -> as many places in the batch as steps; (steps, K, 3) or (steps, B, K, 3).
    """
    if points.device.type != "cpu":
        return _large_steps(points)
    present = (points[..., 2] > 0).any(2)
    return present.nonzero()[:, 0].tolist(), points[present]


def _large_steps(points: Tensor) -> tuple[list[int | slice], Tensor]:
    return [slice(None)] * points.shape[1], points.transpose(0, 1)


def person_centers(points: Tensor) -> tuple[Tensor, Tensor]:
    """Where each person is and how large: the mean of the visible joints, and the diagonal of the box around them.

    The mean, and not the middle of the box: one arm stretched out moves it little. In a view that cuts a person it is
    the mean of what is left, and so within the view.

    Shape: points (B, P, K, 3) -> (B, P, 1, 3) like points, of visibility 1 or 0; (B, P) in their unit, 0 for nobody.
    """
    visible = points[..., 2:] > 0
    xy = points[..., :2]
    counts = visible.sum(2)
    means = (xy * visible).sum(2) / counts.clamp(min=1)
    sides = xy.where(visible, -torch.inf).amax(2) - xy.where(visible, torch.inf).amin(2)
    sizes = torch.where(counts > 0, sides, 0).norm(dim=-1)
    return torch.cat([means, (counts > 0).to(means)], dim=-1)[:, :, None], sizes


def offset_targets(
    points: Tensor, centers: Tensor, size_hw: tuple[int, int], reach: int = 2
) -> tuple[Tensor, Tensor, Tensor]:
    """What the cells around a person's center are to say of the joints; a cell speaks of the nearest center alone.

    Args:
        points: (B, P, K, 3) in cells.
        centers: (B, P, 1, 3) of `person_centers`.
        reach: cells that are further away from a center do not speak of it.

    Shape: -> (B, P, N) int64 indices of the cells into the flattened grid; (B, P, N, K, 2) from each cell's center to
    each joint, in cells; (B, P, N, K) bool, which of them count.
    """
    height, width = size_hw
    around = torch.arange(-reach, reach + 1, device=points.device)
    window = torch.stack(torch.meshgrid(around, around, indexing="xy"), dim=-1).flatten(0, 1)
    cells = centers[..., :2].floor().long() + window
    inside = ((cells >= 0) & (cells < cells.new_tensor([width, height]))).all(-1)
    places = index_to_point(cells.to(points))
    apart = torch.cdist(places.flatten(1, 2), centers[:, :, 0, :2]).unflatten(1, places.shape[1:3])
    apart = apart.where(centers[:, None, None, :, 0, 2] > 0, torch.inf)
    own = torch.arange(points.shape[1], device=points.device)[:, None]
    speaks = inside & (apart.amin(-1) <= reach) & (apart.argmin(-1) == own) if len(own) else inside
    indices = cells[..., 1].clamp(0, height - 1) * width + cells[..., 0].clamp(0, width - 1)
    offsets = points[:, :, None, :, :2] - places[..., None, :]
    return indices, offsets, speaks[..., None] & (points[:, :, None, :, 2] > 0)


def cell_indices(points: Tensor, size_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """In which cell each joint lies, as an index into the flattened grid, and whether it is labelled.

    Shape: points (B, P, K, 3) in cells -> (B, P, K) int64, (B, P, K) bool.
    """
    height, width = size_hw
    x = points[..., 0].floor().long().clamp(0, width - 1)
    y = points[..., 1].floor().long().clamp(0, height - 1)
    return y * width + x, points[..., 2] > 0


def shift_targets(points: Tensor, size_hw: tuple[int, int], reach: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """What the cells around each joint are to say of its place; a cell speaks of the nearest joint of its kind alone.

    Args:
        points: (B, P, K, 3) in cells.
        reach: cells that are further away from the joint's own do not speak of it.

    Shape: -> (B, P, N, K) int64 indices of the cells into the flattened grid; (B, P, N, K, 2) from each cell's center
    to the joint, in cells; (B, P, N, K) bool, which of them count.
    """
    height, width = size_hw
    around = torch.arange(-reach, reach + 1, device=points.device)
    window = torch.stack(torch.meshgrid(around, around, indexing="xy"), dim=-1).flatten(0, 1)
    cells = points[:, :, None, :, :2].floor().long() + window[:, None]
    inside = ((cells >= 0) & (cells < cells.new_tensor([width, height]))).all(-1)
    places, visible = index_to_point(cells.to(points)), points[..., 2] > 0
    targets = points[:, :, None, :, :2] - places
    others = places[:, :, :, :, None] - points[:, None, None, ..., :2].transpose(3, 4)
    apart = others.norm(dim=-1).masked_fill(~visible[:, None, None].transpose(3, 4), torch.inf)
    own = torch.arange(points.shape[1], device=points.device)[:, None, None]
    nearest = apart.argmin(-1) == own if len(own) else inside
    indices = cells[..., 1].clamp(0, height - 1) * width + cells[..., 0].clamp(0, width - 1)
    return indices, targets, inside & visible[:, :, None] & nearest
