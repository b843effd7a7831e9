"""The ways to hold a teacher's maps: every store and codec of the cache, and one compressed npz file an image."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rtpe.cache import CODECS, STORES, Cache, Manifest
from rtpe.skeleton import Skeleton
from rtpe.structures import Prediction

PLAIN = {"npz_float32": np.float32, "npz_float16": np.float16}

Predictions = dict[int, Prediction]
Arrays = tuple[np.ndarray, np.ndarray | None]


@dataclass(frozen=True)
class Way:
    """One way to hold maps: bytes of them, maps of these bytes, and what reads an image from the disk.

    Attributes:
        encode: the bytes of a prediction.
        decode: the maps of these bytes; the prediction tells what else an entry holds.
        load: from image id to maps, out of its file; can be pickled.
        entry_bytes: mean bytes of an image on disk.
    """

    store: str
    codec: str
    encode: Callable[[Prediction], bytes]
    decode: Callable[[bytes, Prediction], Arrays]
    load: Callable[[int], Arrays]
    entry_bytes: float


def ways_to_hold(live: Predictions, skeleton: Skeleton, folder: Path) -> Iterator[Way]:
    """The plain files first, to which the others are compared; each is written when it is asked for."""
    for name, dtype in PLAIN.items():
        yield _plain_way(folder / name, name, dtype, live)
    for store in STORES:
        for name, codec in CODECS.items():
            manifest = Manifest({"name": "benchmark"}, skeleton, store=store, codec=name)
            with Cache.create(folder / f"{store}-{name}", manifest) as cache:
                for image_id, each in live.items():
                    cache.add(image_id, str(image_id), each)
            cache = Cache.open(folder / f"{store}-{name}")

            def encode(given: Prediction, codec=codec) -> bytes:
                return codec.encode(given.maps.heatmaps, given.maps.tags)

            def decode(blob: bytes, given: Prediction, codec=codec) -> Arrays:
                people = given.poses.moved(given.maps.to_image.inverse()) if codec.renders else None
                return codec.decode(blob, people)

            yield Way(store, name, encode, decode, _FromCache(cache), cache.bytes_per_image)


def _plain_way(folder: Path, name: str, dtype: type, live: Predictions) -> Way:
    def encode(given: Prediction) -> bytes:
        stacks = {"heatmaps": given.maps.heatmaps, "tags": given.maps.tags}
        file = io.BytesIO()
        np.savez_compressed(file, **{key: stack.astype(dtype) for key, stack in stacks.items() if stack is not None})
        return file.getvalue()

    def decode(blob: bytes, given: Prediction) -> Arrays:
        return _read_npz(io.BytesIO(blob))

    folder.mkdir()
    sizes = [(folder / f"{image_id}.npz").write_bytes(encode(each)) for image_id, each in live.items()]
    return Way("npz", name, encode, decode, _FromFiles(folder), float(np.mean(sizes)))


def _read_npz(file) -> Arrays:
    with np.load(file, allow_pickle=False) as arrays:
        heatmaps, tags = (arrays.get(name) for name in ("heatmaps", "tags"))
    return heatmaps.astype(np.float32, copy=False), None if tags is None else tags.astype(np.float32, copy=False)


@dataclass(frozen=True)
class _FromCache:
    cache: Cache

    def __call__(self, image_id: int) -> Arrays:
        maps = self.cache.load(image_id).maps
        return maps.heatmaps, maps.tags


@dataclass(frozen=True)
class _FromFiles:
    folder: Path

    def __call__(self, image_id: int) -> Arrays:
        return _read_npz(self.folder / f"{image_id}.npz")
