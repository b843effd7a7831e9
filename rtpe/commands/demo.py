"""The whole job in small, with the commands that anyone would type: `make demo`, or

    rtpe demo --minutes 4 --out runs/demo

draws a synthetic world, builds a cache with the shipped teacher, trains a student on it, scores teacher, cache and
student, and writes `scores.json`, `pictures.jpg` and `report.html`. What is done already is not done again.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np

from rtpe import build
from rtpe.cache import Cache
from rtpe.commands.facts import run_facts
from rtpe.commands.pictures import gallery, loss_charts, spread_out
from rtpe.commands.table import print_table, write_json
from rtpe.config import DataSettings, DecodeSettings, Demo, TeacherSettings
from rtpe.images import write_image
from rtpe.log import HISTORY, read_history
from rtpe.nets.cost import gmacs, parameters
from rtpe.predictors.dense import DensePredictor
from rtpe.report import Chart, Picture, Table, curves, write_report
from rtpe.skeleton import COCO17

PROJECT = Path(__file__).resolve().parents[2]
TEACHER = PROJECT / "models" / "demo_teacher.safetensors"
STUDENT_RECIPE = PROJECT / "recipes" / "demo_student.yaml"
FLIP = True  # the teacher looks once at each image: it may take twice the time
TAGS = 2.0  # how far tags of its people stray, with the flip test's among them: see docs/results.md
PLAIN_SAMPLE = 50  # entries re-written as compressed npz to compare sizes


def demo(settings: Demo) -> list[dict]:
    """Run the whole job; returns the rows of the table."""
    out, data = Path(settings.out), f"--data.root={settings.data}"
    reading = f"--decode.tag_threshold={TAGS:g}"
    teacher = [f"--teacher.weights={_short(TEACHER)}", f"--teacher.flip={FLIP}", reading]
    rtpe("synth", f"--out={settings.data}", f"--train={settings.train}", f"--val={settings.val}")
    caches = {split: out / "cache" / split for split in ("train2017", "val2017")}
    for split, path in caches.items():
        rtpe("cache build", *teacher, data, f"--data.split={split}", f"--cache.path={path}")
    student = out / "student"
    train = [
        f"--config={_short(STUDENT_RECIPE)}",
        f"--net.stem={_short(TEACHER)}",
        f"--train.minutes={settings.minutes:g}",
    ]
    rtpe("train", *train, data, f"--cache.path={caches['train2017']}", f"--out={student}")
    weights = student / "best.safetensors"
    scores = {
        "teacher": teacher,
        "cache": [f"--cache.path={caches['val2017']}", reading],
        "student": [f"--weights={weights}"],
    }
    for name, what in scores.items():
        rtpe("validate", *what, data, f"--out={out / name}.json")
    rows = [row for name in scores for row in _rows(name, out / f"{name}.json")]
    predictors = {"teacher": _predictor(TEACHER, flip=FLIP), "student": _predictor(weights)}
    for row in rows:
        row.update(_cost(predictors.get(row["name"])))
    write_json(rows, out / "scores.json")
    print_table(rows)
    _report(settings, rows, caches, student, predictors["student"])
    print(f"report: {out / 'report.html'}")
    return rows


def rtpe(command: str, *arguments: str) -> None:
    """Say a command, and run it in a process of its own, as one would on the terminal.

    Raises:
        ValueError: if it fails; it has then said why itself.
    """
    words = [*command.split(), *map(str, arguments)]
    print(f"\n$ rtpe {shlex.join(words)}", flush=True)
    if subprocess.run([sys.executable, "-m", "rtpe.cli", *words]).returncode:
        raise ValueError(f"demo: `rtpe {command}` failed")


def _rows(name: str, path: Path) -> list[dict]:
    rows = json.loads(path.read_text())
    if name == "cache":
        return [{**row, "name": f"cache {row['name'].split()[-1]}"} for row in rows]
    return [{**row, "name": name} for row in rows]


def _short(path: Path) -> Path:
    """As one would type it here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _predictor(weights: Path, flip: bool = False) -> DensePredictor:
    return build.predictor(TeacherSettings(weights=str(weights), flip=flip), DecodeSettings(), COCO17, "cpu")


def _cost(predictor: DensePredictor | None) -> dict[str, float]:
    if predictor is None:
        return {}
    looks = 2 if predictor.flip else 1
    cost = looks * gmacs(predictor.net, (predictor.size, predictor.size))
    return {"Mparams": parameters(predictor.net) / 1e6, "GMACs": cost}


def _report(settings: Demo, rows: list[dict], caches: dict, student: Path, predictor: DensePredictor) -> None:
    images = build.dataset(DataSettings(root=settings.data, split="val2017"))
    cache = Cache.open(caches["val2017"])
    history = read_history(student / HISTORY)
    sheet = gallery(spread_out(images, 6), cache, predictor, predictor.net, predictor.size)
    write_image(Path(settings.out) / "pictures.jpg", sheet)
    columns = ("name", "AP", "AP50", "AP75", "APM", "APL", "AR", "PCK@0.1 box", "Mparams", "GMACs")
    write_report(
        Path(settings.out) / "report.html",
        title="From a heavy teacher to a light student",
        tables=[
            Table(
                "Scores on the validation images",
                [{name: row.get(name) for name in columns} for row in rows],
                f"{len(images)} images that neither net was trained on. The teacher is scored live and from its cache: "
                "by the people stored there, and by decoding the cached maps anew.",
            ),
            Table("Size of the cache", _sizes(cache), "The same maps and tags, in bytes an image."),
        ],
        charts=[
            *loss_charts(history),
            Chart("Student: scores on held-out training images", "step", "OKS", curves(history, ("AP", "AP50", "AR"))),
        ],
        pictures=[Picture("Image, truth, teacher, student, attention", sheet, "Left limbs warm, right limbs cool.")],
        facts={**run_facts(), "training": f"at most {settings.minutes:g} minutes, {settings.train} images"},
    )


def _sizes(cache: Cache) -> list[dict]:
    """Bytes an image as stored, and of the same maps as compressed npz files."""
    plain = {np.float32: 0, np.float16: 0}
    chosen = cache.ids[:PLAIN_SAMPLE]
    for image_id in chosen:
        maps = cache.load(image_id).maps
        for dtype in plain:
            plain[dtype] += _npz_bytes(dtype, maps.heatmaps, maps.tags)
    rows = [{"store": f"{cache.manifest.store}, {cache.manifest.codec}", "bytes": round(cache.bytes_per_image)}]
    rows += [
        {"store": f"npz, {np.dtype(d).name}, compressed", "bytes": round(n / len(chosen))} for d, n in plain.items()
    ]
    return [{**row, "share": row["bytes"] / rows[-2]["bytes"]} for row in rows]


def _npz_bytes(dtype, heatmaps: np.ndarray, tags: np.ndarray | None) -> int:
    file = BytesIO()
    arrays = {"heatmaps": heatmaps.astype(dtype)} | ({} if tags is None else {"tags": tags.astype(dtype)})
    np.savez_compressed(file, **arrays)
    return file.tell()
