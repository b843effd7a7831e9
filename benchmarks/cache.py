"""What every store and codec of the teacher cache costs and loses, on the maps of any teacher over any images.

    python benchmarks/cache.py --teacher.weights models/demo_teacher.safetensors \
        --data.root datasets/synthetic --data.split val2017 --out runs/bench.json
    python benchmarks/cache.py --config hpe0001 --data.root datasets/coco --data.split val2017

The teacher looks at the images once; its maps stay in memory, as float32. Then each store and codec holds them in turn,
and so does one compressed npz file an image, as float32 and as float16. Times are the
processor's, of one thread, each image's best of several passes, between bytes in memory and maps in memory; the loader
reads whole entries, shuffled, by two workers.

    KB      of an entry: the maps, the people, the checksum
    1/npz   how many times smaller the encoded maps alone are than compressed float32 npz
    GB      of such entries for the 123,287 images of COCO
    enc     milliseconds to encode               dec     to decode; x npz: how many times faster
    im/s    images the loader hands over a second
    shift   of peaks above .3, mean and largest, in cells; lost: peaks without a summit within two cells
    AP      of people read from the held maps, less that of people read from the live ones; n/a if tags do not tell
            people apart: those of other teachers are stored beside the maps, exactly
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
import torch
from timing import milliseconds
from torch.utils.data import DataLoader, Dataset
from ways import Arrays, Predictions, Way, ways_to_hold

from rtpe.cache import Manifest
from rtpe.cache.cache import COCO_IMAGES
from rtpe.cli import status
from rtpe.data.coco import CocoDataset
from rtpe.data.load import open_dataset
from rtpe.data.settings import DataSettings
from rtpe.decode.decoders import make_decoder
from rtpe.decode.peaks import dark, local_maxima
from rtpe.decode.settings import DecodeSettings
from rtpe.device import choose_device
from rtpe.errors import UserError
from rtpe.evaluation.score import score
from rtpe.images import read_image
from rtpe.predictors.load import load_predictor
from rtpe.predictors.settings import TeacherSettings
from rtpe.report.table import print_table, write_json
from rtpe.running import predict
from rtpe.settings.limits import Checked
from rtpe.settings.parse import parse_settings
from rtpe.structures import PoseMaps, Poses

CONFIDENT = 0.3  # heat of a peak that must not be lost
NEAR = 2.0  # cells
ENCODED = 16  # images over which encoding is timed: it is slow, and done once
LOADED = 240  # images at least that a loader is timed over
WORKERS = 2
BATCH = 8


@dataclass(frozen=True)
class CacheBenchmark(Checked):
    """Measure every store and codec of the teacher cache on a teacher's maps.

    Attributes:
        passes: of which the fastest counts.
        out: JSON file for the rows.
        device: of the teacher: auto, cpu or cuda.
    """

    data: DataSettings = field(default_factory=lambda: DataSettings(split="val2017", limit=300))
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    decode: DecodeSettings = field(default_factory=DecodeSettings)
    passes: int = 5
    out: str = ""
    device: str = "auto"


def benchmark(settings: CacheBenchmark) -> list[dict]:
    """Print the table, write the rows; returns them."""
    images = open_dataset(settings.data)
    teacher = load_predictor(settings.teacher, settings.decode, images.skeleton, choose_device(settings.device), images)
    live = _predictions(teacher, images, settings.teacher.batch)
    if not live:
        raise UserError(f"data {settings.data.root}: no image to measure on: check --data.split and --data.limit")
    torch.set_num_threads(1)
    decoder = make_decoder(settings.decode) if _has_tags(live) else None
    ap = _ap(((key, decoder(each.maps)) for key, each in live.items()), images) if decoder else None
    rows, of_codec = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for way in ways_to_hold(live, images.skeleton, Path(folder)):
            if way.codec not in of_codec:  # which file holds the bytes changes neither their cost nor what they lose
                of_codec[way.codec] = {**_cost(way, live, settings.passes), **_loss(way, live)}
                change = None if ap is None else _ap(_decoded(way, live, decoder), images) - ap
                of_codec[way.codec]["ap_change"] = change
            rows.append({**_of_store(way, list(live)), **of_codec[way.codec]})
    _compare(rows)
    _print(rows, live, teacher.describe()["name"], images)
    if settings.out:
        write_json(rows, Path(settings.out))
    return rows


def _predictions(teacher, images: CocoDataset, batch: int) -> Predictions:
    sources = images.sources()
    live: Predictions = {}
    for start in range(0, len(sources), batch):
        chosen = sources[start : start + batch]
        told = predict(teacher, [image_id for image_id, _, _ in chosen], [read_image(path) for _, _, path in chosen])
        live.update((image_id, each) for (image_id, _, _), each in zip(chosen, told))
    return live


def _has_tags(live: Predictions) -> bool:
    return all(each.maps.tags is not None for each in live.values())


class _Entries(Dataset):
    """The maps of the entries, by image id, as tensors."""

    def __init__(self, load: Callable[[int], Arrays]):
        self.load = load

    def __getitem__(self, image_id: int) -> list[torch.Tensor]:
        return [torch.from_numpy(stack) for stack in self.load(image_id) if stack is not None]


def _images_per_s(load: Callable[[int], Arrays], ids: list[int]) -> float:
    """Images a loader hands over a second, shuffled, once its workers have started; maps of any sizes make a batch."""
    rng = np.random.default_rng(0)
    order = np.concatenate([rng.permutation(ids) for _ in range(-(-LOADED // len(ids)))]).tolist()
    loader = DataLoader(_Entries(load), BATCH, sampler=order, num_workers=WORKERS, collate_fn=list)
    arrived = [(time.perf_counter(), len(batch)) for batch in loader]
    return sum(count for _, count in arrived[1:]) / (arrived[-1][0] - arrived[0][0])


def _of_store(way: Way, ids: list[int]) -> dict[str, object]:
    return {
        "store": way.store,
        "codec": way.codec,
        "default": _is_default(way),
        "bytes_per_image": way.entry_bytes,
        "projected_gb": way.entry_bytes * COCO_IMAGES / 1e9,
        "loader_images_per_s": _images_per_s(way.load, ids),
    }


def _cost(way: Way, live: Predictions, passes: int) -> dict[str, float]:
    blobs = [way.encode(each) for each in live.values()]
    return {
        "maps_bytes_per_image": float(np.mean([len(blob) for blob in blobs])),
        "encode_ms": milliseconds(way.encode, zip(list(live.values())[:ENCODED]), passes),
        "decode_ms": milliseconds(way.decode, zip(blobs, live.values()), passes),
    }


def _loss(way: Way, live: Predictions) -> dict[str, float | int | None]:
    """How far the held heatmaps are from the live ones, and where their peaks went."""
    squares, cells, shifts, lost = 0.0, 0, [], 0
    for image_id, each in live.items():
        heatmaps, held = each.maps.heatmaps, way.load(image_id)[0]
        squares += float(((held - heatmaps).astype(np.float64) ** 2).sum())
        cells += heatmaps.size
        distances = _distances(heatmaps, held)
        shifts += distances[distances <= NEAR].tolist()
        lost += int((distances > NEAR).sum())
    return {
        "rmse": (squares / cells) ** 0.5,
        "shift_mean_px": float(np.mean(shifts)) if shifts else None,
        "shift_max_px": float(np.max(shifts)) if shifts else None,
        "peaks": len(shifts) + lost,
        "peaks_lost": lost,
    }


def _distances(live: np.ndarray, held: np.ndarray) -> np.ndarray:
    """From each confident peak of the live heatmaps to the nearest summit of its joint that is held, (N,) cells."""
    before = local_maxima(live, threshold=CONFIDENT)
    after = local_maxima(held, kernel=3)  # of two as high as each other in a wider window, rounding chooses one
    here = dark(live, before.joints, before.ys, before.xs)
    there = dark(held, after.joints, after.ys, after.xs)
    apart = np.linalg.norm(here[:, None] - there[None], axis=-1)
    apart[before.joints[:, None] != after.joints[None]] = np.inf
    return apart.min(axis=1, initial=np.inf)


def _decoded(way: Way, live: Predictions, decoder: Callable[[PoseMaps], Poses]) -> Iterator[tuple[int, Poses]]:
    """The people read from held maps, which lie where the live ones do."""
    for image_id, each in live.items():
        heatmaps, tags = way.load(image_id)
        yield image_id, decoder(replace(each.maps, heatmaps=heatmaps, others={} if tags is None else {"tags": tags}))


def _ap(found: Iterable[tuple[int, Poses]], images: CocoDataset) -> float:
    return score(found, images)[0]["AP"]


def _is_default(way: Way) -> bool:
    default = {each.name: each.default for each in fields(Manifest)}
    return (way.store, way.codec) == (default["store"], default["codec"])


def _compare(rows: list[dict]) -> None:
    """How many times smaller and faster each is than compressed float32 npz."""
    plain = next(row for row in rows if row["codec"] == "npz_float32")
    for row in rows:
        row["times_smaller"] = plain["maps_bytes_per_image"] / row["maps_bytes_per_image"]
        row["decode_times_faster"] = plain["decode_ms"] / row["decode_ms"]


def _print(rows: list[dict], live: Predictions, name: str, images: CocoDataset) -> None:
    shapes = sorted({"x".join(map(str, each.maps.heatmaps.shape)) for each in live.values()})
    people = np.mean([len(each.poses) for each in live.values()])
    print(
        f"{name}: {len(live)} images of {images.root.name}/{images.split}, {people:.1f} people each, maps of "
        f"{shapes[0]}{f' to {shapes[-1]}' if len(shapes) > 1 else ''} cells, {'' if _has_tags(live) else 'no '}tags, "
        f"{rows[0]['peaks']} peaks above {CONFIDENT}"
    )
    shown = [{title: text(row) for title, text in COLUMNS.items()} for row in rows]
    print_table(shown, tuple(COLUMNS))


def _number(key: str, digits: int, scale: float = 1.0) -> Callable[[dict], str]:
    """A column's text, without the zero before the point: the table is wide."""

    def text(row: dict) -> str:
        if row[key] is None:
            return "n/a"
        whole, point, part = f"{row[key] * scale:.{digits}f}".partition(".")
        return f"{whole[:-1] if whole in ('0', '-0') and point else whole}{point}{part}"

    return text


COLUMNS: dict[str, Callable[[dict], str]] = {
    "store": lambda row: row["store"],
    "codec": lambda row: row["codec"] + ("*" if row["default"] else ""),
    "KB": _number("bytes_per_image", 1, 1e-3),
    "1/npz": _number("times_smaller", 0),
    "GB": _number("projected_gb", 1),
    "enc": _number("encode_ms", 1),
    "dec": _number("decode_ms", 2),
    "x npz": _number("decode_times_faster", 1),
    "im/s": _number("loader_images_per_s", 0),
    "rmse": _number("rmse", 4),
    "shift": _number("shift_mean_px", 4),
    "max": _number("shift_max_px", 2),
    "lost": _number("peaks_lost", 0),
    "AP": _number("ap_change", 3),
}


if __name__ == "__main__":
    sys.exit(status(lambda: benchmark(parse_settings(CacheBenchmark, None, "benchmarks/cache.py"))))
