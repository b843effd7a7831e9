"""rtpe cache import --results people.results.json --data.root datasets/coco --cache.path caches/found"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from rtpe.cache.from_files import import_poses
from rtpe.cache.settings import CacheSettings
from rtpe.cli.required import require
from rtpe.data.settings import DataSettings
from rtpe.plain import read_regular
from rtpe.settings.limits import Checked
from rtpe.settings.parse import as_dict


@dataclass(frozen=True)
class CacheImport(Checked):
    """Make a cache of the people in a COCO keypoint results file: whatever predicts poses can teach.

    Its maps are drawn: a Gaussian at each joint, as high as the joint's score.

    Attributes:
        results: JSON file, a list of {image_id or file_name, keypoints, score}; keypoints are x, y and score of each
            joint in turn. Images that it does not name are taken for images without people.
        name: of what found them, for tables; empty for that of the file.
    """

    results: str = ""
    name: str = ""
    data: DataSettings = field(default_factory=DataSettings)
    cache: CacheSettings = field(default_factory=lambda: CacheSettings(codec="rendered"))


def run(settings: CacheImport) -> None:
    """Make a cache of the people in a results file; images that cannot be read are listed as skipped."""
    from rtpe.data.load import open_dataset
    from rtpe.data.results import read_results

    path = require(settings.cache.path, "no place for the cache: pass --cache.path FOLDER")
    results = Path(require(settings.results, "nothing to import: pass --results FILE.json"))
    images = open_dataset(settings.data)
    read = read_results(results, images.records, images.skeleton)
    predictor = {
        "name": settings.name or results.name.partition(".")[0],
        "weights_sha256": hashlib.sha256(read_regular(results)).hexdigest(),
        "settings": {"results": results.name},
    }
    store, codec = settings.cache.store, settings.cache.codec
    done = import_poses(path, read.people, images, predictor, store, codec, as_dict(settings))
    nobody = sum(not len(poses) for poses in read.people.values())
    size = f"{done.bytes_per_image / 1000:.1f} KB an image"
    print(f"cache {path}: {done.added} built, {done.kept} kept, {done.skipped} skipped, {size}")
    print(f"results {results}: {sum(map(len, read.people.values()))} people; none on {nobody} of {len(images)} images")
    if read.others:
        print(f"results {results}: left out {read.others} rows of other images")
    if read.clipped:
        print(f"results {results}: {read.clipped} joints have a score above 1, which counts as 1")
