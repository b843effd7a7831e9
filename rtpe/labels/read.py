"""A COCO keypoint file as `Labels`: every field is read here, once, for learning and for scores."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rtpe.errors import UserError
from rtpe.geometry import index_to_point
from rtpe.labels import derived
from rtpe.labels.category import Category, read_category
from rtpe.labels.fields import Entry, read_id, read_json, shown
from rtpe.labels.labels import Labels
from rtpe.labels.outlines import read_outline
from rtpe.labels.packed import PackedImages, PackedPeople, Rows
from rtpe.labels.people import Image, Person
from rtpe.skeleton import Skeleton

# of 229 people in COCO's photographs the body fills .47 to .56 of the box, whose sides are 1.2 to 1.4 times the
# extent of six joints and more
BODY_SHARE = 0.53
BOX_OVER_JOINTS = 1.25
SHARES = 1.0  # pixels: labels that all lie this near the corner are shares of the image's sides
LEAST_SHARE, LARGEST_SHARE = 0.01, 1.5  # of the box: beyond, an area is not that of a body in it
ENOUGH = 3  # labelled joints, at least, to tell shares of the sides from pixels


@dataclass
class _Counts:
    """What is worth a sentence below: how often, and of what."""

    other: Counter = field(default_factory=Counter)
    unlisted: int = 0
    areas: int = 0
    implausible: int = 0
    boxes: int = 0
    turned: int = 0
    visibilities: int = 0
    contradictions: int = 0
    outside: int = 0
    repeated: int = 0
    pointlike: int = 0


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
    counts = _Counts()
    images = _images(name, raw["images"], counts)
    entries = [Entry.of(name, "annotation", place, one) for place, one in enumerate(raw["annotations"])]
    category = read_category(name, raw, entries, skeleton)
    rows = Rows()
    for entry in entries:
        if not category.holds(entry):
            counts.other[category.names.get(entry.id("category_id"), f"category {entry.id('category_id')}")] += 1
            continue
        number = entry.id("image_id")
        if number not in images:
            counts.unlisted += 1
        else:
            rows.add(number, _person(entry, images[number], category, counts))
    packed = PackedImages(images)
    people = PackedPeople(packed, len(category.skeleton), rows)
    _refuse_shares(name, people.labelled_joints() - index_to_point(0.0))
    number = 1 if category.number is None else category.number
    notes = tuple(_notes(name, category, counts))
    return Labels(name, category.skeleton, packed, people, number, notes)


def _images(file: str, rows: list, counts: _Counts) -> dict[int, Image]:
    images: dict[int, Image] = {}
    for place, row in enumerate(rows):
        entry = Entry.of(file, "image", place, row)
        number, image = entry.id("id"), Image(_file_name(entry), _size_hw(entry))
        if number in images and images[number] != image:
            raise UserError(
                f"annotations {file}: images {images[number].file_name} and {image.file_name} have the same id "
                f"{number}: number them apart"
            )
        counts.repeated += number in images
        images[number] = image
    return images


def _file_name(entry: Entry) -> str:
    name = entry.fields.get("file_name")
    if name is None:
        return ""
    if not isinstance(name, str) or not name or "\0" in name:
        entry.refuse("file_name", "the name of a file")
    return name


def _size_hw(entry: Entry) -> tuple[int, int] | None:
    """Height and width; None if one of them is absent or 0."""
    sides = []
    for name in ("height", "width"):
        value = entry.fields.get(name)
        side = 0 if value is None else read_id(value)
        if side is None or side < 0:
            entry.refuse(name, "a whole number of pixels")
        sides.append(side)
    return (sides[0], sides[1]) if all(sides) else None


def _person(entry: Entry, image: Image, category: Category, counts: _Counts) -> Person:
    points = _points(entry, category, counts)
    crowd = entry.flag("iscrowd")
    joints = points[points[:, 2] > 0, :2]
    counts.contradictions += _contradicts(entry.fields.get("num_keypoints"), len(joints))
    counts.outside += 0 if image.size_hw is None else _far_outside(joints, image.size_hw)
    points[:, :2] = np.where(points[:, 2:] > 0, index_to_point(points[:, :2]), 0)
    box = _box(entry, counts)
    area = entry.number("area")
    if len(joints) and not crowd:
        box, area = _estimated(box, area, joints, counts)
    head = entry.numbers("head_box", 4)
    return Person(
        points=points,
        box_xywh=box,
        area=area or float(box[2] * box[3]),
        outline=read_outline(entry, image.size_hw),
        crowd=crowd,
        head_box=None if head is None else tuple(head.tolist()),
    )


def _points(entry: Entry, category: Category, counts: _Counts) -> np.ndarray:
    """(K, 3) x, y and visibility as in the file, in the skeleton's order; 0, 0, 0 where there is no label."""
    skeleton, order = category.skeleton, category.order
    value = entry.fields.get("keypoints")
    if not value:
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
    return points if order is None else points[order]


def _without_blanks(values: list) -> list:
    """The numbers with joints without a label at 0, 0, 0, wherever the file has them: at null, at NaN, ..."""
    rows = (values[place : place + 3] for place in range(0, len(values), 3))
    return [number for row in rows for number in ((0, 0, 0) if row[2] == 0 or row == [None] * 3 else row)]


def _contradicts(said: Any, labelled: int) -> bool:
    return said is not None and read_id(said) != labelled


def _far_outside(joints: np.ndarray, size_hw: tuple[int, int]) -> int:
    """How many joints lie outside the image by more than its sides."""
    sides = np.array(size_hw[::-1])
    return int(((joints < -sides) | (joints > 2 * sides)).any(axis=1).sum())


def _box(entry: Entry, counts: _Counts) -> np.ndarray:
    """(4,) x, y, width, height; zeros if the file has none."""
    box = entry.numbers("bbox", 4)
    if box is None:
        return np.zeros(4)
    if (box[2:] < 0).any():  # drawn from another corner
        counts.turned += 1
        box = np.concatenate([np.minimum(box[:2], box[:2] + box[2:]), np.abs(box[2:])])
    return box


def _estimated(box: np.ndarray, area: float, joints: np.ndarray, counts: _Counts) -> tuple[np.ndarray, float]:
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


def _refuse_shares(file: str, joints: np.ndarray) -> None:
    if len(joints) >= ENOUGH and (np.abs(joints) <= SHARES).all() and (joints % 1).any():
        raise UserError(
            f"annotations {file}: keypoints: expected pixels, got {shown(joints[0].tolist())} and the like, in shares, "
            "not pixels: multiply them by width and height"
        )


def _notes(file: str, category: Category, counts: _Counts) -> list[str]:
    c, other = counts, ", ".join(f"{count} {name}" for name, count in counts.other.most_common())
    sentences = (
        (c.other.total(), f"left out {c.other.total()} annotations of other categories: {other}"),
        (category.order is not None, f"joints are reordered to the order of {category.skeleton.name}"),
        (c.repeated, f"{c.repeated} images are listed twice and taken once"),
        (c.unlisted, f"left out {c.unlisted} annotations of images that are not listed"),
        (c.areas, f"estimated the area of {c.areas} people: {BODY_SHARE} of their boxes"),
        (c.implausible, f"the area of {c.implausible} people contradicts their boxes: OKS is measured by the area"),
        (c.boxes, f"estimated the box of {c.boxes} people: around their joints"),
        (c.pointlike, f"{c.pointlike} people have one labelled joint and no box: their size is taken for 1 pixel"),
        (c.turned, f"turned {c.turned} boxes of negative width or height"),
        (
            c.visibilities,
            f"{c.visibilities} joints have a visibility other than 0, 1 and 2: above 0 is labelled",
        ),
        (c.contradictions, f"num_keypoints of {c.contradictions} people contradicts their keypoints: the latter count"),
        (c.outside, f"{c.outside} labelled joints lie outside their images by more than its sides"),
    )
    return [f"annotations {file}: {sentence}" for count, sentence in sentences if count]
