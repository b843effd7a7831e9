"""Settings of data: where images and labels lie, and how they are augmented."""

from __future__ import annotations

from dataclasses import dataclass

from rtpe.settings.limits import FINITE, NONE, RANGE, SHARE, Checked, at_least, between, limited


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
        frame_stride: of a video, take every so many frames.
        crops: take each labelled person's box as an image, its sides times this factor; 0 takes whole images.
    """

    root: str = "datasets/coco"
    split: str = "train2017"
    skeleton: str = "coco17"
    limit: int = limited(0, at_least(0))
    frame_stride: int = limited(1, at_least(1))
    crops: float = limited(0.0, NONE | at_least(0.1))


@dataclass(frozen=True)
class TrainDataSettings(DataSettings):
    """The images to learn from.

    Attributes:
        labels: the share of the images whose labels are used; the others count as unlabelled.
        person_threshold: people that the teacher predicts with a lower score are not taken for people.
    """

    labels: float = limited(1.0, SHARE)
    person_threshold: float = limited(0.05, FINITE)


@dataclass(frozen=True)
class MoreDataSettings(TrainDataSettings):
    """Further images to learn from.

    Attributes:
        cache: folder of what a teacher predicted for them; each data set has one, or none has.
    """

    cache: str = ""


@dataclass(frozen=True)
class AugmentSettings(Checked):
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
