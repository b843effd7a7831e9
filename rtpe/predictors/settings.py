"""Settings of teachers and students that predict poses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Literal

from rtpe.decode.settings import DecodeSettings
from rtpe.files import on_hub
from rtpe.nets.kinds import KINDS
from rtpe.settings.limits import (
    EMPTY,
    FINITE,
    NONE,
    SHARE,
    Checked,
    Idle,
    Limit,
    Plain,
    Risk,
    above,
    at_least,
    choice,
    each,
    limited,
)

SCALES = Limit("a list of numbers above 0, 1 among them", lambda value: each(above(0)).holds(value) and 1 in value)


@dataclass(frozen=True)
class CropSettings(Checked):
    """How a top-down net crops people and is read; by_index, shift and counted are how published nets were scored.

    Attributes:
        size: [height, width] of a crop; empty takes 256 x 192, or what the description of a network in a file says.
        padding: the crop's sides over those of the box that has its aspect.
        min_box_score: boxes of a lower score are left out.
        by_index: image, crop and cells are mapped by indices instead of by points, so that cell i stands for pixel
            stride * i, not for all the pixels that it covers; so were published nets trained. The labels' boxes, a
            quarter's step and the comparison of people are as published then.
        udp: the box's edges are indices too, and the outermost ones of crop and cells lie on them (unbiased data
            processing); a ViTPose has it unasked.
        shift: with by_index, the flip test moves the mirrored maps by a whole cell instead of by the part that is due.
        vis_threshold: a person's score is the mean height of the joints that are higher than this.
        rescore: times the score of the person's box.
        nms_oks: whom a better person repeats by more than this (OKS, 0 to 1) goes; 1 keeps all.
        map_size: long side in pixels of the frame into which the crops' maps are pasted.
    """

    size: list[int] = limited([], EMPTY | each(at_least(32), count=2))
    padding: float = limited(1.25, above(0))
    min_box_score: float = limited(0.0, FINITE)
    by_index: bool = False
    udp: bool = False
    shift: bool = False
    vis_threshold: float = limited(0.0, FINITE)
    rescore: bool = False
    nms_oks: float = limited(0.9, SHARE)
    map_size: int = limited(640, at_least(32))


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
        resize: short_side (of that size, the long side keeps the aspect), letterbox (a square of that size) or
            published (the short side of HigherHRNet's authors); empty takes what the weights were made for.
        flip: average with the mirrored image.
        scales: factors of the size to average over.
        project_to_image: enlarge maps to the size of the input before they are averaged and decoded, as the authors of
            HigherHRNet do.
        batch: images, or crops, at once.
        precision: fp32 or bf16.
        boxes: for a net that sees one person a crop: labels (their boxes), or a JSON file of COCO detections.
        color: order of the channels of such a net, rgb or bgr; empty is bgr for a simple_baseline's published weights.
    """

    kind: str = limited("auto", choice("auto", *KINDS, "vitpose"))
    weights: str = ""
    network: str = ""
    numbers: dict[str, Plain] = field(default_factory=dict)
    size: int = limited(0, NONE | at_least(32))
    resize: Literal["", "short_side", "letterbox", "published"] = ""
    flip: bool = False
    scales: list[float] = limited([1.0], SCALES)
    project_to_image: bool = False
    batch: int = limited(8, at_least(1))
    precision: Literal["fp32", "bf16"] = "fp32"
    boxes: str = ""
    color: Literal["", "rgb", "bgr"] = ""
    crop: CropSettings = field(default_factory=CropSettings)

    def risks(self) -> Iterator[Risk]:
        """A config of mmpose is a program; a name on the hub opens a connection."""
        if self.network.lower().endswith(".py"):
            yield "network", self.network, "is a program, and runs"
        if self.kind == "vitpose" and on_hub(self.weights):
            yield "weights", self.weights, "is on no disk here, and asks the hub"
        if on_hub(str(self.numbers.get("backbone", ""))):
            yield "numbers.backbone", self.numbers["backbone"], "is on no disk here, and asks the hub"

    def idle_beside_cache(self, cache: str) -> Iterator[Idle]:
        """The settings that differ from their defaults, all but the weights, where a cache is scored."""
        usual = TeacherSettings()
        for each_ in fields(self):
            got = getattr(self, each_.name)
            if each_.name != "weights" and got != getattr(usual, each_.name):
                yield f"teacher.{each_.name}", got, f"beside --cache.path {cache}: leave it out"


@dataclass(frozen=True)
class LoadSettings(Checked):
    """What makes a predictor of weights."""

    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    decode: DecodeSettings = field(default_factory=DecodeSettings)
