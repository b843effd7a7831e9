"""What a training costs on data of COCO's size: seconds and memory to the first batch, an epoch, and of a worker.

    python benchmarks/size.py                          # 120,000 images, as many people as are drawn on them
    python benchmarks/size.py --images 1000 --out runs/size

A few pictures are drawn, and every image is one of them under another name, with labels of its own, so that only the
number of images counts. Each row comes from a process of its own. The labels are read twice: the first time from the
JSON file, then from what is kept of it.

    s    by the clock    MB    resident in memory; of a worker, what it shares with no other process
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from rtpe.cli import main as rtpe
from rtpe.cli import status
from rtpe.data.coco import CocoDataset
from rtpe.data.load import open_dataset
from rtpe.data.settings import DataSettings
from rtpe.errors import UserError
from rtpe.report.table import print_table, write_json
from rtpe.settings.limits import Checked
from rtpe.settings.parse import parse_settings
from rtpe.synthetic import write_world
from rtpe.training import loop
from rtpe.training import run as train

DRAWN, SIZE_HW, SPLIT = 12, (480, 640), "train2017"
BATCH, STEPS, HOLDOUT = 64, 47, 100  # an epoch of 3,000 images
TRAINING = {
    "net.size": 64, "net.numbers": "{width: 32, stages: 1}", "train.epochs": 2, "train.holdout": HOLDOUT,
    "train.pictures": 0, "train.batch": BATCH, "train.workers": 1, "train.threads": 1,
}  # fmt: skip


@dataclass(frozen=True)
class SizeBenchmark(Checked):
    """Measure what a training costs on as many images as COCO has.

    Attributes:
        images: of the generated data set.
        part: of the measurement, done in this process: labels or training; empty for all, in processes of their own.
        out: folder for the data set, the runs and `rows.json`.
    """

    images: int = 120_000
    part: str = ""
    out: str = "runs/size"


def benchmark(settings: SizeBenchmark) -> None:
    """Print the table and write the rows; of one part, print its rows as JSON."""
    out = Path(settings.out)
    if settings.part:
        if settings.part not in PARTS:
            raise UserError(f"part: no {settings.part!r}: choose from {', '.join(PARTS)}")
        print(json.dumps(PARTS[settings.part](out)))
        return
    people = write_data(out / "data", settings.images)
    environment = {**os.environ, "XDG_CACHE_HOME": str((out / "kept").resolve())}
    for kept in (out / "kept").rglob("*.npz"):
        kept.unlink()
    rows = []
    for part, when in (("labels", "first time"), ("labels", "then"), ("training", "then")):
        command = [sys.executable, __file__, "--part", part, "--out", settings.out]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise UserError(f"part {part}: ended with status {done.returncode}")
        rows += [{"part": part, "when": when, **row} for row in json.loads(done.stdout.splitlines()[-1])]
    print(f"{settings.images} images, {people} people")
    print_table(rows, COLUMNS)
    write_json(rows, out / "rows.json")


COLUMNS = ("part", "when", "until", "s", "MB", "peak MB", "worker MB")


def write_data(root: Path, images: int) -> int:
    """Write so many images with the labels of the drawn ones; returns the number of people."""
    drawn = json.loads(write_world(root / "drawn", SPLIT, DRAWN, 0, SIZE_HW).read_text())
    of_picture = {each["id"]: [] for each in drawn["images"]}
    for person in drawn["annotations"]:
        of_picture[person["image_id"]].append(person)
    folder = root / "images" / SPLIT
    folder.mkdir(parents=True, exist_ok=True)
    records, people = [], []
    for number in range(1, images + 1):
        picture = drawn["images"][number % DRAWN]
        name = f"{number:012}.jpg"
        records.append({**picture, "id": number, "file_name": name})
        if not (folder / name).exists():
            os.link(root / "drawn" / "images" / SPLIT / picture["file_name"], folder / name)
        people += [{**each, "image_id": number} for each in of_picture[picture["id"]]]
    for number, person in enumerate(people, 1):
        person["id"] = number
    target = root / "annotations" / f"person_keypoints_{SPLIT}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps({**drawn, "images": records, "annotations": people}))
    return len(people)


def _labels(out: Path) -> list[dict]:
    start, before = time.perf_counter(), _memory("VmRSS")
    images: CocoDataset = open_dataset(DataSettings(root=str(out / "data"), split=SPLIT))
    row = {"until": f"labels of {len(images)} images", "s": _since(start)}
    return [{**row, "MB": _memory("VmRSS") - before, "peak MB": _memory("VmHWM") - before}]


def _training(out: Path) -> list[dict]:
    """Two epochs of a small net; the clock starts before the labels are read."""
    rows: list[dict] = []
    start, steps = time.perf_counter(), 0
    step, order, after = loop.train_step, train.epoch_order, train._after_epoch

    def row(until: str, seconds: float) -> None:
        memory = {"MB": _memory("VmRSS"), "peak MB": _memory("VmHWM")}
        rows.append({"until": until, "s": seconds, **memory, "worker MB": max(map(_own, _workers()), default=0)})

    def counted_step(*arguments):
        nonlocal steps
        if not steps:
            row("first batch", _since(start))
        steps += 1
        return step(*arguments)

    def timed_after(*arguments):
        row(f"{steps * BATCH} images", _since(start))
        began = time.perf_counter()
        scores = after(*arguments)
        row(f"scores of {HOLDOUT} images", _since(began))
        return scores

    def first_of(*arguments, **options) -> list:
        return order(*arguments, **options)[:STEPS]

    with ExitStack() as stack:
        stack.enter_context(patch.object(loop, "train_step", counted_step))
        stack.enter_context(patch.object(train, "_after_epoch", timed_after))
        for place in (train, sys.modules["rtpe.data.loader"]):
            stack.enter_context(patch.object(place, "epoch_order", first_of))
        words = [f"--{name}={value}" for name, value in TRAINING.items()]
        run = stack.enter_context(TemporaryDirectory(dir=out))
        if rtpe(["train", f"--data.root={out / 'data'}", f"--data.split={SPLIT}", *words, f"--out={run}/run"]):
            raise UserError("training: ended early")
    return rows


PARTS: dict[str, Callable[[Path], list[dict]]] = {"labels": _labels, "training": _training}


def _since(start: float) -> float:
    return round(time.perf_counter() - start, 2)


def _memory(name: str) -> int:
    """MB of this process, as the kernel counts them."""
    return _kilobytes(Path("/proc/self/status").read_text(), name) // 1000


def _workers() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def _own(worker: str) -> int:
    text = Path(f"/proc/{worker}/smaps_rollup").read_text()
    return sum(_kilobytes(text, f"Private_{kind}") for kind in ("Clean", "Dirty")) // 1000


def _kilobytes(text: str, name: str) -> int:
    return int(re.search(rf"^{name}:\s+(\d+)", text, re.M)[1])


if __name__ == "__main__":
    sys.exit(status(lambda: benchmark(parse_settings(SizeBenchmark, None, "benchmarks/size.py"))))
