"""Pictures of poses and maps: arrays in, arrays out, nothing is changed in place.

Every image is (H, W, 3) uint8 RGB. A person's left is drawn warm and the right cool, so that a swap is seen at once;
within the two families each person has a tint.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence

import cv2
import numpy as np

from rtpe.errors import UserError
from rtpe.geometry import Affine, letterbox, point_to_index
from rtpe.raster import warp, warp_maps
from rtpe.skeleton import Skeleton

_FIXED_BITS = 4  # cv2 draws with fixed-point coordinates: 1/16 pixel
_FARTHEST = 1 << 20  # pixels; a point beyond would overflow the fixed-point numbers
_GOLDEN = (math.sqrt(5) - 1) / 2  # steps of this share of a range never come close to an earlier one
_HUES = {"left": (0.01, 0.13), "right": (0.49, 0.66)}  # red to amber, cyan to blue: apart for the colour-blind too
_EDGE = (20, 20, 24)
_PAPER, _INK = 250, 40
_CAPTION = 30  # pixels high
_MASK_COLOUR = (255, 40, 160)


def draw_people(
    image: np.ndarray, points: np.ndarray, scores: np.ndarray, skeleton: Skeleton, threshold: float = 0.1
) -> np.ndarray:
    """Joints and limbs of people; a joint that was not found, or scores less than the threshold, is left out.

    Args:
        points, scores: (P, K, 2) x, y in pixels of the image, and (P, K).
    """
    shown = (scores > 0) & (scores >= threshold)
    return _draw_people(image, points, shown, np.zeros_like(shown), skeleton)


def draw_truth(image: np.ndarray, points: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Labelled people, (P, K, 3) x, y in pixels and visibility: 0 is left out, 1 (hidden) is hollow, 2 is full.

    Raises:
        UserError: if the points have another shape.
    """
    if points.ndim != 3 or points.shape[1:] != (len(skeleton), 3):
        raise UserError(f"points: expected (P, {len(skeleton)}, 3) for {skeleton.name}, got {points.shape}")
    return _draw_people(image, points[..., :2], points[..., 2] > 0, points[..., 2] == 1, skeleton)


def overlay_heatmaps(image: np.ndarray, heatmaps: np.ndarray, to_image: Affine) -> np.ndarray:
    """Heatmaps over their image, the greatest of the joints in one perceptual colour scale.

    A height of 1 is opaque and 0 leaves the image as it is.

    Args:
        heatmaps: (K, h, w) float.
        to_image: cells of the maps to pixels of the image.
    """
    heights = warp_maps(np.nan_to_num(heatmaps.astype(np.float32)).clip(0, 1), to_image, image.shape[:2])
    height = heights.max(0)
    return _blend(image, _inferno(height), height)


def overlay_mask(image: np.ndarray, mask: np.ndarray, to_image: Affine) -> np.ndarray:
    """A mask of attention or segmentation over an image, in one colour; 0 leaves the image as it is.

    Args:
        mask: (h, w) float, 0 to 1.
        to_image: cells of the mask to pixels of the image.
    """
    carried = warp(np.nan_to_num(mask.astype(np.float32)).clip(0, 1), to_image, image.shape[:2])
    return _blend(image, np.array(_MASK_COLOUR), 0.6 * carried)  # a full mask still lets the image through


def grid(
    rows: Sequence[Sequence[np.ndarray]],
    titles: Sequence[str] = (),
    cell_hw: tuple[int, int] = (288, 384),
    gap: int = 6,
) -> np.ndarray:
    """A contact sheet: every image letterboxed into an equal cell; short rows are filled up with paper.

    Args:
        titles: above the columns, shortened to the width of a cell.
    """
    columns = max([len(row) for row in rows] + [len(titles)], default=0)
    lines = [[_cell(image, cell_hw) for image in row] for row in rows]
    lines = [line + [_paper(cell_hw)] * (columns - len(line)) for line in lines]
    if titles:
        heads = [_caption(title, cell_hw[1]) for title in titles]
        lines.insert(0, heads + [_paper((_CAPTION, cell_hw[1]))] * (columns - len(heads)))
    return _join([_join(line, gap, axis=1) for line in lines], gap, axis=0)


def _draw_people(image, points, shown, hollow, skeleton: Skeleton) -> np.ndarray:
    """Limbs, then joints, each with a dark edge that keeps it visible on any ground."""
    canvas = np.ascontiguousarray(image).copy()
    width = max(1, round(math.sqrt(image.shape[0] * image.shape[1]) / 180))
    shown = shown & np.isfinite(points).all(-1)
    places = np.rint(point_to_index(np.nan_to_num(points).clip(-_FARTHEST, _FARTHEST)) * (1 << _FIXED_BITS))
    for person, (place, drawn, hidden) in enumerate(zip(places.astype(int).tolist(), shown, hollow)):
        limbs = [(a, b) for a, b in skeleton.limbs if drawn[a] and drawn[b]]
        for edge in (True, False):
            for a, b in limbs:
                colour = _EDGE if edge else _colour(_limb_side(skeleton, a, b), person)
                cv2.line(canvas, place[a], place[b], colour, width + 2 * edge, cv2.LINE_AA, _FIXED_BITS)
        for joint in np.flatnonzero(drawn):
            _dot(canvas, place[joint], width, _colour(skeleton.joints[joint], person), hidden[joint])
    return canvas


def _dot(canvas, place, width: int, colour, hollow: bool) -> None:
    def disc(radius: float, fill):
        cv2.circle(canvas, place, round(radius * (1 << _FIXED_BITS)), fill, -1, cv2.LINE_AA, _FIXED_BITS)

    disc(width + 1, _EDGE)
    disc(width, colour)
    if hollow:
        disc(width / 2, _EDGE)


def _limb_side(skeleton: Skeleton, a: int, b: int) -> str:
    sides = {_side(skeleton.joints[a]), _side(skeleton.joints[b])} - {"middle"}
    return sides.pop() if len(sides) == 1 else "middle"


def _side(name: str) -> str:
    side = name.split("_")[0]
    return side if side in _HUES else "middle"


def _colour(name: str, number: int) -> tuple[int, int, int]:
    """The tint that a person or joint of that number has on the side that the name begins with; the middle is pale."""
    share = number * _GOLDEN % 1
    first, last = _HUES.get(_side(name), (0.0, 1.0))
    saturation = 0.9 if _side(name) in _HUES else 0.2
    red, green, blue = colorsys.hsv_to_rgb(first + share * (last - first), saturation, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def _inferno(height: np.ndarray) -> np.ndarray:
    """Heights of 0 to 1 in matplotlib's inferno scale, whose steps look equal and survive a grey print."""
    return cv2.applyColorMap(np.rint(height * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]


def _blend(image: np.ndarray, colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    alpha = alpha[..., None]
    return np.rint(image * (1 - alpha) + colour * alpha).astype(np.uint8)


def _paper(size_hw: tuple[int, int]) -> np.ndarray:
    return np.full((*size_hw, 3), _PAPER, np.uint8)


def _cell(image: np.ndarray, cell_hw: tuple[int, int]) -> np.ndarray:
    return warp(image, letterbox(image.shape[:2], cell_hw), cell_hw, fill=_PAPER)


def _caption(text: str, length: int) -> np.ndarray:
    """A strip of paper of that length with the text in its middle, shortened with dots where it is too long."""
    strip, font, size = _paper((_CAPTION, length)), cv2.FONT_HERSHEY_SIMPLEX, 0.6

    def width(words: str) -> int:
        return cv2.getTextSize(words, font, size, 1)[0][0]

    shown = text
    while width(shown) > length and text:
        text = text[:-1]
        shown = text + ".."
    origin = (max(0, (length - width(shown)) // 2), _CAPTION - 9)
    cv2.putText(strip, shown, origin, font, size, (_INK,) * 3, 1, cv2.LINE_AA)
    return strip


def _join(parts: list[np.ndarray], gap: int, axis: int) -> np.ndarray:
    """The parts in a row (axis 1) or column (axis 0), with paper around and between them."""
    if not parts:
        return _paper((gap, gap))
    across = parts[0].shape[1 - axis]
    space = _paper((gap, across) if axis == 0 else (across, gap))
    return np.concatenate([piece for part in parts for piece in (space, part)] + [space], axis=axis)
