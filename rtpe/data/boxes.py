"""People's boxes, which top-down teachers ask for: from the labels, or from a file of detections."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtpe.data.coco import CocoDataset
from rtpe.data.labels.fields import numbers, read_id, shown
from rtpe.errors import UserError
from rtpe.images import Readable, UnreadableImage, read_image
from rtpe.plain import read_json
from rtpe.structures import Boxes

THIN = 1e-3  # pixels
SHARES = 1.5  # pixels: boxes that all lie this near the corner are shares of the image's sides
ENOUGH = 3  # boxes, at least, to tell that


def truth_boxes(images: CocoDataset, cleaned: bool = False) -> dict[int, Boxes]:
    """By image id, the labelled box of everyone who has a labelled joint; crowds are nobody.

    Args:
        cleaned: as published top-down code takes them, see `cleaned_box`; an image that cannot be read has none.
    """
    found = {}
    for image_id, _, source in images.sources():
        people = [person for person in images.people[image_id] if person.labelled]
        boxes = [person.box_xywh for person in people]
        if cleaned and people:
            image_hw = images.labels.images[image_id].size_hw or _size_hw(source)
            boxes = [cleaned_box(person.box_xywh, person.area, image_hw) for person in people] if image_hw else []
        found[image_id] = _boxes([(box, 1.0) for box in boxes if box is not None and _has_area(box)])
    return found


def cleaned_box(box_xywh: Sequence[float], area: float, image_hw: tuple[int, int]) -> list[float] | None:
    """A labelled box as published top-down code takes it; None if it leaves it out.

    From the first to the last pixel that it covers, so one pixel less, and cut at the border of the image
    (SimpleBaselines, Xiao et al., arXiv:1804.06208). A side of one pixel, which becomes 0, is kept as a very thin one:
    its crop is the same.

    Args:
        area: of the annotation; must be above 0.

    >>> cleaned_box([-5, 10, 20, 30], 300, (30, 40))
    [0.0, 10.0, 19.0, 19.0]
    """
    x, y, w, h = map(float, box_xywh)
    left, top = max(0.0, x), max(0.0, y)
    right, bottom = min(image_hw[1] - 1.0, left + max(0.0, w - 1)), min(image_hw[0] - 1.0, top + max(0.0, h - 1))
    if not (area > 0 and right >= left and bottom >= top) or (right == left and bottom == top):
        return None
    return [left, top, max(right - left, THIN), max(bottom - top, THIN)]


def read_boxes(path: str | Path, image_ids: Iterable[int], least: float = 0.0, category: int = 1) -> dict[int, Boxes]:
    """By image id, the people of a COCO results file: a list of `{image_id, category_id, bbox, score}`.

    Rows of other categories, below the score `least` or without area are left out. Results of keypoints serve as well,
    if they have boxes.

    Args:
        category: people's number in the labels; a file whose rows are all of one other category is of people as well.

    Raises:
        UserError: if it is missing or no such file, none of its rows is of these images, or people's category cannot be
            told.
    """
    rows = _rows(Path(path))
    found: dict[int, list] = {int(image_id): [] for image_id in image_ids}
    ours = [row for row in rows if row["image_id"] in found]
    category = _category(path, ours, category)
    if found and not ours:
        raise UserError(
            f"boxes {path}: none of its {len(rows)} boxes is of these {len(found)} images (the first of them is "
            f"{next(iter(found))}): pass the --teacher.boxes of this split"
        )
    if len(ours) >= ENOUGH and all(max(row["bbox"]) <= SHARES for row in ours):
        raise UserError(
            f"boxes {path}: expected pixels, got {shown(ours[0]['bbox'])} and the like, shares of the image's sides: "
            "multiply them by width and height"
        )
    for row in ours:
        if row["category_id"] in (None, category) and row["score"] >= least and _has_area(row["bbox"]):
            found[row["image_id"]].append((row["bbox"], row["score"]))
    return {image_id: _boxes(people) for image_id, people in found.items()}


def _boxes(people: list[tuple[Any, float]]) -> Boxes:
    if not people:
        return Boxes.none()
    return Boxes(np.array([box for box, _ in people]), np.array([score for _, score in people]))


def _size_hw(source: Path | Readable) -> tuple[int, int] | None:
    try:
        return read_image(source).shape[:2]
    except UnreadableImage:  # nobody will be sought there
        return None


def _has_area(box_xywh) -> bool:
    return box_xywh[2] > 0 and box_xywh[3] > 0


def _rows(path: Path) -> list[dict]:
    try:
        rows = read_json(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not JSON"
        raise UserError(f"boxes {path}: cannot be read ({reason}): pass --teacher.boxes labels, or a file") from error
    if not isinstance(rows, list):
        raise UserError(f"boxes {path}: expected a list of COCO detections, got {type(rows).__name__}")
    return [_detection(path, number, row) for number, row in enumerate(rows)]


def _detection(path: Path, number: int, row: Any) -> dict:
    """The row with plain numbers; a file may write them as text.

    Raises:
        UserError: if it is no detection.
    """
    row = row if isinstance(row, dict) else {}
    box, score = numbers(row.get("bbox")), numbers([row.get("score")])
    image_id, category = read_id(row.get("image_id")), row.get("category_id")
    if box is None or len(box) != 4 or score is None or image_id is None or not np.isfinite([*box, *score]).all():
        raise UserError(f"boxes {path}: row {number}: expected image_id, bbox of 4 numbers and score")
    if category is not None and read_id(category) is None:
        raise UserError(f"boxes {path}: row {number}: category_id: expected a whole number, got {shown(category)}")
    return {"image_id": image_id, "category_id": read_id(category), "bbox": box.tolist(), "score": float(score[0])}


def _category(path: str | Path, rows: list[dict], wanted: int) -> int:
    """People's category in these rows: the labels' one, or the only one that there is."""
    there = {row["category_id"] for row in rows} - {None}
    if wanted in there or not there:
        return wanted
    if len(there) > 1:
        raise UserError(
            f"boxes {path}: none of its boxes is of the labels' category {wanted}, they are of "
            f"{', '.join(map(str, sorted(there)))}: write people's as {wanted}"
        )
    return there.pop()
