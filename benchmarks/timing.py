"""How long work takes, whatever else the machine does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import numpy as np


def milliseconds(work: Callable, given: Iterable[tuple], passes: int) -> float:
    """Mean milliseconds of the processor for each of the given arguments, each in its fastest pass."""
    fastest = []
    for arguments in given:
        seconds = []
        for _ in range(passes):
            started = time.process_time()  # other programs cannot add to it
            work(*arguments)
            seconds.append(time.process_time() - started)
        fastest.append(min(seconds))
    return 1000 * float(np.mean(fastest))
