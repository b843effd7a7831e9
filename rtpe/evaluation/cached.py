"""How the people of a cache score on the labels of its images, if there are any."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from rtpe.cache import Cache, refuse_other_images
from rtpe.data.settings import DataSettings
from rtpe.errors import UserError

SCORES = ("AP", "AP50", "AP75", "AR")


def scores_of_cache(cache: Cache, asked: DataSettings) -> dict[str, float | str]:
    """How the cached people score on labels, if there are any: of the data asked for, or of those it was made of.

    Raises:
        UserError: if the data asked for cannot be read, or are not those that the cache was made of.
    """
    from rtpe.data.load import open_dataset  # only where there are labels: a cache without any is shown at once

    data = asked if asked.root else _made_of(cache)
    if data is None:
        return {}
    try:
        return _scores_on(cache, open_dataset(data))
    except UserError as error:
        if asked.root:
            raise
        return {"scores": f"none: {error}"}


def _scores_on(cache: Cache, images) -> dict[str, float | str]:
    from rtpe.evaluation.score import cached_people, score

    refuse_other_images(cache, images.sources())
    images = images.subset(set(images.ids) & set(cache.ids))
    if not len(images) or images.annotations is None:
        return {}
    if not images.labels.labelled(images.ids):
        return {"scores": "none: nobody on these images has labelled joints"}
    found, _ = score(cached_people(cache, images, []), images)
    return {f"{name} of its people": round(found[name], 4) for name in SCORES}


def _made_of(cache: Cache) -> DataSettings | None:
    """The data that the run which made it recorded, if they are there; another version may have had other settings."""
    recorded = cache.manifest.settings.get("data")
    kinds = {int: int, float: (float, int), str: str}
    known = {field.name: kinds[type(field.default)] for field in dataclasses.fields(DataSettings)}
    if not isinstance(recorded, Mapping):
        return None
    kept = {name: value for name, value in recorded.items() if isinstance(value, known.get(name, ()))}
    return DataSettings(**kept) if kept.get("root") and Path(kept["root"]).exists() else None
