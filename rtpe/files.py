"""Files are written whole or not at all: under a hidden name beside their place, which they then take."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

_HIDDEN = re.compile(r"\.(.+)\.[0-9a-f]{16}\.tmp", re.DOTALL)
_STEM = 200  # bytes of the name that a hidden name repeats: file systems take 255
_HUB_NAME = re.compile(r"([\w.-]+)/[\w.-]+")


@contextmanager
def replacing(path: str | Path, durable: bool = True) -> Iterator[BinaryIO]:
    """A new file for the block to write; it becomes `path` when the block ends well, else it is removed.

    The hidden name cannot be guessed, and no link is followed: one at `path` is replaced, not what it points to.
    Permissions follow the umask. What killed writers of the same name left in the folder is removed.

    Args:
        durable: bring the file to the disk before it takes its name; not for pictures, which are many and made again.

    Raises:
        OSError: if it cannot be written; it names `path`.
    """
    path = Path(path)
    with naming(path):
        _remove_left(path)
        temporary, file = _created(path)
        try:
            with _closing(file):
                yield file
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)  # a full disk needs the room
            raise
    if durable:
        sync_folder(path.parent)


def write_file(path: str | Path, content: bytes | str, durable: bool = True) -> None:
    """Write bytes, or text as UTF-8, as `replacing` does."""
    with replacing(path, durable) as file:
        file.write(content if isinstance(content, bytes) else content.encode())


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Errors of the operating system that name no file, as that of a full disk, or a hidden one, name this one."""
    try:
        yield
    except OSError as error:
        if error.errno and (error.filename is None or _HIDDEN.fullmatch(os.path.basename(str(error.filename)))):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the file system can do that."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def remove_hidden(folder: Path, named: Callable[[str], bool]) -> None:
    """Remove what killed writers of files of such names left in a folder."""
    for stem, paths in _left_in(folder).items():
        if named(stem):
            for path in paths:
                _remove_if_left(path)


def _created(path: Path) -> tuple[Path, BinaryIO]:
    """A new hidden file for a path, locked as long as it is open: so a living writer is told from a killed one."""
    while True:
        temporary = path.with_name(f".{_stem(path.name)}.{secrets.token_hex(8)}.tmp")
        number = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
        file = os.fdopen(number, "w+b")
        with contextlib.suppress(OSError):  # some file systems have no locks: nothing is removed there
            fcntl.flock(number, fcntl.LOCK_EX)
        if os.fstat(number).st_nlink:  # else another writer took it for left before it was locked
            return temporary, file
        file.close()


@contextmanager
def _closing(file: BinaryIO) -> Iterator[None]:
    """Close the file; what it still holds back after a failure fails again, and that says nothing new."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            file.close()
        raise
    file.close()


def _stem(name: str) -> str:
    return os.fsdecode(os.fsencode(name)[:_STEM])


def _remove_left(path: Path) -> None:
    for left in _listed(path.parent).pop(_stem(path.name), ()):
        _remove_if_left(left)


def _remove_if_left(path: Path) -> None:
    """Remove a hidden file unless its writer lives; whatever stands in the way of that, it stays."""
    with contextlib.suppress(OSError):
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(number)


@lru_cache(maxsize=64)  # a folder of many files is listed once, not for each of them
def _listed(folder: Path) -> dict[str, list[Path]]:
    return _left_in(folder)


def _left_in(folder: Path) -> dict[str, list[Path]]:
    """Hidden files by the names that they were to take."""
    left: dict[str, list[Path]] = {}
    with contextlib.suppress(OSError):  # a folder that can be written need not be readable
        for name in os.listdir(folder):
            if found := _HIDDEN.fullmatch(name):
                left.setdefault(found[1], []).append(folder / name)
    return left


def shipped(name: str, folder: str = "recipes") -> Path:
    """The YAML file that a setting names: a file there is, or by its bare name one that comes with rtpe.

    A path that is neither stays as it is: who reads it says what is missing.
    """
    path = Path(name)
    own = Path(__file__).parent / folder / f"{name}.yaml"
    return own if path.parent == Path() and not path.exists() and own.is_file() else path


def shipped_names(folder: str = "recipes") -> list[str]:
    """The names that `shipped` knows."""
    return sorted(path.stem for path in (Path(__file__).parent / folder).glob("*.yaml"))


def on_hub(name: str) -> bool:
    """Whether this can only be the name of something on the hub: OWNER/NAME, where no folder is or might have been."""
    form = _HUB_NAME.fullmatch(name)
    return bool(form) and not Path(name).exists() and not Path(form[1]).exists()
