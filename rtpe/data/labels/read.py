"""A COCO keypoint file as `Labels`: every field is read here, once, for learning and for scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rtpe.data.labels import derived
from rtpe.data.labels.category import Category, read_category
from rtpe.data.labels.contradictions import misplaced, refuse_shares
from rtpe.data.labels.fields import Entry, read_id, read_json
from rtpe.data.labels.labels import Labels
from rtpe.data.labels.notes import Counts, sentences
from rtpe.data.labels.outlines import described, read_outline
from rtpe.data.labels.packed import PackedImages, PackedPeople, Rows
from rtpe.data.labels.people import Image, Person
from rtpe.errors import UserError
from rtpe.geometry import index_to_point
from rtpe.skeleton import MPII16, Skeleton

# of 229 people in COCO's photographs the body fills .47 to .56 of the box, whose sides are 1.2 to 1.4 times the
# extent of six joints and more
BODY_SHARE = 0.53
BOX_OVER_JOINTS = 1.25
LEAST_SHARE, LARGEST_SHARE = 0.01, 1.5  # of the box: beyond, an area is not that of a body in it
ALIKE = 0.9  # intersection over union: two boxes so much alike are of one person


def read_labels(source: str | Path | dict[str, Any], skeleton: Skeleton, file: str | Path = "") -> Labels:
    """The labels of a COCO keypoint file, or of what such a file holds.

    People's category is the one named person, else the only one with keypoints, else the only one. Ids of annotations
    are not read. `Labels.notes` has a sentence, with its count, where other categories are left out, joints reordered,
    or missing boxes and areas of people with labelled joints estimated.

    Args:
        skeleton: of the file; COCO's serves where OpenPose's is given.
        file: how messages call a source that is no path.

    Raises:
        UserError: for what cannot be read or contradicts itself; names the file, the entry, the field, what was wanted
            and what came.
    """
    name = str(file or (source if not isinstance(source, dict) else "given"))
    if isinstance(source, dict):
        return _read(source, name, skeleton)
    path = Path(source)
    derived_from = derived.digest(path, skeleton)
    labels = derived.load(derived_from, name, skeleton)
    if labels is None:
        labels = _read(read_json(path), name, skeleton)
        if derived_from and derived_from == derived.digest(path, skeleton):  # nobody wrote it meanwhile
            derived.keep(derived_from, labels)
    return labels


def _read(raw: Any, name: str, skeleton: Skeleton) -> Labels:
    if not isinstance(raw, dict) or not all(isinstance(raw.get(part), list) for part in ("images", "annotations")):
        raise UserError(f"annotations {name}: expected a COCO file with images and annotations: check --data.root")
    counts = Counts()
    images, same = _images(name, raw["images"], counts)
    entries = [Entry.of(name, "annotation", place, one) for place, one in enumerate(raw["annotations"])]
    category = read_category(name, raw, entries, skeleton)
    rows, sizes, known = Rows(), [], set()
    for entry in entries:
        if not category.holds(entry):
            counts.other[category.names.get(entry.id("category_id"), f"category {entry.id('category_id')}")] += 1
            continue
        number = entry.id("image_id")
        number = same.get(number, number)
        if number not in images:
            counts.unlisted += 1
            continue
        person, given = _person(entry, images[number], category, counts)
        told = hash((number, person.points.tobytes(), given.tobytes(), person.crowd))
        if told in known and (person.points.any() or given.any()):
            counts.twice += 1
            continue
        known.add(told)
        rows.add(number, person)
        if given.any() and not person.crowd:
            sizes.append((len(rows.areas) - 1, *(images[number].size_hw or (0, 0))))
    packed = PackedImages(images)
    twins = rows.twins(ALIKE)
    counts.twins = len(twins)
    people = PackedPeople(packed, len(category.skeleton), rows, twins)
    refuse_shares(name, people.labelled_joints() - index_to_point(0.0))
    sizes = np.array(sizes, np.int64).reshape(-1, 3)
    counts.misplaced = misplaced(name, *people.given(sizes[:, 0]), sizes[:, 1:])
    number = 1 if category.number is None else category.number
    notes = sentences(name, category, counts, BODY_SHARE)
    return Labels(name, category.skeleton, packed, people, number, notes)


def _images(file: str, rows: list, counts: Counts) -> tuple[dict[int, Image], dict[int, int]]:
    """The images by id, each file once; and for further ids of a file the one that stands for it."""
    images: dict[int, Image] = {}
    by_name: dict[str, int] = {}
    same: dict[int, int] = {}
    for place, row in enumerate(rows):
        entry = Entry.of(file, "image", place, row)
        number, image = entry.id("id"), Image(_file_name(entry), _size_hw(entry))
        counts.repeated += number in images
        if number in images:
            images[number] = _one(file, number, images[number], image)
            continue
        first = by_name.setdefault(image.file_name, number) if image.file_name else number
        if first == number:
            images[number] = image
        elif number not in same:
            images[first], same[number] = _one(file, first, images[first], image), first
            counts.joined += 1
    return images, same


def _one(file: str, number: int, image: Image, other: Image) -> Image:
    """Two records of one image as one, which has the size that either of them has.

    Raises:
        UserError: if they contradict each other.
    """
    if image.file_name != other.file_name:
        raise UserError(
            f"annotations {file}: images {image.file_name} and {other.file_name} have the same id {number}: number "
            "them apart"
        )
    if image.size_hw and other.size_hw and image.size_hw != other.size_hw:
        raise UserError(
            f"annotations {file}: image {image.file_name} is listed with {described(image.size_hw)} and with "
            f"{described(other.size_hw)}: correct one of them"
        )
    return image if image.size_hw else other


def _file_name(entry: Entry) -> str:
    name = entry.fields.get("file_name")
    if name is None:
        return ""
    if not isinstance(name, str) or not name or "\0" in name:
        entry.refuse("file_name", "the name of a file")
    return name.removeprefix("./") or name


def _size_hw(entry: Entry) -> tuple[int, int] | None:
    """Height and width; None if one of them is absent, 0 or -1."""
    sides = []
    for name in ("height", "width"):
        value = entry.fields.get(name)
        side = 0 if value in (None, -1) else read_id(value)
        if side is None or side < 0:
            entry.refuse(name, "a whole number of pixels")
        sides.append(side)
    return (sides[0], sides[1]) if all(sides) else None


def _person(entry: Entry, image: Image, category: Category, counts: Counts) -> tuple[Person, np.ndarray]:
    """A person, and the box that the file has of it, zeros if none."""
    points = _points(entry, category, counts)
    crowd = entry.flag("iscrowd")
    joints = points[points[:, 2] > 0, :2]
    counts.contradictions += _contradicts(entry.fields.get("num_keypoints"), len(joints))
    counts.outside += 0 if image.size_hw is None else _far_outside(joints, image.size_hw)
    points[:, :2] = np.where(points[:, 2:] > 0, index_to_point(points[:, :2]), 0)
    given = box = _box(entry, counts)
    area = _area(entry)
    if len(joints) and not crowd:
        box, area = _estimated(box, area, joints, counts)
    of_mpii = category.skeleton.joints == MPII16.joints  # other sets may call something else so
    head = entry.numbers("head_box", 4) if of_mpii else None
    return Person(
        points=points,
        box_xywh=box,
        area=area or float(box[2] * box[3]),
        outline=read_outline(entry, image.size_hw),
        crowd=crowd,
        head_box=None if head is None else tuple(head.tolist()),
    ), given


def _area(entry: Entry) -> float:
    """Square pixels; 0 if the file has none, or less than none."""
    value = entry.fields.get("area")
    below = isinstance(value, int | float) and not isinstance(value, bool) and -np.inf < value < 0
    return 0.0 if value == "" or below else entry.number("area")


def _points(entry: Entry, category: Category, counts: Counts) -> np.ndarray:
    """(K, 3) x, y and visibility as in the file, in the skeleton's order; 0, 0, 0 where there is no label."""
    skeleton, order = category.skeleton, category.order
    value = entry.fields.get("keypoints")
    if value is None or value == []:
        return np.zeros((len(skeleton), 3))
    if not isinstance(value, list) or len(value) % 3:
        entry.refuse("keypoints", "x, y, v of each joint in one list")
    if len(value) != 3 * len(skeleton):
        raise UserError(
            f"annotations {entry.file}: {entry.name} has {len(value) // 3} keypoints, skeleton {skeleton.name} has "
            f"{len(skeleton)}: pass --data.skeleton"
        )
    blank = Entry(entry.file, entry.name, {"keypoints": _without_blanks(value)})
    points = blank.numbers("keypoints", len(value)).reshape(-1, 3)
    counts.visibilities += int((~np.isin(points[:, 2], (0, 1, 2))).sum())
    points[points[:, 2] <= 0] = 0
    absent = (points[:, 2] > 0) & ((points[:, :2] == 0).all(axis=1) | (points[:, :2] == -1).all(axis=1))
    counts.corners += int(absent.sum())
    points[absent] = 0
    return points if order is None else points[order]


def _without_blanks(values: list) -> list:
    """The numbers with joints without a label at 0, 0, 0, wherever the file has them: at null, at NaN, ..."""
    rows = (values[place : place + 3] for place in range(0, len(values), 3))
    return [number for row in rows for number in ((0, 0, 0) if row[2] == 0 or all(map(_blank, row)) else row)]


def _blank(value: Any) -> bool:
    return value is None or value == "" or value != value  # the last of them is NaN


def _contradicts(said: Any, labelled: int) -> bool:
    return said is not None and read_id(said) != labelled


def _far_outside(joints: np.ndarray, size_hw: tuple[int, int]) -> int:
    """How many joints lie outside the image by more than its sides."""
    sides = np.array(size_hw[::-1])
    return int(((joints < -sides) | (joints > 2 * sides)).any(axis=1).sum())


def _box(entry: Entry, counts: Counts) -> np.ndarray:
    """(4,) x, y, width, height; zeros if the file has none."""
    if entry.fields.get("bbox") == [None] * 4:
        return np.zeros(4)
    box = entry.numbers("bbox", 4)
    if box is None:
        return np.zeros(4)
    if (box[2:] < 0).any():  # drawn from another corner
        counts.turned += 1
        box = np.concatenate([np.minimum(box[:2], box[:2] + box[2:]), np.abs(box[2:])])
    return box


def _estimated(box: np.ndarray, area: float, joints: np.ndarray, counts: Counts) -> tuple[np.ndarray, float]:
    """Box and area of somebody with labelled joints, estimated where the file has none."""
    if not (box[2:] > 0).all():
        counts.boxes += 1
        box = _box_around(joints)
        counts.pointlike += not box[2:].any()
    whole = float(box[2] * box[3])
    if not area:
        counts.areas += 1
        area = max(BODY_SHARE * whole, 1.0)
    counts.implausible += not whole * LEAST_SHARE <= area <= whole * LARGEST_SHARE
    return box, area


def _box_around(joints: np.ndarray) -> np.ndarray:
    """A box for a body whose joints these are, in pixel indices; of one joint it has no extent."""
    low, high = joints.min(axis=0), joints.max(axis=0)
    sides = BOX_OVER_JOINTS * (high - low)
    sides = np.maximum(sides, sides.max() / 4)  # joints in one line
    return np.concatenate([(low + high - sides) / 2, sides])
