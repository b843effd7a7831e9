"""The store of many records in one HDF5 file, and of those that wait for one in a journal."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np

from rtpe.cache.entries import HEADER_BYTES, records_in, whole_record
from rtpe.cache.sealed import Sound, numbered, sealed, write_sealed
from rtpe.errors import UserError
from rtpe.files import sync_folder

DIGITS = 6
_SHARD_BYTES = 256 << 20  # a shard of dense maps is closed earlier, before it fills the memory
_SYNC_S = 1.0  # a power cut costs the journal what was appended since

Places = dict[int, tuple[Path, int, int]]  # file, first byte and length by image id


class Hdf5Store:
    """Shards of up to `shard` records: `000000.h5` with `ids` (N,), `offsets` (N + 1,) and `records`, uint8.

    HDF5 files do not survive being killed in mid-write, so records are appended to a plain file, `000000.journal`, one
    after the other; when it is full, its shard is made in memory and written in one go, and it is removed.
    `records` is contiguous in its file: reading needs its place only, not HDF5.

    Args:
        damaged: read also what is left of damaged shards.

    Raises:
        UserError: if a shard cannot be read.
    """

    def __init__(self, folder: Path, shard: int = 256, damaged: bool = False):
        self.folder, self.shard, self.damaged = folder, shard, damaged
        self._synced = time.monotonic()
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
        return [path for found in self._listed() for path in found]

    def where(self, image_id: int) -> Path:
        return self._index[image_id][0]

    def read(self, image_id: int, most: int | None = None) -> bytes:
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
        write_shard(path, [(image_id, self.read(image_id)) for image_id in self._waiting])
        self._index.update(self._shard_places(path))
        self._journal.unlink()
        self._begin(int(path.stem) + 1)

    def refresh(self, image_id: int) -> bool:
        """Read the folder again if its files are no longer those that were read; whether they are others."""
        if self._listed() == self._seen:
            return False
        self._learn()
        return True

    def damage(self, path: Path) -> bool:
        """Whether a byte of one of the files changed; what a killed run left half written is no damage."""
        try:
            return self._unreadable(path) if path.suffix == ".h5" else _journal_damaged(path.read_bytes())
        except FileNotFoundError:
            return False  # the journal has become a shard

    def mend(self, path: Path, sound: Sound) -> None:
        """Keep of a damaged file the records that are sound."""
        raw = path.read_bytes()
        kept = [(image_id, raw[a:b]) for image_id, a, b in records_in(raw) if sound(image_id, raw[a:b])]
        if kept:
            write_shard(path.with_suffix(".h5"), kept)
        if not kept or path.suffix != ".h5":
            path.unlink()
        self._learn()

    def _append(self, record: bytes) -> None:
        number = os.open(self._journal, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        with os.fdopen(number, "r+b", buffering=0) as file:
            file.truncate(self._journal_bytes)  # after it lies at most what a killed run left half written
            file.seek(self._journal_bytes)
            try:
                rest = memoryview(record)
                while rest:
                    rest = rest[file.write(rest) :]
                self._sync(number)
            except BaseException:  # a full disk: what was written before stays good
                file.truncate(self._journal_bytes)
                raise

    def _sync(self, journal: int) -> None:
        """Bring the journal to the disk, once in a while: a build has many small records."""
        if not self._journal_bytes:
            sync_folder(self.folder)
        if time.monotonic() - self._synced >= _SYNC_S:
            os.fsync(journal)
            self._synced = time.monotonic()

    def _listed(self) -> tuple[dict[Path, int], dict[Path, int]]:
        """The shards and the journals, with what file each one is."""
        journals = numbered(self.folder, DIGITS, ".journal")  # first: one that becomes a shard now is seen twice
        return numbered(self.folder, DIGITS, ".h5"), journals

    def _learn(self) -> None:
        """Read from the folder what is there, again if a file that was listed has gone: its journal became a shard."""
        known: dict[tuple[Path, int], Places] = {}
        while True:
            listed = self._listed()
            try:
                self._index = self._places(*listed, known)
                self._seen = listed
                return
            except FileNotFoundError:
                if listed == self._listed():
                    raise

    def _places(self, shards: dict[Path, int], journals: dict[Path, int], known: dict) -> Places:
        index: Places = {}
        for shard in shards.items():
            if shard not in known:
                known[shard] = self._shard_places(shard[0])
            index.update(known[shard])
        self._begin(max((int(path.stem) for path in shards), default=-1) + 1)
        # a journal whose shard is there says nothing new: the run was killed before it could remove it
        for path in (path for path in journals if path.with_suffix(".h5") not in shards):
            raw = path.read_bytes()
            found = [(key, a, b) for key, a, b in records_in(raw) if whole_record(raw[a:b]) and key not in index]
            index.update({key: (path, a, b - a) for key, a, b in found})
            self._begin(int(path.stem), found)
        return index

    def _begin(self, number: int, found: Sequence[tuple[int, int, int]] = ()) -> None:
        """Go on with the journal of that number, in which (image id, begin, end) were found."""
        self._journal = self.folder / f"{number:0{DIGITS}d}.journal"
        self._waiting = [image_id for image_id, _, _ in found]
        self._journal_bytes = max((end for _, _, end in found), default=0)

    def _unreadable(self, path: Path) -> bool:
        if not sealed(path):
            return True
        try:
            _contents(path)
        except _DAMAGE:
            return True
        return False

    def _shard_places(self, path: Path) -> Places:
        if self.damaged and self._unreadable(path):
            raw = path.read_bytes()
            return {image_id: (path, begin, min(end, len(raw)) - begin) for image_id, begin, end in records_in(raw)}
        try:
            ids, offsets, start = _contents(path)
        except FileNotFoundError:
            raise
        except _DAMAGE as error:
            repair = f"rtpe cache verify --cache.path {path.parent.parent} --repair"
            raise UserError(f"cache shard {path}: damaged ({error}): run `{repair}`, then build again") from error
        places = zip(ids, offsets, offsets[1:])
        return {image_id: (path, start + begin, end - begin) for image_id, begin, end in places}


_DAMAGE = (OSError, KeyError, ValueError, AttributeError, RuntimeError, TypeError, MemoryError, OverflowError)


def write_shard(path: Path, records: Sequence[tuple[int, bytes]]) -> None:
    """Write a shard of these records, whole or not at all; HDF5 makes it in memory: it does not bear a full disk."""
    ids, blobs = zip(*records)
    content = BytesIO()
    with h5py.File(content, "w") as file:
        file["ids"] = np.array(ids, np.int64)
        file["offsets"] = np.cumsum([0, *map(len, blobs)], dtype=np.int64)
        file["records"] = np.frombuffer(b"".join(blobs), np.uint8)
    write_sealed(path, content.getbuffer())


def _contents(path: Path) -> tuple[list[int], list[int], int]:
    """The ids, the offsets, and where in the file the records begin; nothing is read that the file does not hold."""
    most = path.stat().st_size
    with h5py.File(path, "r", locking=False) as file:
        ids, offsets = (_numbers(file, name, most) for name in ("ids", "offsets"))
        records = _own(file, "records")
        size, start = records.size, records.id.get_offset() if records.size else 0
    if len(offsets) != len(ids) + 1 or offsets != sorted(offsets) or offsets[0] or offsets[-1] != size:
        raise UserError("its offsets do not fit its records")
    if start is None or start + size > most:
        raise UserError("its records do not lie in it")
    return ids, offsets, start


def _numbers(file: h5py.File, name: str, most: int) -> list[int]:
    numbers = _own(file, name)
    if numbers.dtype != np.int64 or numbers.ndim != 1 or numbers.size * 8 > most:
        raise UserError(f"its {name} are no list of numbers that it could hold")
    return numbers[:].tolist()


def _own(file: h5py.File, name: str) -> h5py.Dataset:
    """A dataset that lies in the file, in one piece: HDF5 can point to other files and other shapes."""
    found = file[name] if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
    if not isinstance(found, h5py.Dataset) or found.external or found.chunks or found.is_virtual:
        raise UserError(f"has no {name} of its own in one piece")
    return found


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
