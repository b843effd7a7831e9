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


def published_similarity(poses: Poses, areas: np.ndarray) -> np.ndarray:
    """The OKS between people as published top-down code has it, (P, P): over all joints, on the mean of two areas.

    Joints that were not found count as well, wherever they are (SimpleBaselines, Xiao et al., arXiv:1804.06208).

    Args:
        areas: (P,) square pixels of each person's crop.
    """
    points = poses.points.astype(np.float64)
    squared = ((points[:, None] - points[None]) ** 2).sum(axis=-1)
    mean_areas = (np.add.outer(areas, areas) / 2)[..., None]
    return np.exp(-squared / (mean_areas * 2 * (2 * np.array(poses.skeleton.sigmas)) ** 2)).mean(axis=-1)


def suppress(poses: Poses, threshold: float, areas: np.ndarray | None = None) -> Poses:
    """The people from high to low person score, without those whom a better one repeats by more than the threshold.

    Args:
        areas: (P,) of the people's crops: compares them by `published_similarity` on these.
    """
    best = np.argsort(-poses.person_scores, kind="stable")
    poses = poses.only(best)
    repeats = (pose_similarity(poses) if areas is None else published_similarity(poses, areas[best])) > threshold
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
