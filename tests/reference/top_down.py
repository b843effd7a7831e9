"""The published top-down reading the slow way: one person, one joint, one pixel after the other (SimpleBaselines)."""

import math

PIXELS = 200  # of a scale of 1
PADDING = 1.25


def cleaned(box, area, width, height):
    """The box of a label as the loader keeps it, or None."""
    x, y, w, h = box
    x1 = max(0, x)
    y1 = max(0, y)
    x2 = min(width - 1, x1 + max(0, w - 1))
    y2 = min(height - 1, y1 + max(0, h - 1))
    if area > 0 and x2 >= x1 and y2 >= y1:
        return x1, y1, x2 - x1, y2 - y1
    return None


def center_and_scale(box, width, height):
    """Of a crop of that size."""
    x, y, w, h = box
    if w > width / height * h:
        h = w * height / width
    elif w < width / height * h:
        w = h * width / height
    return (x + box[2] / 2, y + box[3] / 2), (w / PIXELS * PADDING, h / PIXELS * PADDING)


def peak(heat):
    """(x, y) in cells from 0 on, and the score, of one joint's map [h][w]."""
    h, w = len(heat), len(heat[0])
    score, y, x = max(((heat[y][x], -y, -x) for y in range(h) for x in range(w)), key=lambda each: each)
    x, y = (-x, -y) if score > 0 else (0, 0)
    px, py = math.floor(x + 0.5), math.floor(y + 0.5)
    if 1 < px < w - 1 and 1 < py < h - 1:
        across, down = heat[py][px + 1] - heat[py][px - 1], heat[py + 1][px] - heat[py - 1][px]
        return (x + 0.25 * _sign(across), y + 0.25 * _sign(down)), score
    return (x, y), score


def in_image(point, center, scale, heat_w, heat_h):
    """The index of a pixel of the image that an index of cells stands for: the middle of the map is the center."""
    factor = scale[0] * PIXELS / heat_w
    return center[0] + factor * (point[0] - heat_w / 2), center[1] + factor * (point[1] - heat_h / 2)


def read(maps, boxes, box_scores, crop_hw, counted, threshold, sigmas):
    """The people, best first: (score, [(x, y)], [score of each joint]), of maps [P][K][h][w]; boxes as cleaned."""
    people = []
    for heatmaps, box, box_score in zip(maps, boxes, box_scores):
        center, scale = center_and_scale(box, crop_hw[1], crop_hw[0])
        found = [peak(heat) for heat in heatmaps]
        points = [in_image(point, center, scale, len(heatmaps[0][0]), len(heatmaps[0])) for point, _ in found]
        high = [score for _, score in found if score > counted]
        area = scale[0] * PIXELS * scale[1] * PIXELS
        mean = sum(high) / len(high) if high else 0
        people.append((mean * box_score, points, [score for _, score in found], area))
    people.sort(key=lambda person: -person[0])
    kept = []
    for person in people:
        if all(similarity(one[1], person[1], one[3], person[3], sigmas) <= threshold for one in kept):
            kept.append(person)
    return [person[:3] for person in kept]


def similarity(points, others, area, other_area, sigmas):
    total = 0
    for (x, y), (u, v), sigma in zip(points, others, sigmas):
        total += math.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * sigma) ** 2 / ((area + other_area) / 2) / 2)
    return total / len(sigmas)


def _sign(value):
    return (value > 0) - (value < 0)
