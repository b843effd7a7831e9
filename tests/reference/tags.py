"""Associative embedding's losses the slow way: person by person, pair by pair."""

import math


def tag_losses(tags, indices, weights):
    """(pull, push) of nested lists: tags (B, K, h, w), indices and weights (B, P, K)."""
    pulls, pushes = [], []
    for maps, people, known in zip(tags, indices, weights):
        means, sure = [], []
        for cells, counted in zip(people, known):
            values = [(_at(maps[k], cell), float(much)) for k, (cell, much) in enumerate(zip(cells, counted)) if much]
            if values:
                total = sum(much for _, much in values)
                means.append(sum(value * much for value, much in values) / total)
                sure.append(total / len(values))
                pulls.append(sum(much * (value - means[-1]) ** 2 for value, much in values) / len(values))
        for i, a in enumerate(means):
            pushes += [sure[i] * sure[j] * math.exp(-((a - b) ** 2)) for j, b in enumerate(means) if i != j]
    return _mean(pulls), _mean(pushes)


def _at(map_, cell):
    width = len(map_[0])
    return map_[cell // width][cell % width]


def _mean(values):
    return sum(values) / len(values) if values else 0.0
