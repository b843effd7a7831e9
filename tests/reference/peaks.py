"""Peaks the slow way: look at every cell, and at every cell around it."""

import math


def local_maxima(heatmaps, count, threshold, kernel):
    """(joint, y, x) of each peak, by joint and then from high to low; ties in reading order."""
    peaks = []
    for joint, heat in enumerate(heatmaps.tolist()):
        found = [
            (-heat[y][x], y, x)
            for y in range(len(heat))
            for x in range(len(heat[0]))
            if math.isfinite(heat[y][x]) and heat[y][x] > threshold and _is_first_highest(heat, y, x, kernel // 2)
        ]
        peaks += [(joint, y, x) for _, y, x in sorted(found)[:count]]
    return peaks


def _is_first_highest(heat, y, x, reach):
    for v in range(max(y - reach, 0), min(y + reach + 1, len(heat))):
        for u in range(max(x - reach, 0), min(x + reach + 1, len(heat[0]))):
            other = heat[v][u]
            before = (v, u) < (y, x)
            if math.isfinite(other) and (other > heat[y][x] or (before and other == heat[y][x])):
                return False
    return True
