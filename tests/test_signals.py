"""A command that is stopped says so in a word, however often it is asked."""

import os
import signal
import subprocess
import sys

import pytest
from places import PROJECT

# a command that waits, which takes a while to end, and so does its process after that
WAITS = """
import atexit, os, sys, time
from rtpe import cli

def ends(seconds):
    print("ends", flush=True)
    sys.stdin.readline()

def work():
    try:
        print("works", flush=True)
        time.sleep(3600)
    finally:
        ends(1)

atexit.register(ends, 1)
sys.exit(cli.status(work))
"""
SYNTH = """
import sys
from rtpe import cli

sys.exit(cli.main(["synth", *sys.argv[1:]]))
"""


def begun(code, *words):
    """A process, of a group of its own as a terminal's command is."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
        cwd=PROJECT,
        env=environment,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("when", ["while it stops", "while its process ends"])
def test_a_second_signal_shows_no_traceback(first, second, when):
    process = begun(WAITS)
    assert process.stdout.readline() == "works\n"
    process.send_signal(first)
    for stage in ("while it stops", "while its process ends"):
        assert process.stdout.readline() == "ends\n"
        if stage == when:
            process.send_signal(second)
        process.stdin.write("go on\n")
        process.stdin.flush()
    _, said = process.communicate()
    assert (process.returncode, said) == (130, "stopped\n")


def test_a_third_signal_ends_what_does_not_stop():
    process = begun(WAITS)
    assert process.stdout.readline() == "works\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "ends\n"
    while process.poll() is None:  # signals that come together count once
        process.send_signal(signal.SIGINT)
    assert (process.communicate()[1], process.returncode) == ("", 130)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_people_are_drawn_until_ctrl_c_twice(tmp_path, workers):
    """To all processes of the group, as a terminal does it."""
    process = begun(SYNTH, f"--out={tmp_path}", "--train=2000", "--val=0", "--size=64", f"--workers={workers}")
    while not list(tmp_path.rglob("*.jpg")):
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130 and "Traceback" not in said and said.endswith("\nstopped\n")  # after a bar
