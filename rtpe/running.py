"""Run a predictor over many images: reading overlaps with predicting, images of one shape share a batch."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np

from rtpe.images import UnreadableImage, read_image
from rtpe.protocols import Item, Source
from rtpe.structures import Prediction

Read = Callable[[Source], np.ndarray]
Chunk = list[tuple[Item, np.ndarray]]
WINDOW = 6  # batches of images that are held back until enough of one shape are there
WINDOW_BYTES = 256 << 20  # of these images, and of those read ahead: photographs of 24 megapixels have 72 MB each


class Run:
    """The predictions of many images, a chunk at a time; images of one shape share a chunk, so their order changes.

    Args:
        predictor: see `rtpe.protocols.Predictor`.
        items: image id, file name and source of each image.
        batch: how many images the predictor is given at once.
        unreadable: is called with an item and the reason why it cannot be read.

    Attributes:
        seconds: that the predictor has worked so far.
    """

    def __init__(
        self,
        predictor: Callable[..., list[Prediction]],
        items: Sequence[Item],
        batch: int,
        unreadable: Callable[[Item, str], None],
        read: Read = read_image,
    ):
        self.predictor, self.items, self.batch, self.unreadable, self.read = predictor, items, batch, unreadable, read
        self.seconds = 0.0

    def __iter__(self) -> Iterator[list[tuple[Item, Prediction]]]:
        with closing(_read_ahead(self.items, self.read, 2 * self.batch)) as ahead:
            for chunk in _of_one_shape(self._readable(ahead), self.batch):
                before = time.perf_counter()
                items = [item for item, _ in chunk]
                predictions = predict(self.predictor, [item[0] for item in items], [image for _, image in chunk])
                chunk.clear()  # the next ones are read meanwhile
                self.seconds += time.perf_counter() - before
                yield list(zip(items, predictions, strict=True))

    def _readable(self, ahead: Iterable[tuple]) -> Iterator[tuple[Item, np.ndarray]]:
        for item, image in ahead:
            if isinstance(image, UnreadableImage):
                self.unreadable(item, str(image))
            else:
                yield item, image


def predict(predictor: Callable, image_ids: list[int], images: list[np.ndarray]) -> list[Prediction]:
    """The predictions of these images; a predictor that asks for people's boxes is given theirs."""
    boxes = getattr(predictor, "boxes", None)
    return predictor(images) if boxes is None else predictor(images, [boxes[image_id] for image_id in image_ids])


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
