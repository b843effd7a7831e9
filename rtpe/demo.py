"""The whole job in small, with the commands that anyone would type: `make demo`, or

    rtpe demo --minutes 4 --out runs/demo

draws a synthetic world, builds a cache with the shipped teacher, trains a student on it, scores teacher, cache, this
student and the shipped one, trained for longer on larger images, and writes `scores.json`, `pictures.jpg` with the
people that each of them finds, `maps.jpg` and `report.html`. What is done already is not done again.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np

from rtpe.cache import Cache
from rtpe.data.load import Images, open_dataset
from rtpe.data.settings import DataSettings
from rtpe.decode.settings import DecodeSettings
from rtpe.errors import UserError
from rtpe.images import write_image
from rtpe.predictors.bottom_up import DensePredictor
from rtpe.predictors.load import load_predictor
from rtpe.predictors.settings import TeacherSettings
from rtpe.report.log import HISTORY, read_history
from rtpe.report.page import Chart, Picture, Table, curves, write_report
from rtpe.report.pictures import contact_sheet, drawings, found_people, spread_out
from rtpe.report.provenance import run_facts
from rtpe.report.table import print_table, write_json
from rtpe.skeleton import COCO17
from rtpe.training.charts import loss_charts

PROJECT = Path(__file__).resolve().parents[1]
TEACHER = PROJECT / "models" / "demo_teacher.safetensors"
SHIPPED = PROJECT / "models" / "demo_student.safetensors"
STUDENT_RECIPE = PROJECT / "rtpe/recipes" / "demo_student.yaml"
BEST = "best.safetensors"  # where a training leaves its student
FLIP = True  # the teacher looks once at each image: it may take twice the time
TAGS = 2.0  # how far tags of its people stray, with the flip test's among them: see docs/results.md
PLAIN_SAMPLE = 50  # entries re-written as compressed npz to compare sizes
COLUMNS = ("name", "AP", "AP50", "AP75", "APM", "APL", "AR", "PCK@0.1 box", "Mparams", "GMACs")
PEOPLE = ("image", "labels", "teacher", "student", "shipped student")
MAPS = ("image", "teacher maps", "student maps")


def demo(out: str, data: str, train: int, val: int, minutes: float) -> list[dict]:
    """Run the whole job; returns the rows of the table.

    Args:
        out: folder of the run.
        data: folder of the synthetic world.
        train, val: images to learn from and to score on.
        minutes: of training at most.

    Raises:
        UserError: at once if a shipped file is missing, later if a command fails.
    """
    _refuse_missing(TEACHER, SHIPPED, STUDENT_RECIPE)
    folder, images = Path(out), f"--data.root={data}"
    reading = f"--decode.tag_threshold={TAGS:g}"
    teacher = [f"--teacher.weights={_short(TEACHER)}", f"--teacher.flip={FLIP}", reading]
    rtpe("synth", f"--out={data}", f"--train={train}", f"--val={val}")
    caches = {split: folder / "cache" / split for split in ("train2017", "val2017")}
    for split, path in caches.items():
        rtpe("cache build", *teacher, images, f"--data.split={split}", f"--cache.path={path}")
    student = folder / "student"
    training = [
        f"--config={_short(STUDENT_RECIPE)}",
        f"--net.stem={_short(TEACHER)}",
        f"--train.minutes={minutes:g}",
    ]
    rtpe("train", *training, images, f"--cache.path={caches['train2017']}", f"--out={student}")
    scores = {
        "teacher": teacher,
        "cache": [f"--cache.path={caches['val2017']}", reading],
        "student": [f"--weights={student / BEST}"],
        "shipped student": [f"--weights={_short(SHIPPED)}"],
    }
    rows = [row for name, what in scores.items() for row in _scored(name, [*what, images], folder)]
    write_json(rows, folder / "scores.json")
    print()
    print_table(rows, COLUMNS)
    facts = {**run_facts(), "training": f"at most {minutes:g} minutes, {train} images"}
    _report(folder, data, rows, caches["val2017"], student, facts)
    print(f"report: {folder / 'report.html'}")
    return rows


def rtpe(command: str, *arguments: str) -> None:
    """Say a command, and run it in a process of its own, as one would on the terminal.

    Raises:
        UserError: if it fails; it has then said why itself.
    """
    words = [*command.split(), *map(str, arguments)]
    print(f"\n$ rtpe {shlex.join(words)}", flush=True)
    if subprocess.run([sys.executable, "-m", "rtpe.cli", *words]).returncode:
        raise UserError(f"demo: `rtpe {command}` failed")


def _refuse_missing(*files: Path) -> None:
    missing = " ".join(str(_short(path)) for path in files if not path.is_file())
    if missing:
        raise UserError(f"demo: missing {missing}, which a clone of rtpe has: git checkout -- {missing}")


def _scored(name: str, what: list[str], out: Path) -> list[dict]:
    """The rows of `rtpe validate`, under names of the demo."""
    path = out / f"{name.replace(' ', '_')}.json"
    rtpe("validate", *what, f"--out={path}")
    rows = json.loads(path.read_text())
    if name == "cache":
        return [{**row, "name": f"cache {row['name'].split()[-1]}"} for row in rows]
    return [{**row, "name": name} for row in rows]


def _short(path: Path) -> Path:
    """As one would type it here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _predictor(weights: Path) -> DensePredictor:
    return load_predictor(TeacherSettings(weights=str(weights)), DecodeSettings(), COCO17, "cpu")


def _report(out: Path, data: str, rows: list[dict], cached: Path, student: Path, facts: dict[str, str]) -> None:
    images = open_dataset(DataSettings(root=data, split="val2017"))
    cache = Cache.open(cached)
    history = read_history(student / HISTORY)
    write_report(
        out / "report.html",
        title="From a heavy teacher to a light student",
        tables=[
            Table(
                "Scores on the validation images",
                [{name: row.get(name) for name in COLUMNS} for row in rows],
                f"{len(images)} images that no net was trained on. The teacher is scored live and from its cache: by "
                "the people stored there, and by decoding the cached maps anew. The student was trained here; the "
                f"shipped one is {SHIPPED.name}, trained for longer on larger images by the same recipe.",
            ),
            Table("Size of the cache", _sizes(cache), "The same maps and tags, in bytes an image."),
        ],
        charts=[
            *loss_charts(history),
            Chart("Student: scores on held-out training images", "step", "OKS", curves(history, ("AP", "AP50", "AR"))),
        ],
        pictures=_pictures(spread_out(images, 6), cache, _predictor(student / BEST), out),
        facts=facts,
    )


def _pictures(images: Images, cache: Cache, student: DensePredictor, out: Path) -> list[Picture]:
    """What each finds in the same images, and what is seen in between; written as files too."""
    rows = drawings(images, cache, student, student.net, student.size)
    for row, found in zip(rows, found_people(images, _predictor(SHIPPED))):
        row["shipped student"] = found
    people, maps = contact_sheet(rows, PEOPLE), contact_sheet(rows, MAPS)
    write_image(out / "pictures.jpg", people)
    write_image(out / "maps.jpg", maps)
    return [
        Picture("People: labelled, and as each finds them", people, "Left limbs warm, right limbs cool."),
        Picture("Maps of the teacher and the student", maps),
    ]


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
