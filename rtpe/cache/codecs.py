"""Pose maps to bytes and back, each codec with a stated bound on its error.

Legend: K joints, T tag dimensions, h x w cells. A codec turns heatmaps (K, h, w) and tags (T, K, h, w), or None, into
bytes, and those bytes into float32 arrays of the same shapes; the bytes know the shapes. Part-affinity fields are not
stored: the people read from them are.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import zstandard

THRESHOLD = 3 / 64  # masked: smaller heatmap values (of either sign) are background and come back as 0 ...
PEAK = 0.1  # ... except within RADIUS cells of a value above PEAK, where decoders look for a peak's exact place
RADIUS = 3
TAG_RADIUS = 2  # masked: tags are kept this many cells around each joint's local maxima above THRESHOLD
HEATMAP_STEP = 1 / 2048  # masked: powers of two, so that decoded values are exact in float32
TAG_STEP = 1 / 64

_SHAPE = struct.Struct("<4I")  # T (0: no tags), K, h, w
_RANGE = struct.Struct("<2d")  # lowest value, step
_LEVEL = 9  # zstd: 4% smaller than 3 for some ms more, once per image

Tags = np.ndarray | None


@dataclass(frozen=True)
class Bound:
    """How far a decoded value may lie from the value given.

    Attributes:
        heatmaps: absolute error of a heatmap value that was kept.
        tags: absolute error of a tag that was kept.
        relative: to be added to both, as a share of the span of the image's heatmaps, or of its tags:
            max(0, highest value) - min(0, lowest value).
        outside: the largest magnitude of a heatmap value that was not kept and comes back as 0; 0 if all are kept.
            A tag that was not kept comes back as 0, whatever it was; see `tag_support`.
    """

    heatmaps: float
    tags: float
    relative: float = 0.0
    outside: float = 0.0


@dataclass(frozen=True)
class Codec:
    """A pair of functions, encode(heatmaps, tags) -> bytes and decode(bytes) -> (heatmaps, tags), and their bound.

    `encode` raises ValueError for values that are not finite, or larger than the codec holds.
    """

    name: str
    encode: Callable[[np.ndarray, Tags], bytes]
    decode: Callable[[bytes], tuple[np.ndarray, Tags]]
    bound: Bound


def tag_support(heatmaps: np.ndarray) -> np.ndarray:
    """Where the masked codec keeps tags, (K, h, w) bool, from its own decoded heatmaps, (K, h, w)."""
    peaks = heatmaps > THRESHOLD
    joint, y, x = _cells(peaks)
    highest = np.max([heatmaps[joint, near_y, near_x] for near_y, near_x in _neighbours(y, x, 1, peaks.shape)], axis=0)
    peaks[joint, y, x] = heatmaps[joint, y, x] == highest
    return _around(peaks, TAG_RADIUS)


def encode_masked(heatmaps: np.ndarray, tags: Tags) -> bytes:
    """Values at a fixed step inside each joint's own support; one support for all joints is 3 to 7 times as large."""
    heatmaps, tags = _checked(heatmaps, tags)
    support = (np.abs(heatmaps) > THRESHOLD) | _around(heatmaps > PEAK, RADIUS)
    steps = _to_steps("heatmaps", heatmaps[support], HEATMAP_STEP)
    parts = [np.packbits(support).tobytes(), _pack_steps(steps)]
    if tags is not None:
        kept = tag_support(_placed(support, steps, HEATMAP_STEP))
        parts.append(_pack_steps(_to_steps("tags", tags[:, kept], TAG_STEP)))
    return _pack(heatmaps, tags, parts)


def decode_masked(blob: bytes) -> tuple[np.ndarray, Tags]:
    dims, shape, raw = _unpack(blob)
    cells = int(np.prod(shape))
    size = (cells + 7) // 8
    support = np.unpackbits(np.frombuffer(raw, np.uint8, size), count=cells).view(bool).reshape(shape)
    end = size + 2 * int(np.count_nonzero(support))
    heatmaps = _placed(support, _unpack_steps(raw[size:end]), HEATMAP_STEP)
    if not dims:
        return heatmaps, None
    kept = tag_support(heatmaps)
    steps = _unpack_steps(raw[end:]).reshape(dims, -1)
    return heatmaps, np.stack([_placed(kept, row, TAG_STEP) for row in steps])


def encode_uint8(heatmaps: np.ndarray, tags: Tags) -> bytes:
    """256 levels from the lowest to the highest value of the image's heatmaps, and of its tags."""
    heatmaps, tags = _checked(heatmaps, tags)
    return _pack(heatmaps, tags, [_linear(stack) for stack in (heatmaps, tags) if stack is not None])


def decode_uint8(blob: bytes) -> tuple[np.ndarray, Tags]:
    dims, shape, raw = _unpack(blob)
    end = _RANGE.size + int(np.prod(shape))
    heatmaps = _from_linear(raw[:end]).reshape(shape)
    return heatmaps, _from_linear(raw[end:]).reshape(dims, *shape) if dims else None


def encode_float(heatmaps: np.ndarray, tags: Tags, dtype: str) -> bytes:
    """Every value as a float, first bytes before last ones: signs and exponents compress, mantissas are noise."""
    heatmaps, tags = _checked(heatmaps, tags, float(np.finfo(dtype).max))
    return _pack(heatmaps, tags, [_split(s.astype(dtype)) for s in (heatmaps, tags) if s is not None])


def decode_float(blob: bytes, dtype: str) -> tuple[np.ndarray, Tags]:
    dims, shape, raw = _unpack(blob)
    end = np.dtype(dtype).itemsize * int(np.prod(shape))
    heatmaps = _join(raw[:end], dtype).astype(np.float32).reshape(shape)
    return heatmaps, _join(raw[end:], dtype).astype(np.float32).reshape(dims, *shape) if dims else None


def _float_codec(dtype: str, name: str, bound: Bound) -> Codec:
    return Codec(name, lambda maps, tags: encode_float(maps, tags, dtype), lambda b: decode_float(b, dtype), bound)


CODECS = {
    codec.name: codec
    for codec in (
        Codec(
            "masked",
            encode_masked,
            decode_masked,
            Bound(heatmaps=HEATMAP_STEP / 2, tags=TAG_STEP / 2, outside=THRESHOLD),
        ),
        # half of a 255th, and what float32 loses in scaling back
        Codec("uint8", encode_uint8, decode_uint8, Bound(heatmaps=0.0, tags=0.0, relative=1 / 509)),
        # half a unit of the 11-bit mantissa, and half the smallest subnormal
        _float_codec("<f2", "float16", Bound(heatmaps=2.0**-25, tags=2.0**-25, relative=2.0**-11)),
        _float_codec("<f4", "float32", Bound(heatmaps=0.0, tags=0.0)),
    )
}


def codec(name: str) -> Codec:
    """The codec of that name.

    Raises:
        ValueError: if there is none.
    """
    if name not in CODECS:
        raise ValueError(f"unknown codec {name!r}: choose from {', '.join(CODECS)}")
    return CODECS[name]


def _checked(heatmaps: np.ndarray, tags: Tags, largest: float = np.inf) -> tuple[np.ndarray, Tags]:
    heatmaps = np.asarray(heatmaps, np.float32)
    tags = None if tags is None or not len(tags) else np.asarray(tags, np.float32)
    for name, stack in (("heatmaps", heatmaps), ("tags", tags)):
        if stack is None:
            continue
        if not stack.size:
            raise ValueError(f"{name}: expected at least one cell, got shape {stack.shape}")
        if not np.isfinite(stack).all():
            raise ValueError(f"{name}: expected finite values, got NaN or infinity: check the predictor's weights")
        _refuse_beyond(name, stack, largest)
    return heatmaps, tags


def _refuse_beyond(name: str, values: np.ndarray, largest: float) -> None:
    worst = float(np.abs(values).max(initial=0))
    if worst > largest:
        raise ValueError(f"{name}: this codec holds values up to {largest:g}, got {worst:g}: use --cache.codec float32")


def _around(mask: np.ndarray, radius: int) -> np.ndarray:
    """The cells within a square of that radius around those of the mask, (K, h, w) bool -> (K, h, w) bool."""
    found = np.zeros_like(mask)
    joint, y, x = _cells(mask)  # few: cheaper than to shift whole maps
    for near_y, near_x in _neighbours(y, x, radius, mask.shape):
        found[joint, near_y, near_x] = True
    return found


def _cells(mask: np.ndarray) -> tuple[np.ndarray, ...]:
    return np.unravel_index(np.flatnonzero(mask), mask.shape)  # np.nonzero of three axes is several times slower


def _neighbours(y: np.ndarray, x: np.ndarray, radius: int, shape: tuple[int, ...]) -> Iterator[tuple]:
    """The indices of every neighbour of these cells in turn; beyond the border, of the neighbour at the border."""
    offsets = range(-radius, radius + 1)
    columns = [np.clip(x + dx, 0, shape[-1] - 1) for dx in offsets]
    for dy in offsets:
        row = np.clip(y + dy, 0, shape[-2] - 1)
        yield from ((row, column) for column in columns)


def _to_steps(name: str, values: np.ndarray, step: float) -> np.ndarray:
    _refuse_beyond(name, values, np.iinfo(np.int16).max * step)
    return np.rint(values / np.float32(step)).astype(np.int16)


def _placed(support: np.ndarray, steps: np.ndarray, step: float) -> np.ndarray:
    maps = np.zeros(support.shape, np.float32)
    maps[support] = steps * np.float32(step)
    return maps


def _pack_steps(steps: np.ndarray) -> bytes:
    zigzag = (steps << 1) ^ (steps >> 15)  # small magnitudes of either sign get a high byte of 0
    return _split(zigzag.astype("<i2"))


def _unpack_steps(raw: bytes) -> np.ndarray:
    zigzag = _join(raw, "<u2")
    return (zigzag >> 1).astype(np.int16) ^ -(zigzag & 1).astype(np.int16)


def _split(values: np.ndarray) -> bytes:
    return values.reshape(-1, 1).view(np.uint8).T.tobytes()


def _join(raw: bytes, dtype: str) -> np.ndarray:
    planes = np.frombuffer(raw, np.uint8).reshape(np.dtype(dtype).itemsize, -1)
    return np.ascontiguousarray(planes.T).view(dtype).reshape(-1)


def _linear(stack: np.ndarray) -> bytes:
    low, high = float(stack.min()), float(stack.max())
    step = (high - low) / 255 or 1.0
    return _RANGE.pack(low, step) + np.rint((stack.astype(np.float64) - low) / step).astype(np.uint8).tobytes()


def _from_linear(raw: bytes) -> np.ndarray:
    low, step = _RANGE.unpack_from(raw)
    return (low + step * np.arange(256)).astype(np.float32)[np.frombuffer(raw, np.uint8, offset=_RANGE.size)]


def _pack(heatmaps: np.ndarray, tags: Tags, parts: list[bytes]) -> bytes:
    shape = _SHAPE.pack(0 if tags is None else len(tags), *heatmaps.shape)
    return shape + zstandard.ZstdCompressor(level=_LEVEL).compress(b"".join(parts))


def _unpack(blob: bytes) -> tuple[int, tuple[int, int, int], bytes]:
    dims, *shape = _SHAPE.unpack_from(blob)
    return dims, tuple(shape), zstandard.ZstdDecompressor().decompress(blob[_SHAPE.size :])
