"""Caches of predictions that lie in files: a COCO results file, or the first rtpe's *_w48_predictions.npz."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rtpe.cache.cache import Cache
from rtpe.cache.drawn import drawn_maps
from rtpe.cache.folder import NotWritten
from rtpe.cache.manifest import Manifest
from rtpe.cache.origins import refuse_ids, refuse_other_images
from rtpe.cache.w48 import PREDICTOR, SUFFIX, read_w48
from rtpe.errors import UserError
from rtpe.images import UnreadableImage, file_bytes, read_image
from rtpe.protocols import Images
from rtpe.structures import PoseMaps, Poses, Prediction

PredictionOf = Callable[[int, str, tuple[int, int]], Prediction]  # of image id, file name, (height, width)


@dataclass(frozen=True)
class Imported:
    """What an import did.

    Attributes:
        added, kept: entries added by this run, and those that were there before.
        skipped: images without an entry, listed in `skipped.txt`.
        bytes_per_image: of the cache.
    """

    added: int
    kept: int
    skipped: int
    bytes_per_image: float


def import_poses(
    path: str | Path,
    people: Mapping[int, Poses],
    images: Images,
    predictor: Mapping[str, Any],
    store: str = "hdf5",
    codec: str = "rendered",
    settings: Mapping[str, Any] | None = None,
) -> Imported:
    """Make a cache of people by image id; their maps are drawn, a Gaussian as high as the score of each joint.

    Args:
        predictor: who found them: `name`, `weights_sha256`, `settings`.

    Raises:
        UserError: if the folder holds another cache.
    """

    def prediction(image_id: int, _: str, size_hw: tuple[int, int]) -> Prediction:
        return Prediction(drawn_maps(people[image_id], size_hw), people[image_id])

    return _import(path, images, predictor, store, codec, settings, prediction)


def import_w48(
    path: str | Path,
    source: str | Path,
    images: Images,
    decode: Callable[[PoseMaps], Poses],
    reading: Mapping[str, Any],
    store: str = "hdf5",
    codec: str = "sparse",
    settings: Mapping[str, Any] | None = None,
) -> Imported:
    """Make a cache of a folder of *_w48_predictions.npz files, named after the images.

    Args:
        decode, reading: how people are read from maps, and the settings of that, kept in the manifest.

    Raises:
        UserError: if the folder holds another cache.
    """

    def prediction(_: int, name: str, size_hw: tuple[int, int]) -> Prediction:
        maps = read_w48(Path(source) / f"{Path(name).name}{SUFFIX}", size_hw)
        return Prediction(maps, decode(maps))

    predictor = {**PREDICTOR, "settings": {**PREDICTOR["settings"], "decode": dict(reading)}}
    return _import(path, images, predictor, store, codec, settings, prediction)


def _import(
    path: str | Path,
    images: Images,
    predictor: Mapping[str, Any],
    store: str,
    codec: str,
    settings: Mapping[str, Any] | None,
    prediction: PredictionOf,
) -> Imported:
    """Add an entry for every image that the cache lacks; what has no image or no prediction is listed as skipped."""
    manifest = Manifest(
        predictor=predictor,
        skeleton=images.skeleton,
        source=f"{images.root.name}/{images.split}",
        store=store,
        codec=codec,
        settings=settings or {},
    )
    sources, added = images.sources(), 0
    with Cache.create(path, manifest) as cache:
        refuse_ids(path, sources)
        refuse_other_images(cache, sources)
        kept = len(cache)
        for image_id, name, file in tqdm(sources, unit="image", disable=None):
            if image_id in cache:
                continue
            try:
                size_hw = read_image(file).shape[:2]
                cache.add(image_id, name, prediction(image_id, name, size_hw), file_bytes(file))
                added += 1
            except NotWritten:
                raise
            except (UnreadableImage, UserError) as error:
                cache.add_skipped(image_id, name, str(error))
        return Imported(added, kept, len(cache.skipped), cache.bytes_per_image)
