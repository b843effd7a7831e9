"""The short ways to a predictor: one picture, several, or a stream of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from rtpe.data.folder import FolderDataset
from rtpe.images import as_image, read_image
from rtpe.structures import Boxes, Poses


class OfPictures:
    """What predictors of rtpe have besides their contract."""

    batch: int

    def predict(self, pictures: Any, boxes: Any = None) -> Poses | list[Poses]:
        """The people of a picture, in its pixels; of a list of pictures a list.

        Args:
            pictures: a path, the bytes of a file, (H, W, 3) uint8 RGB, a PIL image; or a list of these.
            boxes: for a net that sees one person a crop: (P, 4) left, top, width, height; of a list a list.

        Raises:
            UnreadableImage: if a file cannot be read.
            UserError: if it is no picture.
        """
        if not isinstance(pictures, list | tuple):
            return self.predict([pictures], None if boxes is None else [boxes])[0]
        images = [as_image(each) for each in pictures]
        found = self(images) if boxes is None else self(images, [_boxes(each) for each in boxes])
        return [prediction.poses for prediction in found]

    def stream(self, source: str | Path, frame_stride: int = 1) -> Iterator[tuple[np.ndarray, Poses]]:
        """Each frame, (H, W, 3) uint8 RGB, with its people: of a video, or of all images and videos of a folder.

        Args:
            frame_stride: of a video, every so many frames.

        Raises:
            UnreadableImage: if a frame cannot be read.
            UserError: if there is none.
        """
        sources = iter(FolderDataset(source, frame_stride=frame_stride).sources())
        while chunk := [read_image(still) for _, _, still in islice(sources, self.batch)]:
            yield from zip(chunk, self.predict(chunk))


def _boxes(boxes: Boxes | Sequence) -> Boxes:
    if isinstance(boxes, Boxes):
        return boxes
    xywh = np.asarray(boxes, np.float32).reshape(-1, 4)
    return Boxes(xywh, np.ones(len(xywh)))
