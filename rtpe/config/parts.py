"""Settings that several commands share, by what they are about."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from rtpe.config.training import NETS, Plain
from rtpe.limits import (
    EMPTY,
    FINITE,
    NONE,
    NULL,
    SHARE,
    Checked,
    Limit,
    above,
    at_least,
    choice,
    each,
    limited,
)

SCALES = Limit("a list of numbers above 0, 1 among them", lambda value: each(above(0)).holds(value) and 1 in value)


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


@dataclass(frozen=True)
class MoreDataSettings(DataSettings):
    """Further images to learn from.

    Attributes:
        cache: folder of what a teacher said of them; each data set has one, or none has.
    """

    cache: str = ""


@dataclass(frozen=True)
class CropSettings(Checked):
    """How a top-down net crops people and is read; by_index, shift and counted are how published nets were scored.

    Attributes:
        size: [height, width] of a crop; empty takes 256 x 192, or what the description of a network in a file says.
        padding: the crop's sides over those of the box that has its aspect.
        least: boxes of a lower score are left out.
        by_index: image, crop and cells are mapped by indices instead of by points, so that cell i stands for pixel
            stride * i, not for all the pixels that it covers; so were published nets trained. The labels' boxes, a
            quarter's step and the comparison of people are as published then.
        udp: the box's edges are indices too, and the outermost ones of crop and cells lie on them (unbiased data
            processing); a ViTPose has it unasked.
        shift: with by_index, the flip test moves the mirrored maps by a whole cell instead of by the part that is due.
        counted: a person's score is the mean height of the joints that are higher than this.
        rescore: times the score of the person's box.
        similar: whom a better person repeats by more than this (OKS, 0 to 1) goes; 1 keeps all.
        canvas: long side in pixels of the frame into which the crops' maps are pasted.
    """

    size: list[int] = limited([], EMPTY | each(at_least(32), count=2))
    padding: float = limited(1.25, above(0))
    least: float = limited(0.0, FINITE)
    by_index: bool = False
    udp: bool = False
    shift: bool = False
    counted: float = limited(0.0, FINITE)
    rescore: bool = False
    similar: float = limited(0.9, SHARE)
    canvas: int = limited(640, at_least(32))


@dataclass(frozen=True)
class TeacherSettings(Checked):
    """A network that predicts poses, and how it looks at images.

    Attributes:
        kind: auto (the weights say themselves what they are), higher_hrnet, student, pose_hrnet, simple_baseline,
            readout or vitpose.
        weights: .safetensors, .pth, .pth.tar, .onnx or .xml; of a vitpose its folder, or OWNER/NAME on the hub.
        network: for .onnx and .xml: the YAML file that describes inputs and outputs; for a checkpoint of mmpose: its
            config, a .py file, which is run.
        numbers: for other weights that do not say it: the net's arguments, such as {width: 48}; of a ViTPose+
            {dataset_index: 0}, the data set whose experts are asked.
        size: side of the input in pixels; 0 takes what the weights were made for.
        fit: short_side (of that size, the long side as it comes), letterbox (a square of that size) or published (the
            short side as the authors of HigherHRNet have it); empty takes what the weights were made for.
        flip: average with the mirrored image.
        scales: factors of the size to average over.
        project: enlarge maps to the size of the input, as the authors of HigherHRNet do before they average and read.
        batch: images, or crops, at once.
        precision: fp32 or bf16.
        boxes: for a net that sees one person a crop: truth (those of the labels), or a JSON file of COCO detections.
        color: order of the channels of such a net, rgb or bgr; empty is bgr for a simple_baseline's published weights.
    """

    kind: str = limited("auto", choice("auto", *NETS, "vitpose"))
    weights: str = ""
    network: str = ""
    numbers: dict[str, Plain] = field(default_factory=dict)
    size: int = limited(0, NONE | at_least(32))
    fit: Literal["", "short_side", "letterbox", "published"] = ""
    flip: bool = False
    scales: list[float] = limited([1.0], SCALES)
    project: bool = False
    batch: int = limited(8, at_least(1))
    precision: Literal["fp32", "bf16"] = "fp32"
    boxes: str = ""
    color: Literal["", "rgb", "bgr"] = ""
    crop: CropSettings = field(default_factory=CropSettings)


@dataclass(frozen=True)
class DecodeSettings(Checked):
    """From maps to people; of these a top-down net knows `threshold` and `refine`, a network in a file none.

    Attributes:
        grouping: what tells people apart, centres (with offsets) or tags, for which the net must have been trained; or
            published: tags, read as the authors of HigherHRNet do (the next three count, and their own constants);
            auto is the first of them that the net has.
        threshold: least height of a peak.
        tag_threshold: tags closer than this belong to one person.
        max_people: at most so many an image.
        refine: argmax, quarter or dark; corner is argmax as the published readout head has it, half a cell off; shifts,
            with centres alone, is what the net says of the place in the cell.
        fill: a joint that a person lacks is sought among the peaks near it above this, with centres put where the
            offset points, if there is more heat than this; null seeks none.
    """

    grouping: Literal["auto", "centres", "tags", "published"] = "auto"
    threshold: float = limited(0.1, at_least(0))
    tag_threshold: float = limited(1.0, above(0))
    max_people: int = limited(30, at_least(1))
    refine: Literal["argmax", "quarter", "dark", "corner", "shifts"] = "dark"
    fill: float | None = limited(0.05, at_least(0) | NULL)


@dataclass(frozen=True)
class ScoreSettings:
    """How people found are compared with people labelled.

    Attributes:
        engine: the library that computes AP: pycocotools, or faster-coco-eval (pip install rtpe[eval]), which gives the
            same figures sooner.
        pck: what PCK is measured in on the terminal: box, torso, head, neck, readout, readout-extent or readout-box;
            docs/evaluation.md has what they are, --out all that the labels allow.
    """

    engine: Literal["pycocotools", "faster-coco-eval"] = "pycocotools"
    pck: Literal["box", "torso", "head", "neck", "readout", "readout-extent", "readout-box"] = "box"


@dataclass(frozen=True)
class CacheSettings:
    """What a teacher said, on disk.

    Attributes:
        path: the cache's folder; empty for none.
        store: hdf5 (shards) or npz (one file an image).
        codec: masked, poses (people only, maps drawn from them), uint8, float16 or float32; see docs/cache.md.
    """

    path: str = ""
    store: Literal["hdf5", "npz"] = "hdf5"
    codec: Literal["masked", "poses", "uint8", "float16", "float32"] = "masked"


@dataclass(frozen=True)
class CachePath:
    """A cache that knows itself what it holds.

    Attributes:
        path: the cache's folder.
    """

    path: str = ""
