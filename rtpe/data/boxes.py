"""People's boxes, which top-down teachers ask for: from the labels, or from a file of detections."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from rtpe.data.coco import CocoDataset
from rtpe.errors import UserError
from rtpe.structures import Boxes

PERSON = 1  # COCO's number for the category


def truth_boxes(images: CocoDataset) -> dict[int, Boxes]:
    """By image id, the labelled box of everyone who has a labelled joint; crowds are nobody."""
    found = {}
    for image_id in images.ids:
        boxes = [person.box_xywh for person in images.people[image_id] if person.labelled]
        found[image_id] = _boxes([(box, 1.0) for box in boxes if _has_area(box)])
    return found


def read_boxes(path: str | Path, image_ids: Iterable[int], least: float = 0.0) -> dict[int, Boxes]:
    """By image id, the people of a COCO results file: a list of `{image_id, category_id, bbox, score}`.

    Rows of other categories, below the score `least` or without area are left out. Results of keypoints serve as well,
    if they have boxes.

    Raises:
        UserError: if it is missing or no such file, or none of its rows is of these images.
    """
    rows = _rows(Path(path))
    found: dict[int, list] = {int(image_id): [] for image_id in image_ids}
    ours = [row for row in rows if row["image_id"] in found]
    if found and not ours:
        raise UserError(
            f"boxes {path}: none of its {len(rows)} boxes is of these {len(found)} images (the first of them is "
            f"{next(iter(found))}): pass the --teacher.boxes of this split"
        )
    for row in ours:
        if row.get("category_id", PERSON) == PERSON and row["score"] >= least and _has_area(row["bbox"]):
            found[row["image_id"]].append((row["bbox"], row["score"]))
    return {image_id: _boxes(people) for image_id, people in found.items()}


def _boxes(people: list[tuple[Any, float]]) -> Boxes:
    if not people:
        return Boxes.none()
    return Boxes(np.array([box for box, _ in people]), np.array([score for _, score in people]))


def _has_area(box_xywh) -> bool:
    return box_xywh[2] > 0 and box_xywh[3] > 0


def _rows(path: Path) -> list[dict]:
    try:
        rows = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not JSON"
        raise UserError(f"boxes {path}: cannot be read ({reason}): pass --teacher.boxes truth, or a file") from error
    if not isinstance(rows, list):
        raise UserError(f"boxes {path}: expected a list of COCO detections, got {type(rows).__name__}")
    for number, row in enumerate(rows):
        if not _is_detection(row):
            raise UserError(f"boxes {path}: row {number}: expected image_id, bbox of 4 numbers and score")
    return rows


def _is_detection(row: Any) -> bool:
    if not isinstance(row, dict) or not isinstance(row.get("bbox"), list) or len(row["bbox"]) != 4:
        return False
    return isinstance(row.get("image_id"), int) and all(_is_number(value) for value in (*row["bbox"], row.get("score")))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
