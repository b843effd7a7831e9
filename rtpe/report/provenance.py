"""What it takes to judge or repeat a number: command, commit, machine, time."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

from rtpe.version import __version__


def run_info() -> dict[str, str]:
    """The facts of this process, as text."""
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "version": f"rtpe {__version__}, commit {_commit()}",
        "machine": f"{system}, Python {platform.python_version()}",
        "time": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _commit() -> str:
    """The commit this code is of, with a mark if it has been changed since; unknown outside a clone."""
    folder = Path(__file__).resolve().parent
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
        return said.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
