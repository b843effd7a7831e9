"""Images in and out of files."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from rtpe import jpeg
from rtpe.errors import UserError
from rtpe.files import write_file
from rtpe.native_output import remarks
from rtpe.plain import read_regular
from rtpe.raster import averaged

if "OPENCV_LOG_LEVEL" not in os.environ:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # its lines name no file: an UnreadableImage does

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
_COLOUR = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_CORRUPT = "Corrupt JPEG data: "
_SURPLUS = re.compile(r"(\d+) extraneous bytes before marker 0x([0-9a-f]+)")
_LEFT_OVER = 64  # bytes: more than that is an image's data, of which the decoder has lost its place
_HEAD = 64 << 10  # bytes of a JPEG file in which its EXIF begins
_TIFF = (b"II*\0", b"MM\0*")


class UnreadableImage(UserError):
    """An image file that is missing, torn or no image: the one error that long work may count and skip."""


class Readable(Protocol):
    """What stands in a file's place where there is more to say than its name, such as a frame of a video.

    Its `path`, if it has one, is that of the file.
    """

    def read(self) -> np.ndarray: ...


def file_bytes(source: str | Path | Readable) -> int | None:
    """Size of the file that an image is read from; None if there is no such file."""
    path = source if isinstance(source, str | Path) else getattr(source, "path", None)
    try:
        return None if path is None else os.stat(path).st_size
    except (OSError, ValueError):  # missing, or no name that a file can have
        return None


def is_turned(path: str | Path) -> bool:
    """Whether the EXIF of a JPEG, PNG or TIFF file asks to turn or mirror it; False if it cannot be read."""
    try:
        return jpeg.orientation(read_regular(path, _HEAD)) != 1
    except (OSError, ValueError):
        return False


def read_image(path: str | Path | Readable, upright: bool = False) -> np.ndarray:
    """Read a file as (H, W, 3) uint8 RGB; what is `Readable` reads itself.

    Args:
        upright: turn the image as its EXIF rotation says; COCO's labels expect it unturned.

    Raises:
        UnreadableImage: if it is missing, empty, torn or no image.
    """
    return read_reduced(path, math.inf, upright)[0]


def as_image(source: object) -> np.ndarray:
    """An image, (H, W, 3) uint8 RGB, of a path, the bytes of a file, an array of that kind or grey, or a PIL image.

    Files are turned as their EXIF says.

    Raises:
        UnreadableImage: if a file cannot be read.
        UserError: if it is none of these.
    """
    if isinstance(source, str | Path):
        return read_image(source, upright=True)
    if isinstance(source, bytes):
        return _reduced("of these bytes", source, math.inf, upright=True)[0]
    if hasattr(source, "convert"):  # PIL's; its EXIF is the caller's affair, as its pixels are
        source = np.asarray(source.convert("RGB"))
    if isinstance(source, np.ndarray) and source.dtype == np.uint8 and source.size:
        if source.ndim == 2:
            return np.repeat(source[..., None], 3, axis=-1)
        if source.ndim == 3 and source.shape[2] == 3:
            return source
    got = f"{source.shape} {source.dtype}" if isinstance(source, np.ndarray) else type(source).__name__
    raise UserError(f"image: expected a path, bytes, (H, W, 3) uint8 RGB or a PIL image, got {got}")


def read_reduced(path: str | Path | Readable, least: float, upright: bool = False) -> tuple[np.ndarray, int]:
    """Read an image halved as often, thrice at most, as its long side keeps `least` pixels.

    Each pixel is the mean of a block of the file's. A JPEG is decoded at that size, in half the time: its brightness is
    that mean, to a rounding, and its colour a little sharper. Where a side is no multiple of the factor, the last
    blocks reach beyond the border and repeat it.

    Returns:
        image: (h, w, 3) uint8 RGB.
        factor: 1, 2, 4 or 8: the side of an image's pixel in pixels of the file.

    Raises:
        UnreadableImage: see `read_image`.
    """
    if not isinstance(path, str | Path):
        return _halved(path.read(), least)
    return _reduced(path, _read_bytes(path), least, upright)


def _reduced(path: str | Path, raw: bytes, least: float, upright: bool) -> tuple[np.ndarray, int]:
    # a JPEG whose data end early decodes to grey bars below the tear: refuse it rather than learn from it
    if jpeg.is_jpeg(raw) and (fault := jpeg.fault(raw)):
        raise UnreadableImage(f"image {path}: {fault}")
    size_hw = jpeg.size_hw(raw)
    factor = _factor(size_hw, least) if size_hw else 1
    image = _decoded(path, raw, _COLOUR[factor] | (0 if upright else cv2.IMREAD_IGNORE_ORIENTATION))
    if not upright and raw[:4] in _TIFF:  # cv2 turns these whatever it is told
        image = _unturned(image, jpeg.orientation(raw))
    return (image, factor) if size_hw else _halved(image, least)


def _read_bytes(path: str | Path) -> bytes:
    try:
        return read_regular(path)
    except OSError as error:
        raise UnreadableImage(f"image {path}: {error.strerror or error}") from error
    except MemoryError as error:
        raise UnreadableImage(f"image {path}: larger than the memory") from error


def _decoded(path: str | Path, raw: bytes, flags: int) -> np.ndarray:
    try:
        with remarks() as heard:
            deep = cv2.IMREAD_ANYDEPTH if _may_be_deep(raw) else 0
            image = cv2.imdecode(np.frombuffer(raw, np.uint8), flags | deep) if raw else None
        if image is None:
            raise UnreadableImage(f"image {path}: not an image that can be decoded")
        image = cv2.cvtColor(_eight_bits(path, image), cv2.COLOR_BGR2RGB)
    except (cv2.error, MemoryError) as error:
        raise UnreadableImage(f"image {path}: {_refusal(error)}") from error
    if jpeg.is_jpeg(raw) and (damage := _damage(heard, raw)):
        raise UnreadableImage(f"image {path}: damaged: {damage}")
    return image


def _may_be_deep(raw: bytes) -> bool:
    """Whether a file may have more than 8 bits a channel."""
    return raw[:4] in _TIFF or (raw[:4] == b"\x89PNG" and raw[24:25] == b"\x10")


def _eight_bits(path: str | Path, image: np.ndarray) -> np.ndarray:
    """An image of up to 16 bits as uint8; of cameras that use 10 or 12 of them the upper ones are empty.

    Raises:
        UnreadableImage: if its values are no whole numbers from 0 on.
    """
    if image.dtype == np.uint8:
        return image
    if image.dtype != np.uint16:
        raise UnreadableImage(f"image {path}: has values of {image.dtype}: save it with 8 or 16 bits, from 0 on")
    highest = int(image.max(initial=0))
    used = next((bits for bits in (10, 12) if 255 < highest < 1 << bits), 16)
    return (image >> (used - 8)).astype(np.uint8)


def _unturned(image: np.ndarray, orientation: int) -> np.ndarray:
    """The image as the file has its rows, from one that was turned as its EXIF says."""
    back = {
        2: lambda turned: turned[:, ::-1],
        3: lambda turned: turned[::-1, ::-1],
        4: lambda turned: turned[::-1],
        5: lambda turned: turned.transpose(1, 0, 2),
        6: lambda turned: np.rot90(turned),
        7: lambda turned: turned[::-1, ::-1].transpose(1, 0, 2),
        8: lambda turned: np.rot90(turned, -1),
    }.get(orientation)
    return image if back is None else np.ascontiguousarray(back(image))


def _refusal(error: Exception) -> str:
    """Why cv2 does not open an image, in a word of ours."""
    text = getattr(error, "err", "") or str(error)
    if "CV_IO_MAX_IMAGE" in text:
        return "larger than what OpenCV opens: 2^20 pixels a side, 2^28 in all"
    if isinstance(error, MemoryError) or error.code == cv2.Error.StsNoMem:
        return "larger than the memory"
    return f"cannot be decoded ({' '.join(text.split())})"


def _damage(heard: Sequence[str], raw: bytes) -> str:
    """What the decoder met in a JPEG that no whole one has; empty if its remarks are harmless."""
    found = next((line.partition(": ")[2] for line in heard if line.startswith(_CORRUPT)), "")
    surplus = _SURPLUS.match(found)
    if not surplus or int(surplus[2], 16) in jpeg.IN_DATA:
        return found
    # cameras leave some bytes between the data and the end mark; others lie between the headers
    count, marker = int(surplus[1]), int(surplus[2], 16)
    return found if marker == jpeg.END and count > _LEFT_OVER and not jpeg.is_padding(raw, count) else ""


def _factor(size_hw: tuple[int, int], least: float) -> int:
    return max(factor for factor in _COLOUR if factor == 1 or max(size_hw) >= factor * least)


def _halved(image: np.ndarray, least: float) -> tuple[np.ndarray, int]:
    """As `read_reduced`, of an image that was read whole."""
    factor = _factor(image.shape[:2], least)
    return image if factor == 1 else averaged(image, factor, cv2.BORDER_REPLICATE), factor


def write_image(path: str | Path, image: np.ndarray, quality: int = 92) -> None:
    """Write (H, W, 3) uint8 RGB by the suffix of the path, whole or not at all."""
    path = Path(path)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix.lower() in (".jpg", ".jpeg") else []
    done, raw = cv2.imencode(path.suffix, image[..., ::-1], options)
    if not done:
        raise UserError(f"image {path}: cannot be encoded")
    write_file(path, raw.tobytes(), durable=False)


def encode_png(image: np.ndarray) -> bytes:
    """(H, W, 3) uint8 RGB as the bytes of a PNG file."""
    return cv2.imencode(".png", image[..., ::-1])[1].tobytes()


def encode_jpeg(image: np.ndarray, quality: int = 88) -> bytes:
    """(H, W, 3) uint8 RGB as the bytes of a JPEG file."""
    return cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
