"""Pose maps to bytes and back, each codec with a stated bound on its error.

Legend: K joints, T tag dimensions, h x w cells. A codec turns heatmaps (K, h, w) and tags (T, K, h, w), or None, into
bytes, and those bytes into float32 arrays of the same shapes; the bytes know the shapes. Part-affinity fields are not
stored: the people read from them are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from rtpe.cache.codecs.blob import Maps, Tags
from rtpe.cache.codecs.dense import decode_float, decode_uint8, encode_float, encode_uint8
from rtpe.cache.codecs.rendered import decode_poses, encode_poses
from rtpe.cache.codecs.sparse import HEATMAP_STEP, TAG_STEP, THRESHOLD, decode_sparse, encode_sparse
from rtpe.errors import UserError
from rtpe.structures import Poses

__all__ = ["CODECS", "Bound", "Codec", "codec", "decoded"]


@dataclass(frozen=True)
class Bound:
    """How far a decoded value may lie from the value given.

    Attributes:
        heatmaps: absolute error of a heatmap value that was kept; None if there is no bound.
        tags: absolute error of a tag that was kept; None if there is no bound.
        relative: to be added to both, as a share of the span of the image's heatmaps, or of its tags:
            max(0, highest value) - min(0, lowest value).
        outside: the largest magnitude of a heatmap value that was not kept and comes back as 0; 0 if all are kept.
            A tag that was not kept comes back as 0, whatever it was.
    """

    heatmaps: float | None
    tags: float | None
    relative: float = 0.0
    outside: float = 0.0


@dataclass(frozen=True)
class Codec:
    """A pair of functions, encode(heatmaps, tags) -> bytes and decode(bytes, people) -> (heatmaps, tags), their bound.

    `encode` raises ValueError for values that are not finite, or larger than the codec holds. `people` are the image's
    `Poses` in cell coordinates; only codecs with `renders` look at them, for the others they may be left out.
    """

    name: str
    encode: Callable[[np.ndarray, Tags], bytes]
    decode: Callable[..., Maps]
    bound: Bound
    renders: bool = False


def _float_codec(dtype: str, name: str, bound: Bound) -> Codec:
    return Codec(name, partial(encode_float, dtype=dtype), lambda blob, people=None: decode_float(blob, dtype), bound)


CODECS = {
    codec.name: codec
    for codec in (
        Codec(
            "sparse",
            encode_sparse,
            decode_sparse,
            Bound(heatmaps=HEATMAP_STEP / 2, tags=TAG_STEP / 2, outside=THRESHOLD),
        ),
        Codec("rendered", encode_poses, decode_poses, Bound(heatmaps=None, tags=None), renders=True),
        # half of a 255th, and what float32 loses in scaling back
        Codec("uint8", encode_uint8, decode_uint8, Bound(heatmaps=0.0, tags=0.0, relative=1 / 509)),
        # half a unit of the 11-bit mantissa, and half the smallest subnormal
        _float_codec("<f2", "float16", Bound(heatmaps=2.0**-25, tags=2.0**-25, relative=2.0**-11)),
        _float_codec("<f4", "float32", Bound(heatmaps=0.0, tags=0.0)),
    )
}


def decoded(codec: Codec, blob: bytes, people: Poses | None = None) -> Maps:
    """The maps of bytes from a file, which need not be those that the codec wrote.

    Raises:
        UserError: if they are others.
    """
    try:
        with np.errstate(all="ignore"):
            heatmaps, tags = codec.decode(blob, people)
    except UserError:
        raise
    except Exception as error:  # zstd, struct and numpy have many kinds
        raise UserError(f"its maps are none of codec {codec.name}: {error or type(error).__name__}") from error
    if not all(np.isfinite(stack).all() for stack in (heatmaps, tags) if stack is not None):
        raise UserError("its maps hold NaN or infinity")
    return heatmaps, tags


def codec(name: str) -> Codec:
    """The codec of that name.

    Raises:
        UserError: if there is none.
    """
    if name not in CODECS:
        raise UserError(f"unknown codec {name!r}: choose from {', '.join(CODECS)}")
    return CODECS[name]
