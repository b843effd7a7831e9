"""A training run on disk: whole or not at all, plain types only, enough to go on bit for bit."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rtpe.errors import UserError
from rtpe.files import replacing

TENSORS = ("net", "ema", "optimizer")
NUMBERS = ("epoch", "batch", "step", "seconds", "best", "sums", "summed", "settings", "data")


@dataclass
class TrainingState:
    """All that changes while a net trains.

    Attributes:
        net, ema: what learns, and the running average of it that is validated and shipped.
        epoch, batch: where the run stands: the next batch of that epoch.
        step: optimiser steps made.
        seconds: spent in training so far, over all resumes.
        best: the best score seen on the holdout.
        sums, summed: of the loss terms since the epoch began, and of how many batches.
        data: what the run learns from, in plain values.
        scaler: of fp16's gradients; None for other precisions.
        saved: the step of the last checkpoint.
    """

    net: nn.Module
    ema: nn.Module
    optimizer: torch.optim.Optimizer
    epoch: int = 0
    batch: int = 0
    step: int = 0
    seconds: float = 0.0
    best: float = -1.0
    sums: dict[str, float] = field(default_factory=dict)
    summed: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    scaler: torch.amp.GradScaler | None = None
    saved: int = 0

    @property
    def begun(self) -> int:
        """The epoch that a reader counts, from 1: the one that ended last, or the one that the run is in."""
        return self.epoch + bool(self.batch)

    def save(self, path: Path) -> None:
        """Write the run, whole or not at all.

        Raises:
            UserError: if it cannot be written.
        """
        numbers = {name: getattr(self, name) for name in NUMBERS}
        tensors = {name: getattr(self, name).state_dict() for name in TENSORS}
        saved = {**numbers, **tensors, "rng": torch.get_rng_state()}
        saved |= {"scaler": self.scaler.state_dict()} if self.scaler else {}
        saved["digest"] = _digest(saved)
        try:
            with replacing(path) as file:
                torch.save(saved, file)
        except (OSError, RuntimeError) as error:
            cause = error if isinstance(error, OSError) else error.__context__  # torch's writer fails once more
            if not isinstance(cause, OSError):
                raise
            raise UserError(
                f"checkpoint {path}: cannot be written ({cause.strerror}): free some of the disk, and go on"
            ) from error
        self.saved = self.step

    def restore(self, path: Path) -> None:
        """Go on where the file stopped.

        Raises:
            UserError: if it is no checkpoint, a damaged one, or one of another net.
        """
        saved = _read(path)
        if saved["digest"] != _digest(saved):
            raise _lost(path, "damaged: its digest does not match")
        try:
            for name in TENSORS:
                getattr(self, name).load_state_dict(saved[name])
            if self.scaler:
                self.scaler.load_state_dict(saved["scaler"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise _lost(path, f"of another net: {(str(error).splitlines() or ['?'])[-1].strip()}") from error
        for name in NUMBERS:
            setattr(self, name, saved[name])
        self.saved = self.step
        torch.set_rng_state(saved["rng"])


def _digest(saved: dict[str, Any]) -> str:
    """Of every tensor, by its place; torch reads a file with a changed byte."""
    digest = blake2b(digest_size=16)

    def add(place: str, value: Any) -> None:
        if isinstance(value, torch.Tensor):
            digest.update(f"{place} {value.dtype} {tuple(value.shape)} ".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        elif isinstance(value, dict | list | tuple):
            for name, part in value.items() if isinstance(value, dict) else enumerate(value):
                add(f"{place}/{name}", part)

    for name in (*TENSORS, "rng", "scaler"):
        add(name, saved.get(name))
    return digest.hexdigest()


def settings_of(path: Path) -> dict[str, Any]:
    """The settings of the run whose checkpoint it is.

    Raises:
        UserError: if it is no checkpoint.
    """
    return _read(path)["settings"]


def _read(path: Path) -> dict[str, Any]:
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise _lost(path, error.strerror or "cannot be read") from error
    except Exception as error:  # torch and pickle have many kinds, and advice that does not fit
        raise _lost(path, "torn, or no checkpoint") from error
    lacking = [
        name for name in (*TENSORS, *NUMBERS, "rng", "digest") if not isinstance(saved, dict) or name not in saved
    ]
    if lacking:
        raise _lost(path, f"no checkpoint of a training: lacks {lacking[0]}")
    return saved


def _lost(path: Path, why: str) -> UserError:
    best = path.with_name("best.safetensors")
    return UserError(
        f"checkpoint {path}: cannot be resumed ({why}): choose another --out, or start from its {best.name} by "
        f"--net.init {best}"
    )
