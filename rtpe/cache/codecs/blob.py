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

VALUES = 1 << 28  # of an image's maps, 1 GiB of float32: 17 joints with tags on 2800 x 2800 cells
WIDEST, SPARE = 16, 1 << 16  # bytes a value, and beside all: more than any codec writes before it compresses

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
        UserError: if they are torn, or larger than any codec writes for such a shape.
    """
    try:
        dims, *shape = _SHAPE.unpack_from(blob)
        frame = memoryview(blob)[_SHAPE.size :]
        unpacked = zstandard.frame_content_size(frame)
    except (struct.error, zstandard.ZstdError) as error:
        raise UserError(f"maps in {len(blob)} bytes: torn ({error})") from error
    values = (1 + dims) * math.prod(shape)
    if not 0 < values <= VALUES or not 0 <= unpacked <= SPARE + WIDEST * values:
        raise UserError(f"maps of {shape} and {dims} tags in {unpacked} bytes: no codec writes so many")
    if not hasattr(_OWN, "decompressor"):
        _OWN.decompressor = zstandard.ZstdDecompressor()
    try:
        return dims, tuple(shape), _OWN.decompressor.decompress(frame)
    except zstandard.ZstdError as error:
        raise UserError(f"maps in {len(blob)} bytes: torn ({error})") from error


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
