"""From cache to cache: many made one, or the same in another store or codec."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rtpe.cache.cache import Cache
from rtpe.cache.codecs import CODECS
from rtpe.cache.manifest import Manifest
from rtpe.cache.origins import refuse_other_entries
from rtpe.errors import UserError


@dataclass(frozen=True)
class TransferReport:
    """What a merge or conversion did.

    Attributes:
        added: entries added by this run.
        kept: entries that were there before, or in several of the sources.
    """

    added: int
    kept: int


def merge(path: str | Path, sources: Sequence[str | Path]) -> TransferReport:
    """Copy the entries of all sources into one cache, as they are: nothing is decoded.

    The sources must agree in all that decides what entries hold; how they are stored may differ. An image that several
    of them hold is taken from the first; it must be the same image in all. A merge that was killed goes on when it is
    run again.

    Raises:
        UserError: if there is no source, or they hold different things, or different images under one number, an entry
            is damaged, or another run writes.
    """
    if not sources:
        raise UserError(f"cache {path}: nothing to merge: name the caches, such as --sources '[caches/a, caches/b]'")
    manifests = [Manifest.read(Path(source)) for source in sources]
    named = ", ".join(dict.fromkeys(each.source for each in manifests if each.source))
    with Cache.create(path, _of_this_store(path, replace(manifests[0], source=named))) as out:
        return absorb(out, sources)


def absorb(out: Cache, sources: Sequence[str | Path]) -> TransferReport:
    """As `merge`, into a cache that is open for adding."""
    caches = [Cache.open(source) for source in sources]
    for cache in caches:
        if lines := replace(cache.manifest, store=out.manifest.store).differences(out.manifest):
            raise UserError(
                f"cache {cache.path}: holds something else than {out.path}: {'; '.join(lines)}: merge only caches of "
                "one predictor and codec"
            )
    _refuse_other_images([out, *caches])
    added = 0
    for cache in caches:
        new = [image_id for image_id in cache.ids if image_id not in out]
        for image_id in new:
            out.copy(cache, image_id)
        added += len(new)
        for image_id, (name, reason) in cache.skipped.items():
            if image_id not in out:
                out.add_skipped(image_id, name, reason)
    return TransferReport(added, sum(map(len, caches)) - added)


def _refuse_other_images(caches: Sequence[Cache]) -> None:
    first: dict[int, Cache] = {}  # that has an image
    for cache in caches:
        for image_id in cache.ids:
            if image_id in first:
                refuse_other_entries(cache, first[image_id], [image_id], "merge only caches of the same images")
            first.setdefault(image_id, cache)


def convert(
    source: str | Path, path: str | Path, store: str, codec: str, say: Callable[[int], None] = lambda done: None
) -> TransferReport:
    """Write a cache anew in another store or codec; what was lost stays lost, and the new bound says so.

    Args:
        say: told how many entries are done.

    Raises:
        UserError: as `Cache.open`, `Cache.create` and `Cache.recode`, or if an entry that is there is of another image.
    """
    held = Cache.open(source)
    wanted = replace(held.manifest, store=store, codec=codec, bound=_both_bounds(held.manifest, codec))
    added = 0
    with Cache.create(path, wanted) as out:
        there = [image_id for image_id in held.ids if image_id in out]
        refuse_other_entries(held, out, there, "choose another --cache.path")
        for image_id in sorted(set(held.ids) - set(there)):
            if codec == held.manifest.codec:
                out.copy(held, image_id)
            else:
                out.recode(held, image_id)
            added += 1
            say(added)
    return TransferReport(added, len(held) - added)


def _both_bounds(held: Manifest, codec: str) -> dict[str, float | None]:
    """The errors of the two codecs, one after the other; where one of them has no bound, there is none."""
    if codec == held.codec:
        return dict(held.bound)
    pairs = {name: (value, getattr(CODECS[codec].bound, name)) for name, value in held.bound.items()}
    return {name: None if None in pair else sum(pair) for name, pair in pairs.items()}


def _of_this_store(path: str | Path, manifest: Manifest) -> Manifest:
    """The manifest, with the store of the cache that may be there."""
    there = (Path(path) / "manifest.json").exists()
    return replace(manifest, store=Manifest.read(Path(path)).store) if there else manifest
