"""Settings of a cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class CacheSettings:
    """What a teacher said, on disk.

    Attributes:
        path: the cache's folder; empty for none.
        store: hdf5 (shards) or npz (one file an image).
        codec: sparse, rendered (people only, maps drawn from them), uint8, float16 or float32; see docs/cache.md.
    """

    path: str = ""
    store: Literal["hdf5", "npz"] = "hdf5"
    codec: Literal["sparse", "rendered", "uint8", "float16", "float32"] = "sparse"


@dataclass(frozen=True)
class CachePath:
    """A cache that knows itself what it holds.

    Attributes:
        path: the cache's folder.
    """

    path: str = ""
