"""Images in and out of files and through affine maps; beside drawing and videos, the only user of cv2."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from rtpe.geometry import Affine, point_to_index

cv2.setNumThreads(0)  # workers and torch already share the cores; cv2's own threads only get in their way

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
_FIXED_BITS = 4  # cv2 draws with fixed-point coordinates: 1/16 pixel


class UnreadableImage(ValueError):
    """An image file that is missing, torn or no image: the one error that long work may count and skip."""


class Readable(Protocol):
    """What stands in a file's place where there is more to say than its name, such as a frame of a video."""

    def read(self) -> np.ndarray: ...


def read_image(path: str | Path | Readable, upright: bool = False) -> np.ndarray:
    """Read a file as (H, W, 3) uint8 RGB; what is `Readable` reads itself.

    Args:
        upright: turn the image as its EXIF rotation says; COCO's labels expect it unturned.

    Raises:
        UnreadableImage: if it is missing, empty, torn or no image.
    """
    if not isinstance(path, str | Path):
        return path.read()
    try:
        raw = np.fromfile(path, np.uint8)
    except OSError as error:
        raise UnreadableImage(f"image {path}: {error.strerror or error}") from error
    # a JPEG without its end marker decodes to grey bars below the tear: refuse it rather than learn from it
    torn = raw[:2].tobytes() == b"\xff\xd8" and b"\xff\xd9" not in raw[-256:].tobytes()
    flags = cv2.IMREAD_COLOR if upright else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = None if torn or not raw.size else cv2.imdecode(raw, flags)
    if image is None:
        raise UnreadableImage(f"image {path}: {'truncated' if torn else 'not an image that can be decoded'}")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def write_image(path: str | Path, image: np.ndarray, quality: int = 92) -> None:
    """Write (H, W, 3) uint8 RGB by the suffix of the path, whole or not at all."""
    path = Path(path)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix.lower() in (".jpg", ".jpeg") else []
    done, raw = cv2.imencode(path.suffix, image[..., ::-1], options)
    if not done:
        raise ValueError(f"image {path}: cannot be encoded")
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    raw.tofile(temporary)
    os.replace(temporary, path)


def encode_png(image: np.ndarray) -> bytes:
    """(H, W, 3) uint8 RGB as the bytes of a PNG file."""
    return cv2.imencode(".png", image[..., ::-1])[1].tobytes()


def encode_jpeg(image: np.ndarray, quality: int = 88) -> bytes:
    """(H, W, 3) uint8 RGB as the bytes of a JPEG file."""
    return cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def warp(
    image: np.ndarray, affine: Affine, size_hw: tuple[int, int], fill: float | Sequence[float] = 0, nearest=False
) -> np.ndarray:
    """Carry an image, (H, W) or (H, W, C), into a frame of `size_hw`; what lies outside it becomes `fill`.

    Bilinear; a strong reduction averages first, so that fine texture does not alias.
    """
    reduction = 1 / affine.scale
    if not nearest and reduction >= 2:
        image, affine = _reduced(image, affine, int(reduction))
    flags = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    fill = fill if isinstance(fill, Sequence) else (fill,) * 4
    return cv2.warpAffine(
        image, affine.index_matrix(), size_hw[::-1], flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=fill
    )


def _reduced(image: np.ndarray, affine: Affine, factor: int) -> tuple[np.ndarray, Affine]:
    """The image averaged over blocks of about that many pixels a side, and the affine from it."""
    h, w = image.shape[:2]
    small = max(1, h // factor), max(1, w // factor)
    image = cv2.resize(image, small[::-1], interpolation=cv2.INTER_AREA)
    return image, affine @ Affine.scaling(w / small[1], h / small[0])


def warp_maps(maps: np.ndarray, affine: Affine, size_hw: tuple[int, int]) -> np.ndarray:
    """Carry float maps, (C, h, w), into another grid of cells; outside is 0.

    Bilinear; a strong reduction averages first: a peak a cell wide would else come and go with its place.
    """
    reduction = 1 / affine.scale
    if reduction >= 2:
        reduced = [_reduced(channel, affine, int(reduction)) for channel in maps]
        maps, affine = np.stack([channel for channel, _ in reduced]), reduced[0][1]
    out = np.empty((len(maps), *size_hw), maps.dtype)
    matrix = affine.index_matrix()
    for source, target in zip(maps, out):  # one channel a call: many at once run through a coarser path of cv2
        cv2.warpAffine(source, matrix, size_hw[::-1], dst=target, flags=cv2.INTER_LINEAR)
    return out


def resize(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Resize by a pure factor: area-averaging when it shrinks, bilinear when it grows."""
    shrinks = size_hw[0] < image.shape[0]
    return cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def greatest(image: np.ndarray, reach: int) -> np.ndarray:
    """The greatest value of the square that reaches so many pixels to each side of a pixel, (H, W) or (H, W, C)."""
    return cv2.dilate(image, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))


def filled(mask: np.ndarray) -> np.ndarray:
    """A mask, (H, W) uint8 of 0 and 1, without the holes that it encloses."""
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(mask.copy(), outlines, -1, 1, cv2.FILLED)


def capsules(size_hw: tuple[int, int], segments: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """A mask, (h, w) uint8 of 0 and 1, of thick line segments with round ends.

    Args:
        segments: (N, 2, 2) float end points (x, y).
        widths: (N,) float thickness in pixels.
    """
    mask = np.zeros(size_hw, np.uint8)
    indices = np.rint(point_to_index(segments) * (1 << _FIXED_BITS)).astype(np.int32)
    for (start, end), width in zip(indices, widths):
        cv2.line(mask, start.tolist(), end.tolist(), 1, max(1, round(float(width))), shift=_FIXED_BITS)
    return mask


def polygons(size_hw: tuple[int, int], outlines: Sequence[np.ndarray]) -> np.ndarray:
    """A mask, (h, w) uint8 of 0 and 1, of filled outlines, each (N, 2) float points."""
    mask = np.zeros(size_hw, np.uint8)
    fixed = [np.rint(point_to_index(outline) * (1 << _FIXED_BITS)).astype(np.int32) for outline in outlines]
    for outline in fixed:
        cv2.fillPoly(mask, [outline], 1, shift=_FIXED_BITS)
    return mask
