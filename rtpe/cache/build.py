"""Let a predictor look at every image once, and keep what it saw."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

from tqdm import tqdm

from rtpe.cache.cache import Cache
from rtpe.cache.origins import refuse_ids, refuse_other_images
from rtpe.images import file_bytes, read_image
from rtpe.protocols import Item
from rtpe.running import Read, Run
from rtpe.structures import Prediction


@dataclass(frozen=True)
class BuildReport:
    """What a build did.

    Attributes:
        built: images predicted by this run.
        kept: images that were there before.
        skipped: images that could not be read.
        seconds: the time it took.
        images_per_s: built images per second.
        predictor_share: the part of the time in which the predictor worked, 0 to 1.
    """

    built: int
    kept: int
    skipped: int
    seconds: float
    images_per_s: float
    predictor_share: float


def fill_cache(
    cache: Cache,
    predictor: Callable[..., list[Prediction]],
    images: Iterable[Item],
    read: Read = read_image,
    batch: int = 8,
    progress: bool = True,
) -> BuildReport:
    """Add the prediction of every image that the cache lacks.

    Reading, predicting, and encoding and writing overlap; images of one shape share a batch. Images that cannot be read
    (UnreadableImage) are counted and listed in the cache's `skipped.txt`; a later run tries them again.

    Args:
        predictor: see `rtpe.predictors.Predictor`.
        images: (image id, file name, source) of each.
        batch: how many images the predictor is given at once.
        progress: show a bar with rate and time left.

    Raises:
        UserError: if two have one id, the cache has one of them of another image; and as `Cache.add`.
    """
    images = list(images)
    refuse_ids(cache.path, images)
    refuse_other_images(cache, images)
    todo = [item for item in images if item[0] not in cache]
    kept = len(images) - len(todo)
    started, built = time.perf_counter(), 0
    bar = tqdm(total=len(images), initial=kept, unit="image", desc=cache.path.name, disable=not progress)

    def skip(item: Item, reason: str) -> None:
        cache.add_skipped(item[0], item[1], reason)
        bar.update()

    run = Run(predictor, todo, batch, skip, read)
    writer, writing = ThreadPoolExecutor(1), None
    try:
        with bar, closing(iter(run)) as chunks:
            for chunk in chunks:
                _finished(writing)
                writing = writer.submit(_add, cache, chunk)
                built += len(chunk)
                bar.update(len(chunk))
            _finished(writing)
    finally:
        writer.shutdown()
        cache.flush()
    seconds = time.perf_counter() - started
    return BuildReport(built, kept, len(todo) - built, seconds, built / seconds, run.seconds / seconds)


def _add(cache: Cache, chunk: Sequence[tuple[Item, Prediction]]) -> None:
    for (image_id, file_name, source), prediction in chunk:
        cache.add(image_id, file_name, prediction, file_bytes(source))


def _finished(writing: Future | None) -> None:
    """Wait for it, and fail as it failed."""
    if writing is not None:
        writing.result()
