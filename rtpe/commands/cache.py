"""Build a teacher's cache, look at one, check it, join several, write one anew.

rtpe cache build --config recipes/hpe0001.yaml --data.root datasets/coco --cache.path caches/hpe0001-train
rtpe cache info --cache.path caches/hpe0001-train
rtpe cache verify --cache.path caches/hpe0001-train --repair true
rtpe cache merge --sources '[caches/part-1, caches/part-2]' --cache.path caches/hpe0001-train
rtpe cache convert --source caches/hpe0001-train --cache.path caches/plain --cache.store npz --cache.codec float16
rtpe cache import --results people.results.json --data.root datasets/coco --cache.path caches/found
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from rtpe import build, config
from rtpe.cache import (
    Cache,
    Manifest,
    NotWritten,
    build_cache,
    convert,
    merge,
    refuse_ids,
    refuse_other_images,
    verify,
)
from rtpe.cache.drawn import drawn_maps
from rtpe.cache.w48 import PREDICTOR, SUFFIX, read_w48
from rtpe.commands.score import cached_people, score
from rtpe.commands.shares import share_of
from rtpe.commands.shortages import named_shortages
from rtpe.commands.table import write_json
from rtpe.config import CacheBuild, CacheConvert, CacheImport, CacheInfo, CacheMerge, CacheVerify, DataSettings
from rtpe.data.results import read_results
from rtpe.errors import UserError
from rtpe.images import UnreadableImage, file_bytes, read_image
from rtpe.plain import read_regular
from rtpe.structures import Prediction

COCO_IMAGES = 123_287  # train2017 and val2017, for a projection that everyone can judge
SCORES = ("AP", "AP50", "AP75", "AR")


def build_teacher_cache(settings: CacheBuild) -> None:
    """Run the teacher over all images that the cache lacks, or over this process's share of them."""
    with named_shortages("a smaller --teacher.batch or --teacher.size"):
        _build(settings)


def _build(settings: CacheBuild) -> None:
    path = Path(_asked(settings.cache.path, "no place for the cache: pass --cache.path FOLDER"))
    share = share_of(settings.shard)
    where = build.device(settings.device, share.local)
    images = build.dataset(settings.data)
    if not path.exists():  # else the images of a finished one may be gone
        build.require_readable(images)
    refuse_ids(path, images.sources())
    teacher = build.predictor(settings.teacher, settings.decode, images.skeleton, where, images)
    said = teacher.describe()
    manifest = Manifest(
        predictor=said,
        skeleton=images.skeleton,
        source=f"{images.root.name}/{images.split}",
        store=settings.cache.store,
        codec=settings.cache.codec,
        size=said["settings"].get("size"),
        settings=config.as_dict(settings),
    )
    todo = images.sources()[share.index :: share.count]
    with share.folder(path, manifest) as (folder, done):
        if done is not None:
            refuse_other_images(done, todo)
            todo = [source for source in todo if source[0] not in done]
        with Cache.create(folder, manifest) as cache:
            report = build_cache(cache, teacher, todo, batch=settings.teacher.batch, progress=share.index == 0)
            size, skipped = cache.bytes_per_image, len(cache.skipped)
    print(
        f"cache {path}{share}: {report.built} built, {report.kept} kept, {report.skipped} skipped"
        + (f" (listed in {path}/skipped.txt)" if skipped else "")
    )
    if few := build.few_predicted(report.skipped, len(todo)):
        print(f"{few} could be read: check --data.root")
    print(
        f"{report.images_per_s:.1f} images/s, {report.predictor_share:.0%} of the time in the teacher, "
        f"{size / 1000:.1f} KB an image",
        flush=True,
    )


def cache_info(settings: CacheInfo) -> dict:
    """Print who made a cache, of what, how exactly, how large it is, and how its people score; returns it."""
    cache = Cache.open(_asked(settings.cache.path, "no cache: pass --cache.path FOLDER"))
    held = cache.manifest
    facts = {
        "teacher": held.predictor.get("name"),
        "weights": held.predictor.get("weights_sha256"),
        "settings": held.predictor.get("settings"),
        "skeleton": held.skeleton.name,
        "source": held.source,
        "images": len(cache),
        "skipped": len(cache.skipped),
        "store": held.store,
        "codec": held.codec,
        "error bound": dict(held.bound),
        "KB an image": round(cache.bytes_per_image / 1000, 3),
        "MB in all": round(cache.nbytes / 1e6, 3),
        f"GB for the {COCO_IMAGES} images of COCO": round(cache.bytes_per_image * COCO_IMAGES / 1e9, 3),
        **_scores(cache, settings.data),
    }
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:{width}}  {json.dumps(value) if isinstance(value, dict) else value}")
    if settings.out:
        write_json([{"name": facts["teacher"], **facts}], Path(settings.out))
    return facts


def cache_verify(settings: CacheVerify) -> None:
    """Read every byte; say what is damaged, and drop it if asked to.

    Raises:
        UserError: if something is damaged and stays.
    """
    path = _asked(settings.cache.path, "no cache: pass --cache.path FOLDER")
    report = verify(path, settings.repair)
    if not report.damaged:
        print(f"cache {path}: {report.entries} entries, every byte as it was written")
        return
    files = ", ".join(file.name for file in report.damaged[:5]) + (", ..." if len(report.damaged) > 5 else "")
    said = f"cache {path}: {len(report.damaged)} damaged files ({files}), {len(report.lost)} damaged entries"
    if not settings.repair:
        raise UserError(f"{said}: run again with --repair true, then build again")
    print(f"{said}: dropped; {report.entries} entries are whole: build again to remake the others")


def cache_merge(settings: CacheMerge) -> None:
    """Join caches, entry by entry, without decoding anything."""
    path = _asked(settings.cache.path, "no place for the joined cache: pass --cache.path FOLDER")
    report = merge(path, settings.sources)
    print(f"cache {path}: {report.added} entries added, {report.kept} were there")


def cache_convert(settings: CacheConvert) -> None:
    """Write a cache in another store or codec, or make one of files of the first rtpe."""
    path = _asked(settings.cache.path, "no place for the new cache: pass --cache.path FOLDER")
    source = Path(_asked(settings.source, "nothing to convert: pass --source FOLDER"))
    if not (source / "manifest.json").exists() and any(source.glob(f"*{SUFFIX}")):
        added, kept = _convert_w48(settings, source, path)
    else:
        with tqdm(total=len(Cache.open(source)), unit="image", disable=None) as bar:
            report = convert(source, path, settings.cache.store, settings.cache.codec, bar.update)
        added, kept = report.added, report.kept
    size = Cache.open(path).bytes_per_image
    print(f"cache {path}: {added} entries added, {kept} were there, {size / 1000:.1f} KB an image")


def cache_import(settings: CacheImport) -> None:
    """Make a cache of the people in a results file; images that cannot be read are listed as skipped."""
    path = _asked(settings.cache.path, "no place for the cache: pass --cache.path FOLDER")
    results = Path(_asked(settings.results, "nothing to import: pass --results FILE.json"))
    images = build.dataset(settings.data)
    read = read_results(results, images.records, images.skeleton)
    manifest = Manifest(
        predictor={
            "name": settings.name or results.name.partition(".")[0],
            "weights_sha256": hashlib.sha256(read_regular(results)).hexdigest(),
            "settings": {"results": results.name},
        },
        skeleton=images.skeleton,
        source=f"{images.root.name}/{images.split}",
        store=settings.cache.store,
        codec=settings.cache.codec,
        settings=config.as_dict(settings),
    )
    sources, built = images.sources(), 0
    with Cache.create(path, manifest) as cache:
        refuse_ids(path, sources)
        refuse_other_images(cache, sources)
        kept = len(cache)
        for image_id, name, file in tqdm(sources, unit="image", disable=None):
            if image_id in cache:
                continue
            try:
                poses, size_hw = read.people[image_id], read_image(file).shape[:2]
                cache.add(image_id, name, Prediction(drawn_maps(poses, size_hw), poses), file_bytes(file))
                built += 1
            except UnreadableImage as error:
                cache.add_skipped(image_id, name, str(error))
        skipped, size = len(cache.skipped), cache.bytes_per_image
    nobody = sum(not len(poses) for poses in read.people.values())
    print(f"cache {path}: {built} built, {kept} kept, {skipped} skipped, {size / 1000:.1f} KB an image")
    print(f"results {results}: {sum(map(len, read.people.values()))} people; none on {nobody} of {len(sources)} images")
    if read.others:
        print(f"results {results}: left out {read.others} rows of other images")
    if read.clipped:
        print(f"results {results}: {read.clipped} joints have a score above 1, which counts as 1")


def _convert_w48(settings: CacheConvert, source: Path, path: str) -> tuple[int, int]:
    """The entries added, and those that were there; an image without a file, or a damaged one, is listed as skipped."""
    images, reading = build.dataset(settings.data), build.chosen(settings.decode)
    decode = build.decoder(reading)
    manifest = Manifest(
        predictor={**PREDICTOR, "settings": {**PREDICTOR["settings"], "decode": config.as_dict(reading)}},
        skeleton=images.skeleton,
        source=f"{images.root.name}/{images.split}",
        store=settings.cache.store,
        codec=settings.cache.codec,
        settings=config.as_dict(settings),
    )
    added = 0
    with Cache.create(path, manifest) as cache:
        refuse_ids(path, images.sources())
        refuse_other_images(cache, images.sources())
        kept = len(cache)
        for image_id, name, file in tqdm(images.sources(), unit="image", disable=None):
            if image_id in cache:
                continue
            try:
                maps = read_w48(source / f"{Path(name).name}{SUFFIX}", read_image(file).shape[:2])
                cache.add(image_id, name, Prediction(maps, decode(maps)), file_bytes(file))
                added += 1
            except NotWritten:
                raise
            except (UnreadableImage, ValueError) as error:
                cache.add_skipped(image_id, name, str(error))
        print(f"{len(cache.skipped)} images skipped" + (f", listed in {path}/skipped.txt" if cache.skipped else ""))
    return added, kept


def _scores(cache: Cache, asked: DataSettings) -> dict[str, float | str]:
    """How the cached people score on labels, if there are any: of the data asked for, or of those it was made of.

    Raises:
        UserError: if the data asked for cannot be read, or are not those that the cache was made of.
    """
    data = asked if asked.root else _made_of(cache)
    if data is None:
        return {}
    try:
        return _scores_on(cache, build.dataset(data))
    except UserError as error:
        if asked.root:
            raise
        return {"scores": f"none: {error}"}


def _scores_on(cache: Cache, images: build.Images) -> dict[str, float | str]:
    refuse_other_images(cache, images.sources())
    images = images.only(set(images.ids) & set(cache.ids))
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


def _asked(value: str, otherwise: str) -> str:
    if not value:
        raise UserError(otherwise)
    return value
