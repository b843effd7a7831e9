"""What a cache holds for each image, as bytes: a record that says its own length and whose every byte is checked."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from rtpe.errors import UserError
from rtpe.geometry import Affine
from rtpe.skeleton import Skeleton
from rtpe.structures import Poses

MAGIC = b"rtpe"
_HEADER = struct.Struct("<4sqI")  # MAGIC, image id, bytes of the whole record; its own digest follows
_HEADER_DIGEST = 4
HEADER_BYTES = _HEADER.size + _HEADER_DIGEST
_LENGTH = struct.Struct("<I")
_DIGEST = 16
_LEAST = HEADER_BYTES + _LENGTH.size + _DIGEST
_MOST = 2**32 - 1  # bytes of a record
IDS = range(-(2**63), 2**63)  # what a record can be of


@dataclass(frozen=True)
class Origin:
    """What an image of some number is known by; None for what cannot be told.

    Attributes:
        file_name: as the data set calls it.
        file_bytes: size of its file.
        image_hw: height and width.
    """

    file_name: str
    file_bytes: int | None = None
    image_hw: tuple[int, int] | None = None

    def difference(self, other: Origin, where: str = "here") -> str:
        """How the other one, which is `where`, is another image; empty if nothing says so.

        >>> Origin("a.jpg", 48213).difference(Origin("a.jpg", 51002))
        'was made of a file of 48,213 bytes, a.jpg here has 51,002'
        """
        name = other.file_name
        if self.file_name != name:
            return f"is {self.file_name} there and {name} {where}"
        if None not in (self.file_bytes, other.file_bytes) and self.file_bytes != other.file_bytes:
            return f"was made of a file of {self.file_bytes:,} bytes, {name} {where} has {other.file_bytes:,}"
        if None not in (self.image_hw, other.image_hw) and self.image_hw != other.image_hw:
            return f"was made of {_size(self.image_hw)} pixels, {name} {where} has {_size(other.image_hw)}"
        return ""


@dataclass(frozen=True)
class Entry:
    """What a teacher said about one image, its maps still encoded.

    Attributes:
        image_id: unique in the cache.
        file_name: as the data set calls it.
        file_bytes: size of the image's file, or None where it is unknown.
        image_hw: height and width of the original image.
        peak_sigma: see `PoseMaps.peak_sigma`; of the maps as the teacher gave them.
        to_image: see `PoseMaps.to_image`; kept exactly.
        poses: the people the teacher read from its maps, in original-image pixels; kept exactly.
        maps: the bytes of the cache's codec.
    """

    image_id: int
    file_name: str
    file_bytes: int | None
    image_hw: tuple[int, int]
    peak_sigma: float | None
    to_image: Affine
    poses: Poses
    maps: bytes

    @property
    def origin(self) -> Origin:
        return Origin(self.file_name, self.file_bytes, self.image_hw)


def pack(entry: Entry) -> bytes:
    """The record of an entry."""
    poses = entry.poses
    head = {
        "file": str(entry.file_name),
        "bytes": entry.file_bytes,
        "hw": [int(side) for side in entry.image_hw],
        "people": len(poses),
        "joints": len(poses.skeleton),
        "peak_sigma": entry.peak_sigma,
    }
    text = json.dumps(head, separators=(",", ":")).encode()  # ASCII: names need not be Unicode
    people = b"".join(array.astype("<f4").tobytes() for array in (poses.points, poses.scores, poses.person_scores))
    said = _LENGTH.pack(len(text)) + text + entry.to_image.matrix.astype("<f8").tobytes() + people + entry.maps
    length = HEADER_BYTES + len(said) + _DIGEST
    if length > _MOST:
        raise UserError(f"its record would have {length} bytes, the format has room for {_MOST}")
    body = _header(entry.image_id, length) + said
    return body + _digest(body, _DIGEST)


def unpack(record: bytes, image_id: int, skeleton: Skeleton) -> Entry:
    """The entry of a record.

    Raises:
        UserError: if a byte of it changed, it is of another image or number of joints, or it holds what none does.
    """
    if not whole_record(record):
        raise UserError("its checksum does not match its bytes")
    try:
        return _unpacked(record[:-_DIGEST], image_id, skeleton)
    except UserError:
        raise
    except (struct.error, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise UserError(f"its checksum fits, its contents do not: {type(error).__name__}: {error}") from error


def _unpacked(body: bytes, image_id: int, skeleton: Skeleton) -> Entry:
    found, head, at = _opened(body)
    _check_head(head)
    if (found, head["joints"]) != (image_id, len(skeleton)):
        raise UserError(f"it holds {head['joints']} joints of image {found}, not {len(skeleton)} of {image_id}")
    shapes = [((2, 3), "<f8")] + [
        ((head["people"], *rest), "<f4") for rest in ((len(skeleton), 2), (len(skeleton),), ())
    ]
    arrays = []
    for shape, dtype in shapes:
        arrays.append(np.frombuffer(body, dtype, math.prod(shape), at).reshape(shape).copy())
        at += arrays[-1].nbytes
    matrix, *people = arrays
    poses = Poses(*people, skeleton)
    described = head["file"], head["bytes"], tuple(head["hw"]), head["peak_sigma"]
    return Entry(found, *described, Affine(matrix), poses, body[at:])


def _check_head(head: dict[str, Any]) -> None:
    """Raises UserError for what no entry says of its image; KeyError and TypeError where it says too little."""
    counts = [head["people"], head["joints"], *head["hw"], 0 if head["bytes"] is None else head["bytes"]]
    sigma = 1.0 if head["peak_sigma"] is None else head["peak_sigma"]
    sound = (
        isinstance(head["file"], str)
        and all(type(count) is int and 0 <= count < 2**63 for count in counts)
        and len(head["hw"]) == 2
        and min(head["hw"]) > 0
        and isinstance(sigma, float)
        and 0 < sigma < math.inf
    )
    if not sound:
        raise UserError("its checksum fits, it describes no image")


def origin_of(start: bytes, image_id: int) -> Origin | None:
    """Which image a record is of, by its first bytes, unverified; None if they do not tell."""
    try:
        found, head, _ = _opened(start)
        _check_head(head)
        return Origin(head["file"], head["bytes"], tuple(head["hw"])) if found == image_id else None
    except (struct.error, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def _opened(record: bytes) -> tuple[int, dict[str, Any], int]:
    """The image id, the JSON, and where it ends."""
    _, found, _ = _HEADER.unpack_from(record)
    (length,) = _LENGTH.unpack_from(record, HEADER_BYTES)
    end = HEADER_BYTES + _LENGTH.size + length
    return found, json.loads(record[HEADER_BYTES + _LENGTH.size : end]), end


def whole_record(record: bytes) -> bool:
    """Whether these bytes are one record, as it was written."""
    return len(record) >= _LEAST and _digest(record[:-_DIGEST], _DIGEST) == record[-_DIGEST:]


def records_in(raw: bytes) -> Iterator[tuple[int, int, int]]:
    """(image id, begin, end) of every record that begins in these bytes, whatever lies between and around them.

    A record is found by its header alone: it may have changed since, or the bytes may end before it does.
    """
    at = raw.find(MAGIC)
    while at >= 0:
        header = raw[at : at + _HEADER.size]
        if len(header) == _HEADER.size and raw[at + _HEADER.size : at + HEADER_BYTES] == _digest(
            header, _HEADER_DIGEST
        ):
            _, image_id, length = _HEADER.unpack(header)
            yield image_id, at, at + length
            # a record that changed is skipped as a whole, one that was cut off is not trusted to say how long it is
            at = raw.find(MAGIC, at + (length if at + length <= len(raw) else 1))
        else:
            at = raw.find(MAGIC, at + 1)


def _size(image_hw: tuple[int, int]) -> str:
    return f"{image_hw[1]} x {image_hw[0]}"


def _header(image_id: int, length: int) -> bytes:
    header = _HEADER.pack(MAGIC, int(image_id), length)
    return header + _digest(header, _HEADER_DIGEST)


def _digest(body: bytes, size: int) -> bytes:
    return hashlib.blake2b(body, digest_size=size).digest()
