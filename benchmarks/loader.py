"""What a training example costs, stage by stage, over any images and any teacher's cache.

    python benchmarks/loader.py --data.root datasets/demo --cache.path runs/demo/cache/train2017 --out runs/loader.json
    python benchmarks/loader.py --config student_s --data.root datasets/coco \
        --cache.path caches/hpe0001-train --data.limit 500

Each image is seen in one random view, and every stage is timed as it runs inside the whole, less what other stages take
within it. Times are the processor's, of one thread; of several passes over the same views the fastest counts, image by
image and stage by stage, so that other programs add little to them. The whole is timed by itself. The last rows go by
the clock: what loaders of one and of two workers hand over, on a machine that may have other things to do.

    ms           of the processor, for each image    share  of the whole
    images/s     one core alone makes; of a loader, by the clock

The loader's workers read, warp and collate; what is expanded and rendered is made in the process that trains.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from timing import milliseconds
from torch.utils.data import DataLoader

from rtpe.cache import Cache
from rtpe.cache.settings import CachePath
from rtpe.cli import status
from rtpe.data import coco, distill, folder
from rtpe.data.distill import TrainingExamples
from rtpe.data.load import open_cache, open_dataset
from rtpe.data.loader import as_batch, collate, epoch_order
from rtpe.data.settings import AugmentSettings, DataSettings
from rtpe.data.targets import cell_indices, gaussian_maps
from rtpe.errors import UserError
from rtpe.report.table import print_table, write_json
from rtpe.settings.limits import Checked
from rtpe.settings.parse import parse_settings
from rtpe.training.examples import STRIDE, spread
from rtpe.training.settings import LossSettings, NetSettings, OptimSettings

STAGES = {
    "decode the image": [(coco, "read_reduced"), (folder, "read_reduced")],
    "labels and masks": [(coco.CocoDataset, "reduced"), (folder.FolderDataset, "reduced")],
    "warp the image": [(distill, "warp")],
    "colours": [(distill, "photometric")],
    "warp the masks": [(TrainingExamples, "_mask"), (TrainingExamples, "_person")],
    "read the cache": [(Cache, "entry")],
    "decode the cache": [(Cache, "load")],
    "warp the teacher's maps": [(distill, "warp_teacher_maps")],
    "widen the teacher's peaks": [(distill, "widen")],
    "the rest": [(TrainingExamples, "__getitem__")],
}
WORKERS = (1, 2)
LOADED = 240  # images at least that a loader is timed over


@dataclass(frozen=True)
class LoaderBenchmark(Checked):
    """Measure what a training example costs, stage by stage.

    Attributes:
        passes: of which the fastest counts.
        out: JSON file for the rows.
    """

    data: DataSettings = field(default_factory=lambda: DataSettings(root="datasets/demo", limit=200))
    cache: CachePath = field(default_factory=lambda: CachePath(path="runs/demo/cache/train2017"))
    net: NetSettings = field(default_factory=NetSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    train: OptimSettings = field(default_factory=OptimSettings)
    passes: int = 5
    out: str = ""


def benchmark(settings: LoaderBenchmark) -> list[dict]:
    """Print the table, write the rows; returns them."""
    torch.set_num_threads(1)
    examples = _examples(settings)
    order = epoch_order(len(examples), settings.train.batch, settings.train.seed, epoch=0)
    keys = [key for batch in order for key in batch]
    stages = _stages(examples, keys, settings.passes)
    made = milliseconds(lambda key: examples[key], [(key,) for key in keys], settings.passes)
    late = _of_batches(examples, order, settings)
    stages |= late
    whole = made + sum(late.values())
    rows = [{"stage": name, "ms": ms, "share": ms / whole} for name, ms in stages.items()]
    rows.append({"stage": "whole", "ms": whole, "share": 1.0, "samples_per_s_per_core": 1000 / whole})
    rows += [
        {"stage": f"loader, workers: {count}", "samples_per_s": _samples_per_s(examples, settings, count)}
        for count in WORKERS
    ]
    _print(rows, examples)
    if settings.out:
        write_json(rows, Path(settings.out))
    return rows


def _examples(settings: LoaderBenchmark) -> TrainingExamples:
    """What a training of these settings learns from."""
    images = open_dataset(settings.data)
    cache = open_cache(settings.cache.path, images) if settings.cache.path else None
    images = images if cache is None else images.subset(set(images.ids) & set(cache.ids))
    if not len(images):
        raise UserError(f"data {settings.data.root}: no image to measure on: check --data.split and --cache.path")
    labels = settings.loss.labels > 0 and images.annotations is not None
    side = settings.net.size
    seed, wide, person = settings.train.seed, spread(settings.loss), settings.loss.person != 0
    return TrainingExamples(images, (side, side), STRIDE, cache, labels, settings.augment, seed, wide, person=person)


class Clock:
    """Processor seconds of each stage, less those of the stages inside it."""

    def __init__(self):
        self.spent: dict[str, float] = defaultdict(float)
        self._inside = 0.0

    def timed(self, stage: str, function: Callable) -> Callable:
        @wraps(function)
        def run(*arguments, **options):
            outside, self._inside = self._inside, 0.0
            started = time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                spent = time.process_time() - started
                self.spent[stage] += spent - self._inside
                self._inside = outside + spent

        return run


@contextmanager
def _watched() -> Iterator[Clock]:
    """Every stage's functions, timed wherever the whole calls them."""
    clock = Clock()
    with ExitStack() as stack:
        for stage, places in STAGES.items():
            for owner, name in places:
                stack.enter_context(patch.object(owner, name, clock.timed(stage, getattr(owner, name))))
        yield clock


def _stages(examples: TrainingExamples, keys: Sequence[tuple[int, int]], passes: int) -> dict[str, float]:
    """Mean milliseconds of each stage, each image's in the stage's fastest pass."""
    fastest: dict[str, list[float]] = defaultdict(list)
    with _watched() as clock:
        for key in keys:
            of_passes = []
            for _ in range(passes):
                clock.spent.clear()
                examples[key]
                of_passes.append(dict(clock.spent))
            for stage in STAGES:
                fastest[stage].append(min(spent.get(stage, 0.0) for spent in of_passes))
    means = {stage: 1000 * float(np.mean(seconds)) for stage, seconds in fastest.items()}
    return {stage: ms for stage, ms in means.items() if ms}


def _of_batches(examples: TrainingExamples, order: list[list], settings: LoaderBenchmark) -> dict[str, float]:
    """Milliseconds an image of what is done with whole batches."""
    made = [[examples[key] for key in keys] for keys in order]
    raw = [collate(each) for each in made]
    grid_hw = (settings.net.size // STRIDE,) * 2

    def targets(points: torch.Tensor) -> None:
        in_cells = points * points.new_tensor([1 / STRIDE, 1 / STRIDE, 1.0])
        gaussian_maps(in_cells, grid_hw, settings.loss.sigmas[-1])
        cell_indices(in_cells, grid_hw)

    works = {
        "collate": (collate, made),
        "expand, in training": (as_batch, raw),
        "targets, in training": (targets, [each["points"] for each in raw]),
    }
    return {
        stage: milliseconds(work, [(each,) for each in given], settings.passes) / len(order[0])
        for stage, (work, given) in works.items()
    }


def _samples_per_s(examples: TrainingExamples, settings: LoaderBenchmark, workers: int) -> float:
    """Examples a loader hands over a second, once its workers have started."""
    epochs = range(-(-LOADED // len(examples)) + 1)
    order = [keys for epoch in epochs for keys in epoch_order(len(examples), settings.train.batch, 0, epoch)]
    loader = DataLoader(examples, batch_sampler=order, num_workers=workers, collate_fn=collate)
    arrived = [(time.perf_counter(), len(raw["images"])) for raw in loader]
    return sum(count for _, count in arrived[1:]) / (arrived[-1][0] - arrived[0][0])


def _print(rows: list[dict], examples: TrainingExamples) -> None:
    samples, (height, width) = examples.samples, examples.input_hw
    taught = "no teacher" if examples.cache is None else examples.cache.manifest.predictor.get("name")
    print(f"{len(samples)} images of {samples.root.name}/{samples.split}, {taught}, {height} x {width} pixels")
    print_table([{title: text(row) for title, text in COLUMNS.items()} for row in rows], tuple(COLUMNS))


COLUMNS: dict[str, Callable[[dict], str]] = {
    "stage": lambda row: row["stage"],
    "ms": lambda row: f"{row['ms']:.2f}" if "ms" in row else "",
    "share": lambda row: f"{row['share']:.0%}" if "share" in row else "",
    "images/s": lambda row: _rate(row.get("samples_per_s_per_core") or row.get("samples_per_s")),
}


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


if __name__ == "__main__":
    sys.exit(status(lambda: benchmark(parse_settings(LoaderBenchmark, None, "benchmarks/loader.py"))))
