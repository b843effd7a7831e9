"""What batch norms and activations are worth: one top-down HRNet trained with them and without, with several seeds.

    rtpe synth --out datasets/norms --train 1450 --val 220 --size 160
    rtpe study norms --config norms --jobs 2

Each training is one of `rtpe train`, and its settings, history and report are in its folder. Every epoch is scored on
images of another split: by PCKh on MPII, elsewhere by PCK in the sizes of the boxes. A training that diverges is a
result as well: it is counted, and means are over the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from rtpe.device import choose_device
from rtpe.errors import UserError
from rtpe.report.chart import Chart, write_chart
from rtpe.report.log import HISTORY, read_history
from rtpe.report.page import Table, write_report
from rtpe.report.provenance import run_info
from rtpe.report.table import print_table, write_json
from rtpe.settings.parse import flat
from rtpe.training.norms_settings import StudyNorms
from rtpe.training.settings import Train
from rtpe.training.study import Training, run_trainings

# by name: what charts call it, and what is left out of the net
VARIANTS = {
    "default": ("default", {}),
    "no_norm_stem": ("no norm in the stem", {"no_norm": "stem"}),
    "no_norm_act_stem": ("no norm, no ReLU in the stem", {"no_norm": "stem", "no_act": "stem"}),
    "no_norm": ("no norm anywhere", {"no_norm": "all"}),
    "no_norm_act": ("no norm, no ReLU anywhere", {"no_norm": "all", "no_act": "all"}),
}
LEFT_OUT = ("no_norm", "no_act")
SCORES = ("PCKh@0.5", "PCK@0.1 box")  # the first that the labels allow
LOSS = "holdout labels"
Runs = Mapping[str, Sequence[dict]]


def norms(settings: StudyNorms) -> list[dict]:
    """Train what is not there yet; chart every epoch, print and write the table; returns its rows, one a variant."""
    _require(settings)
    names, seeds = dict.fromkeys(settings.variants or VARIANTS), dict.fromkeys(settings.seeds)  # none twice
    trainings = [_training(settings, name, seed) for seed in seeds for name in names]
    led_to = run_trainings(trainings, _finished, settings.jobs, partial(_finished, diverged=True))
    runs = {name: led_to[place :: len(names)] for place, name in enumerate(names)}
    out, rows = Path(settings.out), _table(runs)
    write_json([_of_epoch(run, epoch) for run in led_to for epoch in run["epochs"]], out / "norms.json")
    write_json(rows, out / "scores.json")
    charts, printed = _charts(runs), _printed(rows)
    for name, chart in charts.items():
        write_chart(out / f"{name}.svg", chart)
    facts = {**run_info(), "seeds": str(settings.seeds)}
    tables = [Table("After the last epoch", printed, f"Mean ± standard deviation over the seeds. {_left_out(runs)}")]
    write_report(out / "report.html", title="Batch norm and ReLU", tables=tables, charts=charts.values(), facts=facts)
    print_table(printed, tuple(printed[0]))
    print(f"charts: {out / 'norms.svg'}, {out / 'report.html'}")
    return rows


def _require(settings: StudyNorms) -> None:
    choose_device(settings.device)  # before the first training
    unknown = set(settings.variants) - set(VARIANTS)
    if unknown:
        raise UserError(f"variants: no {min(unknown)!r}: choose from {', '.join(VARIANTS)}")
    kind, held_out = settings.net.kind, settings.train.holdout
    wants = {
        "net.kind": ("pose_hrnet, whose norms can be left out", kind, kind == "pose_hrnet"),
        "train.holdout": ("above 0, to score the epochs on", held_out, held_out > 0),
        "loss.labels": ("above 0, to tell the loss", settings.loss.labels, bool(settings.loss.labels)),
    }
    for name, (want, got, holds) in wants.items():
        if not holds:
            raise UserError(f"{name}: expected {want}, got {got}: pass --{name}, or --config norms")


def _training(settings: StudyNorms, name: str, seed: int) -> Training:
    """The training of one variant and seed: what differs from the defaults of `rtpe train`."""
    common = {each.name: getattr(settings, each.name) for each in fields(Train)}
    numbers = {key: each for key, each in settings.net.numbers.items() if key not in LEFT_OUT} | VARIANTS[name][1]
    own = replace(Train(**common), net=replace(settings.net, numbers=numbers), train=replace(settings.train, seed=seed))
    usual = flat(Train())
    options = {key: value for key, value in flat(own).items() if usual.get(key) != value and key != "out"}
    return Training(f"{name}-{seed}", options, Path(settings.out))


def _finished(training: Training, diverged: bool = False) -> dict:
    """The numbers of every epoch, and their chart if there are any."""
    name, _, seed = training.name.rpartition("-")
    history = read_history(training.folder / HISTORY)
    metric = next((score for score in SCORES if history and score in history[-1]), None)
    epochs = [
        {"epoch": number, "step": row["step"], "score": row[metric], "loss": row[LOSS], "training loss": row["labels"]}
        for number, row in enumerate(history, start=1)
    ]
    run = {"variant": name, "seed": int(seed), "metric": metric, "epochs": epochs, "diverged": diverged}
    if epochs:
        chart = _chart(f"{VARIANTS[name][0]}, seed {seed}", {name: [run]}, "score", _end(run))
        write_chart(training.out / f"{training.name}.svg", chart)
    with tqdm.external_write_mode():
        print(f"{training.name}: {_end(run)}", flush=True)
    return run


def _end(run: Mapping) -> str:
    count = len(run["epochs"])
    if run["diverged"]:
        return f"diverged in epoch {count + 1}"
    return f"{run['metric']} {100 * run['epochs'][-1]['score']:.1f} % after {count} epochs"


def _of_epoch(run: Mapping, epoch: Mapping) -> dict:
    return {**{key: run[key] for key in ("variant", "seed", "metric")}, **epoch}


def _left(runs: Runs) -> Runs:
    """Those that came through; runs that do not say were kept when one that diverged stopped the study."""
    return {name: [run for run in own if not run.get("diverged")] for name, own in runs.items()}


def _left_out(runs: Runs) -> str:
    """A sentence on those that diverged, if any did."""
    count = sum(len(own) - len(left) for own, left in zip(runs.values(), _left(runs).values()))
    return f"Left out: {count} that diverged." if count else ""


def _metric(runs: Runs) -> str | None:
    """Which score it is; None if no run has an epoch."""
    return next((run["metric"] for own in runs.values() for run in own if run["metric"]), None)


def _values(runs: Sequence[dict], key: str) -> np.ndarray:
    """(runs, epochs) of those epochs that all of them have; of no runs, a NaN."""
    if not runs:
        return np.full((1, 1), np.nan)
    count = min(len(run["epochs"]) for run in runs)
    return np.array([[epoch[key] for epoch in run["epochs"][:count]] for run in runs], float)


def _spread(values: np.ndarray) -> np.ndarray | None:
    """The standard deviation over runs, of two or more."""
    return values.std(axis=0, ddof=1) if len(values) > 1 else None


def _charts(runs: Runs) -> dict[str, Chart]:
    """By the names of their files, of the runs that came through."""
    left, note = _left(runs), _left_out(runs)
    return {
        "norms": _chart("Score after each epoch", left, "score", note),
        "norms-loss": _chart("Loss after each epoch", left, "loss", note),
    }


def _chart(title: str, runs: Runs, key: str, note: str = "") -> Chart:
    """A line for each variant, its mean over the seeds, in a band of their deviation; none for one without runs."""
    series, bands = {}, {}
    factor, label = (100, f"{_metric(runs) or 'score'} (%)") if key == "score" else (1, "loss of the heatmaps")
    for name, own in runs.items():
        values = factor * _values(own, key)
        mean, spread, title_of = values.mean(axis=0), _spread(values), VARIANTS[name][0]
        series[title_of] = range(1, len(mean) + 1), mean
        if spread is not None:
            bands[title_of] = mean - spread, mean + spread
    means = "Means ± standard deviation over the seeds." if bands else ""
    return Chart(title, "epoch", label, series, f"{means} {note}".strip(), bands)


def _table(runs: Runs) -> list[dict]:
    """A row for each variant: mean and spread of the runs that came through, after the last epoch that all these have.

    What there is none of is None: of a variant of which all diverged, or a loss that is not finite.
    """
    left, metric, rows = _left(runs), _metric(runs), []
    first = _values(next(iter(left.values())), "score")[:, -1].mean()
    for name, own in left.items():
        scores, loss = _values(own, "score"), _values(own, "loss")[:, -1].mean()
        last, spread = scores[:, -1], _spread(scores)
        rows.append({
            "variant": name, "metric": metric, "score": last.mean(),
            "deviation": None if spread is None else spread[-1], "low": last.min(), "high": last.max(),
            "to first": last.mean() - first, "loss": loss, "seeds": len(runs[name]),
            "diverged": len(runs[name]) - len(own), "epochs": scores.shape[1] if own else None,
        })  # fmt: skip
    return [{key: _plain(each) for key, each in row.items()} for row in rows]


def _plain(value: object) -> object:
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _printed(rows: Sequence[Mapping]) -> list[dict[str, object]]:
    """The rows as people read them, scores in percent; those that diverged are a column if there are any."""
    last = "seeds", *["diverged"] * any(row["diverged"] for row in rows), "epochs"
    return [
        {
            "variant": row["variant"],
            f"{row['metric'] or 'score'} (%)": f"{_percent(row['score'])}{_percent(row['deviation'], ' ± {:.1f}')}",
            **{key: _percent(row[key]) for key in ("low", "high")}, "to first": _percent(row["to first"], "{:+.1f}"),
            "loss": "" if row["loss"] is None else f"{row['loss']:.3g}",  # of a net that nearly diverged: 30 digits
            **{key: row[key] for key in last},
        }
        for row in rows
    ]  # fmt: skip


def _percent(share: float | None, form: str = "{:.1f}") -> str:
    return "" if share is None else form.format(100 * share)
