"""People found twice: the weaker copy goes."""

from __future__ import annotations

import numpy as np

from rtpe.structures import Poses


def pose_similarity(poses: Poses) -> np.ndarray:
    """How much of each person another one repeats, (P, P) in 0..1: [i, j] is the share of j's joints that i explains.

    A joint of j counts as much as COCO's object keypoint similarity says of its distance to the same joint of i
    (https://cocodataset.org/#keypoints-eval), and 0 if i lacks it; the scale is the larger of both people's boxes.
    """
    found = poses.scores > 0
    points = poses.points.astype(np.float64)
    both = found[:, None] & found[None]
    squared = ((points[:, None] - points[None]) ** 2).sum(axis=-1)
    areas = _box_areas(points, found)
    scale = np.maximum(np.maximum.outer(areas, areas), np.finfo(np.float32).tiny)[..., None]
    falloff = 2 * (2 * np.array(poses.skeleton.sigmas)) ** 2
    alike = np.exp(-squared / (scale * falloff)) * both
    return alike.sum(axis=-1) / np.maximum(found.sum(axis=-1), 1)


def suppress(poses: Poses, threshold: float) -> Poses:
    """The people from high to low person score, without those whom a better one repeats by more than the threshold."""
    poses = poses.only(np.argsort(-poses.person_scores, kind="stable"))
    repeats = pose_similarity(poses) > threshold
    kept = np.ones(len(poses), bool)
    for person in range(len(poses)):
        if kept[person]:
            kept[person + 1 :] &= ~repeats[person, person + 1 :]
    return poses.only(kept)


def _box_areas(points: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Area of the box around each person's found joints, (P,)."""
    there = found[..., None]
    sides = np.where(there, points, -np.inf).max(axis=1) - np.where(there, points, np.inf).min(axis=1)
    return np.maximum(sides, 0).prod(axis=1)
