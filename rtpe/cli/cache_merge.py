"""rtpe cache merge --sources '[caches/part-1, caches/part-2]' --cache.path caches/hpe0001-train"""

from __future__ import annotations

from dataclasses import dataclass, field

from rtpe.cache.settings import CachePath
from rtpe.cli.required import require
from rtpe.settings.limits import Checked


@dataclass(frozen=True)
class CacheMerge(Checked):
    """Join caches of one teacher into one, without decoding anything.

    Attributes:
        sources: the caches' folders.
    """

    sources: list[str] = field(default_factory=list)
    cache: CachePath = field(default_factory=CachePath)


def run(settings: CacheMerge) -> None:
    """Join caches, entry by entry, without decoding anything."""
    from rtpe.cache import merge

    path = require(settings.cache.path, "no place for the joined cache: pass --cache.path FOLDER")
    report = merge(path, settings.sources)
    print(f"cache {path}: {report.added} entries added, {report.kept} were there")
