"""Trainings that belong together: each in a process of its own, none twice, going on where they were killed."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from rtpe.errors import DIVERGED, UserError
from rtpe.plain import read_json
from rtpe.report.table import write_json

GLANCE = 0.2  # seconds between looks at the trainings that run


@dataclass(frozen=True)
class Training:
    """A run of `rtpe train`: its folder, and beside it a file of what it led to and a log of what it said.

    Attributes:
        name: of the folder.
        options: of `rtpe train`, by their dotted names.
        out: where the folder is.
    """

    name: str
    options: Mapping[str, object]
    out: Path

    @property
    def folder(self) -> Path:
        return self.out / self.name

    @property
    def log(self) -> Path:
        return self.out / f"{self.name}.log"

    @property
    def file(self) -> Path:
        return self.out / f"{self.name}.json"

    @property
    def command(self) -> list[str]:
        return ["train", *words(self.options), f"--out={self.folder}"]

    def kept(self) -> dict | None:
        """What it led to, if it is through.

        Raises:
            UserError: if that was another command.
        """
        if not self.file.exists():
            return None
        try:
            (row,) = read_json(self.file)
            command = row["command"]
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{self.file}: should be a list of one row with its command: remove it") from error
        if command != self.command:
            raise UserError(f"run {self.folder}: was trained by another command: pass another --out, or remove it")
        return row

    def keep(self, led_to: Mapping[str, object]) -> dict:
        """Write what it led to, with its command."""
        row = {**led_to, "command": self.command}
        write_json([row], self.file)
        return row

    def start(self) -> subprocess.Popen:
        """Begin, or go on.

        Raises:
            UserError: if it runs already, having outlived a study that was killed.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as log:
            try:
                fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the process inherits it, and has it until it ends
            except OSError as error:
                raise UserError(f"run {self.folder}: is being trained already: wait for it, or end it") from error
            return _rtpe(self.command, log)


def run_trainings(
    trainings: Sequence[Training],
    finish: Callable[[Training], dict],
    at_once: int = 1,
    if_diverged: Callable[[Training], dict] | None = None,
) -> list[dict]:
    """What all of them led to, in their order; those that are not there yet run, so many at a time.

    Args:
        finish: what a training that has ended led to.
        if_diverged: what one that diverged led to; without it, that one has failed.

    Raises:
        UserError: if what is there is of another command, before anything runs; if a training runs already, having
            outlived its study; or if one failed, after all others have ended.
    """
    rows = {training.name: training.kept() for training in trainings}
    waiting = [training for training in trainings if rows[training.name] is None]
    running: list[tuple[Training, subprocess.Popen]] = []
    there = len(trainings) - len(waiting)
    failed: list[str] = []
    bar = tqdm(total=len(trainings), initial=there, desc="trainings", leave=False, disable=None)
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append((waiting[0], waiting.pop(0).start()))
            time.sleep(GLANCE)
            for training, process in [each for each in running if each[1].poll() is not None]:
                running.remove((training, process))
                diverged = process.returncode == DIVERGED and if_diverged is not None
                try:
                    if not diverged:
                        _require(process, "train", training.log)
                    rows[training.name] = training.keep(if_diverged(training) if diverged else finish(training))
                except ValueError as error:
                    failed.append(f"{training.name}: {error}")
                    bar.write(failed[-1], file=sys.stderr)
                bar.update()
    finally:
        bar.close()
        for _, process in running:
            process.terminate()
            process.wait()
    if failed:
        raise UserError(f"{len(failed)} of {len(trainings)} trainings failed, the others are kept: {failed[0]}")
    return [rows[training.name] for training in trainings]


def rtpe(command: Sequence[str], log: Path) -> None:
    """Run a command to its end.

    Raises:
        UserError: if it fails, with what it said last.
    """
    with log.open("a") as file:
        process = _rtpe(command, file)
    process.wait()
    _require(process, command[0], log)


def words(options: Mapping[str, object]) -> list[str]:
    """Options as one types them."""
    return [f"--{name}={each if isinstance(each, str) else json.dumps(each)}" for name, each in options.items()]


def _rtpe(command: Sequence[str], log) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "rtpe.cli", *command], stdout=log, stderr=subprocess.STDOUT)


def _require(process: subprocess.Popen, command: str, log: Path) -> None:
    if process.returncode:
        said = log.read_text().strip().splitlines() or ["nothing"]
        raise UserError(f"`rtpe {command}` failed: {said[-1]}: see {log}")
