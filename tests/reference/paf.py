"""Part-affinity fields the slow way: painted cell by cell, read place by place."""

import math

import numpy as np

SIGMA, REACH = 0.9, 1.5  # of a joint's Gaussian, and of a limb to each side, in cells


def paint(people, limbs, size_hw):
    """Heatmaps (K, h, w) and fields (2 L, h, w) of (P, K, 2) people in cells; a joint with NaN is missing."""
    places = np.stack(np.meshgrid(np.arange(size_hw[1]) + 0.5, np.arange(size_hw[0]) + 0.5), axis=-1)
    heatmaps = np.zeros((people.shape[1], *size_hw), np.float32)
    sums, counts = np.zeros((len(limbs), *size_hw, 2)), np.zeros((len(limbs), *size_hw, 1))
    for person in people:
        for joint in np.flatnonzero(~np.isnan(person[:, 0])):
            squared = ((places - person[joint]) ** 2).sum(axis=-1)
            heatmaps[joint] = np.maximum(heatmaps[joint], np.exp(-squared / (2 * SIGMA**2)))
        for limb, (a, b) in enumerate(limbs):
            if not np.isnan(person[[a, b]]).any():
                unit, near = limb_near(places, person[a], person[b])
                sums[limb][near] += unit
                counts[limb][near] += 1
    fields = np.moveaxis(sums / np.maximum(counts, 1), -1, 1).reshape(-1, *size_hw)
    return heatmaps, fields.astype(np.float32)


def limb_near(places, start, end):
    """The unit vector along a limb, and the places that it passes within reach."""
    length = np.linalg.norm(end - start)
    unit = (end - start) / length
    along, across = (places - start) @ unit, (places - start) @ [-unit[1], unit[0]]
    return unit, (along >= -REACH) & (along <= length + REACH) & (abs(across) <= REACH)


def agreement(field, start, end, samples):
    """The mean over places from start to end of the field, read bilinearly, times the unit vector."""
    length = math.dist(start, end)
    total = 0.0
    for step in range(samples):
        share = step / (samples - 1)
        x, y = (a + share * (b - a) for a, b in zip(start, end))
        for axis, (a, b) in enumerate(zip(start, end)):
            total += bilinear(field[axis], x, y) * (b - a) / length if length else 0
    return total / samples


def bilinear(grid, x, y):
    """The value at a place in cells, centers at + 0.5; beyond the outer centers the nearest counts."""
    h, w = len(grid), len(grid[0])
    column, row = min(max(x - 0.5, 0), w - 1), min(max(y - 0.5, 0), h - 1)
    left, top = int(column), int(row)
    right, bottom = min(left + 1, w - 1), min(top + 1, h - 1)
    fx, fy = column - left, row - top
    upper = grid[top][left] * (1 - fx) + grid[top][right] * fx
    lower = grid[bottom][left] * (1 - fx) + grid[bottom][right] * fx
    return upper * (1 - fy) + lower * fy
