"""The folder of a cache: locked by the one run that writes, with one manifest, and a list of what was skipped."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Mapping
from pathlib import Path

from rtpe.cache.manifest import FILE, Manifest
from rtpe.cache.stores import whole
from rtpe.errors import UserError

_SKIPPED = "skipped.txt"
Skipped = Mapping[int, tuple[str, str]]  # (file name, reason) by image id


def agreed(path: Path, manifest: Manifest) -> Manifest:
    """The manifest in the folder: the one that is there, or this one, newly written if the cache is new or empty."""
    if not (path / FILE).exists():
        if any(not each.name.startswith(".") for each in path.iterdir()):
            raise UserError(f"cache {path}: the folder is not empty and no cache: choose another --cache.path")
        manifest.write(path)
        return manifest
    there = Manifest.read(path)
    lines = there.differences(manifest)
    if lines and not any((path / name).is_dir() and any((path / name).iterdir()) for name in ("entries", ".parts")):
        manifest.write(path)  # a run that ended before its first entry
        return manifest
    if lines:
        raise UserError(
            f"cache {path}: holds something else than this run makes: {'; '.join(lines)}: "
            "choose another --cache.path, or the settings it was made with"
        )
    return there


def locked(path: Path):
    """The folder, made if need be, and an open file whose lock ends with this process, however that ends."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = open(path / ".lock", "w")  # noqa: SIM115
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(
            f"cache {path}: another run is writing to it: wait for it or choose another --cache.path"
        ) from error
    except OSError as error:
        raise UserError(f"cache {path}: cannot be written ({error.strerror}): choose another --cache.path") from error
    return lock


_NUMBER = re.compile(r"-?\d{1,19}", re.ASCII)


def read_skipped(folder: Path) -> dict[int, tuple[str, str]]:
    """What `write_skipped` wrote, if anything."""
    path = folder / _SKIPPED
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    rows = (line.split("\t") for line in lines)
    # a list for people to read: a line that was changed by hand says nothing, and harms nothing
    return {int(row[0]): (row[1], row[2]) for row in rows if len(row) == 3 and _NUMBER.fullmatch(row[0])}


def write_skipped(folder: Path, skipped: Skipped) -> None:
    """List them, one a line, for people to read."""
    lines = [f"{key}\t{name}\t{reason}\n" for key, (name, reason) in sorted(skipped.items())]
    with whole(folder / _SKIPPED) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8", errors="replace")


def not_written(path: Path, error: OSError) -> UserError:
    """What to raise where a disk is full or a folder protected."""
    reason = os.strerror(error.errno) if error.errno else error  # HDF5 adds some lines of its own
    return UserError(
        f"cache {path}: cannot be written ({reason}): what was finished is kept; make room, or choose another "
        "--cache.path, and run again"
    )
