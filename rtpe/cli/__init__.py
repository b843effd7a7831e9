"""The `rtpe` command: finds what is asked for, and turns what stops it into one line.

Exit statuses: 0, it is done; 2, a user's mistake; 3, a training diverged; 130, it was stopped.
"""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
from collections.abc import Callable
from types import ModuleType

from rtpe.errors import DIVERGED, Diverged, UserError, printable
from rtpe.settings.parse import parse_settings

STOPPED = 130

# name -> the module of rtpe.cli that has its settings' class, of this name, and `run`
COMMANDS = {
    "synth": ("synth", "Synth"),
    "cache build": ("cache_build", "CacheBuild"),
    "cache info": ("cache_info", "CacheInfo"),
    "cache verify": ("cache_verify", "CacheVerify"),
    "cache merge": ("cache_merge", "CacheMerge"),
    "cache convert": ("cache_convert", "CacheConvert"),
    "cache import": ("cache_import", "CacheImport"),
    "train": ("train", "Train"),
    "validate": ("validate", "Validate"),
    "study norms": ("study_norms", "StudyNorms"),
    "predict": ("predict", "Predict"),
    "demo": ("demo", "Demo"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run a command line; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    for name in COMMANDS:
        words = name.split()
        if arguments[: len(words)] == words:
            return run(name, arguments[len(words) :], f"rtpe {name}")
    if arguments and arguments not in (["--help"], ["-h"]):
        print(
            f"error: no such command: rtpe {printable(' '.join(arguments[:2]))}: choose from {', '.join(COMMANDS)}",
            file=sys.stderr,
        )
        return 2
    print(usage())
    return 0


def run(name: str, arguments: list[str] | None, prog: str) -> int:
    """Run one command with these arguments; None takes the process's own."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads starve the loaders that feed them

    def work() -> None:
        command_module(name).run(parse_settings(settings_class(name), arguments, prog))

    return status(work)


def status(work: Callable[[], object]) -> int:
    """Do it; what stops it becomes one line and the exit status that is returned."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be text
    stopping = _Stopping()
    signal.signal(signal.SIGTERM, stopping)  # a polite kill keeps what is finished, as Ctrl-C does
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as of what a script starts in the background
        signal.signal(signal.SIGINT, stopping)
    try:
        work()
    except (UserError, OSError) as error:
        if os.environ.get("RTPE_TRACEBACK"):
            raise
        print(f"error: {printable(_said(error))}", file=sys.stderr)
        return DIVERGED if isinstance(error, Diverged) else 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return STOPPED
    return 0


class _Stopping:
    """What a signal does that stops a command.

    The first one stops it, and what is finished is kept. A second one meets a command that is stopping, or a process
    that ends: it would only show where. From the third on the process ends at once.
    """

    def __init__(self):
        self.count = 0

    def __call__(self, *_) -> None:
        self.count += 1
        if self.count == 1:
            raise KeyboardInterrupt
        if self.count > 2:
            os._exit(STOPPED)


def _said(error: Exception) -> str:
    """The message; of an error of the operating system the file and the reason."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    return str(error)


def usage() -> str:
    """What there is."""
    lines = ["usage: rtpe COMMAND [--config FILE] [--SETTING VALUE ...]", "", "commands (each has --help):"]
    for name in COMMANDS:
        about = (settings_class(name).__doc__ or "").split("\n")[0]
        lines.append(f"  {name:13} {about}")
    return "\n".join(lines)


def command_module(name: str) -> ModuleType:
    return importlib.import_module(f"rtpe.cli.{COMMANDS[name][0]}")


def settings_class(name: str) -> type:
    """The class of a command's settings."""
    return getattr(command_module(name), COMMANDS[name][1])
