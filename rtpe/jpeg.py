"""What the segments of a JPEG file say: its size, and whether its data end before its image (ITU-T T.81)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

START, END, SCAN, HUFFMAN, LOWEST_FRAME, HIGHEST_FRAME = 0xD8, 0xD9, 0xDA, 0xC4, 0xC0, 0xCF
APP1, ORIENTATION = 0xE1, 274
NO_FRAMES = (HUFFMAN, 0xC8, 0xCC)  # tables whose numbers lie between those of frames
WITHOUT_LENGTH = (0x01, *range(0xD0, 0xDA))
IN_DATA = (HUFFMAN, SCAN, *range(0xD0, 0xD8))  # what follows the data of a scan that is not the last
SEQUENTIAL, PROGRESSIVE = (0xC0, 0xC1), (0xC2,)
COEFFICIENTS = 64
HOLE = bytes(64)  # in 1,652 photographs no run of zeros in the image's data is longer than 16
READ_AHEAD = 8  # bytes that a decoder may hold when it is done
_MARKER = re.compile(rb"\xff([^\x00\xff])")
_AFTER_DATA = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")  # stuffed bytes and restarts are part of a scan's data


@dataclass
class _Seen:
    """What was met on the way to the end mark.

    Attributes:
        frame: its number; 0 before it.
        first_symbols: what a code of zeros stands for, by Huffman table.
        lacking: bits that the scans have left out, of each component's coefficients.
        hole: some scan has zeros where its tables allow none.
    """

    frame: int = 0
    first_symbols: dict[int, int] = field(default_factory=dict)
    lacking: dict[int, list[int]] = field(default_factory=dict)
    hole: bool = False


def is_jpeg(raw: bytes) -> bool:
    """Whether these bytes begin as a JPEG file does."""
    return raw[:2] == bytes((0xFF, START))


def size_hw(raw: bytes) -> tuple[int, int] | None:
    """Height and width by the frame header; None if there is none."""
    for marker, body, _ in _segments(raw):
        if _is_frame(marker) and len(body) >= 5:
            return int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    return None


def orientation(raw: bytes) -> int:
    """How the image is to be turned, by its EXIF: 1 as it is, 2 to 8 mirrored or turned (Exif 2.32, tag 274).

    Of a PNG the chunk is read, of a TIFF file its own tag.
    """
    if raw[:2] in (b"II", b"MM"):
        return _orientation(raw)
    if raw[:4] == b"\x89PNG":
        _, found, chunk = raw.partition(b"eXIf")
        return _orientation(chunk) if found else 1
    for marker, body, _ in _segments(raw):
        if marker == APP1 and body[:6] == b"Exif\0\0":
            return _orientation(body[6:])
        if marker == SCAN:
            break
    return 1


def _orientation(tiff: bytes) -> int:
    """That of the first directory of a TIFF header; 1 if it has none."""
    order = {b"II": "little", b"MM": "big"}.get(tiff[:2])
    if order is None:
        return 1
    first = int.from_bytes(tiff[4:8], order)
    count = int.from_bytes(tiff[first : first + 2], order)
    for at in range(first + 2, min(first + 2 + 12 * count, len(tiff) - 11), 12):
        if int.from_bytes(tiff[at : at + 2], order) == ORIENTATION:
            value = int.from_bytes(tiff[at + 8 : at + 10], order)
            return value if 1 <= value <= 8 else 1
    return 1


def fault(raw: bytes) -> str:
    """Why these are not the data of a whole image; empty if they seem to be. What follows the end mark is ignored."""
    seen = _Seen()
    for marker, body, after in _segments(raw):
        if marker == END:
            return _lack(seen)
        if marker == START:
            return "truncated: another image begins within it"
        if marker == HUFFMAN:
            seen.first_symbols |= _first_symbols(body)
        elif _is_frame(marker):
            seen.frame = marker
        elif marker == SCAN:
            _scan(seen, body, raw, after)
    return "truncated: it has no end mark"


def is_padding(raw: bytes, count: int) -> bool:
    """Whether the `count` bytes before the end mark, which a decoder left over, are alike and all that are.

    Of zeros in the place of data it has read some before it was done.
    """
    ends = [after - 2 for marker, _, after in _segments(raw) if marker == END]
    left = raw[ends[0] - count : ends[0]] if ends else b""
    before = raw[: ends[0] - count] if ends else b""
    return len(set(left)) == 1 and len(before) - len(before.rstrip(left[:1])) <= READ_AHEAD


def _segments(raw: bytes) -> Iterator[tuple[int, bytes, int]]:
    """(marker, content, where it ends) up to the end mark, or as far as they can be followed."""
    at, pattern = 2, _MARKER
    while is_jpeg(raw) and (found := pattern.search(raw, at)):
        marker, at, pattern = found[1][0], found.end(), _MARKER
        # a length counts its own two bytes: of a smaller one the decoder reads these and goes on
        after = at if marker in WITHOUT_LENGTH else at + max(2, int.from_bytes(raw[at : at + 2], "big"))
        yield marker, raw[at + 2 : after], after
        if marker == END:
            return
        at, pattern = after, _AFTER_DATA if marker == SCAN else _MARKER


def _is_frame(marker: int) -> bool:
    return LOWEST_FRAME <= marker <= HIGHEST_FRAME and marker not in NO_FRAMES


def _first_symbols(body: bytes) -> dict[int, int]:
    """The first symbol of each Huffman table, by the table's class and number: its code is zeros alone."""
    found, at = {}, 0
    while at + 17 < len(body):
        found[body[at]] = body[at + 17]
        at += 17 + sum(body[at + 1 : at + 17])
    return found


def _scan(seen: _Seen, header: bytes, raw: bytes, start: int) -> None:
    """Note what a scan gives, and whether zeros are written over its data."""
    count = header[0] if header else 0
    if len(header) < 4 + 2 * count:
        return
    first, last, low = header[1 + 2 * count], header[2 + 2 * count], header[3 + 2 * count] & 15
    for component in header[1 : 1 + 2 * count : 2]:
        lacking = seen.lacking.setdefault(component, [0] * COEFFICIENTS)
        lacking[first : last + 1] = [low] * (last + 1 - first)
    tables = [0x10 | (each & 15) for each in header[2 : 2 + 2 * count : 2]]
    # where a code of zeros ends a block, a flat image is one run of zeros; elsewhere they are coefficients of -1 alone
    if seen.frame in SEQUENTIAL and any(seen.first_symbols.get(each, 0) for each in tables):
        found = _AFTER_DATA.search(raw, start)
        data = raw[start : found.start()] if found else b""
        seen.hole |= HOLE in data.rstrip(b"\0")  # those before the end mark may be padding


def _lack(seen: _Seen) -> str:
    if seen.hole:
        return "damaged: zeros are written over a part of it"
    if seen.frame in PROGRESSIVE and any(map(any, seen.lacking.values())):
        return "truncated: its last scans are missing"
    return ""
