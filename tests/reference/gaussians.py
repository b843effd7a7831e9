"""Target heatmaps the slow way: every cell asks every person how near its joint is."""

import math


def gaussian_maps(people, size_hw, sigma):
    """(K, h, w) as nested lists, from (P, K, 3) points in cells."""
    joints = len(people[0])
    return [
        [[_heat([person[joint] for person in people], x + 0.5, y + 0.5, sigma) for x in range(size_hw[1])]
         for y in range(size_hw[0])]
        for joint in range(joints)
    ]  # fmt: skip


def _heat(points, x, y, sigma):
    """The highest Gaussian of the visible points at a place."""
    heights = [math.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2)) for px, py, visible in points if visible > 0]
    return max(heights, default=0.0)
