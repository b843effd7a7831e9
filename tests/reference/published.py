"""The published reading of heatmaps and tags the slow way: cell by cell, and every way to match is tried."""

import itertools
import math

COCO_ORDER = [0, 1, 2, 3, 4, 5, 6, 11, 12, 7, 8, 9, 10, 13, 14, 15, 16]
NEVER = 1e10


def parse(heatmaps, tags, threshold=0.1, tag_threshold=1.0, most=30, kernel=5, complete=True):
    """Every answer that equally cheap ways to match allow: lists of (score, {joint: (x, y, heat)}), in cells.

    Args:
        heatmaps: [K][h][w].
        tags: [T][K][h][w].
    """
    answers = [{}]
    for joint in COCO_ORDER[: len(heatmaps)]:
        peaks = top(heatmaps[joint], most, kernel)
        found = [(x, y, heat, _at(tags, joint, x, y)) for heat, x, y in peaks if heat > threshold]
        answers = [after for before in answers for after in _matched(before, joint, found, tag_threshold, most)]
        answers = list({repr(answer): answer for answer in answers}.values())
    return [[_person(person, heatmaps, tags, complete) for person in answer.values()] for answer in answers]


def top(heat, most, kernel):
    """The highest cells (heat, x, y) of those that are the highest of the window around them; the others are 0."""
    reach, kept = kernel // 2, []
    for y, row in enumerate(heat):
        for x, value in enumerate(row):
            around = [line[max(x - reach, 0) : x + reach + 1] for line in heat[max(y - reach, 0) : y + reach + 1]]
            kept.append((value if value == max(map(max, around)) else 0.0, x, y))
    return sorted(kept, key=lambda cell: -cell[0])[:most]


def _matched(people, joint, found, tag_threshold, most):
    """The people, {first tag: (joints, tags)}, after one joint more; one such dict for each of the cheapest ways."""
    keys = list(people)[:most]
    means = [[sum(values) / len(values) for values in zip(*people[key][1])] for key in keys]
    distances = [[math.dist(tag, mean) for mean in means] for *_, tag in found]
    columns = max(len(found), len(keys))
    costs = [
        [round(row[c]) * 100 - heat if c < len(keys) else NEVER for c in range(columns)]
        for row, (_, _, heat, _) in zip(distances, found)
    ]
    ways = {
        way: sum(row[c] if row[c] < NEVER else 1e6 for row, c in zip(costs, way))
        for way in itertools.permutations(range(columns), len(found))
    }
    cheapest = [way for way, cost in ways.items() if cost <= min(ways.values()) + 1e-9]
    choices = {
        tuple(c if c < len(keys) and distances[row][c] < tag_threshold else None for row, c in enumerate(way))
        for way in cheapest
    }
    for choice in sorted(choices, key=str):
        after = {key: (dict(joints), list(of)) for key, (joints, of) in people.items()}
        for (x, y, heat, tag), column in zip(found, choice):
            key = tag[0] if column is None else keys[column]
            joints, of = after.get(key, ({}, []))
            after[key] = ({**joints, joint: (x, y, heat)}, [tag] if column is None else [*of, tag])
        yield after


def _person(person, heatmaps, tags, complete):
    joints = dict(person[0])
    score = sum(heat for _, _, heat in joints.values()) / len(heatmaps)
    if complete:
        seen = [_at(tags, joint, x, y) for joint, (x, y, _) in joints.items()]
        mean = [sum(values) / len(values) for values in zip(*seen)]
        for joint, heat in enumerate(heatmaps):
            cells = [(x, y) for y, row in enumerate(heat) for x in range(len(row))]
            x, y = max(cells, key=lambda at: heat[at[1]][at[0]] - round(math.dist(_at(tags, joint, *at), mean)))
            if joint not in joints and heat[y][x] > 0:
                joints[joint] = (x, y, heat[y][x])
    return score, {joint: (*_moved(heatmaps[joint], x, y), heat) for joint, (x, y, heat) in joints.items()}


def _moved(heat, x, y):
    """Half a cell on, and a quarter towards the larger neighbour."""
    last_x, last_y = len(heat[0]) - 1, len(heat) - 1
    right = heat[y][min(x + 1, last_x)] > heat[y][max(x - 1, 0)]
    down = heat[min(y + 1, last_y)][x] > heat[max(y - 1, 0)][x]
    return x + (0.75 if right else 0.25), y + (0.75 if down else 0.25)


def _at(tags, joint, x, y):
    return [run[joint][y][x] for run in tags]
