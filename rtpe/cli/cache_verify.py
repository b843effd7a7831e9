"""rtpe cache verify --cache.path caches/hpe0001-train --repair"""

from __future__ import annotations

from dataclasses import dataclass, field

from rtpe.cache.settings import CachePath
from rtpe.cli.required import require
from rtpe.errors import UserError
from rtpe.settings.limits import Checked


@dataclass(frozen=True)
class CacheVerify(Checked):
    """Read every byte of a cache and tell what is damaged.

    Attributes:
        repair: drop what is damaged, and only that, so that the next build remakes it.
    """

    cache: CachePath = field(default_factory=CachePath)
    repair: bool = False


def run(settings: CacheVerify) -> None:
    """Read every byte; say what is damaged, and drop it if asked to.

    Raises:
        UserError: if something is damaged and stays.
    """
    from rtpe.cache import verify

    path = require(settings.cache.path, "no cache: pass --cache.path FOLDER")
    report = verify(path, settings.repair)
    if not report.damaged:
        print(f"cache {path}: {report.entries} entries, every byte as it was written")
        return
    files = ", ".join(file.name for file in report.damaged[:5]) + (", ..." if len(report.damaged) > 5 else "")
    said = f"cache {path}: {len(report.damaged)} damaged files ({files}), {len(report.lost)} damaged entries"
    if not settings.repair:
        raise UserError(f"{said}: run again with --repair, then build again")
    print(f"{said}: dropped; {report.entries} entries are whole: build again to remake the others")
