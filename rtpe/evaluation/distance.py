"""Scores by distance: the share of joints found near their place (PCK, MPII's PCKh), and end-point errors (EPE).

PCK: Yang and Ramanan, TPAMI 2013. PCKh: Andriluka et al., CVPR 2014 (http://human-pose.mpi-inf.mpg.de).
"""

from __future__ import annotations

import numpy as np

from rtpe.skeleton import MPII16, Skeleton

THRESHOLDS = (0.05, 0.1, 0.2)  # of a person's reference length
HEAD_SHARE = 0.6  # MPII's head size, of the diagonal of the head box
TORSO = ("left_shoulder", "right_hip")
NECKS = ("upper_neck", "neck")  # how skeletons call the joint under `head_top`
_NOT_IN_PCKH = [MPII16.joints.index(joint) for joint in ("pelvis", "thorax")]


def pck(
    points: np.ndarray, truth: np.ndarray, visible: np.ndarray, reference_lengths: np.ndarray, threshold: float
) -> tuple[np.ndarray, float]:
    """The share of labelled joints found within the threshold, in reference lengths, of their true place.

    Args:
        points: (P, K, 2) in pixels; NaN for a joint that was not found, which counts as missed.
        truth: (P, K, 2) in pixels.
        visible: (P, K) bool, which joints are labelled.
        reference_lengths: (P,) in pixels; who has none, NaN or 0, does not count.

    Returns:
        (K,) of each joint, and of all labelled joints together; in 0..1, NaN where none is labelled.
    """
    lengths = np.asarray(reference_lengths, np.float64)[:, None]
    return _shares(_distances(points, truth) <= threshold * lengths, np.asarray(visible, bool) & (lengths > 0))


def pckh(
    points: np.ndarray, truth: np.ndarray, visible: np.ndarray, head_boxes: np.ndarray, threshold: float = 1 / 2
) -> tuple[np.ndarray, float]:
    """PCK of MPII people in head sizes; pelvis and thorax are not in the mean.

    Args:
        points, truth: (P, 16, 2) in pixels, of `MPII16`; NaN for a joint that was not found.
        visible: (P, 16) bool.
        head_boxes: as of `head_lengths`.

    Returns:
        (16,) of each joint, and of all labelled joints but those two together; in 0..1.
    """
    lengths = head_lengths(head_boxes)
    per_joint, _ = pck(points, truth, visible, lengths, threshold)
    counted = np.array(visible, bool)
    counted[:, _NOT_IN_PCKH] = False
    return per_joint, pck(points, truth, counted, lengths, threshold)[1]


def readout_pck(
    points: np.ndarray, truth: np.ndarray, visible: np.ndarray, threshold: float, extents: np.ndarray | None = None
) -> float:
    """PCK as the code of the diffusion readout head computes it (Luo et al., CVPR 2024, arXiv:2312.02150).

    Each axis is measured in an extent of its own, by default that of all the person's rows in COCO's file, those of
    joints without a label, which are 0, 0, among them; a joint that was not found is at 0, 0, too; nearer than the
    threshold is right; the mean is over people, not over joints, and who has no extent along an axis scores 0. With a
    joint unlabelled the default is the person's distance from the image's corner. The paper's table does not say which
    extents it used: `labelled_extents` and the sides of the boxes are the other candidates.

    Args:
        points, truth: (P, K, 2) in COCO's pixel indices; NaN for a joint that was not found.
        visible: (P, K) bool.
        extents: (P, 2) in pixels.

    Returns:
        the mean over people with labelled joints, in 0..1, NaN if there are none.
    """
    visible = np.asarray(visible, bool)
    rows = np.where(visible[..., None], truth, 0.0)
    extents = (np.ptp(rows, axis=1) if extents is None else np.asarray(extents, np.float64))[:, None]
    scaled = np.divide(np.nan_to_num(points) - rows, extents, out=np.full(rows.shape, np.inf), where=extents > 0)
    right = (np.linalg.norm(scaled, axis=-1) < threshold) & visible
    counted = visible.any(axis=1)
    return float(np.mean(right.sum(axis=1)[counted] / visible.sum(axis=1)[counted])) if counted.any() else float("nan")


def labelled_extents(truth: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Width and height of what is labelled of each person, (P, 2); 0 for who has no label."""
    there = np.asarray(visible, bool)[..., None]
    extents = np.where(there, truth, -np.inf).max(axis=1) - np.where(there, truth, np.inf).min(axis=1)
    return np.maximum(extents, 0.0)


def epe(points: np.ndarray, truth: np.ndarray, visible: np.ndarray) -> tuple[np.ndarray, float]:
    """The mean end-point error in pixels over labelled joints; (K,) of each joint, and of all; NaN where none counts.

    A joint that was not found (NaN) has no distance and is left out: read this beside a score that counts it.
    """
    distances = _distances(points, truth)
    return _shares(np.nan_to_num(distances), np.asarray(visible, bool) & np.isfinite(distances))


def box_lengths(boxes_xywh: np.ndarray) -> np.ndarray:
    """The larger side of each box, (P, 4) -> (P,)."""
    return np.asarray(boxes_xywh, np.float64).reshape(-1, 4)[:, 2:].max(axis=1)


def torso_lengths(truth: np.ndarray, visible: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """From left shoulder to right hip, (P,); NaN for who lacks the label of one, or all if the skeleton has no such."""
    return _between(truth, visible, skeleton, *TORSO)


def neck_lengths(truth: np.ndarray, visible: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """From the top of the head to the neck, (P,); NaN as in `torso_lengths`."""
    neck = next((joint for joint in NECKS if joint in skeleton.joints), NECKS[0])
    return _between(truth, visible, skeleton, "head_top", neck)


def head_lengths(head_boxes: np.ndarray) -> np.ndarray:
    """MPII's head size, .6 of the diagonal of the head box, (P,).

    Args:
        head_boxes: (P, 2, 2), two opposite corners (x, y) each; NaN for who has none.
    """
    head_boxes = np.asarray(head_boxes, np.float64)
    return HEAD_SHARE * np.linalg.norm(head_boxes[:, 1] - head_boxes[:, 0], axis=-1)


def _between(truth: np.ndarray, visible: np.ndarray, skeleton: Skeleton, one: str, other: str) -> np.ndarray:
    if not {one, other} <= set(skeleton.joints):
        return np.full(len(truth), np.nan)
    a, b = skeleton.joints.index(one), skeleton.joints.index(other)
    lengths = np.linalg.norm(truth[:, a] - truth[:, b], axis=-1)
    return np.where(visible[:, a] & visible[:, b], lengths, np.nan)


def _distances(points: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.linalg.norm(np.asarray(points, np.float64) - truth, axis=-1)


def _shares(values: np.ndarray, counted: np.ndarray) -> tuple[np.ndarray, float]:
    """The mean over what is counted: (K,) down each column, and of everything."""
    sums, counts = (values * counted).sum(axis=0), counted.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return sums / counts, float(np.float64(sums.sum()) / counts.sum())
