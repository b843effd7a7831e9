"""The codec that keeps no map: on loading, Gaussians are drawn where the entry's people have their joints.

Kept are the shape of the maps and one spread, that of the image's own peaks: float32, in cells, 0 if it has none. The
people are in the entry already, and exact. What the teacher saw and took for nobody's joint is lost, and so are the
shape of its peaks and its doubts: there is no bound on the values.
"""

from __future__ import annotations

import math
import struct

import numpy as np

from rtpe.cache.codecs.blob import Maps, Tags, checked, pack, unpack
from rtpe.cache.peak_width import peak_sigma
from rtpe.errors import UserError
from rtpe.geometry import index_to_point, point_to_index
from rtpe.structures import Poses

TAG_STEP = 10.0  # between the tags of two people: more than any threshold that tells people apart
_PLAIN_SPREAD = 2.0  # in cells, where no peak tells it
_NARROWEST, _WIDEST = 1e-3, 1e3  # in cells: beyond what any peak's curvature gives
_REACH = 4  # spreads; beyond, a Gaussian is less than .0004
_SPREAD = struct.Struct("<f")


def encode_poses(heatmaps: np.ndarray, tags: Tags) -> bytes:
    """Keep the shapes, and how wide the peaks are."""
    maps = checked(heatmaps, tags)
    return pack(maps, [_SPREAD.pack(peak_sigma(maps[0]) or 0.0)])


def decode_poses(blob: bytes, people: Poses) -> Maps:
    """Draw the people, whose points are in cell coordinates: see `draw`.

    Around a joint that is the highest the tag is its person's number times TAG_STEP, from 1 on; elsewhere it is 0.
    """
    dims, shape, raw = unpack(blob)
    spread = _SPREAD.unpack(raw)[0] or _PLAIN_SPREAD
    if not _NARROWEST <= spread <= _WIDEST:
        raise UserError(f"its peaks are {spread:g} cells wide")
    heatmaps, owners = draw(people, shape, spread)
    return heatmaps, np.repeat(owners[None] * np.float32(TAG_STEP), dims, axis=0) if dims else None


def draw(people: Poses, shape: tuple[int, int, int], spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Gaussians at people's joints, each as high as the joint's score; those of one kind merge by the maximum.

    Args:
        people: in cell coordinates.
        shape: (K, h, w).
        spread: standard deviation in cells.

    Returns:
        heatmaps, (K, h, w) float32, and whose joint is the highest there: the person's number from 1 on, or 0.
    """
    heatmaps, owners = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for person, joint in np.argwhere(people.scores > 0):
        window, shown = _gaussian(people.points[person, joint], spread, shape[1:])
        shown = shown * people.scores[person, joint]
        highest = shown > heatmaps[joint][window]
        heatmaps[joint][window][highest] = shown[highest]
        owners[joint][window][highest] = person + 1
    return heatmaps, owners


def _gaussian(point: np.ndarray, spread: float, size_hw: tuple[int, int]) -> tuple[tuple[slice, slice], np.ndarray]:
    """A window of the grid around a point, and the Gaussian of height 1 on its cells."""
    slices, profiles = [], []
    for place, side in zip(point[::-1].astype(np.float64), size_hw):
        first = min(max(math.ceil(point_to_index(place - _REACH * spread)), 0), side)
        last = min(max(math.floor(point_to_index(place + _REACH * spread)) + 1, first), side)
        slices.append(slice(first, last))
        profiles.append(np.exp(-((index_to_point(np.arange(first, last)) - place) ** 2) / (2 * spread**2)))
    return tuple(slices), np.outer(*profiles).astype(np.float32)
