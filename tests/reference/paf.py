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


def limb_fields(people, limbs, size_hw, width):
    """(2 L, h, w) as nested lists, from (P, K, 3) points in cells: each cell asks every person whether it passes."""
    told = []
    for a, b in limbs:
        ends = [(person[a], person[b]) for person in people if person[a][2] > 0 and person[b][2] > 0]
        cells = [
            [_mean([_unit_near(x + 0.5, y + 0.5, *each, width) for each in ends]) for x in range(size_hw[1])]
            for y in range(size_hw[0])
        ]
        told += [[[cell[axis] for cell in row] for row in cells] for axis in range(2)]
    return told


def _unit_near(x, y, start, end, width):
    """The unit vector of a limb that passes a place, or None."""
    length = math.dist(start[:2], end[:2])
    if not length:
        return None
    ux, uy = (end[0] - start[0]) / length, (end[1] - start[1]) / length
    along, across = (x - start[0]) * ux + (y - start[1]) * uy, (y - start[1]) * ux - (x - start[0]) * uy
    return (ux, uy) if -width <= along <= length + width and abs(across) <= width else None


def _mean(units):
    there = [unit for unit in units if unit]
    return [sum(unit[axis] for unit in there) / len(there) if there else 0.0 for axis in range(2)]


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
    """The value at a place in cells, centres at + 0.5; beyond the outer centres the nearest counts."""
    h, w = len(grid), len(grid[0])
    column, row = min(max(x - 0.5, 0), w - 1), min(max(y - 0.5, 0), h - 1)
    left, top = int(column), int(row)
    right, bottom = min(left + 1, w - 1), min(top + 1, h - 1)
    fx, fy = column - left, row - top
    upper = grid[top][left] * (1 - fx) + grid[top][right] * fx
    lower = grid[bottom][left] * (1 - fx) + grid[bottom][right] * fx
    return upper * (1 - fy) + lower * fy
