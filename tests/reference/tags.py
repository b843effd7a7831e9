"""Associative embedding's losses the slow way: person by person, pair by pair."""

import math


def tag_losses(tags, indices, visible):
    """(pull, push) of nested lists: tags (B, K, h, w), indices and visible (B, P, K)."""
    pulls, pushes = [], []
    for maps, people, seen in zip(tags, indices, visible):
        means = []
        for cells, shown in zip(people, seen):
            values = [_at(maps[k], cell) for k, (cell, here) in enumerate(zip(cells, shown)) if here]
            if values:
                means.append(sum(values) / len(values))
                pulls.append(sum((value - means[-1]) ** 2 for value in values) / len(values))
        pushes += [math.exp(-((a - b) ** 2)) for i, a in enumerate(means) for j, b in enumerate(means) if i != j]
    return _mean(pulls), _mean(pushes)


def _at(map_, cell):
    width = len(map_[0])
    return map_[cell // width][cell % width]


def _mean(values):
    return sum(values) / len(values) if values else 0.0
