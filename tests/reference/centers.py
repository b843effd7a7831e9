"""Centers and offsets the slow way: cell by cell, person by person, every assignment tried."""

import math
from itertools import permutations


def center(person):
    """Mean of the visible joints (x, y, v) and the diagonal of their box, or None without one."""
    seen = [(x, y) for x, y, v in person if v > 0]
    if not seen:
        return None
    xs, ys = zip(*seen)
    return sum(xs) / len(xs), sum(ys) / len(ys), math.hypot(max(xs) - min(xs), max(ys) - min(ys))


def offset_targets(people, size_hw, reach):
    """{(person, cell, joint): (dx, dy)} for every cell that speaks of a person, the one whose center is nearest."""
    told = {}
    centers = {index: center(person)[:2] for index, person in enumerate(people) if center(person)}
    for row in range(size_hw[0]):
        for column in range(size_hw[1]):
            place = column + 0.5, row + 0.5
            near = sorted((math.dist(place, where), index) for index, where in centers.items())
            if near and near[0][0] <= reach:
                index = near[0][1]
                for joint, (x, y, v) in enumerate(people[index]):
                    if v > 0:
                        told[index, row * size_hw[1] + column, joint] = x - place[0], y - place[1]
    return told


def owners(guesses, reaches, candidates):
    """Of one joint: the candidate ((x, y), heat) of each person, or None, so that the gains add up to the most."""
    gains = [
        [max(0.0, 1 - (math.dist(guess, place) / reach) ** 2) * heat for place, heat in candidates]
        for guess, reach in zip(guesses, reaches)
    ]
    slots = [*range(len(candidates)), *[None] * len(guesses)]
    options = set(permutations(slots, len(guesses)))

    def worth(choice):
        return sum(gains[person][slot] for person, slot in enumerate(choice) if slot is not None)

    allowed = [c for c in options if all(slot is None or gains[p][slot] > 0 for p, slot in enumerate(c))]
    return max(allowed, key=worth)
