"""Scores by distance: the percentage of correct keypoints, on people's boxes (PCK) and MPII's heads (PCKh), and EPE.

PCK: Yang and Ramanan, TPAMI 2013. PCKh: Andriluka et al., CVPR 2014 (http://human-pose.mpi-inf.mpg.de).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from rtpe.metrics.oks import (
    PERSON,
    Annotations,
    chosen_images,
    chosen_results,
    object_keypoint_similarity,
    read_annotations,
)
from rtpe.skeleton import MPII16, Skeleton

THRESHOLDS = (0.05, 0.1, 0.2)  # of the larger side of a person's box
HEAD_SHARE = 0.6  # MPII's head size, of the diagonal of the head box
_NOT_IN_PCKH = [MPII16.joints.index(joint) for joint in ("pelvis", "thorax")]


def pck(
    points: np.ndarray, truth: np.ndarray, visible: np.ndarray, reference_lengths: np.ndarray, threshold: float
) -> tuple[np.ndarray, float]:
    """The share of labelled joints found within the threshold, in reference lengths, of their true place.

    Args:
        points: (P, K, 2) in pixels; NaN for a joint that was not found, which counts as missed.
        truth: (P, K, 2) in pixels.
        visible: (P, K) bool, which joints are labelled.
        reference_lengths: (P,) in pixels.

    Returns:
        (K,) of each joint, and of all labelled joints together; in 0..1, NaN where none is labelled.
    """
    correct = _distances(points, truth) <= threshold * np.asarray(reference_lengths)[:, None]
    return _shares(correct, np.asarray(visible, bool))


def pckh(
    points: np.ndarray, truth: np.ndarray, visible: np.ndarray, head_boxes: np.ndarray, threshold: float = 1 / 2
) -> tuple[np.ndarray, float]:
    """PCK of MPII people in head sizes: .6 of the diagonal of the head box; pelvis and thorax are not in the mean.

    Args:
        points, truth: (P, 16, 2) in pixels, of `MPII16`; NaN for a joint that was not found.
        visible: (P, 16) bool.
        head_boxes: (P, 2, 2), two opposite corners (x, y) each.

    Returns:
        (16,) of each joint, and of all labelled joints but those two together; in 0..1.
    """
    head_boxes = np.asarray(head_boxes, np.float64)
    lengths = HEAD_SHARE * np.linalg.norm(head_boxes[:, 1] - head_boxes[:, 0], axis=-1)
    per_joint, _ = pck(points, truth, visible, lengths, threshold)
    counted = np.array(visible, bool)
    counted[:, _NOT_IN_PCKH] = False
    return per_joint, pck(points, truth, counted, lengths, threshold)[1]


def epe(points: np.ndarray, truth: np.ndarray, visible: np.ndarray) -> tuple[np.ndarray, float]:
    """The mean end-point error in pixels over labelled joints; (K,) of each joint, and of all; NaN where none counts.

    A joint that was not found (NaN) has no distance and is left out: read this beside a score that counts it.
    """
    distances = _distances(points, truth)
    return _shares(np.nan_to_num(distances), np.asarray(visible, bool) & np.isfinite(distances))


def matched_points(
    points: np.ndarray, truth: np.ndarray, boxes_xywh: np.ndarray, sigmas: Sequence[float]
) -> np.ndarray:
    """The found person of each labelled one, (P, K, 2); NaN for a person whom nobody matches.

    The most alike pair, by object keypoint similarity on the area of the box, goes first, then the next of the rest.

    Args:
        points: (D, K, 2), NaN for a joint that was not found.
        truth: (P, K, 3) x, y and visibility.
        boxes_xywh: (P, 4).
    """
    boxes_xywh = np.asarray(boxes_xywh, np.float64).reshape(-1, 4)
    alike = object_keypoint_similarity(points, truth, boxes_xywh[:, 2:].prod(axis=1), sigmas)
    matched = np.full((len(truth), truth.shape[1], 2), np.nan)
    while alike.size and alike.max() > 0:
        found, person = np.unravel_index(alike.argmax(), alike.shape)
        matched[person] = points[found]
        alike[found], alike[:, person] = 0, 0
    return matched


def pck_of_people(
    images: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]],
    sigmas: Sequence[float],
    thresholds: Sequence[float] = THRESHOLDS,
) -> dict[str, float]:
    """PCK of whole images, in lengths of the larger side of each person's box; people found by nobody are all missed.

    Args:
        images: of each image the points found, (D, K, 2), NaN for a joint that was not found; the labelled people,
            (P, K, 3) x, y and visibility; and their boxes, (P, 4) x, y, width, height.

    Returns:
        `PCK@0.05` and so on, in 0..1, or -1 if no joint is labelled.
    """
    joints = len(sigmas)
    points, truths, lengths = [np.zeros((0, joints, 2))], [np.zeros((0, joints, 3))], [np.zeros(0)]
    for found, truth, boxes in images:
        points.append(matched_points(found, truth, boxes, sigmas))
        truths.append(truth)
        lengths.append(np.asarray(boxes, np.float64).reshape(-1, 4)[:, 2:].max(axis=1))
    points, truth, lengths = np.concatenate(points), np.concatenate(truths), np.concatenate(lengths)
    means = {t: pck(points, truth[..., :2], truth[..., 2] > 0, lengths, t)[1] for t in thresholds}
    return {f"PCK@{threshold}": -1.0 if np.isnan(mean) else mean for threshold, mean in means.items()}


def score_pck(
    annotations: Annotations, results: list[dict], image_ids: Iterable[int] | None, skeleton: Skeleton
) -> dict[str, float]:
    """`PCK@0.05`, `PCK@0.1` and `PCK@0.2` of COCO results: see `pck_of_people` and, for arguments, `score_keypoints`.

    Crowds and people without labelled joints do not count; people found beside the labelled ones cost nothing.
    """
    coco = read_annotations(annotations, skeleton)
    ids = chosen_images(coco, image_ids)
    found: dict[int, list] = {number: [] for number in ids}
    for row in chosen_results(results, ids, skeleton):
        found[row["image_id"]].append(row["keypoints"])
    joints = len(skeleton)
    images = ((_points(found[number], joints), *_labelled(coco.imgToAnns.get(number, []), joints)) for number in ids)
    return pck_of_people(images, skeleton.sigmas)


def _points(keypoints: list, joints: int) -> np.ndarray:
    """COCO rows as (D, K, 2), NaN where the joint was not found."""
    rows = np.array(keypoints, np.float64).reshape(-1, joints, 3)
    return np.where(rows[..., 2:] > 0, rows[..., :2], np.nan)


def _labelled(annotations: list[dict], joints: int) -> tuple[np.ndarray, np.ndarray]:
    """The people with labelled joints, (P, K, 3), and their boxes, (P, 4)."""
    people = [
        person
        for person in annotations
        if person["category_id"] == PERSON and not person.get("iscrowd") and any(person["keypoints"][2::3])
    ]
    truth = np.array([person["keypoints"] for person in people], np.float64).reshape(-1, joints, 3)
    return truth, np.array([person["bbox"] for person in people], np.float64).reshape(-1, 4)


def _distances(points: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.linalg.norm(np.asarray(points, np.float64) - truth, axis=-1)


def _shares(values: np.ndarray, counted: np.ndarray) -> tuple[np.ndarray, float]:
    """The mean over what is counted: (K,) down each column, and of everything."""
    sums, counts = (values * counted).sum(axis=0), counted.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return sums / counts, float(np.float64(sums.sum()) / counts.sum())
