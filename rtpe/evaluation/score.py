"""One evaluation for all: teachers, students and caches are scored by the same lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from tqdm import tqdm

from rtpe.cache import Cache, predict
from rtpe.data.load import Images
from rtpe.evaluation.matching import distance_scores, match_people
from rtpe.evaluation.oks import score_keypoints
from rtpe.images import UnreadableImage, read_image
from rtpe.protocols import Predictor
from rtpe.skeleton import Skeleton
from rtpe.structures import Poses, Prediction

Found = Iterable[tuple[int, Poses]]


def predictions(
    predictor: Predictor, images: Images, batch: int, skipped: list[str]
) -> Iterator[tuple[int, Prediction]]:
    """(image id, prediction) of every image that can be read; the others are listed in `skipped`."""
    waiting: list[tuple[int, np.ndarray]] = []
    sources = images.sources()
    for place, (image_id, _, path) in enumerate(tqdm(sources, desc="predicting", leave=False, disable=None)):
        try:
            waiting.append((image_id, read_image(path)))
        except UnreadableImage as error:
            skipped.append(str(error))
        if waiting and (len(waiting) == batch or place == len(sources) - 1):
            ids = [number for number, _ in waiting]
            yield from zip(ids, predict(predictor, ids, [image for _, image in waiting]))
            waiting = []


def predicted_people(predictor: Predictor, images: Images, batch: int, skipped: list[str]) -> Iterator[tuple]:
    """(image id, people), otherwise as `predictions`."""
    return ((image_id, said.poses) for image_id, said in predictions(predictor, images, batch, skipped))


def cached_ids(cache: Cache, images: Images, skipped: list[str]) -> Iterator[int]:
    """The ids of the images that are in the cache; the others are listed in `skipped`."""
    for image_id, file_name in images.records:
        if image_id in cache:
            yield image_id
        else:
            skipped.append(f"image {file_name}: not in the cache")


def cached_people(cache: Cache, images: Images, skipped: list[str]) -> Iterator[tuple]:
    """(image id, stored people) of every image in the cache."""
    return ((image_id, cache.poses(image_id)) for image_id in cached_ids(cache, images, skipped))


def score(found: Found, images: Images, engine: str = "pycocotools") -> tuple[dict[str, float], list[dict]]:
    """OKS, PCK and EPE over all of these images, found people or not, and the rows of COCO's results file."""
    results = [row for image_id, poses in found for row in results_of(images, image_id, poses)]
    return score_results(results, images, engine), results


def results_of(images: Images, image_id: int, poses: Poses) -> list[dict]:
    """The people found in an image as rows of COCO's results file, with the joints that are labelled."""
    return poses.as_skeleton(labelled_joints(images)).to_coco(image_id, images.labels.category)


def score_results(results: list[dict], images: Images, engine: str = "pycocotools") -> dict[str, float]:
    """`score` of people who are such rows already."""
    asked = images.labels, results, images.ids, labelled_joints(images)
    return {**score_keypoints(*asked, engine), **distance_scores(match_people(*asked))}


def labelled_joints(images: Images) -> Skeleton:
    """The joints of the labels; a data set may make others of them to learn from, and those are not scored."""
    return getattr(images, "labelled_as", images.skeleton)
