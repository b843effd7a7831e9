"""One entry of a cache as one run of bytes that carries its own checksum.

    uint32 n | JSON of n bytes | affine | points | joint scores | person scores | maps | BLAKE2b-128 of all before

The JSON holds id, file, hw (original height, width), people and joints; numbers are little-endian, the affine float64,
the people float32; the maps are the bytes of a codec.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass

import numpy as np

from rtpe.geometry import Affine
from rtpe.skeleton import Skeleton
from rtpe.structures import Poses

_LENGTH = struct.Struct("<I")
_DIGEST = 16


@dataclass(frozen=True)
class Entry:
    """What a teacher said about one image, its maps still encoded.

    Attributes:
        image_id: unique in the cache.
        file_name: as the data set calls it.
        image_hw: height and width of the original image.
        to_image: see `PoseMaps.to_image`; kept exactly.
        poses: the people the teacher read from its maps, in original-image pixels; kept exactly.
        maps: the bytes of the cache's codec.
    """

    image_id: int
    file_name: str
    image_hw: tuple[int, int]
    to_image: Affine
    poses: Poses
    maps: bytes


def pack(entry: Entry) -> bytes:
    """The record of an entry."""
    poses = entry.poses
    head = {
        "id": int(entry.image_id),
        "file": str(entry.file_name),
        "hw": [int(side) for side in entry.image_hw],
        "people": len(poses),
        "joints": len(poses.skeleton),
    }
    text = json.dumps(head, separators=(",", ":")).encode()
    people = b"".join(array.astype("<f4").tobytes() for array in (poses.points, poses.scores, poses.person_scores))
    body = _LENGTH.pack(len(text)) + text + entry.to_image.matrix.astype("<f8").tobytes() + people + entry.maps
    return body + _digest(body)


def unpack(record: bytes, image_id: int, skeleton: Skeleton) -> Entry:
    """The entry of a record.

    Raises:
        ValueError: if a byte of it changed, or it is of another image or number of joints.
    """
    body, digest = record[:-_DIGEST], record[-_DIGEST:]
    if _digest(body) != digest:
        raise ValueError("its checksum does not match its bytes")
    (length,) = _LENGTH.unpack_from(body)
    at = _LENGTH.size + length
    head = json.loads(body[_LENGTH.size : at])
    if (head["id"], head["joints"]) != (image_id, len(skeleton)):
        raise ValueError(f"it holds {head['joints']} joints of image {head['id']}, not {len(skeleton)} of {image_id}")
    shapes = [((2, 3), "<f8")] + [
        ((head["people"], *rest), "<f4") for rest in ((len(skeleton), 2), (len(skeleton),), ())
    ]
    arrays = []
    for shape, dtype in shapes:
        arrays.append(np.frombuffer(body, dtype, int(np.prod(shape)), at).reshape(shape).copy())
        at += arrays[-1].nbytes
    matrix, *people = arrays
    return Entry(image_id, head["file"], tuple(head["hw"]), Affine(matrix), Poses(*people, skeleton), body[at:])


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_DIGEST).digest()
