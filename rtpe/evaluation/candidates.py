"""Whoever can be scored: a network, a student, a cache, or what a recipe describes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rtpe.cache import Cache
from rtpe.cache.settings import CachePath
from rtpe.data.load import Images, open_cache
from rtpe.data.readable import require_readable
from rtpe.decode.decoders import make_decoder
from rtpe.device import choose_device
from rtpe.errors import UserError
from rtpe.evaluation.cost import cost
from rtpe.evaluation.score import cached_ids, predictions
from rtpe.evaluation.settings import Validate
from rtpe.files import shipped
from rtpe.predictors.load import load_predictor
from rtpe.settings.parse import parse_settings
from rtpe.structures import PoseMaps, Poses

Said = Iterator[tuple[int, Poses, PoseMaps | None]]


@dataclass(frozen=True)
class Candidate:
    """A row of the table.

    Attributes:
        name: who speaks.
        said: (image id, people, maps) of every image; None for maps that nobody needs, or that another row has.
        cost: measures what an image costs, once asked; of a cache nothing.
    """

    name: str
    said: Said
    cost: Callable[[], dict[str, object]] = dict


def candidates(settings: Validate, images: Images, skipped: list[str]) -> Iterator[Candidate]:
    """A cache gives its stored people and, where tags allow it, its maps read anew; a network its predictions."""
    if settings.cache.path:
        yield from _of_cache(open_cache(settings.cache.path, images), settings, images, skipped)
        return
    teacher = settings.teacher
    teacher = dataclasses.replace(teacher, weights=settings.weights) if settings.weights else teacher
    require_readable(images)
    where = choose_device(settings.device)
    predictor = load_predictor(teacher, settings.decode, images.skeleton, where, images)
    said = ((i, p.poses, p.maps) for i, p in predictions(predictor, images, teacher.batch, skipped))
    yield Candidate(predictor.describe()["name"], said, lambda: cost(predictor, images, teacher, where))


def _of_cache(cache: Cache, settings: Validate, images: Images, skipped: list[str]) -> Iterator[Candidate]:
    name = str(cache.manifest.predictor.get("name", "teacher"))
    ids = list(cached_ids(cache, images, skipped))
    said = ((i, cache.poses(i), cache.load(i).maps if settings.oracle else None) for i in ids)
    yield Candidate(f"{name} (people)", said)
    if len(cache) and cache.load(cache.ids[0]).maps.tags is not None:
        decode = make_decoder(settings.decode)
        yield Candidate(f"{name} (maps)", ((i, decode(cache.load(i).maps), None) for i in ids))


def alone(item: str, settings: Validate) -> Validate:
    """The settings for one of those to compare: a recipe's own, or these with that cache or those weights.

    Raises:
        UserError: if it is none of the three.
    """
    path = shipped(item)
    kept = {name: getattr(settings, name) for name in ("data", "score", "oracle", "per_joint", "device")}
    if path.suffix.lower() in (".yaml", ".yml"):
        return dataclasses.replace(_recipe(str(path)), compare=[], **kept)
    plain = dataclasses.replace(settings, compare=[], weights="", cache=CachePath())
    if (path / "manifest.json").exists():
        return dataclasses.replace(plain, cache=CachePath(path=item))
    if not path.is_file():
        what = "a folder, but no cache" if path.is_dir() else "no such file or folder"
        raise UserError(f"compare {item}: {what}: name a cache, a recipe (.yaml) or weights")
    return dataclasses.replace(plain, weights=item)


def _recipe(path: str) -> Validate:
    try:
        return parse_settings(Validate, ["--config", path], "recipe")
    except ValueError as error:
        raise UserError(f"compare {path}: no recipe of a teacher or a cache ({error}): name one, or weights") from error
