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

from rtpe import config
from rtpe.errors import Diverged, UserError, printable

STOPPED = 130
DIVERGED = 3  # a study tells by it what is a result from what is a mistake

# name -> the settings' class in rtpe.config, the module and function that do the work; imported only when asked for
COMMANDS = {
    "synth": ("Synth", "rtpe.commands.synth", "synth"),
    "cache build": ("CacheBuild", "rtpe.commands.cache", "build_teacher_cache"),
    "cache info": ("CacheInfo", "rtpe.commands.cache", "cache_info"),
    "cache verify": ("CacheVerify", "rtpe.commands.cache", "cache_verify"),
    "cache merge": ("CacheMerge", "rtpe.commands.cache", "cache_merge"),
    "cache convert": ("CacheConvert", "rtpe.commands.cache", "cache_convert"),
    "cache import": ("CacheImport", "rtpe.commands.cache", "cache_import"),
    "train": ("Train", "rtpe.commands.train", "train"),
    "validate": ("Validate", "rtpe.commands.validate", "validate"),
    "study norms": ("StudyNorms", "rtpe.commands.norms", "norms"),
    "predict": ("Predict", "rtpe.commands.predict", "predict"),
    "demo": ("Demo", "rtpe.commands.demo", "demo"),
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
    settings_name, module, function = COMMANDS[name]

    def work() -> None:
        settings = config.parse(getattr(config, settings_name), arguments, prog)
        getattr(importlib.import_module(module), function)(settings)

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
    for name, (settings_name, _, _) in COMMANDS.items():
        said = (getattr(config, settings_name).__doc__ or "").split("\n")[0]
        lines.append(f"  {name:13} {said}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
