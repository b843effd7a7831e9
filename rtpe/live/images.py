"""Find the people in images by any teacher or student, and write them as results and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rtpe.data.load import Images
from rtpe.errors import UserError
from rtpe.evaluation.score import in_order, predicted_people
from rtpe.images import read_image, write_image
from rtpe.protocols import Predictor
from rtpe.report.table import write_json
from rtpe.structures import Poses

RESULTS, PICTURES = "results.json", "pictures"


@dataclass(frozen=True)
class Found:
    """What was found.

    Attributes:
        file: the results in COCO's format.
        people: those that were kept.
        scores: of all people.
        skipped: why an image was not seen, one line each.
    """

    file: Path
    people: int
    scores: list[float]
    skipped: list[str]


def predict_images(
    predictor: Predictor, images: Images, out: str | Path, min_score: float = 0.0, draw: bool = False, batch: int = 8
) -> Found:
    """Write the people of these images, as results in COCO's format and, if asked to, drawn over each image.

    Args:
        out: folder of `results.json` and `pictures/`.
        min_score: people of a lower score are left out.

    Raises:
        UserError: if the folder cannot be made.
    """
    out = Path(out)
    _make(out)
    sources = {image_id: (name, source) for image_id, name, source in images.sources()}
    category = 1 if images.labels is None else images.labels.category
    rows: list[dict] = []
    skipped: list[str] = []
    scores: list[float] = []
    for image_id, poses in predicted_people(predictor, images, batch, skipped):
        name, source = sources[image_id]
        found = [{**row, "file_name": name} for row in poses.to_coco(image_id, category)]
        scores += [row["score"] for row in found]
        rows += [row for row in found if row["score"] >= min_score]
        if draw:
            _draw(source, poses.only(poses.person_scores >= min_score), _place(out / PICTURES, name))
    write_json(in_order(images, rows), out / RESULTS)
    return Found(out / RESULTS, len(rows), scores, skipped)


def _make(out: Path) -> None:
    """The folder of the results, before hours are spent on them.

    Raises:
        UserError: if it cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"out {out}: cannot be made a folder ({error.strerror}): choose another --out") from error


def _place(folder: Path, name: str) -> Path:
    """Where the picture of an image goes: below the folder, whatever the name says."""
    parts = [part for part in Path(name).parts if part not in ("..", "/")]
    picture = folder.joinpath(*parts)
    return picture if picture.suffix == ".jpg" else picture.with_name(f"{picture.name}.jpg")


def _draw(source, poses: Poses, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    write_image(place, poses.draw(read_image(source), threshold=0.0))  # all that is in the results
