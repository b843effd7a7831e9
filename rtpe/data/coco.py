"""COCO's person keypoints: a folder of images and a JSON file of people, as samples."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle

from rtpe.errors import UserError
from rtpe.geometry import Affine, index_to_point
from rtpe.images import polygons, read_reduced, warp
from rtpe.skeleton import COCO17, OPENPOSE18, Skeleton
from rtpe.structures import Sample

# where each of OpenPose's joints stands among COCO's and a neck
_OPENPOSE_ORDER = [(*COCO17.joints, "neck").index(joint) for joint in OPENPOSE18.joints]
_SHOULDERS = [COCO17.joints.index(f"{side}_shoulder") for side in ("left", "right")]


@dataclass(frozen=True)
class Person:
    """One annotation as it stands in the file, its points already in our pixel convention.

    Attributes:
        points: (K, 3) float32 x, y, visibility.
        box_xywh: (4,) float32 in pixels.
        area: square pixels of the body; the scale of its OKS.
        outline: polygons or RLE as in the file.
        crowd: a region of many people without labels.
        head_box: corners x, y, x, y of the head in the file's pixel indices, as MPII labels it; or None.
    """

    points: np.ndarray
    box_xywh: np.ndarray
    area: float
    outline: list | dict
    crowd: bool
    head_box: tuple[float, ...] | None = None

    @property
    def labelled(self) -> bool:
        return not self.crowd and bool((self.points[:, 2] > 0).any())


class CocoDataset(Sequence):
    """The images of one split and their people, in the order of the image ids.

    Attributes:
        labelled_as: the skeleton of the file's labels: of COCO's, OpenPose's joints are made.
        sizes: height and width of the images by id, of those of which the file has them.
        bare: ids of images that count as photographs without labels, see `with_share_of_labels`.

    Args:
        root: holds `images/<split>/` and `annotations/person_keypoints_<split>.json`.
        ids: keep only these images; all by default.

    Raises:
        UserError: if a file is missing or no COCO keypoint file, or holds another skeleton, or masks of another size
            than their images.
    """

    def __init__(self, root: str | Path, split: str, skeleton: Skeleton = COCO17, ids: Sequence[int] | None = None):
        self.root, self.split, self.skeleton = Path(root), split, skeleton
        self.annotations = annotation_file(root, split)
        self._index(_read_coco(self.annotations), self.annotations, ids)

    def _index(self, raw: dict, path: Path, ids: Sequence[int] | None) -> None:
        self.labelled_as = _labelled_as(raw, self.skeleton)
        self.sizes = {int(each["id"]): (each["height"], each["width"]) for each in raw["images"] if "height" in each}
        people = _people(raw, path, self.labelled_as, self.skeleton)
        wanted = None if ids is None else set(ids)
        self.records = sorted(
            (int(image["id"]), str(image["file_name"]))
            for image in raw["images"]
            if wanted is None or image["id"] in wanted
        )
        self.people = {image_id: people.get(image_id, []) for image_id, _ in self.records}
        self.bare: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self.records)

    @property
    def ids(self) -> list[int]:
        return [image_id for image_id, _ in self.records]

    def path(self, index: int) -> Path:
        return self.root / "images" / self.split / self.records[index][1]

    def sources(self) -> list[tuple[int, str, Path]]:
        """Image id, file name and path of every image, as a cache is built from."""
        return [(image_id, name, self.path(index)) for index, (image_id, name) in enumerate(self.records)]

    def only(self, ids: Sequence[int]) -> CocoDataset:
        """The same data set with these images alone."""
        wanted = set(ids)
        return _with_records(self, [record for record in self.records if record[0] in wanted])

    def with_labels(self) -> CocoDataset:
        """The same data set without the images on which nobody is labelled."""
        seen = {i for i in self.ids if i not in self.bare and any(person.labelled for person in self.people[i])}
        return self.only(seen)

    def with_share_of_labels(self, share: float) -> CocoDataset:
        """The same images, of which a fixed choice of this share keeps its labels; the others are bare photographs.

        Raises:
            UserError: if the share is not from 0 to 1.
        """
        other = _with_records(self, self.records)
        other.bare = bare_ids(self.ids, share)
        return other

    def __getitem__(self, index: int) -> Sample:
        return self.reduced(index, math.inf)

    def reduced(self, index: int, least: float) -> Sample:
        """The sample halved as often, thrice at most, as its long side keeps `least` pixels.

        Raises:
            UserError: if a mask is of another size than the image, or the image cannot be read.
        """
        image_id, file_name = self.records[index]
        image, reduction = read_reduced(self.path(index), least)
        frame = image.shape[:2], reduction
        labelled = image_id not in self.bare
        people = self.people[image_id] if labelled else []
        _refuse_masks_of_others(people, self.path(index), *frame)
        points = [person.points for person in people if person.labelled]
        return Sample(
            image_id=image_id,
            file_name=file_name,
            image=image,
            points=np.stack(points) / np.float32([reduction, reduction, 1])
            if points
            else np.zeros((0, len(self.skeleton), 3), np.float32),
            valid=1 - _union([person for person in people if not person.labelled], *frame),
            person=_person_mask(people, *frame) if labelled else None,
            skeleton=self.skeleton,
            labelled=labelled,
            reduction=reduction,
        )


def annotation_file(root: str | Path, split: str) -> Path:
    return Path(root) / "annotations" / f"person_keypoints_{split}.json"


def fixed_choice(ids: Sequence[int], count: int) -> list[int]:
    """As many of these ids; which ones depends on the ids alone, so every run makes the same choice."""
    return sorted(sorted(ids, key=lambda image_id: (zlib.crc32(str(image_id).encode()), image_id))[:count])


def bare_ids(ids: Sequence[int], share: float) -> frozenset[int]:
    """All but a fixed choice of this share of the ids.

    Raises:
        UserError: if the share is not from 0 to 1.
    """
    if not 0 <= share <= 1:
        raise UserError(f"data.labels: expected a share from 0 to 1, got {share}")
    return frozenset(ids) - frozenset(fixed_choice(ids, round(share * len(ids))))


def _with_records(dataset: CocoDataset, records: list) -> CocoDataset:
    other = object.__new__(type(dataset))
    other.__dict__.update(dataset.__dict__, records=records)
    return other


def read_json(path: Path) -> Any:
    """What an annotation file says.

    Raises:
        UserError: if it cannot be read, or is no JSON.
    """
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"annotations {path}: {error.strerror or error}: check --data.root and --data.split") from error
    except ValueError as error:  # no JSON, or no text at all
        raise UserError(f"annotations {path}: not JSON ({error}): download it again") from error


def _read_coco(path: Path) -> dict:
    raw = read_json(path)
    if not isinstance(raw, dict) or not {"images", "annotations"} <= raw.keys():
        raise UserError(f"annotations {path}: expected a COCO file with images and annotations")
    return raw


def _labelled_as(raw: dict, skeleton: Skeleton) -> Skeleton:
    """The skeleton of the labels: the one that is asked for, or COCO's, which has all but the neck of OpenPose's."""
    counts = {len(row["keypoints"]) for row in raw["annotations"] if row.get("keypoints")}
    return COCO17 if skeleton == OPENPOSE18 and counts == {3 * len(COCO17)} else skeleton


def _people(raw: dict, path: Path, labelled_as: Skeleton, skeleton: Skeleton) -> dict[int, list[Person]]:
    people: dict[int, list[Person]] = {}
    # a file of bare names says no sizes: then the images do, when they are read
    sizes = {image["id"]: (image["height"], image["width"]) for image in raw["images"] if "height" in image}
    for row in raw["annotations"]:
        person = _person(row, path, labelled_as)
        _refuse_mask_of_another(row, path, sizes.get(row["image_id"]))
        if labelled_as != skeleton:
            person = replace(person, points=openpose_points(person.points))
        people.setdefault(int(row["image_id"]), []).append(person)
    return people


def openpose_points(points: np.ndarray) -> np.ndarray:
    """COCO's joints, (17, 3) x, y and visibility, as OpenPose's, (18, 3): with a neck midway between two shoulders."""
    shoulders = points[_SHOULDERS]
    neck = np.append(shoulders[:, :2].mean(0), 2) * (shoulders[:, 2] > 0).all()
    return np.vstack([points, neck])[_OPENPOSE_ORDER].astype(points.dtype)


def _person(row: dict, path: Path, skeleton: Skeleton) -> Person:
    numbers = row.get("keypoints") or [0] * 3 * len(skeleton)  # an unlabelled person may lack them altogether
    if len(numbers) != 3 * len(skeleton):
        raise UserError(
            f"{path}: annotation {row.get('id')} has {len(numbers) / 3:g} keypoints, skeleton {skeleton.name} has "
            f"{len(skeleton)}: pass --data.skeleton"
        )
    points = np.array(numbers, np.float32).reshape(-1, 3)
    points[:, :2] = index_to_point(points[:, :2])
    points[points[:, 2] <= 0] = 0
    box = np.array(row.get("bbox") or [0, 0, 0, 0], np.float32)
    outline, area = row.get("segmentation") or [], float(row.get("area") or box[2] * box[3])
    return Person(points, box, area, outline, bool(row.get("iscrowd", 0)), row.get("head_box"))


def _refuse_mask_of_another(row: dict, path: Path, size_hw: tuple | None) -> None:
    runs = row.get("segmentation")
    if isinstance(runs, dict) and size_hw and tuple(runs["size"]) != size_hw:
        raise UserError(
            f"{path}: annotation {row.get('id')} has a mask of {_told(runs['size'])}, its image {row['image_id']} is "
            f"of {_told(size_hw)}: correct or remove it"
        )


def _refuse_masks_of_others(people: Sequence[Person], path: Path, size_hw: tuple[int, int], reduction: int) -> None:
    sizes = {tuple(person.outline["size"]) for person in people if isinstance(person.outline, dict)}
    for mask_hw in sizes:
        if tuple(-(-side // reduction) for side in mask_hw) != size_hw:
            raise UserError(
                f"image {path}: has masks of {_told(mask_hw)}, which is not its size: take the image that was labelled"
            )


def _told(size_hw: Sequence[int]) -> str:
    return f"height {size_hw[0]}, width {size_hw[1]}"


def _mask(person: Person, size_hw: tuple[int, int], reduction: int) -> np.ndarray:
    """(H, W) uint8: the outline if there is one, else the box."""
    if isinstance(person.outline, dict):
        return _decoded(person.outline, size_hw, reduction)
    if person.outline:
        rings = [np.array(ring, np.float64).reshape(-1, 2) / reduction for ring in person.outline]
        return polygons(size_hw, rings)
    mask = np.zeros(size_hw, np.uint8)
    box = person.box_xywh / reduction
    left, top = box[:2].clip(min=0)
    right, bottom = np.ceil(box[:2] + box[2:]).clip(min=0)
    mask[int(top) : int(bottom), int(left) : int(right)] = 1
    return mask


def _decoded(runs: dict, size_hw: tuple[int, int], reduction: int) -> np.ndarray:
    """The mask of an RLE, a pixel counting if half of it does."""
    runs = rle.frPyObjects(runs, *runs["size"]) if isinstance(runs["counts"], list) else runs
    mask = rle.decode(runs)
    if reduction == 1:
        return mask
    return (warp(mask * np.uint8(255), Affine.scaling(1 / reduction), size_hw) > 127).astype(np.uint8)


def _union(people: Sequence[Person], size_hw: tuple[int, int], reduction: int) -> np.ndarray:
    union = np.zeros(size_hw, np.uint8)
    for person in people:
        union |= _mask(person, size_hw, reduction)
    return union


def _person_mask(people: Sequence[Person], size_hw: tuple[int, int], reduction: int) -> np.ndarray | None:
    """The union of the outlines; None if somebody has none, for a box is no body."""
    return _union(people, size_hw, reduction) if all(len(person.outline) for person in people) else None
