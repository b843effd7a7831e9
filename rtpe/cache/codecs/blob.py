"""What all codecs share: maps that were checked go in; their shape and one zstd frame come out."""

from __future__ import annotations

import math
import struct
import threading
from collections.abc import Sequence

import numpy as np
import zstandard

from rtpe.errors import UserError

_SHAPE = struct.Struct("<4I")  # T (0: no tags), K, h, w

_MOST = 2**28  # values of the maps of one image: a thousand megabytes

_OWN = threading.local()  # one decompressor a thread: making one takes as long as using it on small maps

Tags = np.ndarray | None
Maps = tuple[np.ndarray, Tags]


def checked(heatmaps: np.ndarray, tags: Tags, largest: float = np.inf) -> Maps:
    """The maps as float32 in C order; tags of no dimension are none.

    Raises:
        UserError: if there is no cell, or a value is not finite or of a larger magnitude than `largest`.
    """
    # in C order: codecs number the cells, and write into flat views that would else be copies
    heatmaps = np.ascontiguousarray(heatmaps, np.float32)
    tags = None if tags is None or not len(tags) else np.ascontiguousarray(tags, np.float32)
    for name, stack in (("heatmaps", heatmaps), ("tags", tags)):
        if stack is None:
            continue
        if not stack.size:
            raise UserError(f"{name}: expected at least one cell, got shape {stack.shape}")
        if not np.isfinite(stack).all():
            raise UserError(f"{name}: expected finite values, got NaN or infinity: check the predictor's weights")
        refuse_beyond(name, stack, largest)
    return heatmaps, tags


def refuse_beyond(name: str, values: np.ndarray, largest: float) -> None:
    """Raise UserError if a magnitude exceeds what the codec holds."""
    worst = float(np.abs(values).max(initial=0))
    if worst > largest:
        raise UserError(f"{name}: this codec holds values up to {largest:g}, got {worst:g}: use --cache.codec float32")


def pack(maps: Maps, parts: Sequence[bytes], level: int = 9) -> bytes:
    """The shape of the maps, and the parts as one zstd frame."""
    heatmaps, tags = maps
    shape = _SHAPE.pack(0 if tags is None else len(tags), *heatmaps.shape)
    return shape + zstandard.ZstdCompressor(level=level).compress(b"".join(parts))


def unpack(blob: bytes) -> tuple[int, tuple[int, int, int], bytes]:
    """T, (K, h, w), and the parts in one.

    Raises:
        UserError: if the maps would be larger than any, or the frame holds more than maps of their shape can take.
    """
    dims, *shape = _SHAPE.unpack_from(blob)
    cells = math.prod(shape)
    if not 0 < cells * (1 + dims) <= _MOST:
        raise UserError(f"its maps have {dims} dimensions of tags and shape {tuple(shape)}")
    held = zstandard.frame_content_size(blob[_SHAPE.size :])
    if not 0 <= held <= 64 + (8 + 20 * dims) * cells:  # the most is that of `masked` with a maximum in every cell
        raise UserError(f"its maps of shape {tuple(shape)} take {held} bytes")
    if not hasattr(_OWN, "decompressor"):
        _OWN.decompressor = zstandard.ZstdDecompressor()
    return dims, tuple(shape), _OWN.decompressor.decompress(memoryview(blob)[_SHAPE.size :])


def split(values: np.ndarray) -> bytes:
    """The first bytes of all values, then their second bytes, and so on: like stands by like."""
    return values.reshape(-1, 1).view(np.uint8).T.tobytes()


def join(raw: bytes, dtype: str, shape: Sequence[int], start: int = 0) -> np.ndarray:
    """Values of that shape from what `split` gave."""
    size, count = np.dtype(dtype).itemsize, math.prod(shape)
    planes = np.frombuffer(raw, np.uint8, size * count, start).reshape(size, count)
    values = np.empty((count, size), np.uint8)
    for place, plane in enumerate(planes):  # by far quicker than to transpose them
        values[:, place] = plane
    return values.view(dtype).reshape(shape)
