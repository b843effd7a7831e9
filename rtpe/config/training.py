"""The settings of a training: the net, what it is asked for, and how fast it goes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from rtpe.limits import BELOW_ONE, SEED, SIDE, WEIGHT, Checked, above, at_least, between, choice, each, limited

Weight = float | list[list[float]]
# values of what nothing is instantiated or imported
Plain = bool | int | float | str | list | dict | None
NETS = ("student", "rep_student", "higher_hrnet", "pose_hrnet", "simple_baseline", "readout")


@dataclass(frozen=True)
class NetSettings(Checked):
    """The net to train.

    Attributes:
        kind: student, rep_student, higher_hrnet, pose_hrnet, simple_baseline or readout.
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

    kind: str = limited("student", choice(*NETS))
    numbers: dict[str, Plain] = field(default_factory=dict)
    init: str = ""
    stem: str = ""
    stem_stages: int = limited(0, between(0, 3))
    stem_tensor: str = ""
    stem_network: str = ""
    learn: list[str] = field(default_factory=list)
    imitate: str = ""
    size: int = limited(256, SIDE)


@dataclass(frozen=True)
class LossSettings(Checked):
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
        shift: the places of joints in their cells, of a net that tells them.
        stem: the features of the net's own stem against those of the stem that --net.imitate names.
        sigmas: spread of the labels' Gaussians in cells, one a level of heatmaps, coarse to fine.
        widen: a teacher's peaks that are narrower than the least of the sigmas are made as wide.
        foreground: additional weight where a target is 1.
        confidence: where a teacher's people stand in for labels, a joint weighs its score to this power in pull and
            push; 0 weighs all alike.
    """

    teacher: Weight = limited(1.0, WEIGHT)
    truth: Weight = limited(1.0, WEIGHT)
    pull: Weight = limited(0.01, WEIGHT)
    push: Weight = limited(0.01, WEIGHT)
    person: Weight = limited(0.0, WEIGHT)
    centre: Weight = limited(0.0, WEIGHT)
    offset: Weight = limited(0.0, WEIGHT)
    shift: Weight = limited(0.0, WEIGHT)
    stem: Weight = limited(0.0, WEIGHT)
    sigmas: list[float] = limited([2.0], each(above(0)))
    widen: bool = True
    foreground: float = limited(10.0, at_least(0))
    confidence: float = limited(0.0, at_least(0))


@dataclass(frozen=True)
class OptimSettings(Checked):
    """How long and how fast to train.

    Attributes:
        epochs: at most so many; after each the net is scored and saved.
        minutes: and at most so long; 0 for no limit.
        passes: over the data, that make an epoch: more than one where there are few images.
        batch: images a step, over all processes.
        lr: peak learning rate of AdamW.
        schedule: after a warm-up, cosine falls once, sgdr restarts, each time for twice as long.
        cycles: of sgdr.
        weight_decay: of AdamW.
        clip: largest norm of a step's gradient.
        ema: memory of the averaged weights.
        minival: images held out of the training split to choose the best epoch by; 0 for none.
        minival_split: another split that these images are of, so that none is held out.
        workers: loader processes for each training process; 0 loads in the process itself.
        processes: training processes that share each batch.
        threads: of each process; 0 shares the cores out.
        precision: fp32, bf16, or on a GPU fp16.
        seed: of everything that is random.
        pictures: images drawn for tensorboard and the report after each epoch.
        half: write the best weights as float16, at half the size.
    """

    epochs: int = limited(20, at_least(1))
    minutes: float = limited(0.0, at_least(0))
    passes: int = limited(1, at_least(1))
    batch: int = limited(32, at_least(1))
    lr: float = limited(1e-3, above(0))
    schedule: Literal["cosine", "sgdr"] = "cosine"
    cycles: int = limited(3, between(1, 20))
    weight_decay: float = limited(1e-4, at_least(0))
    clip: float = limited(1.0, above(0))
    ema: float = limited(0.998, BELOW_ONE)
    minival: int = limited(100, at_least(0))
    minival_split: str = ""
    workers: int = limited(1, at_least(0))
    processes: int = limited(1, at_least(1))
    threads: int = limited(0, at_least(0))
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    seed: int = limited(0, SEED)
    pictures: int = limited(4, at_least(0))
    half: bool = False
