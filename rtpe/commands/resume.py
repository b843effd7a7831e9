"""A run goes on as what it was: its settings are compared, and what it lost is said, or written again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rtpe import build, config
from rtpe.config import Train
from rtpe.engine.checkpoint import TrainingState
from rtpe.errors import UserError
from rtpe.log import HISTORY, read_history

LAST = "last.pt"
WEIGHTS = "best.safetensors"
MAY_CHANGE = {
    "out", "device", "data.root", "cache.path", "train.epochs", "train.minutes", "train.workers", "train.processes",
    "train.threads", "train.pictures", "train.half",
}  # fmt: skip


def refuse_other_settings(run: Path, held: Mapping[str, Any], settings: Train) -> None:
    """Compare the settings of a checkpoint with those that are asked for; what is given on neither side is the usual.

    Raises:
        UserError: for the first that differs; only how long and on what a run trains may change.
    """
    known = build.numbers_of(settings.net)  # of the net: those of `init`, and the defaults of its kind
    usual = _by_name(config.as_dict(Train()) | {"net": {**config.as_dict(Train().net), "numbers": known}})
    held, asked = _by_name(held), _by_name(config.as_dict(settings))
    numbers = [name for name in (*held, *asked) if name.startswith("net.numbers.")]
    for name in (*usual, *numbers):  # a setting that there is no more has no effect
        had, wants = (_plain(side.get(name, usual.get(name))) for side in (held, asked))
        if name not in MAY_CHANGE and had != wants:
            raise UserError(f"run {run}: has {name} {had}, not {wants}: choose another --out")


def _by_name(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by their dotted names, each of the net's numbers whole."""
    net = {**settings["net"]}
    numbers = net.pop("numbers")
    return config.flat({**settings, "net": net}) | {f"net.numbers.{name}": each for name, each in numbers.items()}


def _plain(value: Any) -> Any:
    """As a checkpoint has it: no tuples."""
    return json.loads(json.dumps(value))


def mend(settings: Train, state: TrainingState, ended: bool, ship: Callable[[], None]) -> None:
    """Say that a resumed run had ended; of best weights that are lost, write the last epoch's, or say what follows."""
    out = Path(settings.out)
    if ended:
        more = "--train.epochs or --train.minutes" if settings.train.minutes else "--train.epochs"
        said = f"run {out}: ended after epoch {state.epoch}: nothing left to train"
        print(f"{said}: pass more {more} to go on", flush=True)
    if not state.epoch or (out / WEIGHTS).exists():
        return
    if not ended:
        state.best = -1.0
        print(f"run {out}: {WEIGHTS} is lost: keeps the best of the epochs that follow", flush=True)
        return
    best, last = state.best, (read_history(out / HISTORY) or [{}])[-1].get("AP")
    state.best = best if last is None else last
    ship()
    if settings.train.minival and (last is None or last < best):
        state.save(out / LAST)
        print(f"run {out}: {WEIGHTS} was lost with the best epoch's: wrote those of the last epoch", flush=True)
    else:
        print(f"run {out}: {WEIGHTS} was lost: wrote it again", flush=True)
