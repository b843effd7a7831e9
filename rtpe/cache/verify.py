"""Is a cache, to the last byte, as it was written; and if not, what of it is lost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rtpe.cache.cache import Cache, CorruptEntry
from rtpe.cache.manifest import Manifest


@dataclass(frozen=True)
class VerifyReport:
    """What was found.

    Attributes:
        entries: how many are whole.
        damaged: the files of which some byte changed.
        lost: ids of the entries known to be damaged; one whose id cannot be read any more is not among them.
    """

    entries: int
    damaged: tuple[Path, ...]
    lost: tuple[int, ...]


def verify(path: str | Path, repair: bool = False) -> VerifyReport:
    """Read every byte of a cache.

    Args:
        repair: drop what is damaged, and only that, so that the next build remakes it.

    Raises:
        UserError: if it is missing, its manifest is damaged, or, for a repair, another run is writing to it.
    """
    path = Path(path)
    with Cache.create(path, Manifest.read(path), damaged=True) if repair else Cache.open(path, damaged=True) as cache:
        lost = [image_id for image_id in cache.ids if not _whole(cache, image_id)]
        damaged = {file for file in cache.store.files if cache.store.damage(file)}
        damaged |= {cache.store.where(image_id) for image_id in lost}
        report = VerifyReport(len(cache) - len(lost), tuple(sorted(damaged)), tuple(lost))
        if repair:
            cache.mend(report.damaged)
    return report


def _whole(cache: Cache, image_id: int) -> bool:
    try:
        cache.load(image_id)
    except CorruptEntry:
        return False
    return True
