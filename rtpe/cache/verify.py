"""Is a cache, to the last byte, as it was written; and if not, drop what is lost of it."""

from __future__ import annotations

from pathlib import Path

from rtpe.cache.cache import Cache, VerifyReport
from rtpe.cache.manifest import Manifest


def verify(path: str | Path, repair: bool = False) -> VerifyReport:
    """Read every byte of a cache.

    Args:
        repair: drop what is damaged, and only that, so that the next build remakes it.

    Raises:
        UserError: if it is missing, its manifest is damaged, or, for a repair, another run is writing to it.
    """
    path = Path(path)
    with Cache.create(path, Manifest.read(path), damaged=True) if repair else Cache.open(path, damaged=True) as cache:
        report = cache.verify()
        if repair:
            cache.mend(report.damaged)
    return report
