"""Several data sets as one, and what the cache of each holds."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from rtpe.cache import Cache
from rtpe.data.coco import CocoDataset
from rtpe.data.folder import FolderDataset
from rtpe.errors import UserError
from rtpe.structures import Prediction, Sample


class Concat:
    """The images of all parts in the order of the parts, to learn from; labelled ones and bare photographs may mix.

    An image's id is its place in the whole, for parts may number their images alike.

    Raises:
        UserError: if there is no part, a data set is there twice, or their skeletons differ.
    """

    def __init__(self, parts: Sequence[CocoDataset | FolderDataset]):
        if not parts:
            raise UserError("nothing to join: name at least one data set")
        self.parts, self.skeleton = list(parts), parts[0].skeleton
        names = [(part.root.resolve(), part.split) for part in parts]
        for part, name in zip(parts, names):
            if part.skeleton != self.skeleton:
                raise UserError(f"data {part.root}: has {part.skeleton.name}, {parts[0].root} {self.skeleton.name}")
            if names.count(name) > 1:
                raise UserError(f"data {part.root}: {part.split} would be learnt from twice: name it once")
        self._starts = np.cumsum([0, *map(len, self.parts)])
        self._places: Sequence[int] = range(self._starts[-1])

    def __len__(self) -> int:
        return len(self._places)

    @property
    def ids(self) -> list[int]:
        return list(self._places)

    def subset(self, ids: Sequence[int]) -> Concat:
        """The same with these images alone, known by the same ids."""
        wanted, other = set(ids), copy.copy(self)
        other._places = [image_id for image_id in self.ids if image_id in wanted]
        return other

    def with_labels(self) -> Concat:
        """The same without the images on which nobody is labelled."""
        seen = {id(part): set(part.with_labels().ids) for part in self.parts}
        return self.subset(
            [image_id for image_id in self.ids if self.own_id(image_id) in seen[id(self.part(image_id))]]
        )

    def part(self, image_id: int) -> CocoDataset | FolderDataset:
        """The data set that an image comes from."""
        return self.parts[self._origin(image_id)[0]]

    def own_id(self, image_id: int) -> int:
        """The id of an image in the data set that it comes from."""
        number, index = self._origin(image_id)
        return self.parts[number].records[index][0]

    def part_number(self, image_id: int) -> int:
        """Which of the parts it is."""
        return self._origin(image_id)[0]

    def _origin(self, image_id: int) -> tuple[int, int]:
        """The number of its part, and its place there; looked up, for each process would copy a list of them."""
        number = int(np.searchsorted(self._starts, image_id, side="right")) - 1
        return number, image_id - int(self._starts[number])

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
        place = int(np.searchsorted(self._places, image_id))
        if place == len(self._places) or self._places[place] != image_id:
            raise KeyError(image_id)
        return place

    def reduced(self, index: int, least: float) -> Sample:
        """See `CocoDataset.reduced`."""
        image_id = self._places[index]
        number, own_index = self._origin(image_id)
        return replace(self.parts[number].reduced(own_index, least), image_id=image_id)


class ConcatCaches:
    """What was said of the images of a joined data set.

    Args:
        caches: one for each part.
        person_thresholds: for each part, the score that a person needs to be one; without them all people are there.
    """

    @property
    def caches(self) -> list[Cache]:
        """One for each part."""
        return [cache for cache, _ in self._of_part]

    def __init__(self, images: Concat, caches: Sequence[Cache], person_thresholds: Sequence[float] = ()):
        thresholds = person_thresholds or [-math.inf] * len(caches)
        self._images, self._of_part = images, list(zip(caches, thresholds, strict=True))

    def __contains__(self, image_id: int) -> bool:
        cache, _ = self._of_part[self._images.part_number(image_id)]
        return self._images.own_id(image_id) in cache

    def load(self, image_id: int) -> Prediction:
        """See `Cache.load`."""
        cache, threshold = self._of_part[self._images.part_number(image_id)]
        told = cache.load(self._images.own_id(image_id))
        return replace(told, poses=told.poses.only(told.poses.person_scores >= threshold))
