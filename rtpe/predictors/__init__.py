"""Predictors: anything that turns images into pose maps and people, and so can teach, be scored, exported or shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from rtpe.skeleton import Skeleton
from rtpe.structures import Boxes, Prediction


class Predictor(Protocol):
    """The contract of every teacher and student.

    Attributes:
        skeleton: the joints of its maps and poses.
        boxes: people's boxes by image id, if it asks for them: whoever calls it gives it those of the images. None, or
            no such attribute, if it looks at whole images and takes them alone.
        least: people of a lower score are doubtful; None, or no such attribute, if nobody has measured it.
    """

    skeleton: Skeleton
    boxes: Mapping[int, Boxes] | None = None
    least: float | None = None

    def __call__(self, images: Sequence[np.ndarray], boxes: Sequence[Boxes] | None = None) -> list[Prediction]:
        """Predict (H, W, 3) uint8 RGB images of any sizes; one prediction each, in original-image pixels."""
        ...

    def describe(self) -> dict:
        """Who speaks: plain values, equal for equal predictors; at least `name`, `weights_sha256` and `settings`."""
        ...
