"""A run goes on as what it was: its settings are compared, and what it lost is said, or written again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from hashlib import blake2b
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from rtpe.cache import Manifest
from rtpe.data.distill import TrainingExamples
from rtpe.data.load import Images
from rtpe.errors import UserError
from rtpe.nets.weights import sha256
from rtpe.report.log import HISTORY, read_history
from rtpe.settings.parse import as_dict, flat
from rtpe.training.checkpoint import TrainingState
from rtpe.training.net import numbers_of
from rtpe.training.settings import Train

LAST = "last.pt"
WEIGHTS = "best.safetensors"
MAY_CHANGE = {
    "out", "device", "data.root", "cache.path", "train.epochs", "train.minutes", "train.workers", "train.processes",
    "train.threads", "train.pictures", "train.save_fp16",
}  # fmt: skip


def refuse_other_settings(run: Path, held: Mapping[str, Any], settings: Train) -> None:
    """Compare the settings of a checkpoint with those that are asked for; what is given on neither side is the usual.

    Raises:
        UserError: for the first that differs; only how long and on what a run trains may change.
    """
    known = numbers_of(settings.net)  # of the net: those of `init`, and the defaults of its kind
    usual = _by_name(as_dict(Train()) | {"net": {**as_dict(Train().net), "numbers": known}})
    held, asked = _by_name(held), _by_name(as_dict(settings))
    numbers = [name for name in (*held, *asked) if name.startswith("net.numbers.")]
    for name in (*usual, *numbers):  # a setting that there is no more has no effect
        had, wants = (_plain(side.get(name, usual.get(name))) for side in (held, asked))
        if name not in MAY_CHANGE and had != wants:
            had, wants = ('""' if value == "" else value for value in (had, wants))
            weights = "" if name.startswith("net.") else f"; --net.init {run / WEIGHTS} begins with its weights"
            raise UserError(f"run {run}: has {name} {had}, not {wants}: choose another --out{weights}")


def data_of(examples: TrainingExamples, held_out: Images, imitate: str = "") -> dict[str, Any]:
    """What a run learns from and is scored on: how many images, a hash of their ids, and who teaches.

    Args:
        imitate: weights of a student whose stem is imitated.
    """
    caches = [] if examples.cache is None else [each.manifest for each in examples.cache.caches if each is not None]
    teachers = [f"{each.predictor.get('name')} ({_identity(each)})" for each in caches]
    teachers += [f"{imitate} ({sha256(imitate)[:16]})"] if imitate else []
    digest = blake2b(digest_size=16)
    for part in (*examples.samples.parts, held_out):
        digest.update(f"{len(part)} ".encode())
        digest.update(np.array(part.ids, np.int64))
    return {"images": len(examples), "held out": len(held_out), "ids": digest.hexdigest(), "teachers": teachers}


def _identity(held: Manifest) -> str:
    """A hash of what a cache was made by."""
    said = json.dumps([held.predictor, held.codec], sort_keys=True, default=str)
    return blake2b(said.encode(), digest_size=8).hexdigest()


def refuse_other_data(run: Path, held: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Compare the data of a checkpoint with those that are given; where they lie may change.

    Raises:
        UserError: if they are others.
    """
    if held == given:
        return
    taught, teaches = (data.get("teachers", given["teachers"]) for data in (held, given))
    if taught != teaches:
        first, second = next(pair for pair in zip_longest(taught, teaches, fillvalue="nobody") if pair[0] != pair[1])
        raise UserError(
            f"run {run}: was taught by {first}, not by {second}: pass the caches it was trained with, or choose "
            "another --out"
        )
    if {**held, "teachers": teaches} == given:  # of a version that did not know who taught
        return
    had, wants = (f"{data['images']} images, {data['held out']} held out" for data in (held, given))
    differ = f"has {had}, not {wants}" if had != wants else f"has other images ({had}, of other ids)"
    raise UserError(f"run {run}: {differ}: pass the data it was trained on, or choose another --out")


def _by_name(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by their dotted names, each of the net's numbers whole."""
    net = {**settings["net"]}
    numbers = net.pop("numbers")
    return flat({**settings, "net": net}) | {f"net.numbers.{name}": each for name, each in numbers.items()}


def _plain(value: Any) -> Any:
    """As a checkpoint has it: no tuples."""
    return json.loads(json.dumps(value))


def say_stopped(out: Path, state: TrainingState) -> None:
    """Say what of a stopped run is kept."""
    kept = f"{LAST} is of step {state.saved} of {state.step}: the same command goes on there"
    print(f"run {out}: {kept if state.saved else 'no checkpoint yet: the same command begins anew'}", flush=True)


def mend(settings: Train, state: TrainingState, ended: bool, ship: Callable[[dict[str, float]], None]) -> None:
    """Say where a resumed run goes on, or that it had ended.

    Of best weights that are lost, the last epoch's are written, or what follows is said.
    """
    out = Path(settings.out)
    if ended:
        more = "--train.epochs or --train.minutes" if settings.train.minutes else "--train.epochs"
        said = f"run {out}: ended after epoch {state.epoch}: nothing left to train"
        print(f"{said}: pass more {more} to go on", flush=True)
    else:
        print(f"run {out}: goes on after step {state.step}, in epoch {state.epoch + 1}", flush=True)
    if not state.epoch or (out / WEIGHTS).exists():
        return
    if not ended:
        state.best = -1.0
        print(f"run {out}: {WEIGHTS} is lost: keeps the best of the epochs that follow", flush=True)
        return
    scores = (read_history(out / HISTORY) or [{}])[-1]
    best, last = state.best, scores.get("AP")
    state.best = best if last is None else last
    ship(scores)
    if settings.train.holdout and (last is None or last < best):
        state.save(out / LAST)
        print(f"run {out}: {WEIGHTS} was lost with the best epoch's: wrote those of the last epoch", flush=True)
    else:
        print(f"run {out}: {WEIGHTS} was lost: wrote it again", flush=True)
