"""The values that pass from stage to stage: a sample, the maps of an image, the people found in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from rtpe.draw import draw_people
from rtpe.errors import UserError
from rtpe.geometry import Affine, point_to_index
from rtpe.heads import HEADS
from rtpe.skeleton import Skeleton


@dataclass(frozen=True)
class Poses:
    """People found in, or labelled on, one image.

    Legend: P people, K joints.

    Attributes:
        points: (P, K, 2) float32 (x, y) in original-image pixels.
        scores: (P, K) float32 confidence of each joint; 0 where it was not found (its point then means nothing).
        person_scores: (P,) float32.

    Raises:
        UserError: if the shapes disagree.
    """

    points: np.ndarray
    scores: np.ndarray
    person_scores: np.ndarray
    skeleton: Skeleton

    def __post_init__(self):
        for name in ("points", "scores", "person_scores"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), np.float32))
        people, joints = len(self.person_scores), len(self.skeleton)
        if self.points.shape != (people, joints, 2) or self.scores.shape != (people, joints):
            raise UserError(
                f"poses: expected points ({people}, {joints}, 2) and scores ({people}, {joints}) for "
                f"{self.skeleton.name}, got {self.points.shape} and {self.scores.shape}"
            )

    def __len__(self) -> int:
        return len(self.person_scores)

    @classmethod
    def none(cls, skeleton: Skeleton) -> Poses:
        return cls(np.zeros((0, len(skeleton), 2)), np.zeros((0, len(skeleton))), np.zeros(0), skeleton)

    def only(self, index) -> Poses:
        """The people at these indices, or where this mask is true, in that order."""
        return replace(
            self, points=self.points[index], scores=self.scores[index], person_scores=self.person_scores[index]
        )

    def moved(self, affine: Affine) -> Poses:
        """The same people in another frame."""
        return replace(self, points=affine(self.points))

    def draw(self, image: np.ndarray, threshold: float = 0.1) -> np.ndarray:
        """The image, (H, W, 3) uint8 RGB, with the people over it; joints of a lower score are left out."""
        return draw_people(image, self.points, self.scores, self.skeleton, threshold)

    def to_coco(self, image_id: int, category: int = 1) -> list[dict]:
        """Rows of a COCO results file, whose points are pixel indices; a joint that was not found is 0, 0, 0.

        Args:
            category: people's number in the labels.
        """
        found = self.scores[..., None] > 0
        rows = np.where(found, np.dstack([point_to_index(self.points), self.scores]), 0).astype(float)
        # without a box pycocotools takes one around all joints, down to the 0, 0 of a missing one
        low, high = (edge(axis=1) for edge in (np.where(found, rows, np.inf).min, np.where(found, rows, -np.inf).max))
        return [
            {
                "image_id": int(image_id),
                "category_id": category,
                "keypoints": person.ravel().tolist(),
                "bbox": [x, y, right - x, bottom - y],
                "score": float(score),
            }
            for person, score, (x, y, _), (right, bottom, _) in zip(
                rows, self.person_scores, low.tolist(), high.tolist(), strict=True
            )
            if person.any()
        ]

    def to_supervision(self):
        """`supervision.KeyPoints` of the people, whose points are pixel indices; needs the package supervision."""
        import supervision

        return supervision.KeyPoints(xy=point_to_index(self.points), confidence=self.scores)

    def as_skeleton(self, skeleton: Skeleton) -> Poses:
        """The joints that another skeleton asks for, in its order; see `Skeleton.order_in`."""
        order = skeleton.order_in(self.skeleton)
        return Poses(self.points[:, order], self.scores[:, order], self.person_scores, skeleton)


@dataclass(frozen=True)
class Boxes:
    """Where people are in one image, before anybody looks for their joints.

    Attributes:
        xywh: (P, 4) float32 left, top, width, height in original-image pixels.
        scores: (P,) float32 confidence of each; 1 if it is the truth.

    Raises:
        UserError: if the shapes disagree, or a box has no area.
    """

    xywh: np.ndarray
    scores: np.ndarray

    def __post_init__(self):
        for name in ("xywh", "scores"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), np.float32))
        if self.xywh.shape != (len(self), 4) or self.scores.shape != (len(self),):
            raise UserError(f"boxes: expected (P, 4) and scores (P,), got {self.xywh.shape} and {self.scores.shape}")
        if not (np.isfinite(self.xywh).all() and (self.xywh[:, 2:] > 0).all()):
            raise UserError("boxes: expected finite left, top, width and height, the last two above 0")

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def none(cls) -> Boxes:
        return cls(np.zeros((0, 4)), np.zeros(0))


@dataclass(frozen=True)
class PoseMaps:
    """Dense maps of one image, and where they lie in it.

    Legend: K joints, L limbs, h x w cells.

    Attributes:
        heatmaps: (K, h, w) float32, one peak of height about 1 per visible joint.
        to_image: maps a cell coordinate (x, y), cell centers at + 0.5, to original-image pixels.
        image_hw: height and width of the original image.
        others: (C, h, w) float32 each, by the names of `rtpe.heads.HEADS`, such as `offsets`; (T, K, h, w) of `tags`,
            where T is 2 if a flipped run added its own numbering. A cache keeps tags alone.
        peak_sigma: how wide the peaks of the heatmaps are, a standard deviation in cells; None where it is unknown.

    Raises:
        UserError: if the shapes disagree with the skeleton or with each other.
    """

    heatmaps: np.ndarray
    to_image: Affine
    image_hw: tuple[int, int]
    skeleton: Skeleton
    others: Mapping[str, np.ndarray] = field(default_factory=dict)
    peak_sigma: float | None = None

    def __post_init__(self):
        joints = len(self.skeleton)
        if self.heatmaps.ndim != 3 or len(self.heatmaps) != joints:
            raise UserError(f"heatmaps: expected ({joints}, h, w) for {self.skeleton.name}, got {self.heatmaps.shape}")
        for name, maps in self.others.items():
            head, runs = HEADS[name], () if HEADS[name].averaged else ("T",)
            channels = "2 L" if head.of == "limbs" else head.channels(joints)
            want = (*runs, channels, *self.size_hw)
            if maps.ndim != len(want) or not all(
                w in ("T", got) or (w == "2 L" and got % 2 == 0) for w, got in zip(want, maps.shape)
            ):
                raise UserError(f"{name}: expected ({', '.join(map(str, want))}), got {maps.shape}")

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.heatmaps.shape[1:]

    def __getattr__(self, name: str) -> np.ndarray | None:
        """The maps of a head by its name, such as `maps.tags`; None where there are none."""
        if name not in HEADS:
            raise AttributeError(name)
        return self.others.get(name)

    def as_skeleton(self, skeleton: Skeleton) -> PoseMaps:
        """The channels that another skeleton asks for, in its order; fields of the old limbs are left behind."""
        order = skeleton.order_in(self.skeleton)
        others = {name: _reordered(maps, HEADS[name].of, order) for name, maps in self.others.items()}
        others = {name: maps for name, maps in others.items() if HEADS[name].of != "limbs"}
        return replace(self, heatmaps=self.heatmaps[order], others=others, skeleton=skeleton)


def _reordered(maps: np.ndarray, of: str, order: Sequence[int]) -> np.ndarray:
    if of == "joints":
        return maps[..., order, :, :]
    if of == "vectors":
        return maps.reshape(-1, 2, *maps.shape[1:])[order].reshape(-1, *maps.shape[1:])
    return maps


@dataclass(frozen=True)
class Prediction:
    """What a predictor says about one image: its maps, and the people it reads from them."""

    maps: PoseMaps
    poses: Poses


@dataclass(frozen=True)
class Sample:
    """An image, its people, its masks.

    Legend: P people, K joints, H x W pixels.

    Attributes:
        image_id: unique in its data set.
        file_name: as the data set calls it.
        image: (H, W, 3) uint8 RGB.
        points: (P, K, 3) float32 x, y in image pixels and visibility: 0 not labelled, 1 hidden, 2 seen.
        valid: (H, W) uint8, 0 where people are but nobody labelled their joints (crowds), else 1.
        person: (H, W) uint8, 1 where a person's body is, or None where nobody drew it.
        labelled: False for a bare photograph, in which nobody looked for people.
        reduction: the side of one of these pixels, in which all is given, in pixels of the file.
    """

    image_id: int
    file_name: str
    image: np.ndarray
    points: np.ndarray
    valid: np.ndarray
    skeleton: Skeleton
    person: np.ndarray | None = None
    labelled: bool = True
    reduction: int = 1

    def __post_init__(self):
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise UserError(
                f"image {self.file_name}: expected (H, W, 3) uint8, got {self.image.shape} {self.image.dtype}"
            )
        if self.points.ndim != 3 or self.points.shape[1:] != (len(self.skeleton), 3):
            raise UserError(
                f"points of {self.file_name}: expected (P, {len(self.skeleton)}, 3) for {self.skeleton.name}, "
                f"got {self.points.shape}"
            )
        for name in ("valid", "person"):
            mask = getattr(self, name)
            if mask is not None and mask.shape != self.size_hw:
                raise UserError(f"{name} mask of {self.file_name}: expected {self.size_hw}, got {mask.shape}")

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.image.shape[:2]

    @property
    def to_image(self) -> Affine:
        """From these pixels to the file's."""
        return Affine.scaling(self.reduction)
