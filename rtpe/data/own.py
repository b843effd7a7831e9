"""A data set of one's own: any object that fits `rtpe.protocols.Dataset`, with the surface of `CocoDataset`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rtpe.data.coco import CocoDataset
from rtpe.data.labels import read_labels
from rtpe.errors import UserError
from rtpe.geometry import point_to_index
from rtpe.protocols import Dataset, require_parts
from rtpe.structures import Sample

PARTS = ("skeleton", "ids", "__len__", "__getitem__", "subset")


@dataclass(frozen=True)
class OwnImage:
    """An image of the other data set; it reads itself."""

    data: Dataset
    image_id: int

    def read(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""
        return self.data[self.image_id].image

    def __str__(self) -> str:
        return str(self.image_id)


class OwnDataset(CocoDataset):
    """Another data set, each sample of which is looked at once for the labels of its people.

    Args:
        data: what fits `rtpe.protocols.Dataset`.

    Raises:
        UserError: if it lacks a part, or gives something else than a `Sample`.
    """

    def __init__(self, data: Dataset):
        require_parts(data, "data set", PARTS)
        self.data, self.skeleton = data, data.skeleton
        self.root, self.split = Path(type(data).__name__), str(getattr(data, "split", "all"))
        self.annotations = self.root
        images, annotations = [], []
        for image_id in data.ids:
            sample = _sample(data, image_id)
            height, width = sample.size_hw
            images.append({"id": int(image_id), "file_name": sample.file_name, "height": height, "width": width})
            annotations += [_annotation(image_id, person) for person in sample.points if (person[:, 2] > 0).any()]
        person = {"id": 1, "name": "person", "keypoints": list(data.skeleton.joints)}
        rows = [{**row, "id": number} for number, row in enumerate(annotations, 1)]
        raw = {"images": images, "annotations": rows, "categories": [person]}
        self._index(read_labels(raw, data.skeleton, str(self.root)), None)

    def sources(self) -> list[tuple[int, str, OwnImage]]:
        """Image id, file name and what `read_image` reads, as a cache is built from."""
        return [(image_id, name, OwnImage(self.data, image_id)) for image_id, name in self.records]

    def reduced(self, index: int, least: float) -> Sample:
        """The sample as the other data set gives it; without its labels where they are not used."""
        image_id, _ = self.records[index]
        sample = _sample(self.data, image_id)
        return sample if image_id not in self.bare else _bare(sample)


def as_dataset(data: Any) -> Any:
    """A data set of rtpe as it is, any other object that fits as an `OwnDataset`."""
    return data if hasattr(data, "sources") and hasattr(data, "reduced") else OwnDataset(data)


def _sample(data: Dataset, image_id: int) -> Sample:
    sample = data[image_id]
    if not isinstance(sample, Sample):
        raise UserError(
            f"data set {type(data).__name__}: image {image_id}: expected a Sample, got {type(sample).__name__}"
        )
    return sample


def _annotation(image_id: int, person: np.ndarray) -> dict[str, Any]:
    places = point_to_index(person[:, :2].astype(float))
    seen = person[:, 2:] > 0
    return {
        "image_id": int(image_id),
        "category_id": 1,
        "keypoints": np.hstack([np.where(seen, places, 0), person[:, 2:]]).ravel().tolist(),
        "num_keypoints": int(seen.sum()),
    }


def _bare(sample: Sample) -> Sample:
    return replace(
        sample, points=sample.points[:0], valid=np.ones(sample.size_hw, np.uint8), person=None, labelled=False
    )
