"""The default codec: of each joint's heatmap what stands out of the background, as small steps from cell to cell.

A value is kept if it is larger than THRESHOLD in magnitude, or lies within a cell of a local maximum above it: there
decoders look for a peak's exact place. Tags are kept within a cell of these maxima, where alone they are read.

All parts are bytes, in this order:

    5 x uint32: how many bytes of gaps, runs, kept values, bytes of maxima, maxima
    gaps | run lengths | low bytes, high bytes of heatmap steps | maxima | low bytes, high bytes of tag steps

Cells are numbered by joint, row and column. Kept ones form runs of at most 255. A gap is the number of cells between a
run and the one before, written as bytes that add up: 255 says that more follows. Maxima are numbered among the kept
cells, and written as the numbers of kept cells skipped between them, in the same way. Steps are differences from one
kept value to the next, plus 128, modulo 2^16; before the first stands 0.
"""

from __future__ import annotations

import struct
from functools import lru_cache

import numpy as np

from rtpe.cache.codecs.blob import Maps, Tags, checked, join, pack, refuse_beyond, split, unpack

THRESHOLD = 3 / 64  # smaller heatmap values (of either sign) are background and come back as 0
HEATMAP_STEP = 1 / 2048  # powers of two, so that decoded values are exact in float32
TAG_STEP = 1 / 32

_COUNTS = struct.Struct("<5I")
_MORE = 255
_MIDDLE = 128  # differences that fit a byte get a high byte of 0
_LEVEL = 15  # zstd: 2% smaller than 9 for some ms more, once per image; 19 wins 1% more for many


def encode_sparse(heatmaps: np.ndarray, tags: Tags) -> bytes:
    """Keep what stands out; one support for all joints was measured to be 3 to 7 times as large."""
    heatmaps, tags = checked(heatmaps, tags)
    steps = _to_steps("heatmaps", heatmaps, HEATMAP_STEP)
    maxima = _maxima(steps)
    support = np.abs(heatmaps) > THRESHOLD
    support.reshape(-1)[_patches(maxima, heatmaps.shape)] = True
    cells = np.flatnonzero(support)
    gaps, lengths = _runs(cells)
    counts, parts = [len(gaps), len(lengths), len(cells), 0, 0], [gaps, lengths, _deltas(steps.reshape(-1)[cells])]
    if tags is not None:
        skipped = _bytes(np.diff(np.searchsorted(cells, maxima), prepend=-1) - 1)
        patches = tags.reshape(len(tags), -1)[:, _patches(maxima, heatmaps.shape)]
        counts[3:] = len(skipped), len(maxima)
        parts += [skipped, _deltas(_to_steps("tags", patches, TAG_STEP))]
    return pack((heatmaps, tags), [_COUNTS.pack(*counts), *parts], _LEVEL)


def decode_sparse(blob: bytes, people=None) -> Maps:
    dims, shape, raw = unpack(blob)
    gap_bytes, runs, kept, maximum_bytes, maxima = _COUNTS.unpack_from(raw)
    at = _COUNTS.size + gap_bytes
    cells = _running_sums(raw, at - gap_bytes, gap_bytes).repeat(np.frombuffer(raw, np.uint8, runs, at))
    cells += np.arange(kept)
    at += runs
    heatmaps = np.zeros(shape, np.float32)
    heatmaps.reshape(-1)[cells] = _undo_deltas(raw, at, kept) * np.float32(HEATMAP_STEP)
    if not dims:
        return heatmaps, None
    at += 2 * kept
    peaks = cells[_running_sums(raw, at, maximum_bytes) + np.arange(maxima)]
    patches = _patches(peaks, shape).ravel()
    tags = np.zeros((dims, *shape), np.float32)
    steps = _undo_deltas(raw, at + maximum_bytes, dims * patches.size) * np.float32(TAG_STEP)
    for kept_tags, values in zip(tags.reshape(dims, -1), steps.reshape(dims, -1)):
        kept_tags[patches] = values
    return heatmaps, tags


def _to_steps(name: str, values: np.ndarray, step: float) -> np.ndarray:
    refuse_beyond(name, values, np.iinfo(np.int16).max * step)
    return np.rint(values / np.float32(step)).astype(np.int16)


def _maxima(steps: np.ndarray) -> np.ndarray:
    """The cells above THRESHOLD that none of their eight neighbours exceeds, ascending."""
    highest = np.pad(steps, ((0, 0), (1, 1), (1, 1)), mode="edge")
    highest = np.maximum(np.maximum(highest[:, :-2], highest[:, 1:-1]), highest[:, 2:])
    highest = np.maximum(np.maximum(highest[:, :, :-2], highest[:, :, 1:-1]), highest[:, :, 2:])
    return np.flatnonzero((steps == highest) & (steps > THRESHOLD / HEATMAP_STEP))


def _patches(cells: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """The 3 x 3 cells around each cell, (N, 3, 3); at the border around its inner neighbour, where decoders look."""
    _, h, w = shape
    joint_rows, x = np.divmod(cells, w)
    y = joint_rows % h
    # np.clip takes twice as long
    up = np.minimum(np.maximum(y - 1, 0), max(h - 3, 0)) - y
    left = np.minimum(np.maximum(x - 1, 0), max(w - 3, 0)) - x
    return (cells + up * w + left)[:, None, None] + _from_corner(h, w)


@lru_cache(maxsize=16)  # of maps of one size thousands are decoded
def _from_corner(h: int, w: int) -> np.ndarray:
    """From the first cell of a patch to each of its cells, (3, 3); small maps repeat their last row or column."""
    return np.minimum(np.arange(3), h - 1)[:, None] * w + np.minimum(np.arange(3), w - 1)


def _runs(cells: np.ndarray) -> tuple[bytes, bytes]:
    """The gaps before the runs that these ascending cells form, and the runs' lengths."""
    first = (np.diff(cells, prepend=-2) != 1) | (cells % _MORE == 0)  # so that no run is longer than a byte tells
    lengths = np.diff(np.flatnonzero(first), append=len(cells))
    starts = cells[first]
    gaps = np.diff(starts, prepend=0) - np.append(0, lengths)[: len(lengths)]
    return _bytes(gaps), lengths.astype(np.uint8).tobytes()


def _bytes(numbers: np.ndarray) -> bytes:
    """Numbers from 0 on as bytes that add up; 255 says that more follows."""
    ends = np.cumsum(numbers // _MORE + 1)
    raw = np.full(ends[-1] if len(ends) else 0, _MORE, np.uint8)
    raw[ends - 1] = numbers % _MORE
    return raw.tobytes()


def _running_sums(raw: bytes, start: int, count: int) -> np.ndarray:
    """The sum of the first number in these bytes, of the first two, and so on."""
    values = np.frombuffer(raw, np.uint8, count, start)
    return values.cumsum(dtype=np.int64)[values < _MORE]


def _deltas(steps: np.ndarray) -> bytes:
    return split((np.diff(steps.reshape(-1), prepend=np.int16(0)) + np.int16(_MIDDLE)).astype("<i2"))


def _undo_deltas(raw: bytes, start: int, count: int) -> np.ndarray:
    deltas = join(raw, "<i2", (count,), start)
    deltas -= _MIDDLE
    return deltas.cumsum(dtype=np.int16)
