"""One person a sample: the part of a photograph in the box of each labelled person."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rtpe.data.coco import CocoDataset, Photograph, bare_ids
from rtpe.data.labels import Image, Labels, Person
from rtpe.errors import UserError
from rtpe.images import UnreadableImage
from rtpe.structures import Sample

CROWDED = 1 << 12  # more people than an image ever has: what tells the ids of its crops apart


@dataclass(frozen=True)
class Crop:
    """A person's part of an image file.

    Attributes:
        corners: left, top, right, bottom in whole pixels of the file, right and bottom excluded, perhaps beyond it.
    """

    photograph: Photograph
    corners: tuple[int, int, int, int]

    @property
    def path(self) -> Path:
        """Of the photograph's file."""
        return self.photograph.path

    def read(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB; raises as `Photograph.read`."""
        return self.of(self.photograph.read())

    def of(self, whole: np.ndarray) -> np.ndarray:
        """This part of an image or mask of the file's size.

        Raises:
            UnreadableImage: if it lies outside.
        """
        left, top, right, bottom = self.corners
        part = whole[top:bottom, left:right]
        if not part.size:
            raise UnreadableImage(f"image {self.path}: a person's box, {self.corners}, lies outside of it")
        return part


class PersonCrops:
    """The labelled people of a data set, each an image of its own, with the surface of `CocoDataset`.

    A crop ends where the image does. Its name has its corners, for changed labels make another crop of the same number.
    Only its own person is labelled in it, in the joints of the data set's skeleton.

    Attributes:
        people: the one person of each crop, by its id, without an outline.
        annotations: the file of the labels.
        labels: of the crops, in their frames.
        bare: ids of crops that count as photographs without labels, see `CocoDataset.with_share_of_labels`.

    Args:
        padding: the crop's sides over those of the person's box.

    Raises:
        UserError: if the padding is not above 0.
    """

    def __init__(self, whole: CocoDataset, padding: float = 1.0):
        if padding <= 0:
            raise UserError(f"crops: expected a factor above 0 on the sides of the box, got {padding}")
        self.whole, self.root, self.skeleton = whole, whole.root, whole.skeleton
        self.labelled_as = whole.skeleton
        self.split = f"{whole.split}, people times {padding:g}"
        self.records: list[tuple[int, str]] = []
        self.crops: dict[int, tuple[int, Crop]] = {}
        self.people: dict[int, list[Person]] = {}
        for place, (image_id, name) in enumerate(whole.records):
            for number, person in enumerate(whole.people[image_id]):
                if person.labelled and (person.box_xywh[2:] > 0).all():
                    crop = Crop(whole.photograph(place), _corners(person.box_xywh, padding))
                    crop_id = image_id * CROWDED + number
                    self.crops[crop_id] = place, crop
                    self.people[crop_id] = [_moved(person, crop.corners[:2])]
                    self.records.append((crop_id, f"{name}#{number}:{','.join(map(str, crop.corners))}"))
        self.annotations = whole.annotations
        images = {crop_id: Image(name) for crop_id, name in self.records}
        self.labels = Labels(whole.labels.file, self.skeleton, images, self.people, whole.labels.category)
        self.bare: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self.records)

    @property
    def ids(self) -> list[int]:
        return [crop_id for crop_id, _ in self.records]

    def sources(self) -> list[tuple[int, str, Crop]]:
        """Crop id, name and what `read_image` reads, as a cache is built from."""
        return [(crop_id, name, self.crops[crop_id][1]) for crop_id, name in self.records]

    def subset(self, ids: Sequence[int]) -> PersonCrops:
        """The same data set with these crops alone."""
        wanted, other = set(ids), copy.copy(self)
        other.records = [record for record in self.records if record[0] in wanted]
        return other

    def with_labels(self) -> PersonCrops:
        """The same data set without those that count as photographs without labels."""
        return self.subset(set(self.ids) - self.bare)

    def with_share_of_labels(self, share: float) -> PersonCrops:
        """See `CocoDataset.with_share_of_labels`."""
        other = copy.copy(self)
        other.bare = bare_ids(self.ids, share)
        return other

    def reduced(self, index: int, least: float) -> Sample:
        """The whole crop, which is small enough: it is read out of the whole photograph."""
        return self.at(index)

    def __getitem__(self, image_id: int) -> Sample:
        """The sample of an image.

        Raises:
            KeyError: if it is none of these.
        """
        if image_id not in self.ids:
            raise KeyError(image_id)
        return self.at(self.ids.index(image_id))

    def __iter__(self) -> Iterator[Sample]:
        return (self.at(index) for index in range(len(self)))

    def at(self, index: int) -> Sample:
        """The sample at a place in the order of the ids."""
        crop_id, name = self.records[index]
        place, crop = self.crops[crop_id]
        whole, labelled = self.whole.at(place), crop_id not in self.bare
        points = self.people[crop_id][0].points[None]
        return Sample(
            image_id=crop_id,
            file_name=name,
            image=crop.of(whole.image),
            points=points if labelled else points[:0],
            valid=crop.of(whole.valid) if labelled else np.ones(crop.of(whole.valid).shape, np.uint8),
            person=crop.of(whole.person) if labelled and whole.person is not None else None,
            skeleton=self.skeleton,
            labelled=labelled,
        )


def _corners(box_xywh: np.ndarray, padding: float) -> tuple[int, int, int, int]:
    """The box, grown about its middle and out to whole pixels, but not to the left of the image or above it."""
    low, sides = box_xywh[:2].astype(float), box_xywh[2:].astype(float)
    grown = sides * (padding - 1) / 2
    left, top = np.floor(low - grown).clip(min=0).astype(int).tolist()
    right, bottom = np.ceil(low + sides + grown).clip(min=0).astype(int).tolist()
    return left, top, right, bottom


def _moved(person: Person, origin: tuple[int, int]) -> Person:
    """The person in a frame that begins at the origin; joints without a label stay 0, 0, 0."""
    points = (person.points - np.float32([*origin, 0])) * (person.points[:, 2:] > 0)
    box = person.box_xywh - np.float32([*origin, 0, 0])
    head = None if person.head_box is None else tuple(np.subtract(person.head_box, [*origin, *origin]).tolist())
    return replace(person, points=points, box_xywh=box, outline=[], head_box=head)
