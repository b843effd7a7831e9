"""Boxes and joints of a whole file against each other: what most people contradict is in another form or unit."""

from __future__ import annotations

import numpy as np

from rtpe.data.labels.fields import shown
from rtpe.errors import UserError

SHARES = 1.0  # pixels: labels that all lie this near the corner are shares of the image's sides
ENOUGH = 3  # labelled joints, at least, to judge anybody by
MOST = 0.75  # of a person's joints lie in the box
MARGIN = 0.1  # of a box's sides: joints this far outside are still in it
BEYOND = 0.05  # of an image's sides: a box may reach this far out of it
MANY = 0.5  # of the people: what more of them contradict is no slip of the pen
SOME = 0.05  # of the people: of COCO's own 1 to 2 in a hundred have such boxes
PEOPLE = 5  # at least, to tell a file's form from a slip of the pen


def refuse_shares(file: str, joints: np.ndarray) -> None:
    """Refuse joints in shares of the sides.

    Args:
        joints: (N, 2) of the whole file, as pixel indices.
    """
    if len(joints) >= ENOUGH and (np.abs(joints) <= SHARES).all() and (joints % 1).any():
        raise UserError(
            f"annotations {file}: keypoints: expected pixels, got {shown(joints[0].tolist())} and the like, in shares, "
            "not pixels: multiply them by width and height"
        )


def misplaced(file: str, points: np.ndarray, boxes: np.ndarray, sizes_hw: np.ndarray) -> int:
    """How many people's boxes do not hold most of their joints; 0 if they are as few as in COCO's own files.

    Args:
        points: (P, K, 3) x, y, visibility, of people who have a box in the file.
        boxes: (P, 4) as the file has them.
        sizes_hw: (P, 2) of their images, 0 where the file does not have them.

    Raises:
        UserError: if that is more than half of five people or more, or so many boxes leave their images; names the
            likely form.
    """
    seen = points[..., 2] > 0
    judged = seen.sum(axis=1) >= ENOUGH
    points, seen, boxes, sizes_hw = points[judged], seen[judged], boxes[judged], sizes_hw[judged]
    if not len(points):
        return 0
    wrong = _empty(points, seen, boxes)
    out = _leaves(boxes, sizes_hw)
    for bad, what in ((wrong, "do not hold their joints"), (out, "leave their images")):
        if len(bad) >= PEOPLE and bad.mean() > MANY:
            one = int(np.flatnonzero(bad)[0])
            raise UserError(
                f"annotations {file}: bbox: the boxes of {bad.sum()} of {len(bad)} people {what}, such as "
                f"{shown(boxes[one].tolist())}{_form(points, seen, boxes, sizes_hw)}: expected x, y, width, height in "
                "pixels, as the keypoints are: correct them, or leave them out"
            )
    return int(wrong.sum()) if wrong.mean() > SOME else 0


def _empty(points: np.ndarray, seen: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(P,) bool: too few of the joints lie in the box or near it."""
    margin = MARGIN * boxes[:, None, 2:] + 2
    low, high = boxes[:, None, :2] - margin, boxes[:, None, :2] + boxes[:, None, 2:] + margin
    inside = ((points[..., :2] >= low) & (points[..., :2] <= high)).all(axis=-1) & seen
    return inside.sum(axis=1) < MOST * seen.sum(axis=1)


def _leaves(boxes: np.ndarray, sizes_hw: np.ndarray) -> np.ndarray:
    """(P,) bool: the box reaches out of an image whose size is known."""
    sides = sizes_hw[:, ::-1]
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    return (sizes_hw.all(axis=1)) & ((low < -BEYOND * sides - 2) | (high > (1 + BEYOND) * sides + 2)).any(axis=1)


def _form(points: np.ndarray, seen: np.ndarray, boxes: np.ndarray, sizes_hw: np.ndarray) -> str:
    """What the boxes look like, if in some other form they fit."""
    first, second = boxes[:, :2], boxes[:, 2:]
    sides = sizes_hw[:, ::-1]
    forms = {
        "x, y of two corners": np.hstack([first, second - first]),
        "the center and the sides": np.hstack([first - second / 2, second]),
        "shares of the image's sides": np.hstack([first * sides, second * sides]),
        "percents of the image's sides": np.hstack([first * sides, second * sides]) / 100,
    }
    for form, turned in forms.items():
        fits = (turned[:, 2:] > 0).all(axis=1) & ~_empty(points, seen, turned) & ~_leaves(turned, sizes_hw)
        if fits.mean() > MANY:
            return f" (they look like {form})"
    return ""
