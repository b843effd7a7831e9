"""rtpe cache info --cache.path caches/hpe0001-train"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from rtpe.cache import Cache
from rtpe.cache.settings import CachePath
from rtpe.cli.required import require
from rtpe.data.settings import DataSettings
from rtpe.evaluation.cached import scores_of_cache
from rtpe.report.table import write_json
from rtpe.settings.limits import Checked


@dataclass(frozen=True)
class CacheInfo(Checked):
    """Show who made a cache, of what, how exactly, how large it is, and how its people score on the labels there are.

    Those are the labels of the images that it was made of; name others, or another place, by --data.root.

    Attributes:
        out: JSON file for the same.
    """

    cache: CachePath = field(default_factory=CachePath)
    data: DataSettings = field(default_factory=lambda: DataSettings(root=""))
    out: str = ""


def run(settings: CacheInfo) -> None:
    """Print who made a cache, of what, how exactly, how large it is, and how its people score."""
    cache = Cache.open(require(settings.cache.path, "no cache: pass --cache.path FOLDER"))
    facts = {**cache.info(), **scores_of_cache(cache, settings.data)}
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:{width}}  {json.dumps(value) if isinstance(value, dict) else value}")
    if settings.out:
        write_json([{"name": facts["teacher"], **facts}], Path(settings.out))
