"""From examples to batches: in which order, by which processes, and what of it cannot be read."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from rtpe.data.distill import TrainingExamples
from rtpe.data.mix import Example
from rtpe.errors import UserError

SHARED = re.compile(r"shared memory|</?torch_|\bshm\b")  # as torch names what it cannot make or enlarge


@dataclass
class Batch:
    """What a step trains on.

    Legend: B images, P people (padded with zeros), K joints, H x W input pixels, h x w cells.

    Attributes:
        images: (B, 3, H, W) uint8 RGB.
        points: (B, P, K, 3) float32 x, y in input pixels and visibility (0: absent, 1: hidden, 2: seen), labels or,
            where there are no labels, the teacher's people with its scores, at most 1, in the place of visibility.
        labelled: (B,) bool, whether `points` are labels.
        valid: (B, 1, h, w) float32 0..1, 0 where people are that nobody labelled.
        person: (B, 1, h, w) float32 0..1, the covered share of each cell, or None where nobody asks.
        teacher: (B, K, h, w) float16 heatmaps, or None without a teacher.
    """

    images: Tensor
    points: Tensor
    labelled: Tensor
    valid: Tensor
    person: Tensor | None
    teacher: Tensor | None

    def to(self, device: torch.device) -> Batch:
        moved = {f.name: getattr(self, f.name) for f in fields(self)}
        return Batch(
            **{name: None if value is None else value.to(device, non_blocking=True) for name, value in moved.items()}
        )


def collate(examples: Sequence[dict[str, np.ndarray]]) -> dict[str, Tensor]:
    """Stack examples; people are padded with absent ones to the largest number of the batch."""
    most = max(len(example["points"]) for example in examples)
    padded = np.zeros((len(examples), most, *examples[0]["points"].shape[1:]), np.float32)
    for row, example in zip(padded, examples):
        row[: len(example["points"])] = example["points"]
    stacked = {name: np.stack([example[name] for example in examples]) for name in examples[0] if name != "points"}
    return {name: torch.from_numpy(array) for name, array in {**stacked, "points": padded}.items()}


class _Handed(Dataset):
    """Examples as loader processes hand them over: each with why images are left out of it.

    An error that the program recognises is handed over too: torch would raise it anew, with a traceback for a message.
    """

    def __init__(self, examples: TrainingExamples):
        self.examples = examples

    def __getitem__(self, key: tuple[int, int]) -> tuple[Example, dict[int, str]] | Exception:
        try:
            return self.examples[key], self.examples.unreadable
        except (UserError, OSError, MemoryError) as error:
            return error


def _handed(each: Sequence[tuple[Example, dict[int, str]] | Exception]) -> tuple[dict[str, Tensor], dict] | Exception:
    """A batch, and why images are left out of it, by their indices; or the first error."""
    errors = [one for one in each if isinstance(one, Exception)]
    if errors:
        return errors[0]
    batch = collate([example for example, _ in each])
    try:
        shared = _shared(batch) if get_worker_info() else batch
    except UserError as error:
        return error
    return shared, {place: why for _, left in each for place, why in left.items()}


def _shared(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The batch in shared memory; else a thread would move it there, end of an error, and be waited for without end.

    Raises:
        UserError: if there is not enough of it.
    """
    try:
        return {name: tensor.share_memory_() for name, tensor in batch.items()}
    except RuntimeError as error:
        if not SHARED.search(str(error)):
            raise
        size = sum(tensor.nbytes for tensor in batch.values()) / 1e6
        raise UserError(
            f"shared memory: cannot hold another batch of {size:.1f} MB ({str(error).splitlines()[0]}): pass "
            "--train.workers 0, or enlarge /dev/shm"
        ) from error


def as_batch(raw: dict[str, Tensor]) -> Batch:
    """Expand what the workers handed over, in the process and on the device that use it."""
    return Batch(
        images=raw["images"].permute(0, 3, 1, 2),
        points=raw["points"],
        labelled=raw["labelled"],
        valid=(raw["valid"][:, None] > 127).float(),  # a cell counts if most of it does
        person=raw["person"][:, None].float() / 255 if "person" in raw else None,
        teacher=raw.get("teacher"),
    )


def epoch_order(count: int, batch: int, seed: int, epoch: int, passes: int = 1) -> list[list[tuple[int, int]]]:
    """The batches of an epoch of so many passes over the images, as lists of (pass, index).

    Each pass has an order of its own. A last short batch is left out, as batch norm dislikes it.

    Raises:
        UserError: if there is no image, or less than one pass.
    """
    if passes < 1:
        raise UserError(f"train.passes_per_epoch: expected 1 or more, got {passes}")
    if not count:
        raise UserError("no image to learn from: give --data.split more images, or hold out fewer: --train.holdout")
    numbers = range(epoch * passes, (epoch + 1) * passes)
    order = [
        (number, i) for number in numbers for i in np.random.default_rng([seed, number]).permutation(count).tolist()
    ]
    batch = min(batch, len(order))
    return [order[start : start + batch] for start in range(0, len(order) - batch + 1, batch)]


class Batches:
    """The batches of all epochs, read by the same processes.

    Args:
        size: images a batch, over all processes that train.
        workers: so many processes read; with 0 this one does.
        share: (rank, processes): every process takes its own part of each batch.
        passes: see `epoch_order`.
        pin: into memory that a GPU copies from by itself.
    """

    def __init__(
        self,
        examples: TrainingExamples,
        size: int,
        workers: int = 0,
        share: tuple[int, int] = (0, 1),
        passes: int = 1,
        pin: bool = False,
    ):
        self._examples, self._size, self._share, self._passes = examples, size, share, passes
        self._order: list[list[tuple[int, int]]] = []
        self._loader = DataLoader(
            _Handed(examples),
            batch_sampler=self._order,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin,
            collate_fn=_handed,
            worker_init_fn=_quiet_worker,
            generator=torch.Generator(),  # of the net's random numbers it would take one more whenever a run is resumed
        )

    def epoch(self, epoch: int, start: int = 0, left_out: dict[int, str] | None = None) -> Iterator[Batch]:
        """The batches of an epoch from number `start` on.

        Args:
            left_out: takes the indices of images that cannot be read, and why.

        Raises:
            UserError: if a batch has not one image for each process, or no image can be read.
        """
        rank, processes = self._share
        whole = epoch_order(len(self._examples), self._size, self._examples.seed, epoch, self._passes)
        if len(whole[0]) < processes:
            raise UserError(
                f"train.batch: {len(whole[0])} images a step cannot be shared by {processes} processes: pass a larger "
                "--train.batch, or fewer --train.processes"
            )
        self._order[:] = [keys[rank::processes] for keys in whole[start:]]
        for handed in _begun(self._loader):
            if isinstance(handed, Exception):
                raise handed
            raw, unreadable = handed
            if left_out is not None:
                left_out |= unreadable
            yield as_batch(raw)


def batches(
    examples: TrainingExamples,
    size: int,
    epoch: int,
    start: int = 0,
    workers: int = 0,
    share: tuple[int, int] = (0, 1),
    passes: int = 1,
    left_out: dict[int, str] | None = None,
) -> Iterator[Batch]:
    """The batches of one epoch, see `Batches`."""
    return Batches(examples, size, workers, share, passes).epoch(epoch, start, left_out)


def _begun(loader: DataLoader) -> Iterator:
    try:
        # torch leaves what it cannot finish half made, and complains of that: what it needs is made and dropped first
        [multiprocessing.Queue() for _ in range(loader.num_workers and loader.num_workers + 2)]
        return iter(loader)
    except OSError as error:  # of processes, or of semaphores, which lie in shared memory
        raise UserError(
            f"loader processes cannot be started ({error.strerror}): pass --train.workers 0, or enlarge /dev/shm"
        ) from error


def plain_batches(examples: TrainingExamples, size: int) -> Iterator[Batch]:
    """Every example once, in their order, so many at a time; an image that cannot be read is left out."""
    waiting = []
    for index in range(len(examples)):
        example = examples[0, index]
        if not examples.unreadable:  # else another one stands in for it
            waiting.append(example)
        if waiting and (len(waiting) == size or index == len(examples) - 1):
            yield as_batch(collate(waiting))
            waiting = []


def _quiet_worker(_: int) -> None:
    torch.set_num_threads(1)  # the cores belong to the net; a worker's own threads would only fight over them
