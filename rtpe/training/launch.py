"""Folder, devices, precision and processes of a training."""

from __future__ import annotations

import fcntl
import gc
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from lightning_fabric import Fabric

from rtpe.device import choose_device
from rtpe.errors import UserError
from rtpe.training.settings import Train

PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """The folder of a run, made if need be, for this training alone; further processes of it are let in.

    Raises:
        UserError: if another training writes there, or nothing can be written.
    """
    if int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", 0))):
        yield
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = os.open(out / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise UserError(f"run {out}: cannot be written ({error.strerror}): choose another --out") from error
    with os.fdopen(lock):
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # loader processes inherit no such lock, but flock's
        except (BlockingIOError, PermissionError) as error:
            raise UserError(f"run {out}: is being trained already: wait for it, or choose another --out") from error
        except OSError as error:
            raise UserError(f"run {out}: cannot be locked ({error.strerror}): choose another --out") from error
        yield


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
    where = choose_device(settings.device)
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
    """Let the processes of a training part, once all are here and the net that they shared is forgotten.

    A process that ends with a group alive is now and then aborted. If the net is the last to hold the group, it frees
    it without giving way to the group's own threads, which then wait for each other.
    """
    if torch.distributed.is_initialized():
        gc.collect()
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
