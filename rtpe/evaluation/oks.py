"""COCO's keypoint score: object keypoint similarity, and the average precision made of it by a library.

https://cocodataset.org/#keypoints-eval
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from rtpe.data.labels import Labels, Person, read_labels
from rtpe.errors import UserError
from rtpe.skeleton import Skeleton

Annotations = Labels | str | Path | dict[str, Any]

_PERSON = 1  # the only category that the engines see
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


def score_keypoints(
    annotations: Annotations,
    results: list[dict],
    image_ids: Iterable[int] | None,
    skeleton: Skeleton,
    engine: str = "pycocotools",
) -> dict[str, float]:
    """AP, AP50, AP75, APM, APL and AR of the results, at most 20 people an image; F1, and the score that gives it.

    Each is in 0..1, or -1 where the images hold no such person. Crowds and people without labelled joints count as
    pycocotools has them. `F1` is the best one at an OKS of .5, and `F1 at` the least score of a person for it, -1 if it
    is 0; both on the 101 recalls that AP50 is a mean over.

    Args:
        annotations: labels, or a COCO keypoint file or what it holds, see `rtpe.data.labels.read_labels`.
        results: rows as of `Poses.to_coco`; those of other images and categories do not count.
        image_ids: the images to score; all of the file by default.
        engine: one of ENGINES; the figures are the same.

    Raises:
        UserError: if joints of annotations or results do not fit the skeleton, the file lacks an image, or the engine
            is unknown or not installed.
    """
    coco_class, evaluation_class = _engine(engine)
    labels = as_labels(annotations, skeleton)
    ids = chosen_images(labels, image_ids)
    truth = _indexed(_ground_truth(labels, ids), coco_class)
    with redirect_stdout(io.StringIO()):
        evaluation = evaluation_class(truth, _as_coco(truth, chosen_results(results, labels, ids)), "keypoints")
        evaluation.params.imgIds = ids
        evaluation.params.catIds = [_PERSON]
        evaluation.params.kpt_oks_sigmas = np.array(skeleton.sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    at, best = _best_f1(evaluation.eval["precision"], evaluation.eval["scores"], evaluation.params.recThrs)
    return {**{name: float(evaluation.stats[place]) for name, place in _NAMES.items()}, "F1": best, "F1 at": at}


def _best_f1(precision: np.ndarray, scores: np.ndarray, recall: np.ndarray) -> tuple[float, float]:
    """The score above which people are to be kept for the best F1 at the first threshold of OKS, and that F1.

    Args:
        precision, scores: (T, R, 1, A, 1) for T thresholds, R recalls and A kinds of area, the first of which is all;
            -1 where nobody is labelled.
    """
    precision, scores = precision[0, :, 0, 0, 0], scores[0, :, 0, 0, 0]
    if not precision.size or precision.max() <= 0:
        return -1.0, float(precision.max(initial=-1.0))
    f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
    best = int(f1.argmax())
    return float(scores[best]), float(f1[best])


def as_labels(annotations: Annotations, skeleton: Skeleton) -> Labels:
    """Annotations in any of their forms, checked to have the joints of the skeleton."""
    labels = annotations if isinstance(annotations, Labels) else read_labels(annotations, skeleton)
    if labels.skeleton.joints != skeleton.joints:
        raise UserError(f"annotations {labels.file}: have joints of {labels.skeleton.name}, not of {skeleton.name}")
    return labels


def chosen_images(labels: Labels, image_ids: Iterable[int] | None) -> list[int]:
    """The images to score, checked to be in the file; all of it by default."""
    ids = list(labels.images) if image_ids is None else sorted({int(number) for number in image_ids})
    unknown = [number for number in ids if number not in labels.images]
    if unknown:
        raise UserError(f"annotations lack {len(unknown)} of {len(ids)} images to score, the first is {unknown[0]}")
    return ids


def chosen_results(results: list[dict], labels: Labels, image_ids: list[int]) -> list[dict]:
    """The results of people on these images, checked to have the joints of the labels."""
    wanted, count = set(image_ids), 3 * len(labels.skeleton)
    chosen = [row for row in results if row["image_id"] in wanted]
    for row in chosen:
        if len(row["keypoints"]) != count:
            raise UserError(
                f"result on image {row['image_id']}: expected {count} numbers for {labels.skeleton.name}, "
                f"got {len(row['keypoints'])}"
            )
    return [row for row in chosen if row.get("category_id", labels.category) == labels.category]


def _ground_truth(labels: Labels, image_ids: list[int]) -> dict:
    """These images as a COCO file; ids of people are new, from 1 on: to the engines 0 is no match, and they take the
    last of those that are there twice."""
    people = [(number, person) for number in image_ids for person in labels.people[number]]
    return {
        "images": [{"id": number} for number in image_ids],
        "categories": [{"id": _PERSON, "name": "person"}],
        "annotations": [_row(place, number, person) for place, (number, person) in enumerate(people, 1)],
    }


def _row(place: int, image_id: int, person: Person) -> dict:
    keypoints = person.keypoints
    return {
        "id": place,
        "image_id": image_id,
        "category_id": _PERSON,
        "iscrowd": int(person.crowd),
        "area": person.area,
        "bbox": person.box_xywh.tolist(),
        "keypoints": keypoints.ravel().tolist(),
        "num_keypoints": int((keypoints[:, 2] > 0).sum()),
    }


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
        return truth.loadRes([row | {"category_id": _PERSON} for row in results])  # it writes into the rows
    return _indexed({"images": truth.dataset["images"], "categories": [], "annotations": []}, type(truth))


def _indexed(dataset: dict, made: type = COCO) -> COCO:
    coco = made()
    coco.dataset = dataset
    with redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco
