"""Arrays of pixels through affine maps, and shapes drawn on them; with reading, drawing and videos the users of cv2."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from rtpe.geometry import Affine, point_to_index

cv2.setNumThreads(0)  # workers and torch already share the cores; cv2's own threads only get in their way
_FIXED_BITS = 4  # cv2 draws with fixed-point coordinates: 1/16 pixel


def warp(
    image: np.ndarray, affine: Affine, size_hw: tuple[int, int], fill: float | Sequence[float] = 0, nearest=False
) -> np.ndarray:
    """Carry an image, (H, W) or (H, W, C), into a frame of `size_hw`; what lies outside it becomes `fill`.

    Bilinear; a strong reduction averages first, so that fine texture does not alias.
    """
    fill = fill if isinstance(fill, Sequence) else (fill,) * 4
    reduction = 1 / affine.scale
    if not nearest and reduction >= 2:
        image = averaged(image, int(reduction), fill=fill)
        affine = affine @ Affine.scaling(int(reduction))
    flags = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    return cv2.warpAffine(
        image, affine.index_matrix(), size_hw[::-1], flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=fill
    )


def averaged(image: np.ndarray, factor: int, border=cv2.BORDER_CONSTANT, fill: Sequence[float] = (0,)) -> np.ndarray:
    """The image averaged over blocks of `factor` pixels a side; the last blocks are filled up with the border."""
    h, w = image.shape[:2]
    if h % factor or w % factor:  # blocks of one size alone are averaged fast, and keep the affine a pure factor
        image = cv2.copyMakeBorder(image, 0, -h % factor, 0, -w % factor, border, value=fill)
    return cv2.resize(image, (-(-w // factor), -(-h // factor)), interpolation=cv2.INTER_AREA)


def warp_maps(maps: Sequence[np.ndarray], affine: Affine, size_hw: tuple[int, int], cubic=False) -> np.ndarray:
    """Carry float maps, C of (h, w), into another grid of cells, (C, *size_hw); outside is 0.

    Bilinear; a strong reduction averages first: a peak a cell wide would else come and go with its place.

    Args:
        cubic: by cubic curves, whose summits may lie between cells; they overshoot by some percent.
    """
    reduction = 1 / affine.scale
    if reduction >= 2:
        maps = [averaged(channel, int(reduction)) for channel in maps]
        affine = affine @ Affine.scaling(int(reduction))
    out = np.empty((len(maps), *size_hw), maps[0].dtype)
    matrix = affine.index_matrix()
    flags = cv2.INTER_CUBIC if cubic else cv2.INTER_LINEAR
    for source, target in zip(maps, out):  # one channel a call: many at once run through a coarser path of cv2
        cv2.warpAffine(source, matrix, size_hw[::-1], dst=target, flags=flags)
    return out


def recolour(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Each value replaced by the table's, (256, C) uint8, of its channel; (H, W, C) uint8."""
    return cv2.LUT(image, table[None])


def add_grain(image: np.ndarray, grain: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """The image, uint8, with the height, (256,) int16, that each of the grain's bytes stands for added, and clipped.

    Shape: image (H, W, C), grain (H, W, C) uint8 -> (H, W, C).
    """
    return cv2.add(image, cv2.LUT(grain, heights), dtype=cv2.CV_8U)


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
