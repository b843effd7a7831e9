"""Where records lie on disk: HDF5 shards of many, or one npz file for each.

A store maps image ids to records: `write`, `read`, of all or of the first bytes, `flush`, `in`, `len`, iteration over
the ids, `nbytes`, `where`, the file that holds an id, `files`, all that it has, `damage`, whether a byte of one of them
changed, and `mend`. Finished files appear whole or not at all, end with a digest of all their bytes, and never change
afterwards. A store holds no open file while it is read, so that it may be forked and used by several processes at once.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from rtpe.cache.entries import HEADER_BYTES, records_in, whole_record
from rtpe.errors import UserError

SEAL = 32  # bytes of the digest at the end of a finished file; HDF5 and zip readers pass over it
_SHARD_BYTES = 256 << 20  # a shard of dense maps is closed earlier, before it fills the memory
_CHUNK = 1 << 20


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary file name for the block to write; it becomes `path`, durably, when the block ends well."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)  # a full disk needs the room
        raise
    os.replace(temporary, path)


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed run had begun to write, and journals whose shard it had just finished."""
    finished = [path for path in folder.glob("*.journal") if path.with_suffix(".h5").exists()]
    for path in [*folder.glob(".*.tmp"), *finished]:
        path.unlink()


def sealed(path: Path) -> bool:
    """Whether a finished file is, to the last byte, as it was written."""
    with open(path, "rb") as file:
        length = file.seek(0, os.SEEK_END) - SEAL
        file.seek(0)
        return length >= 0 and _digest(file, length) == file.read()


def _seal(path: Path, length: int) -> None:
    """Put the digest of the first `length` bytes behind them."""
    with open(path, "rb+") as file:
        digest = _digest(file, length)
        file.seek(length)
        file.write(digest)


def _digest(file, length: int) -> bytes:
    digest = hashlib.blake2b(digest_size=SEAL)
    while length:
        chunk = file.read(min(length, _CHUNK))
        digest.update(chunk)
        length -= len(chunk)
    return digest.digest()


def _numbered(folder: Path, suffix: str) -> list[Path]:
    return [path for path in sorted(folder.glob(f"*{suffix}")) if path.stem.lstrip("-").isdigit()]


class Hdf5Store:
    """Shards of up to `shard` records: `000000.h5` with `ids` (N,), `offsets` (N + 1,) and `records`, uint8.

    HDF5 files do not survive being killed in mid-write, so records are appended to a plain file, `000000.journal`, one
    after the other; when it is full, its shard is written in one go, and it is removed.
    `records` is contiguous in its file: reading needs its place only, not HDF5.

    Args:
        damaged: read also what is left of damaged shards.

    Raises:
        UserError: if a shard cannot be read.
    """

    def __init__(self, folder: Path, shard: int = 256, damaged: bool = False):
        self.folder, self.shard, self.damaged = folder, shard, damaged
        self._learn()

    def __contains__(self, image_id: int) -> bool:
        return image_id in self._index

    def __iter__(self) -> Iterator[int]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)

    @property
    def nbytes(self) -> int:
        return sum(length for _, _, length in self._index.values())

    @property
    def files(self) -> list[Path]:
        return _numbered(self.folder, ".h5") + _numbered(self.folder, ".journal")

    def where(self, image_id: int) -> Path:
        return self._index[image_id][0]

    def read(self, image_id: int, most: int | None = None) -> bytes:
        path, start, length = self._index[image_id]
        if path.suffix == ".journal" and not path.exists():  # its shard was finished by another process
            self._learn()
            path, start, length = self._index[image_id]
        with open(path, "rb") as file:
            file.seek(start)
            return file.read(length if most is None else min(most, length))

    def write(self, image_id: int, record: bytes) -> None:
        self._append(record)
        self._index[image_id] = self._journal, self._journal_bytes, len(record)
        self._journal_bytes += len(record)
        self._waiting.append(image_id)
        if len(self._waiting) >= self.shard or self._journal_bytes >= _SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Make a shard of the journal."""
        if not self._waiting:
            return
        path = self._journal.with_suffix(".h5")
        self._write_shard(path, [(image_id, self.read(image_id)) for image_id in self._waiting])
        self._index.update(self._shard_index(path))
        self._journal.unlink()
        self._begin(int(path.stem) + 1)

    def damage(self, path: Path) -> bool:
        """Whether a byte of one of the files changed; what a killed run left half written is no damage."""
        return not sealed(path) if path.suffix == ".h5" else _journal_damaged(path.read_bytes())

    def mend(self, path: Path) -> None:
        """Keep of a damaged file the records that are whole."""
        raw = path.read_bytes()
        kept = [(image_id, raw[a:b]) for image_id, a, b in records_in(raw) if whole_record(raw[a:b])]
        if kept:
            self._write_shard(path.with_suffix(".h5"), kept)
        if not kept or path.suffix != ".h5":
            path.unlink()
        self._learn()

    def _append(self, record: bytes) -> None:
        journal, end = self._journal, self._journal_bytes
        try:
            with open(journal, "r+b" if journal.exists() else "wb") as file:
                file.truncate(end)  # after it lies at most what a killed run left half written
                file.seek(end)
                file.write(record)
        except OSError:  # a full disk: what was written before stays good
            if journal.exists():
                os.truncate(journal, end)
            raise

    def _write_shard(self, path: Path, records: list[tuple[int, bytes]]) -> None:
        ids, blobs = zip(*records)
        with whole(path) as temporary:
            with h5py.File(temporary, "w", locking=False) as file:
                file["ids"] = np.array(ids, np.int64)
                file["offsets"] = np.cumsum([0, *map(len, blobs)], dtype=np.int64)
                file["records"] = np.frombuffer(b"".join(blobs), np.uint8)
            _seal(temporary, os.path.getsize(temporary))

    def _learn(self) -> None:
        """Read from the folder what is there."""
        self._index: dict[int, tuple[Path, int, int]] = {}
        shards, journals = _numbered(self.folder, ".h5"), _numbered(self.folder, ".journal")
        for path in shards:
            self._index.update(self._shard_index(path))
        self._begin(max((int(path.stem) for path in shards), default=-1) + 1)
        # a journal whose shard is there says nothing new: the run was killed before it could remove it
        for path in (path for path in journals if path.with_suffix(".h5") not in shards):
            raw = path.read_bytes()
            found = [(key, a, b) for key, a, b in records_in(raw) if whole_record(raw[a:b]) and key not in self._index]
            self._index.update({key: (path, a, b - a) for key, a, b in found})
            self._begin(int(path.stem), found)

    def _begin(self, number: int, found: Sequence[tuple[int, int, int]] = ()) -> None:
        """Go on with the journal of that number, in which (image id, begin, end) were found."""
        self._journal = self.folder / f"{number:06d}.journal"
        self._waiting = [image_id for image_id, _, _ in found]
        self._journal_bytes = max((end for _, _, end in found), default=0)

    def _shard_index(self, path: Path) -> dict[int, tuple[Path, int, int]]:
        if self.damaged and not sealed(path):
            return {image_id: (path, begin, end - begin) for image_id, begin, end in records_in(path.read_bytes())}
        try:
            with h5py.File(path, "r", locking=False) as file:
                ids, offsets = file["ids"][:].tolist(), file["offsets"][:].tolist()
                size = file["records"].size
                start = file["records"].id.get_offset() if size else 0
            if len(offsets) != len(ids) + 1 or offsets != sorted(offsets) or offsets[-1] != size or start is None:
                raise UserError("its offsets do not fit its records")
        except (OSError, KeyError, ValueError, AttributeError, RuntimeError, TypeError) as error:
            repair = f"rtpe cache verify --cache.path {path.parent.parent} --repair true"
            raise UserError(f"cache shard {path}: damaged ({error}): run `{repair}`, then build again") from error
        places = zip(ids, offsets, offsets[1:])
        return {image_id: (path, start + begin, end - begin) for image_id, begin, end in places}


def _journal_damaged(raw: bytes) -> bool:
    at = 0
    for _, begin, end in records_in(raw):
        if begin > at:
            return True
        if end > len(raw):
            return False  # the last one was cut off
        if not whole_record(raw[begin:end]):
            return True
        at = end
    return len(raw) - at >= HEADER_BYTES  # less than a header was cut off as well


class NpzStore:
    """One file an image, `<id>.npz`, with `image_id` and `record`, uint8: easy to copy, slow in great numbers."""

    def __init__(self, folder: Path, shard: int = 1, damaged: bool = False):
        self.folder = folder
        self._ids = dict.fromkeys(int(path.stem) for path in self.files)

    def __contains__(self, image_id: int) -> bool:
        return image_id in self._ids

    def __iter__(self) -> Iterator[int]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def nbytes(self) -> int:
        return sum(self.where(image_id).stat().st_size for image_id in self._ids)

    @property
    def files(self) -> list[Path]:
        return _numbered(self.folder, ".npz")

    def where(self, image_id: int) -> Path:
        return self.folder / f"{image_id:012d}.npz"

    def read(self, image_id: int, most: int | None = None) -> bytes:
        try:
            with np.load(self.where(image_id), allow_pickle=False) as file:
                return file["record"][:most].tobytes()
        except Exception as error:  # a changed byte of a zip file can surface as nearly any error
            raise UserError(f"not a whole npz file: {error}") from error

    def write(self, image_id: int, record: bytes) -> None:
        with whole(self.where(image_id)) as temporary:
            with open(temporary, "wb") as file:
                np.savez(file, image_id=np.int64(image_id), record=np.frombuffer(record, np.uint8))
            with zipfile.ZipFile(temporary, "a") as file:
                file.comment = bytes(SEAL)
            _seal(temporary, os.path.getsize(temporary) - SEAL)
        self._ids[image_id] = None

    def flush(self) -> None:
        """Nothing waits."""

    def damage(self, path: Path) -> bool:
        """Whether a byte of one of the files changed."""
        return not sealed(path)

    def mend(self, path: Path) -> None:
        """Write a damaged file anew if its record is whole, else remove it."""
        raw, image_id = path.read_bytes(), int(path.stem)
        kept = [raw[a:b] for key, a, b in records_in(raw) if key == image_id and whole_record(raw[a:b])]
        if kept:
            self.write(image_id, kept[0])
        else:
            path.unlink()
            del self._ids[image_id]


STORES = {"hdf5": Hdf5Store, "npz": NpzStore}
