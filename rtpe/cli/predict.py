"""Find the people in photographs and videos by any teacher or student; no labels are needed.

rtpe predict --weights runs/s/best.safetensors --data.root photos --out runs/photos --draw
rtpe predict --config hpe0001 --teacher.weights FILE.xml --data.root clip.mp4 --data.frame_stride 10
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rtpe.data.settings import DataSettings
from rtpe.decode.settings import DecodeSettings
from rtpe.errors import UserError
from rtpe.evaluation.settings import idle_weights
from rtpe.predictors.settings import TeacherSettings
from rtpe.settings.limits import DEVICE, FINITE, NULL, SOME_TEXT, Checked, Idle, limited
from rtpe.shortages import named_shortages


@dataclass(frozen=True)
class Predict(Checked):
    """Find the people in photographs and videos, labelled or not, by a teacher or a student.

    Attributes:
        weights: a net that says itself what it is (what `rtpe train` writes); short for --teacher.weights.
        out: folder for results.json, in COCO's format, with the file name in every row; and for pictures/.
        min_score: people of a lower score are left out, 0 keeps all, as AP wants them; by default those below the score
            that the network has for it, see `rtpe validate`, or below .2.
        draw: draw those people over each image.
        device: auto, cpu or cuda.
    """

    data: DataSettings = field(default_factory=DataSettings)
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    weights: str = ""
    decode: DecodeSettings = field(default_factory=DecodeSettings)
    out: str = limited("runs/predicted", SOME_TEXT)
    min_score: float | None = limited(None, FINITE | NULL)
    draw: bool = False
    device: str = limited("auto", DEVICE)

    def idle(self) -> Iterator[Idle]:
        yield from idle_weights(self.weights, self.teacher.weights)


USUAL_MIN_SCORE = 0.2  # of networks that have no score of their own for it


def run(settings: Predict) -> None:
    """Write the results in COCO's format, and pictures if asked to."""
    with named_shortages("a smaller --teacher.batch or --teacher.size"):
        _run(settings)


def _run(settings: Predict) -> None:
    from rtpe.data.load import open_dataset
    from rtpe.data.readable import few_predicted, require_readable
    from rtpe.device import choose_device
    from rtpe.live.images import predict_images
    from rtpe.predictors.load import load_predictor

    where = choose_device(settings.device)
    images, out = open_dataset(settings.data), Path(settings.out)
    if settings.draw and images.annotations is None and out.resolve().is_relative_to(Path(images.root).resolve()):
        raise UserError(
            f"out {out}: lies within --data.root {images.root}, where its pictures would count as photographs next "
            "time: choose another --out"
        )
    require_readable(images)
    teacher = settings.teacher
    teacher = dataclasses.replace(teacher, weights=settings.weights) if settings.weights else teacher
    predictor = load_predictor(teacher, settings.decode, images.skeleton, where, images)
    least, why = _least(settings.min_score, getattr(predictor, "min_score", None))
    found = predict_images(predictor, images, out, least, settings.draw, teacher.batch)
    people = _counted(found.people, found.scores, f"{least:.3g}{why}")
    print(f"{people} in {len(images) - len(found.skipped)} of {len(images)} images: {found.file}")
    if few := few_predicted(len(found.skipped), len(images)):
        print(f"{few} could be read: check --data.root")
    for reason in found.skipped[:5]:
        print(f"skipped: {reason}")


def _least(asked: float | None, own: float | None) -> tuple[float, str]:
    """The least score of a person who is kept, and who says so unless it is the user."""
    if asked is not None:
        return asked, ""
    return (USUAL_MIN_SCORE, ", the usual one") if own is None else (own, ", the network's own")


def _counted(kept: int, scores: list[float], least: str) -> str:
    """How many people are kept of those with these scores, and what hides the others."""
    if kept == len(scores):
        return f"{kept} people"
    reach = "" if kept else f" (scores reach {max(scores):.2g}: pass a lower one)"
    return f"{kept} of {len(scores)} people, those above --min_score {least}{reach},"
