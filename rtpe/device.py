"""The processor or GPU that the user names."""

from __future__ import annotations

import torch

from rtpe.errors import UserError
from rtpe.settings.limits import DEVICE


def choose_device(name: str, process: int = 0) -> str:
    """The device of that name; `cuda` is the GPU of that process's number, and so is `auto` if there is one.

    Raises:
        UserError: if it is none, or is not there.
    """
    if not DEVICE.holds(name):
        raise UserError(DEVICE.refusal("device", name))
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and not count):
        return "cpu"
    if not count:
        raise UserError(f"device {name}: torch sees no GPU here: pass --device cpu, or install torch with CUDA")
    number = name.partition(":")[2]
    if int(number or 0) >= count:
        raise UserError(f"device {name}: torch sees {count} GPUs here, numbered from 0: pass another --device")
    return name if number else f"cuda:{process % count}"
