"""The files of a store: numbered, and finished ones end with a digest of all their bytes."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from rtpe.files import replacing

SEAL = 32  # bytes of the digest at the end of a finished file; HDF5 and zip readers pass over it
Sound = Callable[[int, bytes], bool]  # whether a record is that of an image, and can be decoded
_CHUNK = 1 << 20
_NUMBER = re.compile(r"-?[0-9]+")


def write_sealed(path: Path, content: bytes | memoryview) -> None:
    """Write these bytes and their digest, whole or not at all."""
    with replacing(path) as file:
        file.write(content)
        file.write(hashlib.blake2b(content, digest_size=SEAL).digest())


def sealed(path: Path) -> bool:
    """Whether a finished file is, to the last byte, as it was written."""
    with open(path, "rb") as file:
        length = file.seek(0, os.SEEK_END) - SEAL
        file.seek(0)
        return length >= 0 and _digest(file, length) == file.read()


def numbered(folder: Path, digits: int, suffix: str) -> dict[Path, int]:
    """The files whose names are numbers of so many digits as a store writes them, in order, and what each file is."""
    try:
        with os.scandir(folder) as entries:
            files = [each for each in entries if is_numbered(each.name, digits, suffix) and each.is_file()]
            found = [(each.name, each.inode()) for each in files]
    except FileNotFoundError:
        if not folder.parent.is_dir():
            raise  # the cache was moved
        found = []  # a run was killed before it made the folder
    return {folder / name: inode for name, inode in sorted(found)}


def is_numbered(name: str, digits: int, suffix: str) -> bool:
    """Whether a store writes a file of that name: another one, such as `7.npz`, is none of its own."""
    stem = name.removesuffix(suffix)
    return bool(stem != name and _NUMBER.fullmatch(stem) and f"{int(stem):0{digits}d}" == stem)


def _digest(file: BinaryIO, length: int) -> bytes:
    digest = hashlib.blake2b(digest_size=SEAL)
    while length:
        chunk = file.read(min(length, _CHUNK))
        if not chunk:
            break  # it became shorter meanwhile
        digest.update(chunk)
        length -= len(chunk)
    return digest.digest()
