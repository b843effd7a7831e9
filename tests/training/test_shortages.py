"""A training that lacks room for what it writes ends with one line, and goes on when there is room."""

import os
import shlex
import subprocess
import sys

import pytest
from places import PROJECT

from rtpe.cli import main
from rtpe.report.log import HISTORY, read_history

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


NUMBERS = "--net.numbers={width: 32, stages: 1, dilations: [1, 2]}"
SMALL = "mount -t tmpfs -o size={size}k tmpfs /dev/shm && {before} exec {command}"


def unshared(size, before, words):
    """`rtpe train` with so many KB of shared memory."""
    command = shlex.join([sys.executable, "-m", "rtpe.cli", "train", *words])
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    script = SMALL.format(size=size, before=before, command=command)
    return subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, env=environment)


SHORT = {
    "for a batch": (96, "", "shared memory: cannot hold another batch of 0.1 MB ("),
    "for some semaphores": (32, "", "loader processes cannot be started ("),
    "for semaphores": (4, "head -c 4096 /dev/zero > /dev/shm/full;", "loader processes cannot be started ("),
}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("case", SHORT)
def test_too_little_shared_memory_ends_a_training(world, tmp_path, case, workers):
    """A batch has 49 KB of pictures, and less of masks and points."""
    size, before, want = SHORT[case]
    if subprocess.run(["unshare", "-m", "sh", "-c", SMALL.format(size=4, before="", command="true")]).returncode:
        pytest.skip("this machine lets no process have a /dev/shm of its own")
    done = unshared(size, before, [*world.words, NUMBERS, f"--train.workers={workers}", f"--out={tmp_path / 'run'}"])
    assert done.returncode == 2, done.stderr[-3000:]
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {want}") and line.endswith("pass --train.workers 0, or enlarge /dev/shm")


@pytest.mark.parametrize(
    "said",
    [
        "unable to allocate shared memory(shm) for file </torch_7_3_0>: No space left on device (28)",
        "unable to open shared memory object </torch_7_3_0> in read-write mode: Too many open files (24)",
        "unable to mmap 49152 bytes from file </torch_7_3_0>: Cannot allocate memory (12)",
    ],
)
def test_what_torch_says_of_shared_memory_is_one_line(world, tmp_path, capsys, monkeypatch, said):
    """In the loader process, which inherits what is replaced here."""

    def fails(self):
        raise RuntimeError(said)

    monkeypatch.setattr("torch.Tensor.share_memory_", fails)
    assert main(["train", *world.words, NUMBERS, "--train.workers=1", f"--out={tmp_path / 'run'}"]) == 2
    assert f"error: shared memory: cannot hold another batch of 0.1 MB ({said}): pass" in capsys.readouterr().err
