"""rtpe cache build --config hpe0001 --data.root datasets/coco --cache.path caches/hpe0001-train"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from rtpe.cache.origins import refuse_ids
from rtpe.cache.settings import CacheSettings
from rtpe.cli.required import require
from rtpe.data.settings import DataSettings
from rtpe.decode.settings import DecodeSettings
from rtpe.predictors.settings import TeacherSettings
from rtpe.settings.limits import DEVICE, Checked, limited
from rtpe.settings.parse import as_dict
from rtpe.shortages import named_shortages


@dataclass(frozen=True)
class CacheBuild(Checked):
    """Run a teacher over all images and keep what it saw; go on where an earlier build stopped.

    Attributes:
        shard: i/n builds the i-th of n parts (1/3, 2/3, 3/3), on machines that share nothing; `rtpe cache merge` joins
            them. Empty builds all, or under torchrun each process its part of one cache.
        device: auto, cpu or cuda.
    """

    data: DataSettings = field(default_factory=DataSettings)
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    decode: DecodeSettings = field(default_factory=DecodeSettings)
    shard: str = ""
    device: str = limited("auto", DEVICE)


def run(settings: CacheBuild) -> None:
    """Run the teacher over all images that the cache lacks, or over this process's share of them."""
    from rtpe.cache.from_teacher import build
    from rtpe.cache.sharding import shard_of
    from rtpe.data.load import open_dataset
    from rtpe.data.readable import few_predicted, require_readable
    from rtpe.device import choose_device
    from rtpe.predictors.load import load_predictor

    path = require(settings.cache.path, "no place for the cache: pass --cache.path FOLDER")
    share = shard_of(settings.shard)
    with named_shortages("a smaller --teacher.batch or --teacher.size"):
        where = choose_device(settings.device, share.local)
        images = open_dataset(settings.data)
        if not Path(path).exists():  # else the images of a finished one may be gone
            require_readable(images)
        refuse_ids(path, images.sources())
        teacher = load_predictor(settings.teacher, settings.decode, images.skeleton, where, images)
        store, codec, batch = settings.cache.store, settings.cache.codec, settings.teacher.batch
        built = build(teacher, images, path, store, codec, batch, share, as_dict(settings))
    report = built.report
    listed = f" (listed in {path}/skipped.txt)" if built.skipped else ""
    print(f"cache {path}{share}: {report.built} built, {report.kept} kept, {report.skipped} skipped{listed}")
    if few := few_predicted(report.skipped, built.asked):
        print(f"{few} could be read: check --data.root")
    print(
        f"{report.images_per_s:.1f} images/s, {report.predictor_share:.0%} of the time in the teacher, "
        f"{built.bytes_per_image / 1000:.1f} KB an image",
        flush=True,
    )
