"""What the parts of rtpe expect of each other: any object that fits is a data set or a predictor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rtpe.errors import UserError
from rtpe.images import Readable
from rtpe.skeleton import Skeleton
from rtpe.structures import Boxes, Prediction, Sample

Source = str | Path | Readable
Item = tuple[int, str, Source]  # image id, file name, and what gives the image


class Images(Protocol):
    """A data set, as far as a predictor and a cache know it.

    Attributes:
        root, split: where the images lie, for the record.
        skeleton: the joints of its people.
    """

    root: Path
    split: str
    skeleton: Skeleton

    def sources(self) -> Sequence[Item]:
        """Every image."""
        ...


class Dataset(Protocol):
    """A data set of one's own: images by id, with their people.

    Attributes:
        skeleton: the joints of its people.
        ids: of its images, whole numbers.
    """

    skeleton: Skeleton
    ids: Sequence[int]

    def __len__(self) -> int: ...

    def __getitem__(self, image_id: int) -> Sample:
        """The image of that id and its people."""
        ...

    def subset(self, ids: Iterable[int]) -> Dataset:
        """The same data set with these images alone."""
        ...


class Predictor(Protocol):
    """The contract of every teacher and student.

    Attributes:
        skeleton: the joints of its maps and poses.
        boxes: people's boxes by image id, if it asks for them: whoever calls it gives it those of the images. None, or
            no such attribute, if it looks at whole images and takes them alone.
        min_score: people of a lower score are doubtful; None, or no such attribute, if nobody has measured it.
    """

    skeleton: Skeleton
    boxes: Mapping[int, Boxes] | None = None
    min_score: float | None = None

    def __call__(self, images: Sequence[np.ndarray], boxes: Sequence[Boxes] | None = None) -> list[Prediction]:
        """Predict (H, W, 3) uint8 RGB images of any sizes; one prediction each, in original-image pixels."""
        ...

    def describe(self) -> dict:
        """Who speaks: plain values, equal for equal predictors; at least `name`, `weights_sha256` and `settings`."""
        ...


def require_parts(thing: Any, what: str, parts: Sequence[str]) -> None:
    """Look whether an object has what a protocol asks for.

    Raises:
        UserError: for the first part that it lacks.
    """
    for part in parts:
        if not hasattr(thing, part):
            kind = type(thing).__name__
            raise UserError(f"{what} {kind}: lacks `{part}`: see rtpe.protocols for what a {what} has")


def require_predictor(thing: Any) -> None:
    """Raise UserError if an object is no predictor."""
    require_parts(thing, "predictor", ("__call__", "skeleton", "describe"))
