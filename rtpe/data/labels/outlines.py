"""Outlines of bodies in COCO's three forms: polygons, run lengths, and run lengths as compressed text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rtpe.data.labels.fields import FARTHEST, Entry, numbers, read_id
from rtpe.errors import UserError

CORNERS = 3  # that an outline has at least
_BITS, _MORE, _SIGN = 5, 0x20, 0x10  # of compressed counts: each character has five bits of a number


def read_outline(entry: Entry, image_hw: tuple[int, int] | None) -> list | dict:
    """The outline of an annotation, checked: polygons as lists of numbers, or an RLE; empty if the file has none.

    Raises:
        UserError: if it is none of them, or of another size than its image.
    """
    value = entry.fields.get("segmentation")
    if not value:
        return []
    if isinstance(value, dict):
        return _runs(entry, value, image_hw)
    if not isinstance(value, list):
        entry.refuse("segmentation", "polygons or an RLE")
    rings = [value] if not isinstance(value[0], list) else value  # some files have the only polygon without its list
    return [ring for ring in rings if len(_ring(entry, ring)) >= 2 * CORNERS]


def _ring(entry: Entry, ring: Any) -> np.ndarray:
    read = numbers(ring)
    if read is None or len(read) % 2 or not (np.abs(read) <= FARTHEST).all():
        entry.refuse("segmentation", "polygons, each a list of finite x, y, x, y, ...")
    return read


def _runs(entry: Entry, runs: dict[str, Any], image_hw: tuple[int, int] | None) -> dict[str, Any]:
    size, counts = runs.get("size"), runs.get("counts")
    sides = [read_id(side) for side in size] if isinstance(size, list) else []
    if len(sides) != 2 or not all(side and side > 0 for side in sides):
        entry.refuse("segmentation", "an RLE with a size of [height, width]")
    size_hw = (sides[0], sides[1])
    if image_hw is not None and size_hw != image_hw:
        raise UserError(
            f"annotations {entry.file}: {entry.name} has a mask of {described(size_hw)}, its image "
            f"{entry.fields['image_id']} is of {described(image_hw)}: correct or remove it"
        )
    lengths = _lengths(counts)
    # pycocotools writes wherever the counts lead, also beyond the mask
    if lengths is None or (lengths < 0).any() or lengths.sum() != size_hw[0] * size_hw[1]:
        entry.refuse("segmentation", f"an RLE whose counts add up to {size_hw[0]} x {size_hw[1]}")
    return {"size": list(size_hw), "counts": counts if isinstance(counts, str) else lengths.astype(int).tolist()}


def _lengths(counts: Any) -> np.ndarray | None:
    """The run lengths, plain or compressed; None if they are neither."""
    if isinstance(counts, list):
        read = numbers(counts)
        return None if read is None or not (read == np.floor(read)).all() else read
    if not isinstance(counts, str) or not counts.isascii():
        return None
    digits = np.frombuffer(counts.encode(), np.uint8).astype(np.int64) - 48
    if not len(digits) or ((digits < 0) | (digits > 63)).any() or digits[-1] & _MORE:
        return None
    first = np.flatnonzero(np.append(True, (digits[:-1] & _MORE) == 0))
    places = np.arange(len(digits)) - np.repeat(first, np.diff(np.append(first, len(digits))))
    if places.max() * _BITS > 60:
        return None
    values = np.add.reduceat((digits & (_MORE - 1)) << (_BITS * places), first)
    last = np.append(first[1:], len(digits)) - 1
    values -= np.where(digits[last] & _SIGN, np.int64(1) << (_BITS * (places[last] + 1)), 0)
    # from the third on, each is the difference from the one two before: even and odd ones add up apart
    for start in (1, 2):
        values[start::2] = values[start::2].cumsum()
    return values


def described(size_hw: Sequence[int]) -> str:
    return f"height {size_hw[0]}, width {size_hw[1]}"
