"""The store of one npz file an image."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np

from rtpe.cache.entries import records_in
from rtpe.cache.sealed import SEAL, Sound, numbered, sealed, write_sealed
from rtpe.errors import UserError

DIGITS = 12


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
        return list(numbered(self.folder, DIGITS, ".npz"))

    def where(self, image_id: int) -> Path:
        return self.folder / f"{image_id:0{DIGITS}d}.npz"

    def read(self, image_id: int, most: int | None = None) -> bytes:
        try:
            with np.load(self.where(image_id), allow_pickle=False) as file:
                return file["record"][:most].tobytes()
        except FileNotFoundError:
            raise
        except Exception as error:  # a changed byte of a zip file can surface as nearly any error
            raise UserError(f"not a whole npz file: {error}") from error

    def write(self, image_id: int, record: bytes) -> None:
        content = BytesIO()
        np.savez(content, image_id=np.int64(image_id), record=np.frombuffer(record, np.uint8))
        with zipfile.ZipFile(content, "a") as file:
            file.comment = bytes(SEAL)
        write_sealed(self.where(image_id), content.getbuffer()[:-SEAL])
        self._ids[image_id] = None

    def flush(self) -> None:
        """Nothing waits."""

    def refresh(self, image_id: int) -> bool:
        """Nothing moves from file to file; FileNotFoundError if the folder has gone."""
        self.folder.stat()
        return False

    def damage(self, path: Path) -> bool:
        """Whether a byte of one of the files changed."""
        return not sealed(path)

    def mend(self, path: Path, sound: Sound) -> None:
        """Write a damaged file anew if its record is sound, else remove it."""
        raw, image_id = path.read_bytes(), int(path.stem)
        kept = [raw[a:b] for key, a, b in records_in(raw) if key == image_id and sound(key, raw[a:b])]
        if kept:
            self.write(image_id, kept[0])
        else:
            path.unlink()
            self._ids.pop(image_id, None)
