"""Settings of an evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from rtpe.cache.settings import CachePath
from rtpe.data.settings import DataSettings
from rtpe.decode.settings import DecodeSettings
from rtpe.predictors.settings import TeacherSettings
from rtpe.settings.limits import DEVICE, Checked, Idle, limited


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
class Validate(Checked):
    """Score teachers, students' weights and caches by OKS and PCK on a labelled split, one row each.

    Attributes:
        weights: a net that says itself what it is (what `rtpe train` writes); short for --teacher.weights.
        compare: several at once: weights, recipes (.yaml with teacher and decode, or a cache) and caches' folders.
        oracle: rows of what nobody could exceed: with the best peaks of these maps, and on their grid.
        per_joint: a table with a row for every joint besides.
        out: JSON file for the table; the results in COCO's format go beside it, and the tables of joints.
        device: auto, cpu or cuda.
    """

    data: DataSettings = field(default_factory=lambda: DataSettings(split="val2017"))
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    weights: str = ""
    compare: list[str] = field(default_factory=list)
    cache: CachePath = field(default_factory=CachePath)
    decode: DecodeSettings = field(default_factory=DecodeSettings)
    score: ScoreSettings = field(default_factory=ScoreSettings)
    oracle: bool = False
    per_joint: bool = False
    out: str = ""
    device: str = limited("auto", DEVICE)

    def idle(self) -> Iterator[Idle]:
        yield from idle_weights(self.weights, self.teacher.weights, self.cache.path)
        if self.cache.path:
            yield from self.teacher.idle_beside_cache(self.cache.path)


def idle_weights(weights: str, teacher: str, cache: str = "") -> Iterator[Idle]:
    """Weights that stand beside others, or beside a cache."""
    if weights and teacher not in ("", weights):
        yield "weights", weights, f"beside --teacher.weights {teacher}: pass one of them"
    for name, given in (("weights", weights), ("teacher.weights", teacher)):
        if cache and given:
            yield name, given, f"beside --cache.path {cache}, whose people are scored: pass one of them"
