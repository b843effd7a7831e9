"""The folder of a cache: locked by the one run that writes, with one manifest, and a list of what was skipped."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from rtpe.cache.manifest import FILE, Manifest
from rtpe.cache.stores import remove_unfinished
from rtpe.errors import UserError
from rtpe.files import remove_hidden, write_file

ENTRIES = "entries"
PARTS = ".parts"  # of a cache that several processes build: a cache of its own for each
_LOCK, _SKIPPED = ".lock", "skipped.txt"
_JOINED = ".parts.joined"  # parts whose entries are in the cache
_ID = re.compile(r"-?[0-9]{1,19}")
Skipped = Mapping[int, tuple[str, str]]  # (file name, reason) by image id


class NotWritten(UserError):
    """A full disk, a protected folder, or one that has gone."""


def agreed(path: Path, manifest: Manifest) -> Manifest:
    """The manifest in the folder: the one that is there, or this one, newly written if the cache is new or empty."""
    if not (path / FILE).exists():
        if any(not each.name.startswith(".") for each in path.iterdir()):
            raise UserError(f"cache {path}: the folder is not empty and no cache: choose another --cache.path")
        manifest.write(path)
        return manifest
    there = Manifest.read(path)
    lines = there.differences(manifest)
    if lines and not any((path / name).is_dir() and any((path / name).iterdir()) for name in (ENTRIES, PARTS)):
        manifest.write(path)  # a run that ended before its first entry
        return manifest
    if lines:
        raise UserError(
            f"cache {path}: holds something else than this run makes: {'; '.join(lines)}: "
            "choose another --cache.path, or the settings it was made with"
        )
    return there


def locked(path: Path) -> BinaryIO:
    """The folder, made if need be, and an open file whose lock ends with this process, however that ends.

    Raises:
        UserError: if another run writes to it, it cannot be written, or something that would be written is a link.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        refuse_links(path)
        lock = os.fdopen(os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "r+b", buffering=0)
    except OSError as error:
        raise NotWritten(f"cache {path}: cannot be written ({error.strerror}): choose another --cache.path") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        if not isinstance(error, BlockingIOError):
            raise not_written(path, error) from error
        raise UserError(
            f"cache {path}: another run is writing to it: wait for it or choose another --cache.path"
        ) from error
    return lock


def refuse_links(path: Path) -> None:
    """A cache may come from elsewhere: what a run writes to must lie in its folder, under one name.

    Raises:
        UserError: if something that would be written to, or removed, is a link.
    """
    places = [path / name for name in (_LOCK, ENTRIES, PARTS, _JOINED)]
    journals = [each for each in _inside(path / ENTRIES) if each.suffix == ".journal"]
    for place in (*places, *_inside(path / PARTS), *journals):
        if place.is_symlink() or (place.suffix == ".journal" and place.is_file() and place.stat().st_nlink > 1):
            raise UserError(
                f"cache {path}: {place.relative_to(path)} is a link, and what it leads to would be written to: "
                "put a copy in its place, or choose another --cache.path"
            )


def _inside(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []


def cleaned(path: Path) -> None:
    """Remove what killed runs left half written, or half removed."""
    remove_hidden(path, (FILE, _SKIPPED).__contains__)
    if (path / ENTRIES).is_dir():
        remove_unfinished(path / ENTRIES)
    if (path / _JOINED).is_dir():
        shutil.rmtree(path / _JOINED)


def remove_parts(path: Path) -> None:
    """Remove the parts, whose entries are in the cache: a kill must not leave some that look unfinished."""
    cleaned(path)
    os.rename(path / PARTS, path / _JOINED)
    cleaned(path)


def read_skipped(folder: Path) -> dict[int, tuple[str, str]]:
    """What `write_skipped` wrote, if anything."""
    path = folder / _SKIPPED
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    rows = (line.split("\t") for line in lines)
    # a list for people to read: a line that was changed by hand says nothing, and harms nothing
    return {int(row[0]): (row[1], row[2]) for row in rows if len(row) == 3 and _ID.fullmatch(row[0])}


def write_skipped(folder: Path, skipped: Skipped) -> None:
    """List them, one a line, for people to read."""
    lines = [f"{key}\t{name}\t{reason}\n" for key, (name, reason) in sorted(skipped.items())]
    write_file(folder / _SKIPPED, "".join(lines).encode(errors="replace"))


def not_written(path: Path, error: OSError) -> UserError:
    """What to raise where a disk is full, a folder protected, or gone."""
    if not path.is_dir():
        return gone(path)
    return NotWritten(
        f"cache {path}: cannot be written ({error.strerror or error}): what was finished is kept; make room, or choose "
        "another --cache.path, and run again"
    )


def gone(path: Path) -> UserError:
    """What to raise where a folder was there when the cache was opened, and is there no more."""
    return NotWritten(
        f"cache {path}: the folder has gone: was it moved? What was finished is kept in it: choose its new place by "
        "--cache.path, and run again"
    )
