"""rtpe cache convert --source caches/hpe0001-train --cache.path caches/plain --cache.store npz --cache.codec float16"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from rtpe.cache import Cache, convert
from rtpe.cache.from_files import import_w48
from rtpe.cache.settings import CacheSettings
from rtpe.cache.w48 import SUFFIX
from rtpe.cli.required import require
from rtpe.data.settings import DataSettings
from rtpe.decode.settings import DecodeSettings
from rtpe.settings.limits import Checked
from rtpe.settings.parse import as_dict


@dataclass(frozen=True)
class CacheConvert(Checked):
    """Write a cache in another store or codec, or make one of a folder of *_w48_predictions.npz files.

    Only those files need --data, the images that they were made from, and --decode, how people are read from them.

    Attributes:
        source: the folder of the cache, or of those files.
    """

    source: str = ""
    cache: CacheSettings = field(default_factory=CacheSettings)
    data: DataSettings = field(default_factory=DataSettings)
    decode: DecodeSettings = field(default_factory=DecodeSettings)


def run(settings: CacheConvert) -> None:
    """Write a cache in another store or codec, or make one of files of the first rtpe."""
    path = require(settings.cache.path, "no place for the new cache: pass --cache.path FOLDER")
    source = Path(require(settings.source, "nothing to convert: pass --source FOLDER"))
    if not (source / "manifest.json").exists() and any(source.glob(f"*{SUFFIX}")):
        added, kept = _of_w48(settings, source, path)
    else:
        with tqdm(total=len(Cache.open(source)), unit="image", disable=None) as bar:
            report = convert(source, path, settings.cache.store, settings.cache.codec, bar.update)
        added, kept = report.added, report.kept
    size = Cache.open(path).bytes_per_image
    print(f"cache {path}: {added} entries added, {kept} were there, {size / 1000:.1f} KB an image")


def _of_w48(settings: CacheConvert, source: Path, path: str) -> tuple[int, int]:
    """The entries added, and those that were there."""
    from rtpe.data.load import open_dataset
    from rtpe.decode.decoders import make_decoder, with_grouping

    reading = with_grouping(settings.decode)
    store, codec = settings.cache.store, settings.cache.codec
    images, decode = open_dataset(settings.data), make_decoder(reading)
    done = import_w48(path, source, images, decode, as_dict(reading), store, codec, as_dict(settings))
    print(f"{done.skipped} images skipped" + (f", listed in {path}/skipped.txt" if done.skipped else ""))
    return done.added, done.kept
