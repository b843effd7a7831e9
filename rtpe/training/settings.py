"""Settings of a training: data, net, loss, how long and how fast."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Literal

from rtpe.cache.settings import CachePath
from rtpe.data.settings import AugmentSettings, MoreDataSettings, TrainDataSettings
from rtpe.decode.settings import DecodeSettings
from rtpe.files import on_hub
from rtpe.nets.kinds import KINDS
from rtpe.settings.limits import (
    BELOW_ONE,
    DEVICE,
    SEED,
    SIDE,
    SOME_TEXT,
    WEIGHT,
    Checked,
    Idle,
    Plain,
    Risk,
    above,
    at_least,
    between,
    choice,
    each,
    limited,
)
from rtpe.training.terms import TERMS

Weight = float | list[list[float]]


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
        trainable: the parts that learn, such as [stem]; the others stay as `init` has them. Empty for all.
        distill_stem_from: weights of a student whose stem this one's own stem is to imitate, see --loss.stem.
        size: side of the square input in pixels.
    """

    kind: str = limited("student", choice(*KINDS))
    numbers: dict[str, Plain] = field(default_factory=dict)
    init: str = ""
    stem: str = ""
    stem_stages: int = limited(0, between(0, 3))
    stem_tensor: str = ""
    stem_network: str = ""
    trainable: list[str] = field(default_factory=list)
    distill_stem_from: str = ""
    size: int = limited(256, SIDE)

    def risks(self) -> Iterator[Risk]:
        """A name on the hub opens a connection."""
        if on_hub(str(self.numbers.get("backbone", ""))):
            yield "numbers.backbone", self.numbers["backbone"], "is on no disk here, and asks the hub"

    def idle(self) -> Iterator[Idle]:
        """`stem_stages` may stand in a recipe for a stem that is named beside it, or comes with `init`."""
        if Path(self.stem).suffix.lower() != ".onnx":
            for name in ("stem_tensor", "stem_network"):
                if getattr(self, name):
                    yield f"net.{name}", getattr(self, name), "without an .onnx file: pass it as --net.stem"
        elif self.stem_stages:
            yield "net.stem_stages", self.stem_stages, "with an .onnx file: name the tensor by --net.stem_tensor"


def _weights() -> type:
    """A settings' class with a weight for each of TERMS."""
    fields = [(name, Weight, limited(term.weight, WEIGHT)) for name, term in TERMS.items()]
    described = "\n".join(f"    {name}: {term.help}" for name, term in TERMS.items())
    about = {"__module__": __name__, "__doc__": f"Weights of the loss terms.\n\nAttributes:\n{described}\n"}
    return make_dataclass("LossWeights", fields, bases=(Checked,), frozen=True, namespace=about)


LossWeights = _weights()


@dataclass(frozen=True)
class LossSettings(LossWeights):
    """Weights of the loss terms (0 switches one off), and how heatmaps are compared.

    A weight that changes over the run is written as knots, [[progress, weight], ...] with progress from 0 to 1.

    Attributes:
        sigmas: spread of the labels' Gaussians in cells, one a level of heatmaps, coarse to fine.
        match_peak_width: a teacher's peaks that are narrower than the least of the sigmas are made as wide.
        foreground: additional weight where a target is 1.
        confidence: where a teacher's people stand in for labels, a joint weighs its score to this power in pull and
            push; 0 weighs all alike.
    """

    sigmas: list[float] = limited([2.0], each(above(0)))
    match_peak_width: bool = True
    foreground: float = limited(10.0, at_least(0))
    confidence: float = limited(0.0, at_least(0))


@dataclass(frozen=True)
class OptimSettings(Checked):
    """How long and how fast to train.

    Attributes:
        epochs: at most so many; after each the net is scored and saved.
        minutes: and at most so long; 0 for no limit.
        passes_per_epoch: over the data, that make an epoch: more than one where there are few images.
        batch: images a step, over all processes.
        lr: peak learning rate of AdamW.
        schedule: after a warm-up, cosine falls once, sgdr restarts, each time for twice as long.
        cycles: of sgdr.
        weight_decay: of AdamW.
        clip: largest norm of a step's gradient.
        ema: memory of the averaged weights.
        holdout: images held out of the training split to choose the best epoch by; 0 for none.
        holdout_split: another split that these images are of, so that none is held out.
        workers: loader processes for each training process; 0 loads in the process itself.
        processes: training processes that share each batch.
        threads: of each process; 0 shares the cores out.
        precision: fp32, bf16, or on a GPU fp16.
        seed: of everything that is random.
        pictures: images drawn for tensorboard and the report after each epoch.
        save_fp16: write the best weights as float16, at half the size.
    """

    epochs: int = limited(20, at_least(1))
    minutes: float = limited(0.0, at_least(0))
    passes_per_epoch: int = limited(1, at_least(1))
    batch: int = limited(32, at_least(1))
    lr: float = limited(1e-3, above(0))
    schedule: Literal["cosine", "sgdr"] = "cosine"
    cycles: int = limited(3, between(1, 20))
    weight_decay: float = limited(1e-4, at_least(0))
    clip: float = limited(1.0, above(0))
    ema: float = limited(0.998, BELOW_ONE)
    holdout: int = limited(100, at_least(0))
    holdout_split: str = ""
    workers: int = limited(1, at_least(0))
    processes: int = limited(1, at_least(1))
    threads: int = limited(0, at_least(0))
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    seed: int = limited(0, SEED)
    pictures: int = limited(4, at_least(0))
    save_fp16: bool = False

    def idle(self) -> Iterator[Idle]:
        if self.cycles != OptimSettings().cycles and self.schedule != "sgdr":
            yield "train.cycles", self.cycles, f"with train.schedule {self.schedule}: pass --train.schedule sgdr"
        if self.holdout_split and not self.holdout:
            yield "train.holdout_split", self.holdout_split, "with train.holdout 0: pass how many of it"


@dataclass(frozen=True)
class Train(Checked):
    """Train a net on labels, on a teacher's cache, or on both.

    Attributes:
        more: further images to learn from, each with the cache of what a teacher said of them.
        out: folder of the run; a run that was stopped there goes on.
        device: auto, cpu or cuda.
    """

    data: TrainDataSettings = field(default_factory=TrainDataSettings)
    more: list[MoreDataSettings] = field(default_factory=list)
    cache: CachePath = field(default_factory=CachePath)
    net: NetSettings = field(default_factory=NetSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    train: OptimSettings = field(default_factory=OptimSettings)
    decode: DecodeSettings = field(default_factory=DecodeSettings)
    out: str = limited("runs/student", SOME_TEXT)
    device: str = limited("auto", DEVICE)

    def idle(self) -> Iterator[Idle]:
        yield from self.train.idle()
        yield from self.net.idle()
        if self.net.distill_stem_from and not self.loss.stem:
            yield (
                "net.distill_stem_from",
                self.net.distill_stem_from,
                "without --loss.stem above 0: pass a weight for it",
            )
