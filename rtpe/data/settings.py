"""Settings of data: where images and labels lie, and how they are augmented."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rtpe.settings.limits import FINITE, NONE, RANGE, SHARE, Checked, Idle, at_least, between, limited

OF_TRAINING = ("labels", "person_threshold")


@dataclass(frozen=True)
class DataSettings(Checked):
    """Where the images and labels lie.

    Attributes:
        root: folder with images/<split>/ and annotations/person_keypoints_<split>.json; MPII's, with images/ and
            annot/<split>.json; or, without labels, a folder of photographs and videos, or a video.
        split: which part of it; without labels the folder images/<split> or <split>, or all if there is none.
        skeleton: coco17, crowdpose14, mpii16, openpose18, lsp14, or a JSON file that describes another one; MPII's
            files always have mpii16.
        limit: use only the first so many images; 0 for all.
        every: of a video, take every so many frames.
        crops: take each labelled person's box as an image, its sides times this factor; 0 takes whole images.
        labels: in training, the share of the images whose labels are used; the others count as bare photographs.
        person_threshold: in training, a teacher's person of a lower score is not taken for one.
    """

    root: str = "datasets/coco"
    split: str = "train2017"
    skeleton: str = "coco17"
    limit: int = limited(0, at_least(0))
    every: int = limited(1, at_least(1))
    crops: float = limited(0.0, NONE | at_least(0.1))
    labels: float = limited(1.0, SHARE)
    person_threshold: float = limited(0.05, FINITE)

    def idle_outside_training(self) -> Iterator[Idle]:
        """The settings that only a training reads."""
        usual = DataSettings()
        for name in OF_TRAINING:
            if getattr(self, name) != getattr(usual, name):
                yield f"data.{name}", getattr(self, name), "but in rtpe train: leave it out"


@dataclass(frozen=True)
class MoreDataSettings(DataSettings):
    """Further images to learn from.

    Attributes:
        cache: folder of what a teacher said of them; each data set has one, or none has.
    """

    cache: str = ""


@dataclass(frozen=True)
class ViewSettings(Checked):
    """How far a training view strays from the plain one.

    Attributes:
        rotate: degrees to either side.
        scale: smallest and largest factor on the plain view's scale.
        shift: share of the input's size to either side.
        flip: probability of mirroring.
        light: strength of brightness, contrast and colour changes, 0 to 1.
        noise: standard deviation of sensor noise at most, in grey levels.
        grey: probability of losing all colour.
        mosaic: probability of sharing the input with three other images, each in a quadrant of its own.
        paste: probability of people of another image over this one.
    """

    rotate: float = limited(25.0, between(0, 180))
    scale: list[float] = limited([0.7, 1.35], RANGE)
    shift: float = limited(0.12, SHARE)
    flip: float = limited(0.5, SHARE)
    light: float = limited(0.25, SHARE)
    noise: float = limited(6.0, between(0, 255))
    grey: float = limited(0.05, SHARE)
    mosaic: float = limited(0.0, SHARE)
    paste: float = limited(0.0, SHARE)
