"""Train a student on what a teacher cached, or a teacher on labels; a run that was stopped goes on where it stood."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from rtpe.data.concat import Concat, ConcatCaches
from rtpe.data.distill import TrainingExamples
from rtpe.data.load import Images, open_dataset
from rtpe.data.loader import Batches, epoch_order, plain_batches
from rtpe.decode.decoders import make_decoder
from rtpe.errors import Diverged, NotFinite, UserError
from rtpe.evaluation.score import predicted_people, score
from rtpe.nets.metadata import save_net
from rtpe.predictors.bottom_up import BottomUpPredictor
from rtpe.report.log import HISTORY, Log, read_history
from rtpe.report.page import Chart, Picture, Table, curves, write_report
from rtpe.report.pictures import gallery
from rtpe.report.provenance import run_info
from rtpe.settings.parse import as_dict, flat, save_settings
from rtpe.shortages import named_shortages
from rtpe.skeleton import Skeleton
from rtpe.training.charts import loss_charts
from rtpe.training.checkpoint import TrainingState, settings_of
from rtpe.training.checks import check_heads_have_losses
from rtpe.training.criterion import Criterion
from rtpe.training.examples import held_out, shown_examples, stride, training_examples, without_labels
from rtpe.training.launch import as_launched, ended, locked, started
from rtpe.training.loop import Schedule, fit, mean_terms
from rtpe.training.net import imitated_stem, refuse_numbers, trainable_net
from rtpe.training.optim import optimizer, restarts, warm_cosine
from rtpe.training.resume import (
    LAST,
    WEIGHTS,
    data_of,
    mend,
    refuse_other_data,
    refuse_other_settings,
    say_stopped,
)
from rtpe.training.settings import Train
from rtpe.training.terms import TERMS
from rtpe.training.unreadable import LeftOut, refuse_unreadable

Shown = tuple[Concat, ConcatCaches | None]


def train(settings: Train, images: Images | None = None) -> Path:
    """Train as the settings say; returns the weights of the best epoch, `<out>/best.safetensors`.

    Args:
        images: in place of those that the settings name.
    """
    refuse_numbers(settings.net)
    with named_shortages("a smaller --train.batch or --net.size"), locked(Path(settings.out)):
        weights = _train(as_launched(settings), images)
        ended()
        return weights


def _train(settings: Train, images: Images | None) -> Path:
    out = Path(settings.out)
    fabric = started(settings)
    everything = open_dataset(settings.data) if images is None else images
    if everything.annotations is None:
        settings = without_labels(settings, says=fabric.global_rank == 0)
    holdout, rest = held_out(settings, everything, says=fabric.global_rank == 0)
    refuse_unreadable(holdout)
    examples, left_out = training_examples(settings, rest, fabric.global_rank == 0, holdout), LeftOut()
    shown = shown_examples(settings, holdout, examples)
    state = _state(fabric, settings, examples, holdout)
    chosen = settings.train
    epoch_batches = len(epoch_order(len(examples), chosen.batch, chosen.seed, 0, chosen.passes_per_epoch))
    if fabric.global_rank == 0:
        save_settings(settings, out / "settings.yaml")
    schedule = _schedule(settings)
    ship = partial(_ship, settings, state, everything.skeleton)
    with closing(Log(out, resume_step=state.step or None)) if fabric.global_rank == 0 else nullcontext() as log:
        if log:
            kept = f"; {len(holdout)} held out choose the best epoch" if len(holdout) else ""
            print(f"run {out}: learns from {len(examples)} images{kept}", flush=True)
        if log and state.step:
            mend(settings, state, schedule.progress(state, epoch_batches) >= 1, ship)
        try:
            fit(
                fabric,
                state,
                _criterion(fabric, settings, everything.skeleton),
                schedule,
                partial(_own_batches(fabric, settings, examples).epoch, left_out=left_out.found),
                epoch_batches,
                lambda means: _after_epoch(
                    fabric, settings, state, holdout, shown, means, log, left_out, len(examples)
                ),
                ship,
                out,
            )
        except KeyboardInterrupt:
            if log:
                say_stopped(out, state)
            raise
        if log:
            _finish(settings, state, holdout, shown, examples, log)
    return out / WEIGHTS


def _state(fabric: Fabric, settings: Train, examples: TrainingExamples, holdout: Images) -> TrainingState:
    """A fresh run, or where the last one stood."""
    last = Path(settings.out) / LAST
    if last.exists():  # before weights are read, which another net could not take
        refuse_other_settings(last.parent, settings_of(last), settings)
    data = data_of(examples, holdout, settings.net.distill_stem_from)
    net = trainable_net(settings.net, len(examples.samples.skeleton)).to(memory_format=torch.channels_last)
    check_heads_have_losses(settings, net)
    ema = copy.deepcopy(net).requires_grad_(False).to(fabric.device)
    net, adam = fabric.setup(net, optimizer(net, settings.train.lr, settings.train.weight_decay))
    scaler = getattr(fabric.strategy.precision, "scaler", None)
    state = TrainingState(net, ema, adam, settings=as_dict(settings), data=data, scaler=scaler)
    if last.exists():
        state.restore(last)
        refuse_other_data(last.parent, state.data, data)
        state.settings = as_dict(settings)
    return state


def _criterion(fabric: Fabric, settings: Train, skeleton: Skeleton) -> Criterion:
    loss = settings.loss
    weights = {name: getattr(loss, name) for name in TERMS}
    stem = _imitated(fabric, settings) if loss.stem else None
    return Criterion(weights, tuple(loss.sigmas), loss.foreground, loss.confidence, stem)


def _imitated(fabric: Fabric, settings: Train) -> Callable[[Tensor], Tensor]:
    """Normalised images to the features that the net's own stem is to have; it is nowhere but in the training."""
    if not settings.net.distill_stem_from:
        raise UserError(
            "loss.stem: no stem to learn from: pass --net.distill_stem_from, weights of a student that has it"
        )
    stem = imitated_stem(settings.net.distill_stem_from).to(fabric.device)

    def features(images: Tensor) -> Tensor:
        with torch.no_grad(), fabric.autocast():
            return stem(images)

    return features


def _schedule(settings: Train) -> Schedule:
    chosen = settings.train
    shapes = {"cosine": warm_cosine, "sgdr": partial(restarts, cycles=chosen.cycles)}
    return Schedule(chosen.epochs, chosen.lr, chosen.clip, chosen.ema, chosen.minutes, shape=shapes[chosen.schedule])


def _own_batches(fabric: Fabric, settings: Train, examples: TrainingExamples) -> Batches:
    """This process's share of each batch."""
    share, chosen = (fabric.global_rank, fabric.world_size), settings.train
    on_gpu = fabric.device.type == "cuda"
    return Batches(examples, chosen.batch, chosen.workers, share, chosen.passes_per_epoch, pin=on_gpu)


def _after_epoch(
    fabric: Fabric,
    settings: Train,
    state: TrainingState,
    holdout: Images,
    shown: Shown,
    means: dict[str, float],
    log: Log | None,
    left_out: LeftOut,
    count: int,
) -> dict[str, float]:
    """Score the averaged net on the images that were held out; log numbers, pictures and histograms."""
    scores: dict[str, float] = {}
    left_out.of_training(fabric, count)
    if log is not None:
        try:
            scores = _scores_and_pictures(fabric, settings, state, holdout, shown, log, left_out)
        except NotFinite as error:
            raise Diverged(f"epoch {state.epoch}: averaged weights of {error}, or lower --train.lr") from error
        log.scalars({**means, **scores}, step=state.step, epoch=state.begun)
        log.histograms(state.net.named_parameters(), state.step)
        _say(state, means, scores)
    fabric.barrier()
    return fabric.broadcast(scores)


def _scores_and_pictures(
    fabric: Fabric,
    settings: Train,
    state: TrainingState,
    holdout: Images,
    shown: Shown,
    log: Log,
    left_out: LeftOut,
) -> dict[str, float]:
    """What the averaged net scores on the images that were held out; some of them are drawn."""
    scores: dict[str, float] = {}
    student = _predictor(settings, state.ema, holdout, str(fabric.device))
    if len(holdout):
        skipped: list[str] = []
        found = list(predicted_people(student, holdout, student.batch, skipped))
        left_out.of_holdout(fabric, skipped, len(holdout))
        seen = holdout.subset([image_id for image_id, _ in found])  # people of the others are not missed
        scores, _ = score(found, seen)
        scores |= _holdout_truth(fabric, settings, state, seen)
    if len(shown[0]):
        sheet = gallery(*shown, student, state.ema, settings.net.size)
        if sheet is not None:
            log.image("holdout" if len(holdout) else "training", sheet, state.step)
    return scores


def _holdout_truth(fabric: Fabric, settings: Train, state: TrainingState, holdout: Images) -> dict[str, float]:
    """What `labels` is of the averaged net on plain views of images that it does not learn from, if it is asked for."""
    if not settings.loss.labels:
        return {}
    others = dict.fromkeys((name for name in TERMS if name != "labels"), 0.0)
    criterion = _criterion(fabric, replace(settings, loss=replace(settings.loss, **others)), holdout.skeleton)
    size = settings.net.size
    examples = TrainingExamples(holdout, (size, size), stride(settings), cache=None, person=False)
    terms = mean_terms(state.ema, criterion, plain_batches(examples, settings.train.batch), fabric.device)
    return {f"holdout {name}": value for name, value in terms.items()}


def _say(state: TrainingState, means: dict[str, float], scores: dict[str, float]) -> None:
    scored = {name: _scored(scores, name) for name in ("AP", "AR")}
    shown = {"loss": means["loss"], **scored, "images/s": means["images_per_s"]}
    numbers = "  ".join(f"{name} {value:.4g}" for name, value in shown.items() if value is not None)
    print(f"epoch {state.begun:3}  step {state.step:6}  {numbers}  {state.seconds / 60:.1f} min", flush=True)


def _scored(scores: dict[str, float], name: str) -> float | None:
    """A score; None if nothing was there to score, for which COCO has -1."""
    return None if scores.get(name, -1.0) < 0 else scores[name]


def _finish(
    settings: Train, state: TrainingState, holdout: Images, shown: Shown, examples: TrainingExamples, log: Log
) -> None:
    """The report, and the settings beside the score that they led to."""
    out = Path(settings.out)
    history = read_history(out / HISTORY)
    log.hyperparameters(flat(settings), {"AP": max(state.best, 0.0)})
    pictures = []
    if len(shown[0]):
        student = _predictor(settings, state.ema, shown[0], str(next(state.ema.parameters()).device))
        sheet = gallery(*shown, student, state.ema, settings.net.size)
        title = "Images held out of training" if len(holdout) else "Images of the training"
        pictures = [] if sheet is None else [Picture(title, sheet)]
    tables, charts = [], loss_charts(history)
    best = max(history, key=lambda row: _scored(row, "AP") or 0.0, default={})
    if len(holdout):
        columns = ("epoch", "AP", "AP50", "AP75", "APM", "APL", "AR", "PCK@0.1 box")
        tables = [Table("Best epoch, on the holdout", [{name: best.get(name) for name in columns}])]
        charts += [Chart("Scores on the holdout", "step", "OKS", curves(history, ["AP", "AP50", "AR"]))]
    write_report(
        out / "report.html",
        title=f"Training of {out.name}",
        tables=tables,
        charts=charts,
        pictures=pictures,
        facts={**run_info(), "images": str(len(examples)), "minutes": f"{state.seconds / 60:.1f}"},
    )
    scored = _scored(best, "AP")
    kept = "the last epoch" if scored is None else f"epoch {best['epoch']}, AP {scored:.3f}"
    print(f"run {out}: {WEIGHTS} is of {kept}; the curves are in report.html", flush=True)


def _predictor(settings: Train, ema: nn.Module, images: Images, where: str) -> BottomUpPredictor:
    return BottomUpPredictor(
        ema,
        images.skeleton,
        make_decoder(settings.decode, ema),
        name=Path(settings.out).name,
        weights_sha256="",
        size=settings.net.size,
        resize="letterbox",
        device=where,
        precision="bf16" if settings.train.precision == "bf16" else "fp32",
    )


def _ship(settings: Train, state: TrainingState, joints: Skeleton, scores: dict[str, float]) -> None:
    """Write the averaged weights as a file that says what it is, with the score of its best F1 if there is one."""
    made = {"settings": as_dict(settings), "step": state.step, "holdout_AP": state.best}
    target = Path(settings.out) / WEIGHTS
    net, chosen, least = settings.net, settings.train, _scored(scores, "F1 at")
    save_net(target, state.ema, net.kind, joints, net.size, made, chosen.save_fp16, least)
