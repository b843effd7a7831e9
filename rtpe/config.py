"""Settings: frozen dataclasses, read from recipes and command lines, written beside every result.

rtpe train --config recipes/student_s.yaml --train.lr 2e-4      # a recipe, then what differs from it
rtpe train --config runs/s/settings.yaml --out runs/again       # repeat a recorded run
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from jsonargparse import ArgumentParser

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class DataSettings:
    """Where the images and labels lie.

    Attributes:
        root: folder with images/<split>/ and annotations/person_keypoints_<split>.json; or, without labels, a folder of
            photographs and videos, or a video.
        split: which part of it; without labels the folder images/<split> or <split>, or all if there is none.
        skeleton: coco17, mpii16, openpose18, lsp14, or a JSON file that describes another one.
        limit: use only the first so many images; 0 for all.
        every: of a video, take every so many frames.
    """

    root: str = "datasets/coco"
    split: str = "train2017"
    skeleton: str = "coco17"
    limit: int = 0
    every: int = 1


@dataclass(frozen=True)
class TeacherSettings:
    """A network that predicts poses, and how it looks at images.

    Attributes:
        kind: auto (the weights say themselves what they are), higher_hrnet or student.
        weights: .safetensors, .pth, .pth.tar, .onnx or .xml.
        network: for .onnx and .xml: the YAML file that describes inputs and outputs.
        numbers: for other weights that do not say it: the net's arguments, such as {width: 48}.
        size: side of the input in pixels; 0 takes what the weights were made for.
        fit: short_side (of that size, the long side as it comes) or letterbox (a square of that size); empty takes
            what the weights were made for.
        flip: average with the mirrored image.
        scales: factors of the size to average over.
        batch: images at once.
        precision: fp32 or bf16.
    """

    kind: str = "auto"
    weights: str = ""
    network: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)
    size: int = 0
    fit: Literal["", "short_side", "letterbox"] = ""
    flip: bool = False
    scales: list[float] = field(default_factory=lambda: [1.0])
    batch: int = 8
    precision: Literal["fp32", "bf16"] = "fp32"


@dataclass(frozen=True)
class DecodeSettings:
    """From heatmaps and tags to people; networks in files with part-affinity fields bring their own way.

    Attributes:
        threshold: least height of a peak.
        tag_threshold: tags closer than this belong to one person.
        max_people: at most so many an image.
        refine: argmax, quarter or dark.
    """

    threshold: float = 0.1
    tag_threshold: float = 1.0
    max_people: int = 30
    refine: Literal["argmax", "quarter", "dark"] = "dark"


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
        kind: student or higher_hrnet.
        numbers: its arguments, such as {width: 48}.
        init: weights to start from; every tensor that fits by name and shape is taken.
        stem: weights of a HigherHRNet whose stem the student keeps, frozen; empty for a stem of its own.
        stem_stages: how many of that net's stages it keeps besides, 0 to 3; they cost more and see more.
        size: side of the square input in pixels.
    """

    kind: str = "student"
    numbers: dict[str, Any] = field(default_factory=dict)
    init: str = ""
    stem: str = ""
    stem_stages: int = 0
    size: int = 256


@dataclass(frozen=True)
class LossSettings:
    """Weights of the loss terms (0 switches one off), and how heatmaps are compared.

    Attributes:
        teacher: heatmaps against the teacher's.
        truth: heatmaps against the labels'; 0 trains without any label.
        pull: tags within a person towards their mean.
        push: mean tags of two people apart.
        person: the attention maps against the person masks.
        sigmas: spread of the labels' Gaussians in cells, one a level of heatmaps, coarse to fine.
        foreground: additional weight where a target is 1.
        hardest: average only that many joints an image, those with the largest error; 0 for all.
    """

    teacher: float = 1.0
    truth: float = 1.0
    pull: float = 0.01
    push: float = 0.01
    person: float = 0.02
    sigmas: list[float] = field(default_factory=lambda: [2.0])
    foreground: float = 10.0
    hardest: int = 0


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
    """

    rotate: float = 25.0
    scale: list[float] = field(default_factory=lambda: [0.7, 1.35])
    shift: float = 0.12
    flip: float = 0.5
    light: float = 0.25
    noise: float = 6.0
    grey: float = 0.05


@dataclass(frozen=True)
class OptimSettings:
    """How long and how fast to train.

    Attributes:
        epochs: passes over the data at most.
        minutes: and at most so long; 0 for no limit.
        batch: images a step, over all processes.
        lr: peak learning rate of AdamW; warm-up, then cosine.
        weight_decay: of AdamW.
        clip: largest norm of a step's gradient.
        ema: memory of the averaged weights.
        minival: images held out of the training split to choose the best epoch by; 0 for none.
        workers: loader processes for each training process; 0 loads in the process itself.
        processes: training processes that share each batch.
        threads: of each process; 0 shares the cores out.
        precision: fp32 or bf16.
        seed: of everything that is random.
        pictures: images drawn for tensorboard and the report after each epoch.
        half: write the best weights as float16, at half the size.
    """

    epochs: int = 20
    minutes: float = 0.0
    batch: int = 32
    lr: float = 1e-3
    weight_decay: float = 1e-4
    clip: float = 1.0
    ema: float = 0.998
    minival: int = 100
    workers: int = 1
    processes: int = 1
    threads: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = 0
    pictures: int = 4
    half: bool = False


@dataclass(frozen=True)
class Train:
    """Train a net on labels, on a teacher's cache, or on both.

    Attributes:
        out: folder of the run; a run that was stopped there goes on.
        device: auto, cpu or cuda.
    """

    data: DataSettings = field(default_factory=DataSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    net: NetSettings = field(default_factory=NetSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    view: ViewSettings = field(default_factory=ViewSettings)
    train: OptimSettings = field(default_factory=OptimSettings)
    decode: DecodeSettings = field(default_factory=DecodeSettings)
    out: str = "runs/student"
    device: str = "auto"


@dataclass(frozen=True)
class CacheBuild:
    """Run a teacher over all images and keep what it saw; go on where an earlier build stopped.

    Attributes:
        shard: i/n builds the i-th of n parts (1/3, 2/3, 3/3), on machines that share nothing; `rtpe cache merge` joins
            them. Empty builds all, or under torchrun each process its part of one cache.
        device: auto, cpu or cuda.
    """

    data: DataSettings = field(default_factory=DataSettings)
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    decode: DecodeSettings = field(default_factory=DecodeSettings)
    shard: str = ""
    device: str = "auto"


@dataclass(frozen=True)
class Validate:
    """Score a teacher, a student's weights or a cache by OKS and PCK on a labelled split.

    Attributes:
        weights: a net that says itself what it is (what `rtpe train` writes); short for --teacher.weights.
        out: JSON file for the table; the results in COCO's format go beside it.
        device: auto, cpu or cuda.
    """

    data: DataSettings = field(default_factory=lambda: DataSettings(split="val2017"))
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    weights: str = ""
    cache: CacheSettings = field(default_factory=CacheSettings)
    decode: DecodeSettings = field(default_factory=DecodeSettings)
    out: str = ""
    device: str = "auto"


@dataclass(frozen=True)
class CacheInfo:
    """Show who made a cache, of what, how exactly, how large it is, and how its people score on the labels there are.

    Those are the labels of the images that it was made of; name others, or another place, by --data.root.

    Attributes:
        out: JSON file for the same.
    """

    cache: CachePath = field(default_factory=CachePath)
    data: DataSettings = field(default_factory=lambda: DataSettings(root=""))
    out: str = ""


@dataclass(frozen=True)
class CacheVerify:
    """Read every byte of a cache and tell what is damaged.

    Attributes:
        repair: drop what is damaged, and only that, so that the next build remakes it.
    """

    cache: CachePath = field(default_factory=CachePath)
    repair: bool = False


@dataclass(frozen=True)
class CacheMerge:
    """Join caches of one teacher into one, without decoding anything.

    Attributes:
        sources: the caches' folders.
    """

    sources: list[str] = field(default_factory=list)
    cache: CachePath = field(default_factory=CachePath)


@dataclass(frozen=True)
class CacheConvert:
    """Write a cache in another store or codec, or make one of a folder of *_w48_predictions.npz files.

    Only those files need --data, the images that they were made from, and --decode, how people are read from them.

    Attributes:
        source: the folder of the cache, or of those files.
    """

    source: str = ""
    cache: CacheSettings = field(default_factory=CacheSettings)
    data: DataSettings = field(default_factory=DataSettings)
    decode: DecodeSettings = field(default_factory=DecodeSettings)


@dataclass(frozen=True)
class Synth:
    """Draw the synthetic world: people in poor painters' photographs, as a COCO data set.

    Attributes:
        out: folder to write.
        train: images in train2017.
        val: images in val2017.
        size: side of the square images in pixels.
        seed: the same seed draws the same world.
        workers: processes that draw.
    """

    out: str = "datasets/synthetic"
    train: int = 2000
    val: int = 200
    size: int = 320
    seed: int = 0
    workers: int = 2


@dataclass(frozen=True)
class Demo:
    """The whole job in small: draw a world, build a cache, train a student, score everything, write a report.

    Attributes:
        out: folder of the demo's run.
        data: folder of the synthetic world.
        train: images to learn from.
        val: images to score on.
        minutes: of training at most.
    """

    out: str = "runs/demo"
    data: str = "datasets/demo"
    train: int = 2000
    val: int = 200
    minutes: float = 4.0


class UserError(ValueError):
    """Something the user can mend: one line, exit status 2."""


def parse(command: type[Settings], arguments: list[str] | None, prog: str) -> Settings:
    """Read a command's settings: defaults, then `--config` files, then what the command line says.

    Raises:
        UserError: for an unknown or ill-typed setting, by name.
    """
    said = (command.__doc__ or "").split("\n\n")[0]
    usage = f"{prog} [--config FILE] [--SETTING VALUE ...]"
    parser = ArgumentParser(prog=prog, usage=usage, description=said, exit_on_error=False)
    parser.add_argument("--config", action="config", help="a recipe, or the settings.yaml of a run")
    parser.add_class_arguments(command, nested_key=None, as_group=False)
    try:
        parsed = parser.instantiate(parser.parse_args(arguments))
    except Exception as error:  # jsonargparse raises several kinds, some of many lines
        raise UserError(f"{prog}: {' '.join(str(error).split())}") from error
    return command(**{f.name: parsed[f.name] for f in dataclasses.fields(command)})


def as_dict(settings: Any) -> dict[str, Any]:
    """Settings as plain nested values."""
    return dataclasses.asdict(settings)


def flat(settings: Any) -> dict[str, Any]:
    """Settings by their dotted names."""

    def walk(prefix: str, value: Any):
        if isinstance(value, dict) and value:
            for name, inner in value.items():
                yield from walk(f"{prefix}.{name}" if prefix else name, inner)
        else:
            yield prefix, value

    return dict(walk("", settings if isinstance(settings, dict) else as_dict(settings)))


def save(settings: Any, path: str | Path) -> None:
    """Write settings as YAML that `--config` reads again."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(yaml.safe_dump(as_dict(settings), sort_keys=False))
    os.replace(temporary, path)
