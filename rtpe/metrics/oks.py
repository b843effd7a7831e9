"""COCO's keypoint score: object keypoint similarity, and the average precision made of it by a library.

https://cocodataset.org/#keypoints-eval
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from rtpe.errors import UserError
from rtpe.geometry import point_to_index
from rtpe.skeleton import Skeleton
from rtpe.structures import Poses

Annotations = str | Path | dict | COCO

PERSON = 1  # COCO's number for the category
# where both engines leave each number
_NAMES = {"AP": 0, "AP50": 1, "AP75": 2, "APM": 3, "APL": 4, "AR": 5}


def object_keypoint_similarity(
    points: np.ndarray, truth: np.ndarray, areas: np.ndarray, sigmas: np.ndarray
) -> np.ndarray:
    """How near each of D found people is to each of P labelled ones, (D, P) in 0..1.

    Args:
        points: (D, K, 2) float in pixels; NaN for a joint that was not found.
        truth: (P, K, 3) x, y and visibility; joints of visibility 0 do not count, a person without any is like nobody.
        areas: (P,) in square pixels.
        sigmas: (K,) of the skeleton.
    """
    squared = ((points[:, None] - truth[None, :, :, :2]) ** 2).sum(axis=-1)
    variances = (2 * np.asarray(sigmas)) ** 2
    similar = np.exp(-squared / (2 * variances * (np.asarray(areas)[:, None] + np.spacing(1))))
    labelled = truth[..., 2] > 0
    return (np.nan_to_num(similar) * labelled).sum(axis=-1) / np.maximum(labelled.sum(axis=-1), 1)


def to_results(image_id: int, poses: Poses) -> list[dict]:
    """The people found in an image as rows of a COCO results file, whose points are pixel indices.

    A joint that was not found is 0, 0, 0.
    """
    found = poses.scores[..., None] > 0
    rows = np.where(found, np.dstack([point_to_index(poses.points), poses.scores]), 0).astype(float)
    # without a box pycocotools takes one around all joints, down to the 0, 0 of a missing one
    low, high = (edge(axis=1) for edge in (np.where(found, rows, np.inf).min, np.where(found, rows, -np.inf).max))
    return [
        {
            "image_id": int(image_id),
            "category_id": PERSON,
            "keypoints": person.ravel().tolist(),
            "bbox": [x, y, right - x, bottom - y],
            "score": float(score),
        }
        for person, score, (x, y, _), (right, bottom, _) in zip(
            rows, poses.person_scores, low.tolist(), high.tolist(), strict=True
        )
        if person.any()
    ]


def score_keypoints(
    annotations: Annotations,
    results: list[dict],
    image_ids: Iterable[int] | None,
    skeleton: Skeleton,
    engine: str = "pycocotools",
) -> dict[str, float]:
    """AP, AP50, AP75, APM, APL and AR of the results, at most 20 people an image.

    Each is in 0..1, or -1 where the images hold no such person. Areas, crowds and people without labelled joints count
    as the annotation file and pycocotools have them.

    Args:
        annotations: a COCO keypoints file, what it holds, or what pycocotools made of it.
        results: rows as of `to_results`; those of other images do not count.
        image_ids: the images to score; all of the file by default.
        engine: one of ENGINES; the figures are the same.

    Raises:
        UserError: if joints of annotations or results do not fit the skeleton, the file lacks an image, or the engine
            is unknown or not installed.
    """
    coco_class, evaluation_class = _engine(engine)
    truth = read_annotations(annotations, skeleton)
    ids = chosen_images(truth, image_ids)
    if not isinstance(truth, coco_class):
        truth = _indexed(truth.dataset, coco_class)
    with redirect_stdout(io.StringIO()):
        evaluation = evaluation_class(truth, _as_coco(truth, chosen_results(results, ids, skeleton)), "keypoints")
        evaluation.params.imgIds = ids
        evaluation.params.catIds = [PERSON]
        evaluation.params.kpt_oks_sigmas = np.array(skeleton.sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: float(evaluation.stats[place]) for name, place in _NAMES.items()}


def read_annotations(annotations: Annotations, skeleton: Skeleton) -> COCO:
    """Annotations in any of their forms, checked to have the joints of the skeleton."""
    if isinstance(annotations, COCO):
        coco = annotations
    elif isinstance(annotations, dict):
        coco = _indexed(annotations)
    else:
        with redirect_stdout(io.StringIO()):
            coco = COCO(str(annotations))
    people = [_completed(annotation, len(skeleton)) for annotation in coco.dataset["annotations"]]
    if 0 in coco.anns:  # the engines would take a match with number 0 for no match
        people = [person | {"id": person["id"] + 1} for person in people]
    if people != coco.dataset["annotations"]:
        coco = _indexed(coco.dataset | {"annotations": people})
    for number, annotation in coco.anns.items():
        joints = len(annotation.get("keypoints", ())) // 3
        if annotation["category_id"] == PERSON and joints != len(skeleton):
            raise UserError(
                f"annotation {number} has {joints} keypoints, skeleton {skeleton.name} has {len(skeleton)}: "
                "choose the skeleton that the annotations were made for"
            )
    return coco


def chosen_images(truth: COCO, image_ids: Iterable[int] | None) -> list[int]:
    """The images to score, checked to be in the file; all of it by default."""
    ids = sorted(truth.imgs) if image_ids is None else sorted({int(number) for number in image_ids})
    unknown = [number for number in ids if number not in truth.imgs]
    if unknown:
        raise UserError(f"annotations lack {len(unknown)} of {len(ids)} images to score, the first is {unknown[0]}")
    return ids


def chosen_results(results: list[dict], image_ids: list[int], skeleton: Skeleton) -> list[dict]:
    """The results on these images, checked to have the joints of the skeleton."""
    wanted = set(image_ids)
    chosen = [row for row in results if row["image_id"] in wanted]
    for row in chosen:
        if len(row["keypoints"]) != 3 * len(skeleton):
            raise UserError(
                f"result on image {row['image_id']}: expected {3 * len(skeleton)} numbers for {skeleton.name}, "
                f"got {len(row['keypoints'])}"
            )
    return chosen


def _completed(annotation: dict, joints: int) -> dict:
    """A person with all that the engines ask for; labels may leave out what they need not say."""
    keypoints = annotation.get("keypoints") or [0] * 3 * joints
    box = annotation.get("bbox") or [0, 0, 0, 0]
    said = {"iscrowd": 0, "area": box[2] * box[3], "num_keypoints": sum(v > 0 for v in keypoints[2::3]), **annotation}
    return {**said, "keypoints": keypoints, "bbox": box}


def _engine(name: str) -> tuple[type, type]:
    """The classes of that library: of annotations, and of an evaluation.

    Raises:
        UserError: if it is unknown or not installed.
    """
    if name not in ENGINES:
        raise UserError(f"unknown engine {name!r}: choose from {', '.join(ENGINES)}")
    return ENGINES[name]()


def _faster() -> tuple[type, type]:
    try:
        import faster_coco_eval
    except ImportError as error:
        raise UserError(
            "engine faster-coco-eval: not installed: pip install rtpe[eval], or choose pycocotools"
        ) from error
    return faster_coco_eval.COCO, faster_coco_eval.COCOeval_faster


ENGINES = {"pycocotools": lambda: (COCO, COCOeval), "faster-coco-eval": _faster}


def _as_coco(truth: COCO, results: list[dict]) -> COCO:
    if results:
        return truth.loadRes([dict(row) for row in results])  # it writes into the rows
    return _indexed({"images": truth.dataset["images"], "categories": [], "annotations": []}, type(truth))


def _indexed(dataset: dict, made: type = COCO) -> COCO:
    coco = made()
    coco.dataset = dataset
    with redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco
