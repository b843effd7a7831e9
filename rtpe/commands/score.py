"""One evaluation for all: teachers, students and caches are scored by the same lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tqdm import tqdm

from rtpe.build import Images
from rtpe.cache import Cache, predict
from rtpe.images import UnreadableImage, read_image
from rtpe.metrics.distance import score_pck
from rtpe.metrics.oks import score_keypoints, to_results
from rtpe.predictors import Predictor
from rtpe.structures import Poses

Found = Iterable[tuple[int, Poses]]


def predicted_people(predictor: Predictor, images: Images, batch: int, skipped: list[str]) -> Iterator[tuple]:
    """(image id, people) of every image that can be read; the others are listed in `skipped`."""
    waiting: list[tuple[int, object]] = []
    sources = images.sources()
    for place, (image_id, _, path) in enumerate(tqdm(sources, desc="predicting", leave=False, disable=None)):
        try:
            waiting.append((image_id, read_image(path)))
        except UnreadableImage as error:
            skipped.append(str(error))
        if waiting and (len(waiting) == batch or place == len(sources) - 1):
            predictions = predict(predictor, [number for number, _ in waiting], [image for _, image in waiting])
            yield from ((number, prediction.poses) for (number, _), prediction in zip(waiting, predictions))
            waiting = []


def cached_people(cache: Cache, images: Images, skipped: list[str], decode=None) -> Iterator[tuple]:
    """(image id, people) of every image in the cache: the stored people, or what `decode` reads from the maps."""
    for image_id, file_name in images.records:
        if image_id not in cache:
            skipped.append(f"image {file_name}: not in the cache")
        else:
            yield image_id, cache.poses(image_id) if decode is None else decode(cache.load(image_id).maps)


def score(found: Found, images: Images) -> tuple[dict[str, float], list[dict]]:
    """OKS and PCK figures over all of these images, found people or not, and the rows of COCO's results file."""
    joints = getattr(images, "labelled_as", images.skeleton)  # what is scored is what was labelled
    results = [row for image_id, poses in found for row in to_results(image_id, poses.as_skeleton(joints))]
    return {
        **score_keypoints(images.annotations, results, images.ids, joints),
        **score_pck(images.annotations, results, images.ids, joints),
    }, results
