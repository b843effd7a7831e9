"""Score one predictor, or the people of a cache, on the labels of a data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rtpe.cache import Cache, refuse_other_images
from rtpe.data.load import Images
from rtpe.data.own import as_dataset
from rtpe.errors import UserError
from rtpe.evaluation.score import cached_people, predicted_people, score
from rtpe.protocols import Predictor, require_predictor

SHOWN = ("AP", "AP50", "AP75", "APM", "APL", "AR", "PCK@0.1 box", "F1")


@dataclass(frozen=True)
class Scores(Mapping[str, float]):
    """What somebody scores, by the names of docs/evaluation.md; -1 where the images hold nothing that a score is of.

    Attributes:
        name: of the predictor.
        scores: by name.
        results: the people, as rows of a COCO results file.
        skipped: why an image was not seen, one line each; its people count as missed.
    """

    name: str
    scores: Mapping[str, float]
    results: list[dict] = field(repr=False)
    skipped: list[str] = field(repr=False)

    def __getitem__(self, name: str) -> float:
        return self.scores[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.scores)

    def __len__(self) -> int:
        return len(self.scores)

    def __str__(self) -> str:
        shown = [name for name in SHOWN if self.scores.get(name, -1.0) >= 0]
        return f"{self.name}: " + ", ".join(f"{name} {self.scores[name]:.3f}" for name in shown)


def evaluate(candidate: Predictor | Cache, data: Any, engine: str = "pycocotools", batch: int = 8) -> Scores:
    """OKS, PCK and EPE of a predictor, or of the people in a cache, over all images of a labelled data set.

    Args:
        candidate: what fits `rtpe.protocols.Predictor`, or a cache.
        data: labelled images; what fits `rtpe.protocols.Dataset` does.
        engine: pycocotools, or faster-coco-eval.
        batch: images that the predictor is given at once.

    Raises:
        UserError: if the images have no labels, or the cache is of other images.
    """
    images = as_dataset(data)
    require_labels(images)
    skipped: list[str] = []
    if isinstance(candidate, Cache):
        refuse_other_images(candidate, images.sources())
        name, found = str(candidate.manifest.predictor.get("name", "cache")), cached_people(candidate, images, skipped)
    else:
        require_predictor(candidate)
        name, found = candidate.describe()["name"], predicted_people(candidate, images, batch, skipped)
    values, results = score(found, images, engine)
    return Scores(name, values, results, skipped)


def require_labels(images: Images, split: str = "") -> None:
    """Look, before hours have passed, whether there is something to score against.

    Args:
        split: as the user calls it.

    Raises:
        UserError: if nobody on these images has labelled joints.
    """
    if images.annotations is None:
        raise UserError(
            f"data {images.root}: nobody labelled these images, there is nothing to score against: give --data.root a "
            f"folder with annotations/person_keypoints_{split or images.split}.json"
        )
    if not images.labels.labelled(images.ids):
        raise UserError(
            f"annotations {images.labels.file}: none of the people on these {len(images)} images has labelled joints, "
            "there is nothing to score against: are they person_keypoints_..., not instances_...?"
        )
