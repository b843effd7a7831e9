"""Trainings that belong together, with a stand-in for `rtpe train` that counts how often it was run."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rtpe.errors import DIVERGED
from rtpe.training import study
from rtpe.training.study import Training, rtpe, run_trainings, words

# train --KEY=VALUE... --out=FOLDER: a line in FOLDER/runs for each run, then what `--do` says
STAND_IN = """
import pathlib, sys, time
options = dict(word[2:].split("=", 1) for word in sys.argv[2:])
folder = pathlib.Path(options["out"])
folder.mkdir(parents=True, exist_ok=True)
with (folder / "runs").open("a") as runs:
    runs.write("run\\n")
if options.get("do") == "fail":
    sys.exit("error: it cannot be")
if options.get("do") == "diverge":
    print("error: step 1: loss nan")
    sys.exit(int(options["status"]))
time.sleep(float(options.get("sleep", 0)))
"""


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    def begin(command, log):
        return subprocess.Popen([sys.executable, "-S", "-c", STAND_IN, *command], stdout=log, stderr=log)

    monkeypatch.setattr(study, "_rtpe", begin)


def runs(training):
    return (training.folder / "runs").read_text().count("run")


def finished(training):
    return {"runs": runs(training)}


@pytest.mark.parametrize("at_once", [1, 2, 9])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_rows_come_in_their_order_and_nothing_runs_twice(tmp_path, count, at_once):
    trainings = [Training(f"run-{n}", {"train.seed": n, "sleep": 0.3 * (n == 0)}, tmp_path) for n in range(count)]
    rows = run_trainings(trainings, finished, at_once)
    assert [row["command"] for row in rows] == [training.command for training in trainings]
    assert run_trainings(trainings, finished, at_once) == rows and all(row["runs"] == 1 for row in rows)


def test_options_are_as_one_types_them():
    typed = {"a.b": 1e-3, "c": "text", "d": [1, 2], "e": True, "f": None, "g": {}}
    assert words(typed) == ["--a.b=0.001", "--c=text", "--d=[1, 2]", "--e=true", "--f=null", "--g={}"]


def test_what_another_command_led_to_is_no_row(tmp_path):
    run_trainings([Training("run", {"train.lr": 1}, tmp_path)], finished)
    other = Training("run", {"train.lr": 2}, tmp_path)
    with pytest.raises(ValueError, match=r"run .*run: was trained by another command: pass another --out"):
        run_trainings([Training("first", {}, tmp_path), other], finished)
    assert not (tmp_path / "first").exists()  # it is refused before hours have passed


def test_a_training_that_fails_says_why_at_once_and_the_others_go_on(tmp_path, capfd):
    wrong = Training("wrong", {"do": "fail"}, tmp_path)
    others = [Training("beside", {"sleep": 0.5}, tmp_path), Training("after", {}, tmp_path)]
    why = r"wrong: `rtpe train` failed: error: it cannot be: see .*wrong\.log"
    with pytest.raises(ValueError, match="1 of 3 trainings failed, the others are kept: " + why):
        run_trainings([wrong, *others], finished, at_once=2)
    assert re.search(why, capfd.readouterr().err)
    assert not wrong.file.exists() and [runs(training) for training in others] == [1, 1]
    with pytest.raises(ValueError, match="1 of 3"):  # it alone is tried once more
        run_trainings([wrong, *others], finished, at_once=2)
    assert [runs(training) for training in (wrong, *others)] == [2, 1, 1]


def test_scores_that_fail_stop_no_training(tmp_path):
    def finish(training):
        if training.name == "wrong":
            raise ValueError("no such split")
        return finished(training)

    trainings = [Training("wrong", {}, tmp_path), Training("right", {"sleep": 0.5}, tmp_path)]
    with pytest.raises(ValueError, match="1 of 2 trainings failed, the others are kept: wrong: no such split"):
        run_trainings(trainings, finish)
    assert trainings[1].kept()["runs"] == 1


def test_a_training_that_diverged_led_to_something_where_the_study_says_what(tmp_path):
    """Those beside it go on, and it is not run again."""
    wild = Training("wild", {"do": "diverge", "status": DIVERGED}, tmp_path)
    trainings = [wild, Training("tame", {"sleep": 0.5}, tmp_path)]
    for _ in range(2):
        rows = run_trainings(trainings, finished, 2, lambda training: {"wild": runs(training)})
        assert [{**row, "command": None} for row in rows] == [
            {"wild": 1, "command": None},
            {"runs": 1, "command": None},
        ]


@pytest.mark.parametrize("status, if_diverged", [(DIVERGED, None), (2, finished), (1, finished), (-9, finished)])
def test_a_training_that_failed_led_to_nothing(tmp_path, status, if_diverged):
    """Nor did one that diverged, where the study does not say what."""
    training = Training("run", {"do": "diverge", "status": status}, tmp_path)
    with pytest.raises(ValueError, match=r"`rtpe train` failed: error: step 1: loss nan: see .*run\.log"):
        run_trainings([training], finished, 1, if_diverged)
    assert not training.file.exists()


def test_a_training_that_outlived_its_study_is_not_run_beside_itself(tmp_path):
    training = Training("run", {"sleep": 500}, tmp_path)
    process = training.start()
    with pytest.raises(ValueError, match=r"run .*run: is being trained already: wait for it, or end it"):
        run_trainings([training], finished)
    process.kill()
    process.wait()
    assert Training("run", {}, tmp_path).start().wait() == 0


@pytest.fixture
def interruptible():
    """A process that a script started in the background ignores SIGINT, and so do all that it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_study_that_is_stopped_stops_its_trainings(tmp_path):
    training = Training("run", {"sleep": 500}, tmp_path)

    def stop():
        while not (training.folder / "runs").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=stop).start()
    with pytest.raises(KeyboardInterrupt):
        run_trainings([training], finished)
    assert run_trainings([Training("run", {}, tmp_path)], finished)[0]["runs"] == 2


def test_a_command_that_fails_names_its_log(tmp_path):
    rtpe(["train", f"--out={tmp_path / 'a'}"], tmp_path / "log")
    with pytest.raises(ValueError, match="`rtpe train` failed: error: it cannot be: see "):
        rtpe(["train", "--do=fail", f"--out={tmp_path / 'a'}"], tmp_path / "log")


def test_what_is_written_can_be_read_again(tmp_path):
    training = Training("run", {"a": 1}, tmp_path)
    assert training.kept() is None
    assert training.keep({"score": 0.5}) == training.kept() == json.loads(Path(training.file).read_text())[0]
