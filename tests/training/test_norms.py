"""`rtpe study norms`: its table and charts from known numbers, and the whole of it in miniature."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import here
import pytest
import yaml
from places import PROJECT

from rtpe.cli import main
from rtpe.report.chart import write_chart
from rtpe.report.table import print_table, write_json
from rtpe.synthetic import write_world
from rtpe.training import norms as study
from rtpe.training import study as trainings
from rtpe.training.norms import VARIANTS, StudyNorms
from rtpe.training.settings import NetSettings, OptimSettings
from rtpe.training.study import Training

TINY = [
    "--net.kind=pose_hrnet", "--net.numbers={width: 4, stem: 4, bottlenecks: 1, modules: [1, 1, 1], blocks: 1}",
    "--net.size=64", "--data.crops=1.25", "--loss.teacher=0", "--loss.pull=0", "--loss.push=0",
    "--train.epochs=3", "--train.batch=4", "--train.holdout=4", "--train.holdout_split=val2017", "--train.workers=0",
    "--train.threads=1", "--train.pictures=0", "--decode.threshold=0", "--device=cpu", "--seeds=[5]",
]  # fmt: skip


def a_run(variant, seed, scores, metric="PCK@0.1 box", diverged=False):
    epochs = [
        {"epoch": n, "step": 10 * n, "score": score, "loss": 1 - score, "training loss": 0.5}
        for n, score in enumerate(scores, start=1)
    ]
    metric = metric if scores else None
    return {"variant": variant, "seed": seed, "metric": metric, "epochs": epochs, "diverged": diverged}


TWO = {
    "default": [a_run("default", 0, [0.2, 0.4]), a_run("default", 1, [0.3, 0.6])],
    "no_norm": [a_run("no_norm", 0, [0.1, 0.3]), a_run("no_norm", 1, [0.1, 0.3, 0.9])],
}


def test_the_table_is_of_the_last_epoch_that_all_runs_have():
    first, second = study._table(TWO)
    assert (first["score"], first["low"], first["high"]) == pytest.approx((0.5, 0.4, 0.6))
    assert first["deviation"] == pytest.approx(0.02**0.5)  # of two values .2 apart
    assert (first["to first"], first["seeds"], first["epochs"]) == (0, 2, 2)
    assert (second["score"], second["deviation"], second["to first"]) == pytest.approx((0.3, 0, -0.2))
    assert second["loss"] == pytest.approx(0.7)
    printed = study._printed([first, second])
    assert printed[0]["PCK@0.1 box (%)"] == "50.0 ± 14.1" and printed[1]["to first"] == "-20.0"
    assert first["diverged"] == 0 and "diverged" not in printed[0]


def test_one_seed_has_no_spread():
    (row,) = study._table({"default": TWO["default"][:1]})
    assert row["deviation"] is None and study._printed([row])[0]["PCK@0.1 box (%)"] == "40.0"
    chart = study._charts({"default": TWO["default"][:1]})["norms"]
    assert not chart.bands and not chart.note


def test_charts_have_means_in_percent_and_bands_around_them():
    chart = study._charts(TWO)["norms"]
    assert (chart.x_label, chart.y_label) == ("epoch", "PCK@0.1 box (%)")
    epochs, means = chart.series["default"]
    assert list(epochs) == [1, 2] and means == pytest.approx([25, 50])
    low, high = chart.bands["default"]
    assert (low + high) / 2 == pytest.approx(means) and high[1] - low[1] == pytest.approx(2 * 100 * 0.02**0.5)
    assert study._charts(TWO)["norms-loss"].series["no norm anywhere"][1] == pytest.approx([0.9, 0.7])


def came_through(variant):
    return [a_run(variant, seed, [0.2, 0.4 + 0.1 * seed]) for seed in (0, 1)]


def diverged(variant, *epochs):
    """A run for each, that diverged after so many epochs, all better than those of runs that came through."""
    return [a_run(variant, 7 + n, [0.9] * count, diverged=True) for n, count in enumerate(epochs)]


MEASURED = "score", "deviation", "low", "high", "to first", "loss", "epochs"
CAME_THROUGH = (0.45, 0.1 / 2**0.5, 0.4, 0.5, 0, 0.55, 2)
NOTHING = [None] * len(MEASURED)
# runs of two variants; seeds, those that diverged, and what was measured of the others; what charts note
OUTCOMES = {
    "none": (came_through("default"), came_through("no_norm"), [(2, 0, CAME_THROUGH)] * 2, ""),
    "some": (
        came_through("default"), came_through("no_norm") + diverged("no_norm", 0, 1),
        [(2, 0, CAME_THROUGH), (4, 2, CAME_THROUGH)], "Left out: 2 that diverged.",
    ),
    "all but one": (
        came_through("default"), came_through("no_norm")[:1] + diverged("no_norm", 3),
        [(2, 0, CAME_THROUGH), (2, 1, (0.4, None, 0.4, 0.4, -0.05, 0.6, 2))], "Left out: 1 that diverged.",
    ),
    "all of one": (
        came_through("default"), diverged("no_norm", 1, 0),
        [(2, 0, CAME_THROUGH), (2, 2, NOTHING)], "Left out: 2 that diverged.",
    ),
    "all of the first": (
        diverged("default", 0), came_through("no_norm"),
        [(1, 1, NOTHING), (2, 0, (*CAME_THROUGH[:4], None, *CAME_THROUGH[5:]))], "Left out: 1 that diverged.",
    ),
    "all": (
        diverged("default", 0, 2), diverged("no_norm", 0),
        [(2, 2, NOTHING), (1, 1, NOTHING)], "Left out: 3 that diverged.",
    ),
    "all at once": (
        diverged("default", 0), diverged("no_norm", 0),
        [(1, 1, NOTHING), (1, 1, NOTHING)], "Left out: 2 that diverged.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("first, second, expected, note", OUTCOMES.values(), ids=OUTCOMES)
def test_those_that_diverged_are_counted_and_nothing_else(first, second, expected, note, tmp_path, capsys, monkeypatch):
    """What is not known is empty: neither 0 nor NaN, in the table, on the terminal, in the file and in the charts."""
    monkeypatch.setenv("COLUMNS", "80")
    runs = {"default": first, "no_norm": second}
    rows = study._table(runs)
    for row, (seeds, count, measured) in zip(rows, expected, strict=True):
        assert (row["seeds"], row["diverged"]) == (seeds, count)
        assert [row[key] for key in MEASURED] == [each if each is None else pytest.approx(each) for each in measured]
        assert all(isinstance(each, str | int | float | None) for each in row.values())
    write_json(rows, tmp_path / "scores.json")
    printed = study._printed(rows)
    print_table(printed, tuple(printed[0]))
    said = capsys.readouterr().out
    shown = said + (tmp_path / "scores.json").read_text()
    assert "nan" not in shown.lower() and "None" not in shown and max(map(len, said.splitlines())) <= 80
    assert ("diverged" in said) == bool(note)
    blank = [{each for each in row.values() if isinstance(each, str)} == {row["variant"], ""} for row in printed]
    assert blank == [row["epochs"] is None for row in rows]
    metrics = {each["metric"] for own in runs.values() for each in own} - {None}
    assert f"{'PCK@0.1 box' if metrics else 'score'} (%)" in printed[1]
    for name, chart in study._charts(runs).items():
        assert chart.note.endswith(note) and len(chart.note) < 72  # no more fits under the chart
        drawn = {title for title, (_, ys) in chart.series.items() if not all(map(math.isnan, ys))}
        assert drawn == {VARIANTS[row["variant"]][0] for row in rows if row["epochs"]}
        assert all(len(xs) == (row["epochs"] or 1) for (xs, _), row in zip(chart.series.values(), rows, strict=True))
        write_chart(tmp_path / f"{name}.svg", chart)
        picture = (tmp_path / f"{name}.svg").read_text()
        assert note in picture and "nan" not in picture and ("no data" in picture) == (not drawn)


def test_a_run_that_came_through_may_have_no_finite_loss():
    """The running average may be worse than the net: then there is a score, and no loss."""
    run = a_run("default", 0, [0.2])
    run["epochs"][0]["loss"] = None
    (row,) = study._table({"default": [run]})
    assert row["score"] == 0.2 and row["loss"] is None and row["diverged"] == 0
    losses = [printed["loss"] for printed in study._printed([row, {**row, "loss": 1.234e29}, {**row, "loss": 0.01234}])]
    assert losses == ["", "1.23e+29", "0.0123"]


def test_a_run_that_does_not_say_came_through():
    """As those did that were kept before one diverged and stopped the study."""
    runs = {"default": [{key: each for key, each in TWO["default"][0].items() if key != "diverged"}]}
    assert study._table(runs)[0]["diverged"] == 0 and study._charts(runs)["norms"].note == ""


@pytest.mark.parametrize("metric", ["PCK@0.1 box", "PCKh@0.5"])
def test_a_run_is_told_in_pckh_where_the_labels_allow_it(tmp_path, metric):
    """And epochs are counted, for one that was cut short has the number of the one before."""
    training = Training("no_norm_act-12", {}, tmp_path)
    training.folder.mkdir()
    rows = [{"step": n, "epoch": 1, "labels": 0.5, "holdout labels": 0.4, "PCK@0.1 box": 0.1} for n in (1, 2)]
    rows = [{**row, "PCKh@0.5": 0.2} for row in rows] if metric == "PCKh@0.5" else rows
    (training.folder / "history.jsonl").write_text("\n".join(map(json.dumps, rows)))
    run = study._finished(training)
    assert (run["variant"], run["seed"], run["metric"]) == ("no_norm_act", 12, metric)
    assert [each["epoch"] for each in run["epochs"]] == [1, 2]
    assert run["epochs"][0]["score"] == rows[0][metric] and run["epochs"][0]["loss"] == 0.4
    assert "no norm, no ReLU anywhere, seed 12" in (tmp_path / "no_norm_act-12.svg").read_text()


@pytest.mark.parametrize("count", [0, 2])
def test_a_run_that_diverged_keeps_its_epochs(tmp_path, capsys, count):
    training = Training("no_norm-3", {}, tmp_path)
    training.folder.mkdir()
    rows = [{"step": n, "labels": 0.5, "holdout labels": None, "PCK@0.1 box": 0.1} for n in range(count)]
    (training.folder / "history.jsonl").write_text("\n".join(map(json.dumps, rows)))
    run = study._finished(training, diverged=True)
    assert run["diverged"] and [each["score"] for each in run["epochs"]] == [0.1] * count
    said, chart = f"diverged in epoch {count + 1}", tmp_path / "no_norm-3.svg"
    assert capsys.readouterr().out == f"no_norm-3: {said}\n"
    assert said in chart.read_text() if count else not chart.exists()


def test_variants_differ_in_the_net_alone_and_seeds_in_the_seed():
    settings = StudyNorms(
        net=NetSettings(kind="pose_hrnet", numbers={"width": 8, "no_act": "all"}), train=OptimSettings(epochs=3)
    )
    options = study._training(replace(settings, out="here"), "no_norm", 4).options
    want = {"net.kind": "pose_hrnet", "net.numbers.width": 8, "net.numbers.no_norm": "all"}
    assert options == {**want, "train.epochs": 3, "train.seed": 4}


USER_ERRORS = {
    "another net": (["--net.kind=student"], "net.kind: expected pose_hrnet, whose norms can be left out, got student"),
    "nothing to score on": (["--train.holdout=0"], "train.holdout: expected above 0, to score the epochs on, got 0"),
    "no labels": (["--loss.labels=0"], "loss.labels: expected above 0, to tell the loss, got 0"),
    "no seeds": (["--seeds=[]"], "seeds: expected a list of 1 or more values, each a whole number"),
    "no jobs": (["--jobs=0"], "jobs: expected 1 or more, got 0"),
    "an unknown variant": (["--variants", "default", "bare"], "variants: no 'bare': choose from default, no_norm_stem"),
}


@pytest.mark.parametrize("words, expected", USER_ERRORS.values(), ids=USER_ERRORS)
def test_a_users_mistake_is_one_line(words, expected, tmp_path, capsys):
    assert main(["study", "norms", *TINY, f"--out={tmp_path}", *words]) == 2
    said = capsys.readouterr().err
    assert expected in said and len(said.strip().splitlines()) == 1


# a training that waits to be killed once its first epoch is saved, and a study of such
HELD = """
import sys, time
from rtpe.cli import main
from rtpe.training import loop

step = loop.train_step

def step_or_wait(fabric, state, *rest):
    while state.epoch == 1:
        time.sleep(1)
    return step(fabric, state, *rest)

loop.train_step = step_or_wait
sys.exit(main(sys.argv[1:]))
"""
STUDY_OF_HELD = """
import subprocess, sys
from rtpe.cli import main
from rtpe.training import study

def begin(command, log):
    return subprocess.Popen([sys.executable, "-c", sys.argv[1], *command], stdout=log, stderr=log)

study._rtpe = begin
sys.exit(main(["study", "norms", *sys.argv[2:]]))
"""


@pytest.mark.slow
def test_a_study_that_was_killed_ends_with_the_same_table(tmp_path, monkeypatch, capsys):
    """Twice on drawn people: undisturbed with two variants; and killed after the first epoch of one, then gone on."""
    monkeypatch.setenv("COLUMNS", "80")
    write_world(str(tmp_path / "world"), "train2017", 12, 1, (96, 96), 0)
    write_world(str(tmp_path / "world"), "val2017", 4, 2, (96, 96), 0)
    data, killed, whole = f"--data.root={tmp_path / 'world'}", tmp_path / "killed", tmp_path / "whole"
    only = "--variants=[no_norm_act]"
    first = subprocess.Popen(
        [sys.executable, "-c", STUDY_OF_HELD, HELD, *TINY, data, only, f"--out={killed}"],
        cwd=PROJECT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    checkpoint = killed / "no_norm_act-5" / "last.pt"
    while first.poll() is None and not checkpoint.exists():
        time.sleep(0.1)
    first.send_signal(signal.SIGTERM)
    assert first.wait() == 130
    assert not (killed / "norms.json").exists() and checkpoint.exists()
    monkeypatch.setattr(trainings, "_rtpe", here.begin)
    for words in ([only, f"--out={killed}"], ["--variants", "default", "no_norm_act", f"--out={whole}"]):
        assert main(["study", "norms", *TINY, data, *words]) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines()[-4:-1])) <= 80 and re.search(r"default +\d+\.\d ", said)
    rows = json.loads((whole / "norms.json").read_text())
    assert [(row["variant"], row["seed"], row["epoch"]) for row in rows] == [
        (name, 5, epoch) for name in ("default", "no_norm_act") for epoch in (1, 2, 3)
    ]
    assert json.loads((killed / "norms.json").read_text()) == rows[3:]
    table = json.loads((whole / "scores.json").read_text())
    assert table[1]["score"] == rows[-1]["score"] and table[1]["loss"] == rows[-1]["loss"]
    recorded = yaml.safe_load((whole / "no_norm_act-5" / "settings.yaml").read_text())
    assert recorded["net"]["numbers"].items() >= VARIANTS["no_norm_act"][1].items() and recorded["train"]["seed"] == 5
    for chart in ("norms", "norms-loss", "default-5", "no_norm_act-5"):
        assert (whole / f"{chart}.svg").is_file()
    assert "<h1>Batch norm and ReLU</h1>" in (whole / "report.html").read_text()


@pytest.mark.slow
def test_trainings_that_diverge_are_results(tmp_path, capsys):
    """At such a rate no net outlives a step: the loss of one without norms, or the maps of one that has them."""
    write_world(str(tmp_path / "world"), "train2017", 12, 1, (96, 96), 0)
    write_world(str(tmp_path / "world"), "val2017", 4, 2, (96, 96), 0)
    wild = [*TINY, f"--data.root={tmp_path / 'world'}", "--train.lr=1000", "--train.epochs=2", "--seeds=[5]"]
    out = tmp_path / "one_step"  # an epoch is one step
    words = ["study", "norms", *wild, "--variants=[no_norm, default]", "--train.batch=64", f"--out={out}", "--jobs=2"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "no_norm-5: diverged in epoch 2" in said and "default-5: diverged in epoch 1" in said
    assert "averaged weights of default-5: heatmaps: expected finite values" in (out / "default-5.log").read_text()
    rows, epochs = (json.loads((out / name).read_text()) for name in ("scores.json", "norms.json"))
    found = [(row["variant"], row["diverged"], row["epochs"]) for row in rows]
    assert found == [("no_norm", 1, None), ("default", 1, None)]
    assert rows[0]["score"] is rows[0]["loss"] is rows[1]["to first"] is None
    assert [(row["variant"], row["epoch"]) for row in epochs] == [("no_norm", 1)]
    assert "Left out: 2 that diverged." in (out / "norms.svg").read_text()
    assert "diverged</th>" in (out / "report.html").read_text() and (out / "no_norm-5.svg").is_file()
    logs = {path: path.stat().st_mtime_ns for path in out.glob("*.log")}
    assert len(logs) == 2 and main(words) == 0 and said.endswith(capsys.readouterr().out)
    assert {path: path.stat().st_mtime_ns for path in logs} == logs  # neither was trained again
    out = tmp_path / "steps"  # an epoch is several of them, and never ends
    assert main(["study", "norms", *wild, "--variants=[no_norm]", f"--out={out}"]) == 0
    assert json.loads((out / "norms.json").read_text()) == [] and "no data" in (out / "norms.svg").read_text()
    assert not (out / "no_norm-5.svg").exists()
