"""A training run on disk: whole or not at all, plain types only, enough to go on bit for bit."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rtpe.errors import UserError


@dataclass
class TrainingState:
    """All that changes while a net trains.

    Attributes:
        net, ema: what learns, and the running average of it that is validated and shipped.
        epoch, batch: where the run stands: the next batch of that epoch.
        step: optimiser steps made.
        seconds: spent in training so far, over all resumes.
        best: the best score seen on the minival.
        scaler: of fp16's gradients; None for other precisions.
    """

    net: nn.Module
    ema: nn.Module
    optimizer: torch.optim.Optimizer
    epoch: int = 0
    batch: int = 0
    step: int = 0
    seconds: float = 0.0
    best: float = -1.0
    settings: dict[str, Any] = field(default_factory=dict)
    scaler: torch.amp.GradScaler | None = None

    def save(self, path: Path) -> None:
        numbers = {name: getattr(self, name) for name in ("epoch", "batch", "step", "seconds", "best", "settings")}
        tensors = {"net": self.net, "ema": self.ema, "optimizer": self.optimizer}
        saved = {**numbers, **{name: part.state_dict() for name, part in tensors.items()}, "rng": torch.get_rng_state()}
        saved |= {"scaler": self.scaler.state_dict()} if self.scaler else {}
        temporary = path.with_suffix(f".{os.getpid()}")
        torch.save(saved, temporary)
        os.replace(temporary, path)

    def restore(self, path: Path) -> None:
        """Go on where the file stopped.

        Raises:
            UserError: if it is no checkpoint, or one of another net.
        """
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
            for name in ("net", "ema", "optimizer"):
                getattr(self, name).load_state_dict(saved[name])
            for name in ("epoch", "batch", "step", "seconds", "best", "settings"):
                setattr(self, name, saved[name])
            if self.scaler:
                self.scaler.load_state_dict(saved["scaler"])
            torch.set_rng_state(saved["rng"])
        except Exception as error:
            reason = (str(error).splitlines() or ["not a checkpoint"])[0]
            raise UserError(f"checkpoint {path}: cannot be resumed ({reason}): choose another --out") from error
