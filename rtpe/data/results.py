"""People that any tool found, from its COCO keypoint results: a list of `{image_id, keypoints, score}`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rtpe.data.labels import read_id, read_json
from rtpe.data.labels.fields import FARTHEST, numbers, shown
from rtpe.errors import UserError
from rtpe.geometry import index_to_point
from rtpe.skeleton import Skeleton
from rtpe.structures import Poses


@dataclass(frozen=True)
class Results:
    """What a results file says of some images.

    Attributes:
        people: by image id, of every image that was asked for; in original-image pixels, best first.
        others: rows of other images.
        clipped: joints whose score was above 1, as of tools that write a visibility there, and counts as 1.
    """

    people: Mapping[int, Poses]
    others: int
    clipped: int


def read_results(path: str | Path, images: Iterable[tuple[int, str]], skeleton: Skeleton) -> Results:
    """Read the people of these images.

    A row belongs to the image of its `file_name` if it has one, else of its `image_id`. The third number of a keypoint
    is its score; 0 is not found. Rows without `score` have the mean of their joints'.

    Args:
        images: image id and file name of each.
        skeleton: whose joints the rows have, in that order.

    Raises:
        UserError: if it cannot be read, a row is none, or no row is of these images.
    """
    path, names = Path(path), {name: image_id for image_id, name in images}
    ids = set(names.values())
    found: dict[int, list[tuple[np.ndarray, float]]] = {number: [] for number in ids}
    rows, others, clipped = _rows(path), 0, 0
    for place, row in enumerate(rows):
        number = _image(path, place, row, ids, names)
        if number is None:
            others += 1
            continue
        joints = _joints(path, place, row, len(skeleton))
        clipped += int((joints[:, 2] > 1).sum())
        joints[:, 2] = joints[:, 2].clip(0, 1)
        found[number].append((joints, _score(path, place, row, joints)))
    if ids and not len(rows) - others:
        raise UserError(
            f"results {path}: none of its {len(rows)} rows is of these {len(ids)} images: pass those of this split"
        )
    return Results({number: _poses(each, skeleton) for number, each in found.items()}, others, clipped)


def _rows(path: Path) -> list:
    try:
        rows = read_json(path)
    except UserError as error:
        reason = str(error).partition(": ")[2].partition(": check")[0].partition(": download")[0]
        raise UserError(f"results {path}: cannot be read ({reason}): pass --results FILE.json") from error
    if not isinstance(rows, list):
        raise UserError(f"results {path}: expected a list of COCO results, got {shown(rows)}")
    return rows


def _image(path: Path, place: int, row: Any, ids: set[int], names: Mapping[str, int]) -> int | None:
    """The image of a row, or None if it is none of these."""
    if not isinstance(row, dict):
        raise UserError(f"results {path}: row {place}: expected an object, got {shown(row)}")
    name = row.get("file_name")
    if isinstance(name, str):
        return names.get(name)
    number = read_id(row.get("image_id"))
    if number is None:
        raise UserError(
            f"results {path}: row {place}: image_id: expected a whole number, got {shown(row.get('image_id'))}"
        )
    return number if number in ids else None


def _joints(path: Path, place: int, row: dict, count: int) -> np.ndarray:
    """(K, 3) x, y as points and the score; what is not found is 0, 0, 0."""
    read = numbers(row.get("keypoints"))
    sound = read is not None and len(read) == 3 * count and (np.abs(read) <= FARTHEST).all()
    if not sound or (read[2::3] < 0).any():
        raise UserError(
            f"results {path}: row {place}: keypoints: expected x, y and score of {count} joints, "
            f"got {shown(row.get('keypoints'))}"
        )
    joints = read.reshape(-1, 3)
    joints[:, :2] = index_to_point(joints[:, :2])
    joints[joints[:, 2] == 0] = 0
    return joints


def _score(path: Path, place: int, row: dict, joints: np.ndarray) -> float:
    if row.get("score") is None:
        return float(joints[:, 2].mean())
    read = numbers([row["score"]])
    if read is None or not np.isfinite(read[0]):
        raise UserError(f"results {path}: row {place}: score: expected a finite number, got {shown(row['score'])}")
    return float(read[0])


def _poses(people: list[tuple[np.ndarray, float]], skeleton: Skeleton) -> Poses:
    people = sorted((each for each in people if each[0][:, 2].any()), key=lambda each: -each[1])
    joints = np.array([each for each, _ in people], np.float64).reshape(-1, len(skeleton), 3)
    return Poses(joints[..., :2], joints[..., 2], np.array([score for _, score in people]), skeleton)
