"""COCO's person keypoints: a folder of images and a JSON file of people, as samples."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pycocotools import mask as rle

from rtpe.data.labels import Labels, Person, openpose_points, read_labels
from rtpe.data.labels.outlines import described
from rtpe.data.labels.packed import Records
from rtpe.errors import UserError
from rtpe.geometry import Affine
from rtpe.images import read_image, read_reduced
from rtpe.raster import polygons, warp
from rtpe.skeleton import COCO17, Skeleton
from rtpe.structures import Sample


@dataclass(frozen=True)
class Photograph:
    """An image file of a labelled data set, which must have the size that the labels are of.

    Attributes:
        size_hw: height and width as the labels have it, or None if they do not.
    """

    path: Path
    size_hw: tuple[int, int] | None

    def __str__(self) -> str:
        return str(self.path)

    def read(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB.

        Raises:
            UnreadableImage: see `read_image`.
            UserError: if it is of another size.
        """
        image = read_image(self.path)
        self.check(image.shape[:2], 1)
        return image

    def check(self, size_hw: tuple[int, int], reduction: int) -> None:
        """Refuse an image of another size, given in pixels that many times as large as the file's."""
        if self.size_hw is None or _reduced(self.size_hw, reduction) == size_hw:
            return
        got = read_image(self.path).shape[:2]
        upright = read_image(self.path, upright=True).shape[:2]
        remedy = "take the image that was labelled"
        if got != upright and upright == self.size_hw:
            remedy = "labels are of the upright image: turn the file's pixels as its EXIF says, with `exiftran -ai`"
        raise UserError(
            f"image {self.path}: is of {described(got)}, its labels are of {described(self.size_hw)}: {remedy}, or put "
            "the label file right"
        )


class CocoDataset:
    """The images of one split and their people, in the order of the image ids.

    Attributes:
        labels: of all images of the split, as the file has them.
        labelled_as: the skeleton of the file's labels: of COCO's, OpenPose's joints are made.
        people: by image id, in the joints of `skeleton`.
        bare: ids of images that count as photographs without labels, see `with_share_of_labels`.

    Args:
        root: holds `images/<split>/` and `annotations/person_keypoints_<split>.json`.
        ids: keep only these images; all by default.

    Raises:
        UserError: if a file is missing or no COCO keypoint file, see `rtpe.data.labels.read_labels`.
    """

    def __init__(self, root: str | Path, split: str, skeleton: Skeleton = COCO17, ids: Sequence[int] | None = None):
        self.root, self.split, self.skeleton = Path(root), split, skeleton
        self.annotations = annotation_file(root, split)
        self._index(read_labels(self.annotations, skeleton), ids)

    def _index(self, labels: Labels, ids: Sequence[int] | None) -> None:
        nameless = labels.images.nameless()
        if nameless is not None:
            raise UserError(
                f"annotations {labels.file}: image {nameless}: file_name: expected the name of a file, got nothing: "
                "add it"
            )
        self.labels, self.labelled_as = labels, labels.skeleton
        whole = Records(labels.images, np.arange(len(labels.images)))
        self.records = whole if ids is None else whole.only(ids)
        self.people = labels.people if self.labelled_as == self.skeleton else _AsOpenpose(labels.people)
        self.bare: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self.records)

    @property
    def ids(self) -> list[int]:
        return self.records.ids

    def path(self, index: int) -> Path:
        return self.root / "images" / self.split / self.records[index][1]

    def photograph(self, index: int) -> Photograph:
        return Photograph(self.path(index), self.labels.images[self.records[index][0]].size_hw)

    def sources(self) -> list[tuple[int, str, Photograph]]:
        """Image id, file name and file of every image, as a cache is built from."""
        return [(image_id, name, self.photograph(index)) for index, (image_id, name) in enumerate(self.records)]

    def subset(self, ids: Iterable[int]) -> CocoDataset:
        """The same data set with these images alone."""
        return _with_records(self, self.records.only(ids))

    def with_labels(self) -> CocoDataset:
        """The same data set without the images on which nobody is labelled."""
        return self.subset(i for i in self.ids if i not in self.bare and self.labels.labelled([i]))

    def with_share_of_labels(self, share: float) -> CocoDataset:
        """The same images, of which a fixed choice of this share keeps its labels; the others are bare photographs.

        Raises:
            UserError: if the share is not from 0 to 1.
        """
        other = _with_records(self, self.records)
        other.bare = bare_ids(self.ids, share)
        return other

    def __getitem__(self, image_id: int) -> Sample:
        """The sample of an image.

        Raises:
            KeyError: if it is none of these.
        """
        return self.at(self._place(image_id))

    def __iter__(self) -> Iterator[Sample]:
        return (self.at(index) for index in range(len(self)))

    def at(self, index: int) -> Sample:
        """The sample at a place in the order of the ids."""
        return self.reduced(index, math.inf)

    def _place(self, image_id: int) -> int:
        return self.records.place(image_id)

    def reduced(self, index: int, least: float) -> Sample:
        """The sample halved as often, thrice at most, as its long side keeps `least` pixels.

        Raises:
            UserError: if the image or a mask is of another size than the labels, or the image cannot be read.
        """
        image_id, file_name = self.records[index]
        image, reduction = read_reduced(self.path(index), least)
        frame = image.shape[:2], reduction
        self.photograph(index).check(*frame)
        labelled = image_id not in self.bare
        people = self.people[image_id] if labelled else []
        _refuse_masks_of_others(people, self.path(index), *frame)
        points = [person.points for person in people if person.labelled]
        return Sample(
            image_id=image_id,
            file_name=file_name,
            image=image,
            points=(np.stack(points) / [reduction, reduction, 1]).astype(np.float32)
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


class _AsOpenpose(Mapping[int, list[Person]]):
    """COCO's people with the joints of OpenPose."""

    def __init__(self, people: Mapping[int, list[Person]]):
        self._people = people

    def __getitem__(self, image_id: int) -> list[Person]:
        return [replace(person, points=openpose_points(person.points)) for person in self._people[image_id]]

    def __iter__(self) -> Iterator[int]:
        return iter(self._people)

    def __len__(self) -> int:
        return len(self._people)


def _with_records(dataset: CocoDataset, records: Records) -> CocoDataset:
    other = object.__new__(type(dataset))
    other.__dict__.update(dataset.__dict__, records=records)
    return other


def _refuse_masks_of_others(people: Sequence[Person], path: Path, size_hw: tuple[int, int], reduction: int) -> None:
    sizes = {tuple(person.outline["size"]) for person in people if isinstance(person.outline, dict)}
    for mask_hw in sizes:
        if _reduced(mask_hw, reduction) != size_hw:
            raise UserError(
                f"image {path}: has masks of {described(mask_hw)}, which is not its size: take the image that was "
                "labelled"
            )


def _reduced(size_hw: Sequence[int], reduction: int) -> tuple[int, int]:
    return -(-size_hw[0] // reduction), -(-size_hw[1] // reduction)


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
