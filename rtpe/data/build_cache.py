"""Build a cache from Python: a teacher, a data set, a folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rtpe.cache import Cache
from rtpe.cache.from_teacher import build
from rtpe.data.own import as_dataset
from rtpe.protocols import Predictor, require_predictor


def build_cache(
    predictor: Predictor, data: Any, path: str | Path, *, store: str = "hdf5", codec: str = "sparse", batch: int = 8
) -> Cache:
    """Run a predictor over all images of a data set that a cache lacks; returns the cache.

    A build that was killed goes on where it stopped. `cache[image_id]` is a `Prediction`: `.poses` and `.maps`.

    Args:
        predictor: what fits `rtpe.protocols.Predictor`.
        data: a data set of `rtpe.Dataset`, or what fits `rtpe.protocols.Dataset`.
        path: folder of the cache.
        store: hdf5 (shards) or npz (a file an image).
        codec: how maps are stored, see docs/cache.md.
        batch: images that the predictor is given at once.

    Raises:
        UserError: if the folder holds another cache, or an image under the number of another one.
    """
    require_predictor(predictor)
    build(predictor, as_dataset(data), path, store, codec, batch, progress=sys.stderr.isatty())
    return Cache.open(path)
