"""A cache: what a teacher said about each image, and who said it, in which frame, how exactly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rtpe.cache.codecs import codec, decoded
from rtpe.cache.entries import IDS, Entry, Origin, origin_of, pack, unpack
from rtpe.cache.folder import ENTRIES, agreed, cleaned, gone, locked, not_written, read_skipped, write_skipped
from rtpe.cache.manifest import Manifest
from rtpe.cache.peak_width import peak_sigma
from rtpe.cache.requirements import require
from rtpe.cache.stores import STORES
from rtpe.errors import UserError
from rtpe.structures import PoseMaps, Poses, Prediction

COCO_IMAGES = 123_287  # train2017 and val2017, for a projection that everyone can judge

_TRIES = 3  # to read an entry while another run changes the files
_START = 1024  # bytes of a record that tell its image, but for the longest names


@dataclass(frozen=True)
class VerifyReport:
    """What was found in a cache that was read to the last byte.

    Attributes:
        entries: how many are whole.
        damaged: the files of which some byte changed.
        lost: ids of the entries known to be damaged; one whose id cannot be read any more is not among them.
    """

    entries: int
    damaged: tuple[Path, ...]
    lost: tuple[int, ...]


class CorruptEntry(UserError):
    """An entry that is not as it was written."""


class Cache:
    """The predictions of one predictor for many images, by image id, in one folder.

    Open one with `Cache.open` to read or `Cache.create` to add. Entries appear whole or not at all, and stay,
    however the run that added them ends. It may be read from forked processes, and pickled: the copy opens the folder
    again, for reading.

    Attributes:
        path: its folder.
        manifest: what it holds.
        store: where its records lie.
        skipped: (file name, reason) by image id, of the images that could not be predicted.
    """

    def __init__(self, path: Path, manifest: Manifest, shard: int, lock=None, damaged: bool = False):
        self.path, self.manifest = path, manifest
        self._codec = codec(manifest.codec)
        self.store = STORES[manifest.store](path / ENTRIES, shard, damaged)
        self._lock = lock
        self.skipped = read_skipped(path)
        self._listed = dict(self.skipped)

    @classmethod
    def create(cls, path: str | Path, manifest: Manifest, shard: int = 256, damaged: bool = False) -> Cache:
        """Make a cache, or reopen one to add to it.

        Args:
            shard: images per HDF5 file.
            damaged: reopen it even if a file of it is damaged, with what can still be found.

        Raises:
            UserError: if there is another cache, something else, a link where it would write, or another writer.
        """
        path = Path(path)
        lock = locked(path)
        try:
            cleaned(path)
            manifest = agreed(path, manifest)
            (path / ENTRIES).mkdir(exist_ok=True)
            return cls(path, manifest, shard, lock, damaged)
        except BaseException as error:
            lock.close()
            if isinstance(error, OSError):
                raise not_written(path, error) from error
            raise

    @classmethod
    def open(cls, path: str | Path, damaged: bool = False) -> Cache:
        """Open a cache to read it.

        Args:
            damaged: even if a file of it is damaged, with what can still be found.

        Raises:
            UserError: if it is missing, damaged, or of another format.
        """
        return cls(Path(path), Manifest.read(Path(path)), shard=1, damaged=damaged)

    def require(self, **wanted) -> None:
        """Refuse a cache that is not what this run needs: see `requirements.require`."""
        require(self.path, self.manifest, **wanted)

    def add(self, image_id: int, file_name: str, prediction: Prediction, file_bytes: int | None = None) -> None:
        """Keep what was predicted for an image, in a file of that name and size.

        Raises:
            UserError: if the image is there already, the skeleton is another, or the codec cannot hold the values.
        """
        self._writable()
        image_id, maps, poses = int(image_id), prediction.maps, prediction.poses
        if image_id in self:
            raise UserError(f"cache {self.path}: image {image_id} ({file_name}) is there already: ids must be unique")
        if image_id not in IDS:
            raise UserError(f"cache {self.path}: image {image_id} ({file_name}): its id does not fit 64 bits: renumber")
        if maps.skeleton != self.manifest.skeleton or poses.skeleton != self.manifest.skeleton:
            raise UserError(
                f"cache {self.path}: holds skeleton {self.manifest.skeleton.name}, the prediction of image {image_id} "
                f"has {maps.skeleton.name} maps and {poses.skeleton.name} poses: pass the cache's predictor"
            )
        width = peak_sigma(maps.heatmaps)
        blob = self._encoded(maps, image_id, file_name)
        self._write(
            image_id, pack(Entry(image_id, file_name, file_bytes, maps.image_hw, width, maps.to_image, poses, blob))
        )

    def recode(self, other: Cache, image_id: int) -> None:
        """Keep an entry of another cache with its maps in this cache's codec; raises as `entry` and `add`."""
        self._writable()
        entry = other.entry(image_id)
        blob = self._encoded(other.load(image_id).maps, image_id, entry.file_name)
        self._write(image_id, pack(replace(entry, maps=blob)))

    def _encoded(self, maps: PoseMaps, image_id: int, file_name: str) -> bytes:
        try:
            return self._codec.encode(maps.heatmaps, maps.tags if self.manifest.tags else None)
        except ValueError as error:
            raise UserError(f"cache {self.path}: image {image_id} ({file_name}): {error}") from error

    def copy(self, other: Cache, image_id: int) -> None:
        """Keep an entry of another cache as it is, nothing decoded; raises as `entry`.

        What both hold must agree, see `Manifest.differences`; only the stores may be of two kinds.
        """
        self._writable()
        self._write(image_id, other._checked(image_id)[0])

    def _write(self, image_id: int, record: bytes) -> None:
        try:
            self.store.write(image_id, record)
        except OSError as error:
            raise not_written(self.path, error) from error
        self.skipped.pop(image_id, None)

    def add_skipped(self, image_id: int, file_name: str, reason: str) -> None:
        """List an image that could not be predicted in `skipped.txt`; a later run may add it after all."""
        self._writable()
        self.skipped[int(image_id)] = (" ".join(file_name.split()), " ".join(reason.split()))

    def entry(self, image_id: int) -> Entry:
        """The entry of an image, its checksum verified, its maps still encoded.

        Raises:
            UserError: if there is none.
            CorruptEntry: if it is damaged.
        """
        return self._checked(image_id)[1]

    def _checked(self, image_id: int) -> tuple[bytes, Entry]:
        """The record of an image and its entry; a run that writes may have moved it since the folder was read."""
        for _ in range(_TRIES):
            if image_id not in self:
                raise UserError(
                    f"cache {self.path}: holds no image {image_id}: build it for these images, or check the split"
                )
            try:
                record = self.store.read(image_id)
                return record, unpack(record, image_id, self.manifest.skeleton)
            except (OSError, ValueError) as error:
                found = error
                if not self._changed(image_id):
                    break
        raise self._corrupt(image_id, found) from found

    def _changed(self, image_id: int) -> bool:
        try:
            return self.store.refresh(image_id)
        except FileNotFoundError as error:
            raise gone(self.path) from error

    def _corrupt(self, image_id: int, error: Exception) -> CorruptEntry:
        return CorruptEntry(
            f"cache {self.path}: entry {image_id} in {self.store.where(image_id).name} is damaged ({error}): "
            f"run `rtpe cache verify --cache.path {self.path} --repair`, then build again"
        )

    def origin(self, image_id: int) -> Origin:
        """Which image an entry is of, without reading all of it; raises as `entry`."""
        try:
            start = self.store.read(image_id, _START)
        except (OSError, ValueError, KeyError):
            start = b""
        return origin_of(start, image_id) or self.entry(image_id).origin

    def load(self, image_id: int) -> Prediction:
        """What was predicted for an image: its maps within the codec's bound, all else exactly; raises as `entry`."""
        entry = self.entry(image_id)
        try:
            return self._decoded(entry)
        except UserError as error:
            raise self._corrupt(image_id, error) from error

    def _decoded(self, entry: Entry) -> Prediction:
        with np.errstate(all="ignore"):  # of people at infinity
            people = entry.poses.moved(entry.to_image.inverse()) if self._codec.renders else None
        heatmaps, tags = decoded(self._codec, entry.maps, people)
        others = {} if tags is None else {"tags": tags}
        maps = PoseMaps(heatmaps, entry.to_image, entry.image_hw, self.manifest.skeleton, others)
        return Prediction(replace(maps, peak_sigma=entry.peak_sigma), entry.poses)

    def verify(self) -> VerifyReport:
        """Read every byte."""
        lost = [image_id for image_id in self.ids if not self._whole(image_id)]
        damaged = {file for file in self.store.files if self.store.damage(file)}
        damaged |= {self.store.where(image_id) for image_id in lost}
        return VerifyReport(len(self) - len(lost), tuple(sorted(damaged)), tuple(lost))

    def _whole(self, image_id: int) -> bool:
        try:
            self.load(image_id)
        except CorruptEntry:
            return False
        return True

    def mend(self, files: Iterable[Path]) -> None:
        """Drop from damaged files what is no longer as it was written; raises UserError if they cannot be written."""
        self._writable()
        try:
            for file in files:
                self.store.mend(file, self._sound)
        except OSError as error:
            raise not_written(self.path, error) from error

    def _sound(self, image_id: int, record: bytes) -> bool:
        try:
            self._decoded(unpack(record, image_id, self.manifest.skeleton))
        except UserError:
            return False
        return True

    def poses(self, image_id: int) -> Poses:
        """Only the people predicted for an image, without decoding its maps; raises as `entry`."""
        return self.entry(image_id).poses

    def __contains__(self, image_id: int) -> bool:
        return image_id in self.store

    def __len__(self) -> int:
        return len(self.store)

    @property
    def ids(self) -> list[int]:
        """The image ids, ascending."""
        return sorted(self.store)

    @property
    def nbytes(self) -> int:
        """Bytes of all entries."""
        return self.store.nbytes

    @property
    def bytes_per_image(self) -> float:
        return self.nbytes / max(1, len(self))

    def __getitem__(self, image_id: int) -> Prediction:
        """The prediction of an image, its maps to the codec's bound, its people exact.

        Raises:
            UserError: if it is not there.
            CorruptEntry: if its record is damaged.
        """
        return self.load(image_id)

    def __iter__(self) -> Iterator[int]:
        return iter(self.ids)

    def info(self) -> dict[str, Any]:
        """Who made it, of what, how exactly, and how large it is, by the names that people read."""
        held = self.manifest
        return {
            "teacher": held.predictor.get("name"),
            "weights": held.predictor.get("weights_sha256"),
            "settings": held.predictor.get("settings"),
            "skeleton": held.skeleton.name,
            "source": held.source,
            "images": len(self),
            "skipped": len(self.skipped),
            "store": held.store,
            "codec": held.codec,
            "error bound": dict(held.bound),
            "KB an image": round(self.bytes_per_image / 1000, 3),
            "MB in all": round(self.nbytes / 1e6, 3),
            f"GB for the {COCO_IMAGES} images of COCO": round(self.bytes_per_image * COCO_IMAGES / 1e9, 3),
        }

    def flush(self) -> None:
        """Finish the files begun."""
        try:
            self.store.flush()
            if self._lock is not None and self.skipped != self._listed:
                write_skipped(self.path, self.skipped)
                self._listed = dict(self.skipped)
        except OSError as error:
            raise not_written(self.path, error) from error

    def close(self) -> None:
        """Flush, and let others write."""
        if self._lock is not None:
            try:
                self.flush()
            finally:
                self._lock.close()
                self._lock = None

    def __enter__(self) -> Cache:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def __reduce__(self):
        return Cache.open, (self.path,)

    def _writable(self) -> None:
        if self._lock is None:
            raise UserError(f"cache {self.path}: open for reading only: use Cache.create to add to it")
