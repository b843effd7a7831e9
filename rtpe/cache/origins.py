"""A cache belongs to its images: their numbers alone do not tell them from those of another data set."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rtpe.cache.cache import Cache
from rtpe.cache.entries import IDS, Origin
from rtpe.errors import UserError
from rtpe.images import file_bytes
from rtpe.protocols import Item


def refuse_other_images(cache: Cache, images: Iterable[Item]) -> None:
    """Compare name, bytes and sides of each image that the cache has: the first that differs is refused.

    A file that is not there is compared by its name, and by the sides that the labels have. The first bytes of 10,000
    records are read in a seventh of a second: so all are compared before any work.

    Raises:
        UserError: if an entry is of another image, or damaged.
    """
    for image_id, name, source in images:
        if image_id in cache:
            asked = Origin(name, file_bytes(source), getattr(source, "size_hw", None))
            _refuse(cache, image_id, asked, "here", "pass the --cache.path of these images")


def refuse_ids(cache_path: str | Path, images: Iterable[Item]) -> None:
    """Look at the ids of all images before any work: each must be the only one, and fit 64 bits.

    Raises:
        UserError: for the first that does not.
    """
    names: dict[int, str] = {}
    for image_id, name, _ in images:
        if image_id not in IDS:
            raise UserError(f"cache {cache_path}: image {image_id} ({name}): its id does not fit 64 bits: renumber")
        if image_id in names:
            both = f"of {names[image_id]} and of {name}"
            raise UserError(f"cache {cache_path}: id {image_id} is that {both}: ids must be unique: correct the labels")
        names[image_id] = name


def refuse_other_entries(cache: Cache, other: Cache, image_ids: Iterable[int], remedy: str) -> None:
    """Compare the images that two caches have under the same numbers.

    Raises:
        UserError: if they are not the same, with this remedy, or an entry is damaged.
    """
    for image_id in image_ids:
        _refuse(cache, image_id, other.origin(image_id), f"in {other.path}", remedy)


def _refuse(cache: Cache, image_id: int, asked: Origin, where: str, remedy: str) -> None:
    if cache.origin(image_id).difference(asked, where):
        held = cache.entry(image_id).origin  # now with its checksum: a damaged name is no other image
        raise UserError(f"cache {cache.path}: image {image_id} {held.difference(asked, where)}: {remedy}")
