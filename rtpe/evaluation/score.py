"""One evaluation for all: teachers, students and caches are scored by the same lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tqdm import tqdm

from rtpe.cache import Cache
from rtpe.data.load import Images
from rtpe.evaluation.matching import distance_scores, match_people
from rtpe.evaluation.oks import score_keypoints
from rtpe.protocols import Item, Predictor
from rtpe.running import Run
from rtpe.skeleton import Skeleton
from rtpe.structures import Poses, Prediction

Found = Iterable[tuple[int, Poses]]


def predictions(
    predictor: Predictor, images: Images, batch: int, skipped: list[str]
) -> Iterator[tuple[int, Prediction]]:
    """(image id, prediction) of every image that can be read, in any order; the others are listed in `skipped`."""
    sources = images.sources()
    with tqdm(total=len(sources), desc="predicting", unit="image", leave=False, disable=None) as bar:

        def skip(_: Item, reason: str) -> None:
            skipped.append(reason)
            bar.update()

        for chunk in Run(predictor, sources, batch, skip):
            for (image_id, _, _), prediction in chunk:
                bar.update()
                yield image_id, prediction


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
    results = in_order(images, [row for image_id, poses in found for row in results_of(images, image_id, poses)])
    return score_results(results, images, engine), results


def in_order(images: Images, rows: list[dict]) -> list[dict]:
    """Rows of results in the order of the images: predictions come in that of their shapes."""
    places = {image_id: place for place, image_id in enumerate(images.ids)}
    return sorted(rows, key=lambda row: places[row["image_id"]])


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
