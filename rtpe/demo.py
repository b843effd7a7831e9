"""The whole job in small: `make demo`, or

    rtpe demo --out runs/demo

renders a synthetic world, builds a cache with the shipped teacher, trains a student on it, scores teacher, cache, this
student and the shipped one, trained for longer on larger images, and writes `scores.json`, `pictures.jpg` with the
people that each of them finds, `maps.jpg` and `report.html`. Each step is printed as the command that does the same.
What is done already is not done again.
"""

from __future__ import annotations

import shlex
from io import BytesIO
from pathlib import Path

import numpy as np

from rtpe.cache import Cache
from rtpe.data.build_cache import build_cache
from rtpe.data.load import Images, dataset
from rtpe.errors import UserError
from rtpe.evaluation.run import validate
from rtpe.evaluation.settings import Validate
from rtpe.images import UnreadableImage, read_image, write_image
from rtpe.predictors.bottom_up import BottomUpPredictor
from rtpe.predictors.load import load
from rtpe.protocols import Predictor
from rtpe.report.log import HISTORY, read_history
from rtpe.report.page import Chart, Picture, Table, curves, write_report
from rtpe.report.pictures import contact_sheet, drawings, found_people, spread_out
from rtpe.report.provenance import run_info
from rtpe.report.table import print_table, write_json
from rtpe.settings.parse import parse_settings
from rtpe.synthetic import write_world
from rtpe.training.charts import loss_charts
from rtpe.training.run import train
from rtpe.training.settings import Train

PACKAGE = Path(__file__).resolve().parent
MODELS = next((each for each in (PACKAGE.parent / "models", PACKAGE / "models") if each.is_dir()), PACKAGE / "models")
TEACHER = MODELS / "demo_teacher.safetensors"
SHIPPED = MODELS / "demo_student.safetensors"
STUDENT_RECIPE = "demo_student"
BEST = "best.safetensors"  # where a training leaves its student
FLIP = True  # the teacher looks once at each image: it may take twice the time
TAGS = 2.0  # how far tags of its people stray, with the flip test's among them: see docs/results.md
RAW_SAMPLE = 20  # images whose raw maps are written as compressed npz to compare sizes
WORLD_HW = (320, 320)
COLUMNS = ("name", "AP", "AP50", "AP75", "APM", "APL", "AR", "PCK@0.1 box", "Mparams", "GMACs")
PEOPLE = ("image", "labels", "teacher", "student", "shipped student")
MAPS = ("image", "teacher maps", "student maps")


def demo(out: str, data: str, images: int, val: int, epochs: int) -> list[dict]:
    """Run the whole job; returns the rows of the table.

    Args:
        out: folder of the run.
        data: folder of the synthetic world.
        images, val: how many to learn from and to score on.
        epochs: of the training.

    Raises:
        UserError: if a shipped file is missing.
    """
    _refuse_missing(TEACHER, SHIPPED)
    folder, where = Path(out), f"--data.root={data}"
    _say("synth", f"--out={data}", f"--train={images}", f"--val={val}")
    for split, count in (("train2017", images), ("val2017", val)):
        write_world(data, split, count, 0, WORLD_HW, 2)
    reading = f"--decode.tag_threshold={TAGS:g}"
    of_teacher = [f"--teacher.weights={_short(TEACHER)}", f"--teacher.flip={FLIP}", reading]
    teacher = load(TEACHER, device="cpu", **{"teacher.flip": FLIP, "decode.tag_threshold": TAGS})
    caches = {}
    for split in ("train2017", "val2017"):
        _say("cache build", *of_teacher, where, f"--data.split={split}", f"--cache.path={folder / 'cache' / split}")
        caches[split] = build_cache(teacher, dataset(data, split), folder / "cache" / split)
    student = folder / "student"
    words = [f"--config={STUDENT_RECIPE}", f"--net.stem={_short(TEACHER)}", f"--train.epochs={epochs}", where]
    words += [f"--cache.path={caches['train2017'].path}", f"--out={student}"]
    _say("train", *words)
    train(parse_settings(Train, words, "rtpe train"))
    scored = {
        "teacher": of_teacher,
        "cache": [f"--cache.path={caches['val2017'].path}", reading],
        "student": [f"--weights={student / BEST}"],
        "shipped student": [f"--weights={_short(SHIPPED)}"],
    }
    rows = [row for name, what in scored.items() for row in _scored(name, [*what, where], folder)]
    write_json(rows, folder / "scores.json")
    print()
    print_table(rows, COLUMNS)
    facts = {**run_info(), "training": f"{epochs} epochs of {images} images"}
    _report(folder, dataset(data, "val2017"), rows, teacher, caches["val2017"], student, facts)
    print(f"report: {folder / 'report.html'}")
    return rows


def _say(command: str, *words: str) -> None:
    """Print the command that does the same as the step that follows."""
    print(f"\n$ rtpe {command} {shlex.join(words)}", flush=True)


def _refuse_missing(*files: Path) -> None:
    missing = " ".join(str(_short(path)) for path in files if not path.is_file())
    if missing:
        raise UserError(f"demo: missing {missing}, which a clone of rtpe has: git checkout -- {missing}")


def _scored(name: str, what: list[str], out: Path) -> list[dict]:
    """The rows of `rtpe validate`, under names of the demo."""
    words = [*what, f"--out={out / name.replace(' ', '_')}.json"]
    _say("validate", *words)
    rows = validate(parse_settings(Validate, words, "rtpe validate"))
    if name == "cache":
        return [{**row, "name": f"cache {row['name'].split()[-1]}"} for row in rows]
    return [{**row, "name": name} for row in rows]


def _short(path: Path) -> Path:
    """As one would type it here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _report(
    out: Path, images: Images, rows: list[dict], teacher: Predictor, cache: Cache, student: Path, facts: dict[str, str]
) -> None:
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
            Table(
                "Size of the cache",
                _sizes(teacher, images, cache),
                f"Bytes an image; the npz files hold the teacher's maps and tags as they are, of {RAW_SAMPLE} images.",
            ),
        ],
        charts=[
            *loss_charts(history),
            Chart("Student: scores on held-out training images", "step", "OKS", curves(history, ("AP", "AP50", "AR"))),
        ],
        pictures=_pictures(spread_out(images, 6), cache, load(student / BEST, device="cpu"), out),
        facts=facts,
    )


def _pictures(images: Images, cache: Cache, student: BottomUpPredictor, out: Path) -> list[Picture]:
    """What each finds in the same images, and what is seen in between; written as files too."""
    rows = drawings(images, cache, student, student.net, student.size)
    for row, found in zip(rows, found_people(images, load(SHIPPED, device="cpu"))):
        row["shipped student"] = found
    people, maps = contact_sheet(rows, PEOPLE), contact_sheet(rows, MAPS)
    write_image(out / "pictures.jpg", people)
    write_image(out / "maps.jpg", maps)
    return [
        Picture("People: labelled, and as each finds them", people, "Left limbs warm, right limbs cool."),
        Picture("Maps of the teacher and the student", maps),
    ]


def _sizes(teacher: Predictor, images: Images, cache: Cache) -> list[dict]:
    """Bytes an image as stored, and of the teacher's raw maps as compressed npz files."""
    raw, count = {np.float32: 0, np.float16: 0}, 0
    for _, _, source in images.sources()[:RAW_SAMPLE]:
        try:
            (prediction,) = teacher([read_image(source)])
        except UnreadableImage:
            continue
        count += 1
        for dtype in raw:
            raw[dtype] += _npz_bytes(dtype, prediction.maps.heatmaps, prediction.maps.tags)
    rows = [{"store": f"{cache.manifest.store}, {cache.manifest.codec}", "bytes": round(cache.bytes_per_image)}]
    rows += [{"store": f"npz, {np.dtype(d).name}, compressed", "bytes": round(n / count)} for d, n in raw.items()]
    return [{**row, "share": row["bytes"] / rows[-2]["bytes"]} for row in rows]


def _npz_bytes(dtype, heatmaps: np.ndarray, tags: np.ndarray | None) -> int:
    file = BytesIO()
    arrays = {"heatmaps": heatmaps.astype(dtype)} | ({} if tags is None else {"tags": tags.astype(dtype)})
    np.savez_compressed(file, **arrays)
    return file.tell()
