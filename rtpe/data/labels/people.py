"""Labelled people as values: what an annotation file holds after it was read and checked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rtpe.geometry import point_to_index
from rtpe.skeleton import COCO17, OPENPOSE18

# where each of OpenPose's joints stands among COCO's and a neck
_OPENPOSE_ORDER = [(*COCO17.joints, "neck").index(joint) for joint in OPENPOSE18.joints]
_SHOULDERS = [COCO17.joints.index(f"{side}_shoulder") for side in ("left", "right")]


@dataclass(frozen=True)
class Person:
    """One annotation, its points already in our pixel convention.

    Attributes:
        points: (K, 3) float64 x, y, visibility; 0, 0, 0 for a joint without a label.
        box_xywh: (4,) float64 in pixels; 0 if neither box nor joints tell it.
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

    @property
    def keypoints(self) -> np.ndarray:
        """(K, 3) as in a COCO file: x and y are pixel indices."""
        seen = self.points[:, 2:] > 0
        return np.where(seen, np.column_stack([point_to_index(self.points[:, :2]), self.points[:, 2]]), 0)


@dataclass(frozen=True, slots=True)
class Image:
    """An image as an annotation file lists it.

    Attributes:
        file_name: empty if the file has none, as files that only scores are made of may.
        size_hw: height and width in pixels; None if the file does not have both.
    """

    file_name: str
    size_hw: tuple[int, int] | None = None


def openpose_points(points: np.ndarray) -> np.ndarray:
    """COCO's joints, (17, 3) x, y and visibility, as OpenPose's, (18, 3): with a neck midway between two shoulders."""
    shoulders = points[_SHOULDERS]
    neck = np.append(shoulders[:, :2].mean(0), 2) * (shoulders[:, 2] > 0).all()
    return np.vstack([points, neck])[_OPENPOSE_ORDER].astype(points.dtype)
