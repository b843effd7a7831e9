"""A training that is killed outright, and started again, ends as one that never was."""

import os
import signal
import subprocess
import sys

import pytest
import torch
from places import PROJECT

from rtpe.cli import main

# the command itself, with a checkpoint after each step, in a process that kills itself
KILLED = """
import os, signal, sys
from dataclasses import replace
import torch
from rtpe.cli import main
from rtpe.training import run as train
from rtpe.training import loop

where, at = sys.argv[1], int(sys.argv[2])
schedule, step, save = train._schedule, loop.train_step, torch.save

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def step_and_die(fabric, state, *rest):
    told = step(fabric, state, *rest)
    return die() if (where, at) == ("step", state.step) else told

def save_and_die(saved, file):
    save(saved, file)
    if (where, at) == ("save", saved["step"]):
        file.flush()
        os.truncate(file.fileno(), file.tell() // 2)
        die()

train._schedule = lambda settings: replace(schedule(settings), checkpoint_minutes=0.0)
loop.train_step, torch.save = step_and_die, save_and_die
main(["train", *sys.argv[3:]])
"""


def killed(where, at, words):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", KILLED, where, str(at), *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, env=environment)
    assert done.returncode == -signal.SIGKILL, done.stderr[-3000:]


def tensors(tree, name=""):
    """Every tensor of nested dicts and lists, by its place."""
    if isinstance(tree, torch.Tensor):
        return {name: tree}
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return {place: leaf for key, part in items for place, leaf in tensors(part, f"{name}/{key}").items()}


@pytest.mark.slow
def test_killed_twice_in_mid_epoch_is_never_killed(world, tmp_path):
    """First after a step that no checkpoint has, then with half a checkpoint written: weights, average, optimiser."""
    words = [*world.words, "--net.numbers={width: 32, stages: 1, dilations: [1, 2]}", "--train.epochs=2"]
    words += ["--train.batch=2"]  # 4 steps an epoch
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    assert main(["train", *words, f"--out={straight}"]) == 0
    for where, at, left in [("step", 3, 2), ("save", 6, 5)]:
        killed(where, at, [*words, f"--out={broken}"])
        stood = torch.load(broken / "last.pt", weights_only=True)
        assert (stood["step"], stood["epoch"], stood["batch"]) == (left, left // 4, left % 4)
    assert main(["train", *words, f"--out={broken}"]) == 0
    one, other = (torch.load(out / "last.pt", weights_only=True) for out in (straight, broken))
    assert one["step"] == other["step"] == 8 and one["epoch"] == other["epoch"] == 2
    one, other = tensors(one), tensors(other)
    assert one.keys() == other.keys() and {name.split("/")[1] for name in one} == {"net", "ema", "optimizer", "rng"}
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
