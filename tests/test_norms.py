"""`rtpe study norms`: its table and charts from known numbers, and the whole of it in miniature."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from rtpe.cli import main
from rtpe.commands import norms as study
from rtpe.commands.norms import VARIANTS
from rtpe.commands.study import Training
from rtpe.config import NetSettings, OptimSettings, StudyNorms
from rtpe.data.synthetic import write_world

PROJECT = Path(__file__).resolve().parents[1]
TINY = [
    "--net.kind=pose_hrnet", "--net.numbers={width: 4, stem: 4, bottlenecks: 1, modules: [1, 1, 1], blocks: 1}",
    "--net.size=64", "--data.crops=1.25", "--loss.teacher=0", "--loss.pull=0", "--loss.push=0", "--loss.person=0",
    "--train.epochs=3", "--train.batch=4", "--train.minival=4", "--train.minival_split=val2017", "--train.workers=0",
    "--train.threads=1", "--train.pictures=0", "--decode.threshold=0", "--device=cpu", "--seeds=[5]",
]  # fmt: skip


def a_run(variant, seed, scores, metric="PCK@0.1 box"):
    epochs = [
        {"epoch": n, "step": 10 * n, "score": score, "loss": 1 - score, "training loss": 0.5}
        for n, score in enumerate(scores, start=1)
    ]
    return {"variant": variant, "seed": seed, "metric": metric, "epochs": epochs}


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
    assert study._printed(first)["PCK@0.1 box (%)"] == "50.0 ± 14.1" and study._printed(second)["to first"] == "-20.0"


def test_one_seed_has_no_spread():
    (row,) = study._table({"default": TWO["default"][:1]})
    assert row["deviation"] is None and study._printed(row)["PCK@0.1 box (%)"] == "40.0"
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


@pytest.mark.parametrize("metric", ["PCK@0.1 box", "PCKh@0.5"])
def test_a_run_is_told_in_pckh_where_the_labels_allow_it(tmp_path, metric):
    """And epochs are counted, for one that was cut short has the number of the one before."""
    training = Training("no_norm_act-12", {}, tmp_path)
    training.folder.mkdir()
    rows = [{"step": n, "epoch": 1, "truth": 0.5, "minival truth": 0.4, "PCK@0.1 box": 0.1} for n in (1, 2)]
    rows = [{**row, "PCKh@0.5": 0.2} for row in rows] if metric == "PCKh@0.5" else rows
    (training.folder / "history.jsonl").write_text("\n".join(map(json.dumps, rows)))
    run = study._finished(training)
    assert (run["variant"], run["seed"], run["metric"]) == ("no_norm_act", 12, metric)
    assert [each["epoch"] for each in run["epochs"]] == [1, 2]
    assert run["epochs"][0]["score"] == rows[0][metric] and run["epochs"][0]["loss"] == 0.4
    assert "no norm, no ReLU anywhere, seed 12" in (tmp_path / "no_norm_act-12.svg").read_text()


def test_variants_differ_in_the_net_alone_and_seeds_in_the_seed():
    settings = StudyNorms(
        net=NetSettings(kind="pose_hrnet", numbers={"width": 8, "no_act": "all"}), train=OptimSettings(epochs=3)
    )
    options = study._training(replace(settings, out="here"), "no_norm", 4).options
    want = {"net.kind": "pose_hrnet", "net.numbers.width": 8, "net.numbers.no_norm": "all"}
    assert options == {**want, "train.epochs": 3, "train.seed": 4}


USER_ERRORS = {
    "another net": (["--net.kind=student"], "net.kind: must be pose_hrnet, whose norms can be left out, got student"),
    "nothing to score on": (["--train.minival=0"], "train.minival: must be above 0, to score the epochs on, got 0"),
    "no labels": (["--loss.truth=0"], "loss.truth: must be above 0, to tell the loss, got 0"),
    "no seeds": (["--seeds=[]"], "seeds: must be one or more, got []: pass --seeds, or --config recipes/norms.yaml"),
    "no jobs": (["--jobs=0"], "jobs: must be 1 or more, got 0"),
    "an unknown variant": (["--variants", "default", "bare"], "variants: no 'bare': choose from default, no_norm_stem"),
}


@pytest.mark.parametrize("words, expected", USER_ERRORS.values(), ids=USER_ERRORS)
def test_a_users_mistake_is_one_line(words, expected, tmp_path, capsys):
    assert main(["study", "norms", *TINY, f"--out={tmp_path}", *words]) == 2
    said = capsys.readouterr().err
    assert expected in said and len(said.strip().splitlines()) == 1


def begin(*words):
    command = [sys.executable, "-m", "rtpe.cli", "study", "norms", *TINY, *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80"}
    return subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.mark.slow
def test_a_study_that_was_killed_ends_with_the_same_table(tmp_path):
    """Twice on drawn people: undisturbed with two variants; and killed after the first epoch of one, then gone on."""
    write_world(str(tmp_path / "world"), "train2017", 12, 1, (96, 96), 0)
    write_world(str(tmp_path / "world"), "val2017", 4, 2, (96, 96), 0)
    data, killed, whole = f"--data.root={tmp_path / 'world'}", tmp_path / "killed", tmp_path / "whole"
    only = "--variants=[no_norm_act]"
    first = begin(data, only, f"--out={killed}")
    checkpoint = killed / "no_norm_act-5" / "last.pt"
    while first.poll() is None and not checkpoint.exists():
        time.sleep(0.1)
    first.send_signal(signal.SIGTERM)
    first.communicate()
    assert not (killed / "norms.json").exists() and checkpoint.exists()
    two = "--variants", "default", "no_norm_act", "--jobs=2"
    for process in (begin(data, only, f"--out={killed}"), begin(data, *two, f"--out={whole}")):
        said = process.communicate()[0].decode()
        assert process.returncode == 0, said[-3000:]
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
