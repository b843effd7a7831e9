"""The settings of a training: the net, what it is asked for, and how fast it goes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Weight = float | list[list[float]]


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
        widen: a teacher's peaks that are narrower than the least of the sigmas are made as wide.
        foreground: additional weight where a target is 1.
        confidence: where a teacher's people stand in for labels, a joint weighs its score to this power in pull and
            push; 0 weighs all alike.
    """

    teacher: Weight = 1.0
    truth: Weight = 1.0
    pull: Weight = 0.01
    push: Weight = 0.01
    person: Weight = 0.0
    centre: Weight = 0.0
    offset: Weight = 0.0
    stem: Weight = 0.0
    sigmas: list[float] = field(default_factory=lambda: [2.0])
    widen: bool = True
    foreground: float = 10.0
    confidence: float = 0.0


@dataclass(frozen=True)
class OptimSettings:
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

    epochs: int = 20
    minutes: float = 0.0
    passes: int = 1
    batch: int = 32
    lr: float = 1e-3
    schedule: Literal["cosine", "sgdr"] = "cosine"
    cycles: int = 3
    weight_decay: float = 1e-4
    clip: float = 1.0
    ema: float = 0.998
    minival: int = 100
    minival_split: str = ""
    workers: int = 1
    processes: int = 1
    threads: int = 0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    seed: int = 0
    pictures: int = 4
    half: bool = False
