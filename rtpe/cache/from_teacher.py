"""Build a cache: a teacher, the images of a data set, a folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtpe.cache.build import BuildReport, fill_cache
from rtpe.cache.cache import Cache
from rtpe.cache.manifest import Manifest
from rtpe.cache.origins import refuse_ids, refuse_other_images
from rtpe.cache.sharding import Shard
from rtpe.protocols import Images, Predictor


@dataclass(frozen=True)
class Built:
    """What a build did, and what the cache holds then.

    Attributes:
        asked: images of this process.
        skipped: images that are listed in `skipped.txt`.
        bytes_per_image: of the cache.
    """

    report: BuildReport
    asked: int
    skipped: int
    bytes_per_image: float


def build(
    predictor: Predictor,
    images: Images,
    path: str | Path,
    store: str = "hdf5",
    codec: str = "sparse",
    batch: int = 8,
    share: Shard | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Built:
    """Run a predictor over all images that a cache lacks, or over one process's share of them.

    A build that was killed goes on where it stopped; images that cannot be read are listed in `skipped.txt`.

    Args:
        path: folder of the cache.
        store, codec: see `rtpe.cache.STORES` and `rtpe.cache.CODECS`.
        batch: images that the predictor is given at once.
        settings: of the run, kept in the manifest as a record.

    Raises:
        UserError: if the folder holds another cache, or an image under the number of another one.
    """
    path, share = Path(path), share or Shard()
    refuse_ids(path, images.sources())
    about = predictor.describe()
    manifest = Manifest(
        predictor=about,
        skeleton=images.skeleton,
        source=f"{images.root.name}/{images.split}",
        store=store,
        codec=codec,
        size=about["settings"].get("size"),
        settings=settings or {},
    )
    todo = images.sources()[share.index :: share.count]
    with share.folder(path, manifest) as (folder, done):
        if done is not None:
            refuse_other_images(done, todo)
            todo = [source for source in todo if source[0] not in done]
        with Cache.create(folder, manifest) as cache:
            report = fill_cache(cache, predictor, todo, batch=batch, progress=progress and share.index == 0)
            return Built(report, len(todo), len(cache.skipped), cache.bytes_per_image)
