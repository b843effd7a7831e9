"""What a large label file says, kept as arrays in the user's own cache folder: read in a second instead of twenty.

A derived file is named after a digest of the label file's bytes, of the skeleton asked for, and of the code that reads
labels: when one of them changes, it is not found, and the label file is read again.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from rtpe.data.labels.labels import Labels
from rtpe.data.labels.packed import PackedImages, PackedPeople
from rtpe.files import replacing
from rtpe.skeleton import COCO17, Skeleton

LEAST_BYTES = 8 << 20  # smaller label files are read as soon
KEPT = 8  # derived files: those used last


def digest(path: Path, skeleton: Skeleton) -> str:
    """The name of what is derived from a label file; empty if it is small, or cannot be read.

    Args:
        skeleton: that is asked for.
    """
    asked = json.dumps([skeleton.name, skeleton.joints]).encode()
    found = blake2b(_code() + asked, digest_size=16)
    try:
        if not path.is_file() or path.stat().st_size < LEAST_BYTES:
            return ""
        with path.open("rb") as file:
            while part := file.read(1 << 20):
                found.update(part)
    except OSError:
        return ""  # whoever reads it says why
    return found.hexdigest()


def load(name: str, file: str, skeleton: Skeleton) -> Labels | None:
    """The labels of that digest, or None if they are not kept, or not as they were written.

    Args:
        file: how messages call the label file.
    """
    if not name:
        return None
    path = _folder() / f"{name}.npz"
    try:
        with np.load(path, allow_pickle=False) as held:
            arrays = {each: held[each] for each in held.files}
        said = json.loads(arrays.pop("said").tobytes())
        own = next(each for each in (skeleton, COCO17) if list(each.joints) == said["joints"])
        images = PackedImages.of_arrays(arrays)
        people = PackedPeople.of_arrays(images, arrays)
        notes = tuple(f"annotations {file}: {note}" for note in said["notes"])
        labels = Labels(file, own, images, people, said["category"], notes)
    except (OSError, ValueError, TypeError, KeyError, StopIteration, EOFError, BadZipFile):
        return None
    with contextlib.suppress(OSError):
        os.utime(path)
    return labels


def keep(name: str, labels: Labels) -> None:
    """Write what was read for the next time; where that is not possible, it is read again then."""
    prefix = f"annotations {labels.file}: "
    notes = [note.removeprefix(prefix) for note in labels.notes]
    said = {"joints": labels.skeleton.joints, "category": labels.category, "notes": notes}
    arrays = {**labels.images.arrays(), **labels.people.arrays()}
    with contextlib.suppress(OSError):
        folder = _folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(folder / f"{name}.npz", durable=False) as file:
            np.savez(file, said=np.frombuffer(json.dumps(said).encode(), np.uint8), **arrays)
        for old in sorted(folder.glob("*.npz"), key=lambda path: -path.stat().st_mtime)[KEPT:]:
            old.unlink()


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rtpe" / "labels"


@lru_cache
def _code() -> bytes:
    """A digest of the code that reads labels."""
    found = blake2b(digest_size=16)
    for path in _sources():
        found.update(path.name.encode() + path.read_bytes())
    return found.digest()


def _sources() -> Iterator[Path]:
    here = Path(__file__).parent
    yield from sorted(here.glob("*.py"))
    yield from (here.parents[1] / name for name in ("geometry.py", "plain.py", "skeleton.py"))
