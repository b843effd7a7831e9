"""Devices, precision and processes of a training."""

from __future__ import annotations

import logging
import os
from dataclasses import replace

import torch
from lightning_fabric import Fabric

from rtpe import build
from rtpe.config import Train
from rtpe.errors import UserError

PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def as_launched(settings: Train) -> Train:
    """With as many processes as there are if torchrun started them; else the one there is starts the others."""
    if not torch.distributed.is_torchelastic_launched():
        return settings
    return replace(settings, train=replace(settings.train, processes=int(os.environ["WORLD_SIZE"])))


def started(settings: Train) -> Fabric:
    """Devices, precision and processes, which all begin here.

    Raises:
        UserError: if they are not there.
    """
    where = build.device(settings.device)
    if settings.train.precision == "fp16" and not where.startswith("cuda"):
        raise UserError("train.precision fp16: needs a GPU, this is a CPU: pass --train.precision bf16")
    torch.backends.cudnn.benchmark = True  # all inputs are of one size
    processes = settings.train.processes
    machines = int(os.environ.get("GROUP_WORLD_SIZE", 1))  # as torchrun counts them
    here = processes // machines
    devices = _devices(settings.device, where, here)
    torch.set_num_threads(settings.train.threads or max(1, (os.cpu_count() or 1) // here))
    fabric = Fabric(
        accelerator="cuda" if where.startswith("cuda") else "cpu",
        devices=devices,
        num_nodes=machines,
        strategy="ddp" if processes > 1 else "auto",
        precision=PRECISIONS[settings.train.precision],
    )
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces every process at length
    fabric.launch()
    fabric.seed_everything(settings.train.seed, verbose=False)
    return fabric


def ended() -> None:
    """Let the processes part, once all are here: one that ends with a group alive is now and then aborted."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def _devices(asked: str, where: str, here: int) -> int | list[int]:
    """How many devices this machine gives, or which one.

    Raises:
        UserError: if there are fewer GPUs than processes.
    """
    count = torch.cuda.device_count()
    if where.startswith("cuda") and here > (1 if ":" in asked else count):
        has = f"device {asked} is one GPU" if ":" in asked else f"torch sees {count} GPUs here"
        raise UserError(f"train.processes {here}: {has}, and each process wants its own: pass fewer, or --device cpu")
    return [int(asked.partition(":")[2])] if ":" in asked else here
