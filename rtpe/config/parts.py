"""Settings that several commands share, by what they are about."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Weight = float | list[list[float]]


@dataclass(frozen=True)
class DataSettings:
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
    """

    root: str = "datasets/coco"
    split: str = "train2017"
    skeleton: str = "coco17"
    limit: int = 0
    every: int = 1
    crops: float = 0.0
    labels: float = 1.0


@dataclass(frozen=True)
class MoreDataSettings(DataSettings):
    """Further images to learn from.

    Attributes:
        cache: folder of what a teacher said of them; each data set has one, or none has.
    """

    cache: str = ""


@dataclass(frozen=True)
class CropSettings:
    """How a top-down net crops people and is read; by_index, shift and counted are how published nets were scored.

    Attributes:
        size: [height, width] of a crop; empty takes 256 x 192, or what the description of a network in a file says.
        padding: the crop's sides over those of the box that has its aspect.
        least: boxes of a lower score are left out.
        by_index: image, crop and cells are mapped by indices instead of by points, so that cell i stands for pixel
            stride * i, not for all the pixels that it covers; so were published nets trained.
        shift: with by_index, the flip test moves the mirrored maps by a whole cell instead of by the part that is due.
        counted: a person's score is the mean height of the joints that are higher than this.
        rescore: times the score of the person's box.
        similar: whom a better person repeats by more than this (OKS, 0 to 1) goes; 1 keeps all.
        canvas: long side in pixels of the frame into which the crops' maps are pasted.
    """

    size: list[int] = field(default_factory=list)
    padding: float = 1.25
    least: float = 0.0
    by_index: bool = False
    shift: bool = False
    counted: float = 0.0
    rescore: bool = False
    similar: float = 0.9
    canvas: int = 640


@dataclass(frozen=True)
class TeacherSettings:
    """A network that predicts poses, and how it looks at images.

    Attributes:
        kind: auto (the weights say themselves what they are), higher_hrnet, student, pose_hrnet, simple_baseline or
            readout.
        weights: .safetensors, .pth, .pth.tar, .onnx or .xml.
        network: for .onnx and .xml: the YAML file that describes inputs and outputs.
        numbers: for other weights that do not say it: the net's arguments, such as {width: 48}.
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

    kind: str = "auto"
    weights: str = ""
    network: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)
    size: int = 0
    fit: Literal["", "short_side", "letterbox", "published"] = ""
    flip: bool = False
    scales: list[float] = field(default_factory=lambda: [1.0])
    project: bool = False
    batch: int = 8
    precision: Literal["fp32", "bf16"] = "fp32"
    boxes: str = ""
    color: Literal["", "rgb", "bgr"] = ""
    crop: CropSettings = field(default_factory=CropSettings)


@dataclass(frozen=True)
class DecodeSettings:
    """From maps to people; of these a top-down net knows `threshold` and `refine`, a network in a file none.

    Attributes:
        grouping: what tells people apart, tags or centres (with offsets), for which the net must have been trained; or
            published: tags, read as the authors of HigherHRNet do (the next three count, and their own constants).
        threshold: least height of a peak.
        tag_threshold: tags closer than this belong to one person.
        max_people: at most so many an image.
        refine: argmax, quarter or dark; corner is argmax as the published readout head has it, half a cell off.
        fill: a joint that a person lacks is sought among the peaks near it above this; null seeks none.
    """

    grouping: Literal["tags", "centres", "published"] = "tags"
    threshold: float = 0.1
    tag_threshold: float = 1.0
    max_people: int = 30
    refine: Literal["argmax", "quarter", "dark", "corner"] = "dark"
    fill: float | None = 0.05


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


@dataclass(frozen=True)
class NetSettings:
    """The net to train.

    Attributes:
        kind: student, higher_hrnet, pose_hrnet, simple_baseline or readout.
        numbers: its arguments, such as {width: 48}; those that are not given are as in `init`.
        init: weights to start from; every tensor that fits by name and shape is taken.
        stem: weights of a HigherHRNet whose stem the student keeps, frozen, or an .onnx file; empty for a stem of its
            own.
        stem_stages: how many of a HigherHRNet's stages it keeps besides, 0 to 3; they cost more and see more.
        stem_tensor: of an .onnx file, the tensor that it stands on; what that tensor needs is kept.
        stem_network: for an .onnx file, the YAML file that describes its input.
        learn: the parts that learn, such as [stem]; the others stay as `init` has them. Empty for all.
        imitate: weights of a student whose stem this one's own stem is to imitate, see --loss.stem.
        size: side of the square input in pixels.
    """

    kind: str = "student"
    numbers: dict[str, Any] = field(default_factory=dict)
    init: str = ""
    stem: str = ""
    stem_stages: int = 0
    stem_tensor: str = ""
    stem_network: str = ""
    learn: list[str] = field(default_factory=list)
    imitate: str = ""
    size: int = 256


@dataclass(frozen=True)
class LossSettings:
    """Weights of the loss terms (0 switches one off), and how heatmaps are compared.

    A weight that changes over the run is written as knots, [[progress, weight], ...] with progress from 0 to 1.

    Attributes:
        teacher: heatmaps against the teacher's.
        truth: heatmaps against the labels'; 0 trains without any label.
        pull: tags within a person towards their mean.
        push: mean tags of two people apart.
        person: the attention maps against the person masks.
        centre: the heatmap of people's centres, of a net that has one.
        offset: the offsets from centres to joints, of a net that has them.
        stem: the features of the net's own stem against those of the stem that --net.imitate names.
        sigmas: spread of the labels' Gaussians in cells, one a level of heatmaps, coarse to fine.
        foreground: additional weight where a target is 1.
        hardest: average only that many joints an image, those with the largest error; 0 for all.
        confidence: where a teacher's people stand in for labels, a joint weighs its score to this power in pull and
            push; 0 weighs all alike.
        stages: all supervises the heatmaps of every stage, last those of the last one alone.
    """

    teacher: Weight = 1.0
    truth: Weight = 1.0
    pull: Weight = 0.01
    push: Weight = 0.01
    person: Weight = 0.02
    centre: Weight = 0.0
    offset: Weight = 0.0
    stem: Weight = 0.0
    sigmas: list[float] = field(default_factory=lambda: [2.0])
    foreground: float = 10.0
    hardest: int = 0
    confidence: float = 0.0
    stages: Literal["all", "last"] = "all"


@dataclass(frozen=True)
class ViewSettings:
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

    rotate: float = 25.0
    scale: list[float] = field(default_factory=lambda: [0.7, 1.35])
    shift: float = 0.12
    flip: float = 0.5
    light: float = 0.25
    noise: float = 6.0
    grey: float = 0.05
    mosaic: float = 0.0
    paste: float = 0.0


@dataclass(frozen=True)
class OptimSettings:
    """How long and how fast to train.

    Attributes:
        epochs: passes over the data at most.
        minutes: and at most so long; 0 for no limit.
        batch: images a step, over all processes.
        lr: peak learning rate of AdamW.
        schedule: after a warm-up, cosine falls once, sgdr restarts, each time for twice as long.
        cycles: of sgdr.
        weight_decay: of AdamW.
        clip: largest norm of a step's gradient.
        ema: memory of the averaged weights.
        minival: images held out of the training split to choose the best epoch by; 0 for none.
        workers: loader processes for each training process; 0 loads in the process itself.
        processes: training processes that share each batch.
        threads: of each process; 0 shares the cores out.
        precision: fp32, bf16, or on a GPU fp16.
        seed: of everything that is random.
        pictures: images drawn for tensorboard and the report after each epoch.
        half: write the best weights as float16, at half the size.
    """

    epochs: int = 20
    minutes: float = 0.0
    batch: int = 32
    lr: float = 1e-3
    schedule: Literal["cosine", "sgdr"] = "cosine"
    cycles: int = 3
    weight_decay: float = 1e-4
    clip: float = 1.0
    ema: float = 0.998
    minival: int = 100
    workers: int = 1
    processes: int = 1
    threads: int = 0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    seed: int = 0
    pictures: int = 4
    half: bool = False
