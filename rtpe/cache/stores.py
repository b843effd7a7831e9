"""Where records lie on disk: HDF5 shards of many, or one npz file for each.

A store maps image ids to bytes: `write`, `read`, `flush`, `in`, `len`, iteration over the ids, `nbytes`, and `where`,
the file that holds an id. Files appear whole or not at all, and never change afterwards. A store holds no open file, so
that it may be forked and used by several processes at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

_SHARD_BYTES = 256 << 20  # a shard of dense maps is closed earlier, before it fills the memory


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary file name for the block to write; it becomes `path`, durably, when the block ends well."""
    temporary = path.with_name(f".{path.name}.tmp")
    yield temporary
    with open(temporary, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed run had begun to write."""
    for path in folder.glob(".*.tmp"):
        path.unlink()


def _numbered(folder: Path, suffix: str) -> list[Path]:
    return [path for path in sorted(folder.glob(f"*{suffix}")) if path.stem.lstrip("-").isdigit()]


class Hdf5Store:
    """Shards of up to `shard` records: `000000.h5` with `ids` (N,), `offsets` (N + 1,) and `records`, uint8.

    HDF5 files do not survive being killed in mid-write, so a shard is gathered in memory and written in one go.
    `records` is contiguous in its file: reading needs its place only, not HDF5.

    Raises:
        ValueError: if a shard cannot be read.
    """

    def __init__(self, folder: Path, shard: int = 256):
        self.folder, self.shard = folder, shard
        self._index: dict[int, tuple[Path, int, int]] = {}
        self._pending: dict[int, bytes] = {}
        paths = _numbered(folder, ".h5")
        for path in paths:
            self._learn(path)
        self._number = int(paths[-1].stem) + 1 if paths else 0

    def __contains__(self, image_id: int) -> bool:
        return image_id in self._index or image_id in self._pending

    def __iter__(self) -> Iterator[int]:
        yield from self._index
        yield from self._pending

    def __len__(self) -> int:
        return len(self._index) + len(self._pending)

    @property
    def nbytes(self) -> int:
        return sum(length for _, _, length in self._index.values()) + sum(map(len, self._pending.values()))

    def where(self, image_id: int) -> Path:
        return self._index[image_id][0] if image_id in self._index else self.folder

    def read(self, image_id: int) -> bytes:
        if image_id in self._pending:
            return self._pending[image_id]
        path, start, length = self._index[image_id]
        with open(path, "rb") as file:
            file.seek(start)
            return file.read(length)

    def write(self, image_id: int, record: bytes) -> None:
        self._pending[image_id] = record
        if len(self._pending) >= self.shard or sum(map(len, self._pending.values())) >= _SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        if not self._pending:
            return
        path = self.folder / f"{self._number:06d}.h5"
        with whole(path) as temporary, h5py.File(temporary, "w", locking=False) as file:
            file["ids"] = np.array(list(self._pending), np.int64)
            file["offsets"] = np.cumsum([0, *map(len, self._pending.values())], dtype=np.int64)
            file["records"] = np.frombuffer(b"".join(self._pending.values()), np.uint8)
        self._learn(path)
        self._pending.clear()
        self._number += 1

    def _learn(self, path: Path) -> None:
        try:
            with h5py.File(path, "r", locking=False) as file:
                ids, offsets = file["ids"][:].tolist(), file["offsets"][:].tolist()
                size = file["records"].size
                start = file["records"].id.get_offset() if size else 0
            if len(offsets) != len(ids) + 1 or offsets != sorted(offsets) or offsets[-1] != size or start is None:
                raise ValueError("its offsets do not fit its records")
        except (OSError, KeyError, ValueError, AttributeError, RuntimeError) as error:
            raise ValueError(
                f"cache shard {path}: damaged ({error}): delete it and build again, its images are then remade"
            ) from error
        for image_id, begin, end in zip(ids, offsets, offsets[1:]):
            self._index[image_id] = path, start + begin, end - begin


class NpzStore:
    """One file an image, `<id>.npz`, with `image_id` and `record`, uint8: easy to copy, slow in great numbers."""

    def __init__(self, folder: Path, shard: int = 1):
        self.folder = folder
        self._ids = dict.fromkeys(int(path.stem) for path in _numbered(folder, ".npz"))

    def __contains__(self, image_id: int) -> bool:
        return image_id in self._ids

    def __iter__(self) -> Iterator[int]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def nbytes(self) -> int:
        return sum(self.where(image_id).stat().st_size for image_id in self._ids)

    def where(self, image_id: int) -> Path:
        return self.folder / f"{image_id:012d}.npz"

    def read(self, image_id: int) -> bytes:
        try:
            with np.load(self.where(image_id), allow_pickle=False) as file:
                return file["record"].tobytes()
        except Exception as error:  # a changed byte of a zip file can surface as nearly any error
            raise ValueError(f"not a whole npz file: {error}") from error

    def write(self, image_id: int, record: bytes) -> None:
        with whole(self.where(image_id)) as temporary, open(temporary, "wb") as file:
            np.savez(file, image_id=np.int64(image_id), record=np.frombuffer(record, np.uint8))
        self._ids[image_id] = None

    def flush(self) -> None:
        """Nothing waits."""


STORES = {"hdf5": Hdf5Store, "npz": NpzStore}
