"""The two loops: train an epoch, evaluate; and the run that alternates them."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm import tqdm

from rtpe.data.loader import Batch
from rtpe.errors import Diverged
from rtpe.nets.blocks import normalise
from rtpe.training.checkpoint import TrainingState
from rtpe.training.criterion import Criterion
from rtpe.training.optim import ema_decay, warm_cosine


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    Attributes:
        epochs: at most so many passes.
        minutes: at most so long; 0 for no limit. Progress is whichever of the two is further, so that the learning
            rate reaches its end in either case.
        checkpoint_minutes: a checkpoint at least so often, besides the one after each epoch.
        shape: the share of the rate at a progress of 0 to 1.
    """

    epochs: int
    lr: float
    clip: float = 1.0
    ema: float = 0.998
    minutes: float = 0.0
    checkpoint_minutes: float = 5.0
    shape: Callable[[float], float] = warm_cosine

    def progress(self, state: TrainingState, epoch_batches: int) -> float:
        by_steps = (state.epoch * epoch_batches + state.batch) / max(1, self.epochs * epoch_batches)
        return max(by_steps, state.seconds / (60 * self.minutes)) if self.minutes else by_steps


def fit(
    fabric: Fabric,
    state: TrainingState,
    criterion: Criterion,
    schedule: Schedule,
    batches_of: Callable[[int, int], Iterable[Batch]],
    epoch_batches: int,
    after_epoch: Callable[[dict[str, float]], dict[str, float]],
    keep_best: Callable[[dict[str, float]], None],
    out: Path,
) -> None:
    """Train until the schedule ends; score and save after each epoch.

    Args:
        batches_of: (epoch, first batch) -> the rest of that epoch's batches.
        after_epoch: takes the means of the loss terms, logs what is to be logged, and gives the scores of the
            averaged net on the holdout; their `AP` chooses the best.
        keep_best: writes the averaged net, the best so far, of these scores.
    """
    if state.batch >= epoch_batches:  # resumed with larger batches, of which an epoch has fewer
        _next_epoch(state)
    while schedule.progress(state, epoch_batches) < 1:
        means = train_one_epoch(fabric, state, criterion, schedule, batches_of, epoch_batches, out)
        if state.batch >= epoch_batches:
            _next_epoch(state)
        scores = after_epoch(means)
        better = scores.get("AP", 0.0) >= state.best
        state.best = max(state.best, scores.get("AP", 0.0))
        if fabric.global_rank == 0:
            if better:
                keep_best(scores)
            state.save(out / "last.pt")


def _next_epoch(state: TrainingState) -> None:
    state.epoch, state.batch, state.sums, state.summed = state.epoch + 1, 0, {}, 0


def train_one_epoch(
    fabric: Fabric,
    state: TrainingState,
    criterion: Criterion,
    schedule: Schedule,
    batches_of: Callable[[int, int], Iterable[Batch]],
    epoch_batches: int,
    out: Path,
) -> dict[str, float]:
    """One pass over what is left of the epoch; the mean of every loss term over all processes and the epoch, and the
    rate."""
    state.net.train()
    mean, start, images = Mean(state.sums, state.summed), time.perf_counter(), 0
    clock, saved, watch = time.perf_counter(), state.seconds, Watch()
    bar = tqdm(
        total=epoch_batches,
        initial=state.batch,
        desc=f"epoch {state.epoch + 1}/{schedule.epochs}",
        leave=False,
        disable=None if fabric.global_rank == 0 else True,
    )
    for batch in batches_of(state.epoch, state.batch):
        progress = schedule.progress(state, epoch_batches)
        rate = schedule.lr * schedule.shape(progress)
        terms = train_step(fabric, state, criterion.at(progress), batch.to(fabric.device), rate, schedule, watch)
        mean.add(terms)
        images += len(batch.images)
        now = time.perf_counter()
        # clocks differ, and the rate and the end depend on them: one process tells the time
        state.seconds, clock = fabric.broadcast(state.seconds + now - clock), now
        bar.update()
        if schedule.progress(state, epoch_batches) >= 1:
            break
        due = state.seconds - saved > 60 * schedule.checkpoint_minutes
        if due and state.batch < epoch_batches:  # the end of an epoch is saved when it is scored, or it never would be
            saved = state.seconds
            watch.check()
            _keep_sums(fabric, state, mean)
            if fabric.global_rank == 0:
                state.save(out / "last.pt")
    bar.close()
    watch.check()
    _keep_sums(fabric, state, mean)
    rates = {"lr": rate, "images_per_s": fabric.world_size * images / (time.perf_counter() - start)}
    return {**{name: total / max(1, state.summed) for name, total in state.sums.items()}, **rates}


def _keep_sums(fabric: Fabric, state: TrainingState, mean: Mean) -> None:
    """All processes must come here at once: a checkpoint holds what is of all of them."""
    state.sums, state.summed = _over_processes(fabric, mean.totals()), mean.count
    mean.sums = defaultdict(float, state.sums)


@torch.no_grad()
def mean_terms(net: nn.Module, criterion: Criterion, batches: Iterable[Batch], where: torch.device) -> dict[str, float]:
    """The loss terms of a net that does not learn from these batches: means over their images."""
    net.eval()
    sums, images = defaultdict(float), 0
    for batch in batches:
        for name, value in criterion(net(normalise(batch.images.to(where))), batch.to(where)).items():
            sums[name] += float(value) * len(batch.images)
        images += len(batch.images)
    return {name: total / images for name, total in sums.items()}


class Watch:
    """Loss and gradient of the last step that nobody has looked at yet.

    A GPU is still busy with them when its next step is given to it. To look at them one step late waits for nothing.
    Before anything is saved they must be looked at.
    """

    def __init__(self):
        self._last: tuple[int, list[str], Tensor, torch.cuda.Event | None] | None = None

    def see(self, step: int, terms: Mapping[str, Tensor]) -> None:
        """Keep those of a step; look at those of the one before.

        Raises:
            Diverged: if those were not finite.
        """
        values = torch.stack([value.detach().double() for value in terms.values()]).to("cpu", non_blocking=True)
        done = torch.cuda.Event() if terms["loss"].is_cuda else None
        if done:
            done.record()
        self.check()
        self._last = step, list(terms), values, done

    def check(self) -> None:
        """Look at what was kept.

        Raises:
            Diverged: if it is not finite.
        """
        if self._last is None:
            return
        step, names, values, done = self._last
        self._last = None
        if done:
            done.synchronize()
        _refuse_infinite(step, dict(zip(names, values.tolist())))


def looks_late(state: TrainingState, device: torch.device) -> bool:
    """Whether a step's loss and gradient are looked at after the next step: fp16's scaler waits for them anyway."""
    return device.type == "cuda" and state.scaler is None


def _refuse_infinite(step: int, values: Mapping[str, float]) -> None:
    terms = {name: value for name, value in values.items() if name not in ("loss", "gradient")}
    if not all(map(math.isfinite, (values["loss"], values["gradient"]))):
        each = ", ".join(f"{name} {value:.3g}" for name, value in terms.items())
        raise Diverged(
            f"step {step}: loss {values['loss']:.3g} ({each}), gradient {values['gradient']:.3g}: lower --train.lr, or "
            "train with --train.precision fp32"
        )


def train_step(
    fabric: Fabric,
    state: TrainingState,
    criterion: Criterion,
    batch: Batch,
    lr: float,
    schedule: Schedule,
    watch: Watch | None = None,
) -> dict[str, Tensor]:
    """One optimiser step; the loss terms.

    Args:
        watch: may look at loss and gradient later.

    Raises:
        Diverged: at the first loss or gradient that is not finite.
    """
    watch = watch or Watch()
    for group in state.optimizer.param_groups:
        group["lr"] = lr
    images = normalise(batch.images).contiguous(memory_format=torch.channels_last)
    terms = criterion(state.net(images), batch)
    loss = criterion.total(terms)
    state.optimizer.zero_grad()
    fabric.backward(loss)
    norm = fabric.clip_gradients(state.net, state.optimizer, max_norm=schedule.clip, error_if_nonfinite=False)
    # where fp16 gradients overflow, the scaler leaves the step out and scales the next one less
    overflows = state.scaler is not None and state.scaler.get_scale() > 1
    watch.see(state.step, {**terms, "loss": loss, "gradient": norm.nan_to_num(0.0, 0.0) if overflows else norm})
    if not looks_late(state, fabric.device):
        watch.check()
    state.optimizer.step()
    update_average(state.ema, state.net, ema_decay(schedule.ema, state.step))
    state.step += 1
    state.batch += 1
    told = {**terms, "loss": loss, "gradient": norm.nan_to_num(0.0, 0.0)}
    return {name: value.detach() for name, value in told.items()}


@torch.no_grad()
def update_average(ema: nn.Module, net: nn.Module, decay: float) -> None:
    """Move the averaged net towards the net; counters are copied."""
    pairs = list(zip(ema.state_dict().values(), net.state_dict().values(), strict=True))
    floating = [(average, value) for average, value in pairs if average.is_floating_point()]
    get_ema_multi_avg_fn(decay)(*map(list, zip(*floating)), None)  # all in few steps, which a GPU waits for less
    for average, value in pairs:
        if not average.is_floating_point():
            average.copy_(value)


def _over_processes(fabric: Fabric, sums: dict[str, float]) -> dict[str, float]:
    """Each process knows its own share of the images; all of them name the same terms, in the same order."""
    values = fabric.all_reduce(torch.tensor(list(sums.values()), dtype=torch.float64, device=fabric.device))
    return dict(zip(sums, values.tolist()))


class Mean:
    """Running means of named scalars, from sums of so many on."""

    def __init__(self, sums: Mapping[str, float] = MappingProxyType({}), count: int = 0):
        self.sums: dict[str, Tensor | float] = defaultdict(float, sums)
        self.count = count

    def add(self, terms: dict[str, Tensor]) -> None:
        for name, value in terms.items():
            self.sums[name] = self.sums[name] + value.double()  # no float(): a GPU would be waited for at each step
        self.count += 1

    def totals(self) -> dict[str, float]:
        return {name: float(total) for name, total in self.sums.items()}

    def result(self) -> dict[str, float]:
        return {name: total / max(1, self.count) for name, total in self.totals().items()}
