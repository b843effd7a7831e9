"""Codecs that keep every value of the maps: as floats, or in 256 levels."""

from __future__ import annotations

import math
import struct

import numpy as np

from rtpe.cache.codecs.blob import Maps, Tags, checked, join, pack, split, unpack
from rtpe.errors import UserError

_RANGE = struct.Struct("<2d")  # lowest value, step


def encode_uint8(heatmaps: np.ndarray, tags: Tags) -> bytes:
    """256 levels from the lowest to the highest value of the image's heatmaps, and of its tags."""
    maps = checked(heatmaps, tags)
    return pack(maps, [_linear(stack) for stack in maps if stack is not None])


def decode_uint8(blob: bytes, people=None) -> Maps:
    dims, shape, raw = unpack(blob)
    end = _RANGE.size + math.prod(shape)
    heatmaps = _from_linear(raw[:end]).reshape(shape)
    return heatmaps, _from_linear(raw[end:]).reshape(dims, *shape) if dims else None


def encode_float(heatmaps: np.ndarray, tags: Tags, dtype: str) -> bytes:
    """Every value as a float, first bytes before last ones: signs and exponents compress, mantissas are noise."""
    maps = checked(heatmaps, tags, float(np.finfo(dtype).max))
    return pack(maps, [split(stack.astype(dtype)) for stack in maps if stack is not None])


def decode_float(blob: bytes, dtype: str) -> Maps:
    dims, shape, raw = unpack(blob)
    heatmaps = join(raw, dtype, shape).astype(np.float32, copy=False)
    if not dims:
        return heatmaps, None
    start = np.dtype(dtype).itemsize * math.prod(shape)
    return heatmaps, join(raw, dtype, (dims, *shape), start).astype(np.float32, copy=False)


def _linear(stack: np.ndarray) -> bytes:
    low, high = float(stack.min()), float(stack.max())
    step = (high - low) / 255 or 1.0
    return _RANGE.pack(low, step) + np.rint((stack.astype(np.float64) - low) / step).astype(np.uint8).tobytes()


def _from_linear(raw: bytes) -> np.ndarray:
    low, step = _RANGE.unpack_from(raw)
    if not abs(low) + 255 * abs(step) <= np.finfo(np.float32).max:
        raise UserError(f"its levels begin at {low:g} in steps of {step:g}")
    return (low + step * np.arange(256)).astype(np.float32)[np.frombuffer(raw, np.uint8, offset=_RANGE.size)]
