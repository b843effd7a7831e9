"""How fast a net learns: parameter groups, and the learning rate as a function of progress alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn


def optimizer(net: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter, arXiv:1711.05101) over what may train; biases and norms do not decay."""
    trainable = [parameter for parameter in net.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr)


def warm_cosine(progress: float, warmup: float = 0.05, last: float = 0.01) -> float:
    """The share of the full learning rate at a progress of 0 to 1: linear warm-up, then a half cosine.

    >>> [round(warm_cosine(p), 2) for p in (0.0, 0.025, 0.05, 0.525, 1.0)]
    [0.01, 0.5, 1.0, 0.5, 0.01]
    """
    if progress < warmup:
        return max(last, progress / warmup)
    return last + (1 - last) * (1 + math.cos(math.pi * min(1.0, (progress - warmup) / (1 - warmup)))) / 2


def restarts(progress: float, cycles: int, warmup: float = 0.05, last: float = 0.01) -> float:
    """The share of the full rate with warm restarts (SGDR, Loshchilov and Hutter, arXiv:1608.03983).

    Half cosines, each twice as long as the one before; the first, and it alone, begins with a linear warm-up, that
    share of the whole, but at most half of the cycle.

    >>> [round(restarts(p, 2, warmup=0.0), 2) for p in (0.0, 1 / 6, 0.33, 0.34, 2 / 3, 1.0)]
    [1.0, 0.5, 0.01, 1.0, 0.5, 0.01]
    >>> restarts(0.3, 1) == warm_cosine(0.3)
    True
    """
    place = min(1.0, progress) * (2**cycles - 1)  # in lengths of the first cycle
    cycle = min(cycles - 1, int(math.log2(1 + place)))
    within = (place - (2**cycle - 1)) / 2**cycle
    return warm_cosine(within, min(0.5, warmup * (2**cycles - 1)) if cycle == 0 else 0.0, last)


def at_progress(value: float | Sequence[Sequence[float]], progress: float) -> float:
    """A number as it is, or what knots [progress, value] say, linear between them and constant beyond.

    >>> [at_progress([[0, 1], [0.5, 0.2]], p) for p in (0.0, 0.25, 0.9)]
    [1.0, 0.6, 0.2]
    """
    if isinstance(value, int | float):
        return float(value)
    return float(np.interp(progress, *zip(*value)))


def ema_decay(decay: float, step: int) -> float:
    """The average's memory after that many steps: short at first, or it would remember the random start.

    >>> round(ema_decay(0.999, 0), 2), ema_decay(0.999, 10**6)
    (0.1, 0.999)
    """
    return min(decay, (1 + step) / (10 + step))
