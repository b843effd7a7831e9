"""Trainings of a study in the process of the test: one of its own imports torch for seconds."""

from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

from rtpe.cli import main


@dataclass
class Ended:
    """What a process is to a study once it has ended."""

    returncode: int

    def poll(self):
        return self.returncode

    def wait(self):
        return self.returncode


def begin(command, log):
    """For `rtpe.training.study._rtpe`: run the command to its end, its words into the log."""
    with redirect_stdout(log), redirect_stderr(log):
        ended = Ended(main(list(command)))
    log.flush()
    return ended
