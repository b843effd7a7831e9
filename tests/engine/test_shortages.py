"""A training that lacks room for what it writes ends with one line, and goes on when there is room."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rtpe.cli import main
from rtpe.log import HISTORY, read_history

PROJECT = Path(__file__).resolve().parents[2]
LIMITED = """
import resource, sys
from rtpe.cli import main
room = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
sys.exit(main(["train", *sys.argv[2:]]))
"""


def limited(room, words):
    """`rtpe train` in a process whose files hold at most so many bytes."""
    command = [sys.executable, "-c", LIMITED, str(room), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, env=environment)


@pytest.mark.slow
@pytest.mark.parametrize("room", [10_000, 30_000])
def test_a_full_disk_ends_a_training_while_it_logs(world, tmp_path, room):
    words = [*world.words, "--net.numbers={width: 32, stages: 1, dilations: [1, 2]}", "--train.epochs=2"]
    words += [f"--out={tmp_path / 'run'}"]
    done = limited(room, words)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and line.startswith(f"error: {tmp_path}/run/tensorboard/events.out.tfevents.")
    assert line.endswith(": cannot be written (File too large): free some of the disk, and go on with the same command")
    assert main(["train", *words]) == 0
    assert [row["epoch"] for row in read_history(tmp_path / "run" / HISTORY)] == [1, 2]
