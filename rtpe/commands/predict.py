"""Find the people in photographs and videos by any teacher or student; no labels are needed.

rtpe predict --weights runs/s/best.safetensors --data.root photos --out runs/photos --draw true
rtpe predict --config recipes/hpe0001.yaml --teacher.weights FILE.xml --data.root clip.mp4 --data.every 10
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rtpe import build
from rtpe.commands.score import predicted_people
from rtpe.commands.shortages import named_shortages
from rtpe.commands.table import write_json
from rtpe.config import Predict
from rtpe.draw import draw_poses
from rtpe.errors import UserError
from rtpe.images import read_image, write_image
from rtpe.metrics.oks import to_results
from rtpe.structures import Poses

USUAL_LEAST = 0.2  # of networks that have no score of their own for it
RESULTS, PICTURES = "results.json", "pictures"


def predict(settings: Predict) -> Path:
    """Write the results in COCO's format, and pictures if asked to; returns the file of the results."""
    with named_shortages("a smaller --teacher.batch or --teacher.size"):
        return _predict(settings)


def _predict(settings: Predict) -> Path:
    where = build.device(settings.device)
    images, out = build.dataset(settings.data), Path(settings.out)
    if settings.draw and images.annotations is None and out.resolve().is_relative_to(Path(images.root).resolve()):
        raise UserError(
            f"out {out}: lies within --data.root {images.root}, where its pictures would count as photographs next "
            "time: choose another --out"
        )
    build.require_readable(images)
    teacher = settings.teacher
    teacher = dataclasses.replace(teacher, weights=settings.weights) if settings.weights else teacher
    predictor = build.predictor(teacher, settings.decode, images.skeleton, where, images)
    least, why = _least(settings.least, getattr(predictor, "least", None))
    _make(out)
    sources = {image_id: (name, source) for image_id, name, source in images.sources()}
    category = 1 if images.labels is None else images.labels.category
    rows: list[dict] = []
    skipped: list[str] = []
    scores: list[float] = []
    for image_id, poses in predicted_people(predictor, images, teacher.batch, skipped):
        name, source = sources[image_id]
        found = [{**row, "file_name": name} for row in to_results(image_id, poses, category)]
        scores += [row["score"] for row in found]
        rows += [row for row in found if row["score"] >= least]
        poses = poses.only(poses.person_scores >= least)
        if settings.draw:
            _draw(source, poses, _place(out / PICTURES, name))
    write_json(rows, out / RESULTS)
    people = _counted(len(rows), scores, f"{least:.3g}{why}")
    print(f"{people} in {len(images) - len(skipped)} of {len(images)} images: {out / RESULTS}")
    if few := build.few_predicted(len(skipped), len(images)):
        print(f"{few} could be read: check --data.root")
    for reason in skipped[:5]:
        print(f"skipped: {reason}")
    return out / RESULTS


def _make(out: Path) -> None:
    """The folder of the results, before hours are spent on them.

    Raises:
        UserError: if it cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"out {out}: cannot be made a folder ({error.strerror}): choose another --out") from error


def _least(asked: float | None, own: float | None) -> tuple[float, str]:
    """The least score of a person who is kept, and who says so unless it is the user."""
    if asked is not None:
        return asked, ""
    return (USUAL_LEAST, ", the usual one") if own is None else (own, ", the network's own")


def _counted(kept: int, scores: list[float], least: str) -> str:
    """How many people are kept of those with these scores, and what hides the others."""
    if kept == len(scores):
        return f"{kept} people"
    reach = "" if kept else f" (scores reach {max(scores):.2g}: pass a lower one)"
    return f"{kept} of {len(scores)} people, those above --least {least}{reach},"


def _place(folder: Path, name: str) -> Path:
    """Where the picture of an image goes: below the folder, whatever the name says."""
    parts = [part for part in Path(name).parts if part not in ("..", "/")]
    picture = folder.joinpath(*parts)
    return picture if picture.suffix == ".jpg" else picture.with_name(f"{picture.name}.jpg")


def _draw(source, poses: Poses, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    write_image(place, draw_poses(read_image(source), poses, threshold=0.0))  # all that is in the results
