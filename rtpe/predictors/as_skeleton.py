"""A predictor of more joints than are asked for, or of the same ones in another order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rtpe.predictors.pictures import OfPictures
from rtpe.protocols import Predictor
from rtpe.skeleton import Skeleton
from rtpe.structures import Boxes, Prediction


@dataclass
class AsSkeleton(OfPictures):
    """What another predictor says, in the joints of this skeleton.

    Raises:
        UserError: if the other one lacks one of the joints.
    """

    predictor: Predictor
    skeleton: Skeleton

    def __post_init__(self):
        self.skeleton.order_in(self.predictor.skeleton)

    def __call__(self, images: Sequence[np.ndarray], *also) -> list[Prediction]:
        """As of the other predictor, which is given the same, maps and people alike."""
        return [
            Prediction(found.maps.as_skeleton(self.skeleton), found.poses.as_skeleton(self.skeleton))
            for found in self.predictor(images, *also)
        ]

    @property
    def boxes(self) -> Mapping[int, Boxes] | None:
        """Those that the other one asks for, if it does."""
        return getattr(self.predictor, "boxes", None)

    @property
    def batch(self) -> int:
        """Images that it takes at once."""
        return getattr(self.predictor, "batch", 8)

    @property
    def min_score(self) -> float | None:
        """That of the other one."""
        return getattr(self.predictor, "min_score", None)

    def describe(self) -> dict:
        """Who speaks, and of which joints it knows."""
        said = self.predictor.describe()
        return {**said, "settings": {**said["settings"], "skeleton": self.predictor.skeleton.name}}
