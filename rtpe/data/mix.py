"""Examples of several images in one, so that photographs of single persons teach crowds too.

A mosaic sets four images side by side (Bochkovskiy et al., arXiv:2004.10934); a paste cuts the people out of one image
and lays them over another (Ghiasi et al., arXiv:2012.07177). The parts are examples as `distill.TrainingExamples` makes
them, each under a view of its own, in a frame whose sides are multiples of the stride.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rtpe.raster import greatest, resize

Example = dict[str, np.ndarray]
FILL = 0.5  # of a quadrant by its image: half way between all of it with a border, and no border but feet cut off
REACH = 4  # cells that the teacher's heat spreads about a joint: two standard deviations of it


def quadrants(input_hw: tuple[int, int], stride: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Sizes of a mosaic's four parts, row by row; the cross between them is drawn in the middle third of each side.

    It lies on borders of cells, so that every cell is of one image alone.
    """
    (top, left), (height, width) = (_middle(side // stride, rng) * stride for side in input_hw), input_hw
    return [(rows, columns) for rows in (top, height - top) for columns in (left, width - left)]


def _middle(cells: int, rng: np.random.Generator) -> int:
    return int(rng.integers(-(-cells // 3), cells * 2 // 3, endpoint=True))


def mosaic(parts: Sequence[Example]) -> Example:
    """Four examples of the sizes of `quadrants`, row by row, as one; labelled if all of them are."""
    top, left = parts[0]["images"].shape[:2]
    corners = [(0, 0), (left, 0), (0, top), (left, top)]
    planes = [name for name in ("images", "valid", "person") if name in parts[0]]
    joined = {name: _tiled([part[name] for part in parts]) for name in planes}
    if "teacher" in parts[0]:
        joined["teacher"] = np.stack([_tiled(maps) for maps in zip(*(part["teacher"] for part in parts))])
    points = np.concatenate([_shifted(part["points"], corner) for part, corner in zip(parts, corners)])
    return {**joined, "points": _present(points), "labelled": np.array(all(part["labelled"] for part in parts))}


def _tiled(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.concatenate(parts[:2], axis=1), np.concatenate(parts[2:], axis=1)])


def _shifted(points: np.ndarray, corner: tuple[int, int]) -> np.ndarray:
    return np.where(points[..., 2:] > 0, points + np.float32([*corner, 0]), 0)


def paste(below: Example, above: Example) -> Example:
    """The people of one example laid over another of the same size; labelled if both are.

    The teacher's maps are those of the upper example where the body covers a cell, and the greater of both for two
    standard deviations around it; joints of the upper example beyond that are left out, as nothing of them is shown.

    Args:
        above: has a "body" too, (H, W) uint8: how much of each pixel is cut out of it, 255 being all.
    """
    body = above["body"]
    if not body.any():
        return below
    share = resize(body, below["valid"].shape)
    near = greatest(share, REACH) > 0
    pasted = {
        "images": _blended(below["images"], above["images"], body[..., None]),
        "points": _present(np.concatenate([_hidden(below["points"], body), _kept(above["points"], near, body)])),
        "labelled": below["labelled"] & above["labelled"],
        "valid": _blended(below["valid"], np.uint8(255), share),
    }
    if "person" in below:
        pasted["person"] = _blended(below["person"], np.uint8(0), share) + np.minimum(above["person"], share)
    if "teacher" in below:
        greater = np.where(near, np.maximum(below["teacher"], above["teacher"]), below["teacher"])
        pasted["teacher"] = np.where(share > 127, above["teacher"], greater)
    return pasted


def _blended(below: np.ndarray, above: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """(1 - alpha) of the one and alpha of the other, all of them uint8."""
    share = alpha.astype(np.uint16)
    return ((below * (255 - share) + above * share) // 255).astype(np.uint8)


def _at(mask: np.ndarray, points: np.ndarray, side: float = 1) -> np.ndarray:
    """The mask at (P, K, 3) points in pixels, its cells being so many pixels wide."""
    column, row = np.moveaxis((points[..., :2] / side).astype(int), -1, 0)
    return mask[row.clip(0, mask.shape[0] - 1), column.clip(0, mask.shape[1] - 1)]


def _hidden(points: np.ndarray, body: np.ndarray) -> np.ndarray:
    """The people below: joints under the body are hidden, not seen.

    Where most of a person's joints are under it nobody could label them, as annotators of COCO do not: they are absent.
    """
    known = points[..., 2] > 0
    under = known & (_at(body, points) > 127)
    lost = under & (2 * under.sum(1) > known.sum(1))[:, None]
    seen = np.where(under, points[..., 2].clip(max=1), points[..., 2])
    return np.where(lost[..., None], 0, np.concatenate([points[..., :2], seen[..., None]], -1))


def _kept(points: np.ndarray, near: np.ndarray, body: np.ndarray) -> np.ndarray:
    """The people above: joints of which nothing is pasted are absent."""
    return np.where(_at(near, points, body.shape[1] / near.shape[1])[..., None], points, 0)


def _present(points: np.ndarray) -> np.ndarray:
    return points[(points[..., 2] > 0).any(1)]
