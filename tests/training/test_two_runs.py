"""One training at a time writes into a folder, and the lock ends with its process, however that ends."""

import os
import signal
import subprocess
import sys

import pytest
from places import PROJECT

from rtpe.cli import main

# the command itself, which stops at its second step, and says so
WAITS = """
import sys, time
from rtpe.cli import main
from rtpe.training import loop

step = loop.train_step

def step_and_wait(fabric, state, *rest):
    if state.step:
        print("waits", flush=True)
        time.sleep(3600)
    return step(fabric, state, *rest)

loop.train_step = step_and_wait
sys.exit(main(["train", *sys.argv[1:]]))
"""


@pytest.fixture
def words(world, tmp_path):
    changed = [*world.words, "--net.numbers={width: 32, stages: 1, dilations: [1, 2]}", "--train.batch=2"]
    return [*changed, "--train.epochs=1", f"--out={tmp_path / 'run'}"]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_second_training_is_refused_while_the_first_one_runs(words, tmp_path, capsys, workers):
    words = [*words, f"--train.workers={workers}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WAITS, *words]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT, env=environment)
    try:
        assert [first.stdout.readline() for _ in range(2)][1] == "waits\n"
        before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
        assert main(["train", *words]) == 2
        want = f"error: run {tmp_path}/run: is being trained already: wait for it, or choose another --out\n"
        assert capsys.readouterr().err == want
        assert before == {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        first.stdout.close()
    assert main(["train", *words]) == 0  # at once, though a loader process may have outlived the first training


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_twice_shows_no_traceback(words, workers):
    """To all processes of the group, as a terminal does it."""
    first = subprocess.Popen(
        [sys.executable, "-c", WAITS, *words, f"--train.workers={workers}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert [first.stdout.readline() for _ in range(2)][1] == "waits\n"
    os.killpg(first.pid, signal.SIGINT)
    assert first.stderr.readline() == "stopped\n"
    os.killpg(first.pid, signal.SIGINT)
    said, errors = first.communicate()
    assert said.endswith("run: no checkpoint yet: the same command begins anew\n") and errors == ""
    assert first.returncode in (130, -signal.SIGINT)


def test_a_folder_that_cannot_be_written_is_named(words, tmp_path, capsys):
    (tmp_path / "run").write_text("a file")
    assert main(["train", *words]) == 2
    assert "run: cannot be written (File exists): choose another --out" in capsys.readouterr().err


def test_a_lock_that_is_a_link_is_not_followed(words, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "kept.txt").write_text("kept")
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "kept.txt")
    assert main(["train", *words]) == 2
    assert "run: cannot be written (Too many levels of symbolic links)" in capsys.readouterr().err
    assert (tmp_path / "kept.txt").read_text() == "kept"
