"""Build a teacher's cache, and look at one.

rtpe cache build --config recipes/hpe0001.yaml --data.root datasets/coco --cache.path caches/hpe0001-train
rtpe cache info --cache.path caches/hpe0001-train
"""

from __future__ import annotations

import json

from rtpe import build, config
from rtpe.cache import Cache, Manifest, build_cache
from rtpe.config import CacheBuild, CacheInfo

COCO_IMAGES = 123_287  # train2017 and val2017, for a projection that everyone can judge


def build_teacher_cache(settings: CacheBuild) -> None:
    """Run the teacher over all images that the cache lacks."""
    if not settings.cache.path:
        raise ValueError("no place for the cache: pass --cache.path FOLDER")
    images = build.dataset(settings.data)
    teacher = build.predictor(settings.teacher, settings.decode, images.skeleton, build.device(settings.device))
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
    with Cache.create(settings.cache.path, manifest) as cache:
        report = build_cache(cache, teacher, images.sources(), batch=settings.teacher.batch)
        size = cache.bytes_per_image
    print(
        f"cache {settings.cache.path}: {report.built} built, {report.kept} kept, {report.skipped} skipped"
        + (f" (listed in {settings.cache.path}/skipped.txt)" if report.skipped else "")
    )
    print(
        f"{report.images_per_s:.1f} images/s, {report.predictor_share:.0%} of the time in the teacher, "
        f"{size / 1000:.1f} KB an image"
    )


def cache_info(settings: CacheInfo) -> None:
    """Print who made a cache, of what, how exactly, and how large it is."""
    cache = Cache.open(settings.cache.path)
    held = cache.manifest
    rows = {
        "teacher": held.predictor.get("name"),
        "weights": held.predictor.get("weights_sha256"),
        "settings": json.dumps(held.predictor.get("settings")),
        "skeleton": held.skeleton.name,
        "images": f"{len(cache)} of {held.source}",
        "store": f"{held.store}, codec {held.codec}",
        "error bound": json.dumps(dict(held.bound)),
        "size": f"{cache.bytes_per_image / 1000:.1f} KB an image, {cache.nbytes / 1e6:.1f} MB in all",
        "projected": f"{cache.bytes_per_image * COCO_IMAGES / 1e9:.2f} GB for the {COCO_IMAGES} images of COCO",
    }
    for name, value in rows.items():
        print(f"{name:12} {value}")
