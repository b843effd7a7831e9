"""Let a predictor look at every image once, and keep what it saw."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from rtpe.cache.cache import Cache
from rtpe.cache.origins import refuse_ids, refuse_other_images
from rtpe.images import UnreadableImage, file_bytes, read_image
from rtpe.protocols import Item, Source
from rtpe.structures import Prediction

Read = Callable[[Source], np.ndarray]
Chunk = list[tuple[Item, np.ndarray]]
WINDOW = 6  # batches of images that are held back until enough of one shape are there
WINDOW_BYTES = 256 << 20  # of these images, and of those read ahead: photographs of 24 megapixels have 72 MB each


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
    started, thinking, built = time.perf_counter(), 0.0, 0
    bar = tqdm(total=len(images), initial=kept, unit="image", desc=cache.path.name, disable=not progress)
    writer, writing = ThreadPoolExecutor(1), None
    try:
        with bar, closing(_read_ahead(todo, read, 2 * batch)) as ahead:
            for chunk in _of_one_shape(_readable(ahead, cache, bar), batch):
                before = time.perf_counter()
                done = [item for item, _ in chunk]
                predictions = predict(predictor, [item[0] for item in done], [image for _, image in chunk])
                chunk.clear()  # the next ones are read meanwhile
                thinking += time.perf_counter() - before
                _finished(writing)
                writing = writer.submit(_add, cache, done, predictions)
                built += len(done)
                bar.update(len(done))
            _finished(writing)
    finally:
        writer.shutdown()
        cache.flush()
    seconds = time.perf_counter() - started
    return BuildReport(built, kept, len(todo) - built, seconds, built / seconds, thinking / seconds)


def predict(predictor: Callable, image_ids: list[int], images: list[np.ndarray]) -> list[Prediction]:
    """What a predictor says of these images; one that asks for people's boxes is given theirs."""
    boxes = getattr(predictor, "boxes", None)
    return predictor(images) if boxes is None else predictor(images, [boxes[image_id] for image_id in image_ids])


def _add(cache: Cache, items: list[Item], predictions: list[Prediction]) -> None:
    for (image_id, file_name, source), prediction in zip(items, predictions, strict=True):
        cache.add(image_id, file_name, prediction, file_bytes(source))


def _finished(writing: Future | None) -> None:
    """Wait for it, and fail as it failed."""
    if writing is not None:
        writing.result()


def _of_one_shape(readable: Iterable[tuple[Item, np.ndarray]], batch: int) -> Iterator[Chunk]:
    """Batches of images of one shape; of what is rare, or large, smaller ones."""
    waiting: dict[tuple[int, ...], Chunk] = {}
    held = 0
    for item, image in readable:
        shape, each = image.shape, image.nbytes
        waiting.setdefault(shape, []).append((item, image))
        held += each
        del image
        if len(waiting[shape]) < batch:
            if sum(map(len, waiting.values())) < WINDOW * batch and held < WINDOW_BYTES:
                continue
            shape = max(waiting, key=lambda shape: len(waiting[shape]))
        chunk = waiting.pop(shape)
        held -= sum(image.nbytes for _, image in chunk)
        yield chunk
    yield from waiting.values()


def _readable(ahead: Iterable[tuple], cache: Cache, bar: tqdm) -> Iterator[tuple[Item, np.ndarray]]:
    """The items whose image could be read; the others are listed as skipped."""
    for item, image in ahead:
        if isinstance(image, UnreadableImage):
            cache.add_skipped(item[0], item[1], str(image))
            bar.update()
        else:
            yield item, image


def _read_ahead(items: list[Item], read: Read, depth: int) -> Iterator[tuple[Item, np.ndarray | UnreadableImage]]:
    """Items with their images, in order, up to `depth` of them, or WINDOW_BYTES, read by other threads before they are
    asked for.
    """
    waiting: deque = deque()
    pool, largest, room = ThreadPoolExecutor(max_workers=2), 1, min(2, depth)
    try:
        for item in [*items, None]:
            if item is not None:
                waiting.append((item, pool.submit(_try, read, item[2])))
            while waiting and (item is None or len(waiting) > room):
                done, image = waiting.popleft()
                image = image.result()
                largest = max(largest, getattr(image, "nbytes", 1))
                room = max(2, min(depth, WINDOW_BYTES // largest))
                yield done, image
    finally:
        pool.shutdown(cancel_futures=True)


def _try(read: Read, source: Source) -> np.ndarray | UnreadableImage:
    try:
        return read(source)
    except UnreadableImage as error:
        return error
