"""Settings that would have no effect beside others, or in a command: they are refused, for they promise something."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rtpe.config.commands import CacheBuild, CacheConvert, CacheImport, CacheInfo, Predict, StudyNorms, Train, Validate
from rtpe.config.parts import DataSettings, TeacherSettings
from rtpe.config.training import NetSettings, OptimSettings
from rtpe.errors import UserError

OF_TRAINING = ("labels", "person_threshold")  # of the data


def refuse_without_effect(settings: Any) -> None:
    """Look for settings that differ from their defaults and change nothing.

    Raises:
        UserError: for the first of them, by its dotted name.
    """
    for name, got, remedy in _idle(settings):
        raise UserError(f"{name} {got}: has no effect {remedy}")


def _idle(settings: Any) -> Iterator[tuple[str, Any, str]]:
    """Name, value, and beside what it has no effect, with the remedy."""
    if isinstance(settings, Train):
        yield from _of_schedule(settings.train)
        if settings.train.minival_split and not settings.train.minival and not isinstance(settings, StudyNorms):
            yield "train.minival_split", settings.train.minival_split, "with train.minival 0: pass how many of it"
        yield from _of_stem(settings.net)
        if settings.net.imitate and not settings.loss.stem:
            yield "net.imitate", settings.net.imitate, "without --loss.stem above 0: pass a weight for it"
    if isinstance(settings, CacheBuild | CacheConvert | CacheImport | CacheInfo | Predict | Validate):
        usual = DataSettings()
        for name in OF_TRAINING:
            if getattr(settings.data, name) != getattr(usual, name):
                yield f"data.{name}", getattr(settings.data, name), "but in rtpe train: leave it out"
    if isinstance(settings, Predict | Validate):
        yield from _of_weights(settings)
    if isinstance(settings, Validate) and settings.cache.path:
        usual = TeacherSettings()
        for each in dataclasses.fields(TeacherSettings):
            got = getattr(settings.teacher, each.name)
            if each.name != "weights" and got != getattr(usual, each.name):
                yield f"teacher.{each.name}", got, f"beside --cache.path {settings.cache.path}: leave it out"


def _of_schedule(train: OptimSettings) -> Iterator[tuple[str, Any, str]]:
    if train.cycles != OptimSettings().cycles and train.schedule != "sgdr":
        yield "train.cycles", train.cycles, f"with train.schedule {train.schedule}: pass --train.schedule sgdr"


def _of_stem(net: NetSettings) -> Iterator[tuple[str, Any, str]]:
    """`stem_stages` may stand in a recipe for a stem that is named beside it, or comes with `init`."""
    if Path(net.stem).suffix.lower() != ".onnx":
        for name in ("stem_tensor", "stem_network"):
            if getattr(net, name):
                yield f"net.{name}", getattr(net, name), "without an .onnx file: pass it as --net.stem"
    elif net.stem_stages:
        yield "net.stem_stages", net.stem_stages, "with an .onnx file: name the tensor by --net.stem_tensor"


def _of_weights(settings: Predict | Validate) -> Iterator[tuple[str, Any, str]]:
    cache = settings.cache.path if isinstance(settings, Validate) else ""
    if settings.weights and settings.teacher.weights not in ("", settings.weights):
        yield "weights", settings.weights, f"beside --teacher.weights {settings.teacher.weights}: pass one of them"
    for name, weights in (("weights", settings.weights), ("teacher.weights", settings.teacher.weights)):
        if cache and weights:
            yield name, weights, f"beside --cache.path {cache}, whose people are scored: pass one of them"
