"""From a sample to what a net is trained on: one affine for image, masks, points and cached maps; colours apart."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from rtpe.data.settings import AugmentSettings
from rtpe.errors import UserError
from rtpe.geometry import Affine, cells, centered
from rtpe.raster import add_grain, greatest, recolour, resize, warp, warp_maps
from rtpe.structures import PoseMaps, Poses, Sample

# the middles of 256 equal shares of a normal distribution
_NORMAL = np.array([NormalDist().inv_cdf((2 * rank + 1) / 512) for rank in range(256)])


def plain_view(size_hw: tuple[int, int], input_hw: tuple[int, int], fill: float = 0.0) -> Affine:
    """The image upright and centered in the network's input: letterboxed for a fill of 0, without a border for 1."""
    factors = input_hw[0] / size_hw[0], input_hw[1] / size_hw[1]
    return centered(size_hw, input_hw, min(factors) ** (1 - fill) * max(factors) ** fill)


def random_view(
    size_hw: tuple[int, int], input_hw: tuple[int, int], settings: AugmentSettings, rng: np.random.Generator
) -> Affine:
    """Image to input: turned, scaled, shifted and mirrored at random about the plain view."""
    height, width = input_hw
    low, high = np.log(settings.scale)
    center = Affine.translation(width / 2, height / 2)
    shift = Affine.translation(*(rng.uniform(-settings.shift, settings.shift, 2) * (width, height)))
    turn = Affine.rotation(rng.uniform(-settings.rotate, settings.rotate))
    view = shift @ center @ turn @ Affine.scaling(np.exp(rng.uniform(low, high))) @ center.inverse()
    view = view @ plain_view(size_hw, input_hw)
    return Affine.mirror(width) @ view if rng.random() < settings.flip else view


def warp_points(points: np.ndarray, view: Affine, size_hw: tuple[int, int], flip: list[int]) -> np.ndarray:
    """Carry (P, K, 3) points with visibility into the frame; mirrored people swap left and right joints.

    A joint that falls outside the frame is no longer labelled (0, 0, 0).
    """
    moved = points[:, flip].copy() if view.mirrors else points.copy()
    moved[..., :2] = view(moved[..., :2])
    inside = (moved[..., :2] >= 0).all(-1) & (moved[..., 0] < size_hw[1]) & (moved[..., 1] < size_hw[0])
    moved[~inside | (moved[..., 2] <= 0)] = 0
    return moved


def warp_mask(mask: np.ndarray, view: Affine, size_hw: tuple[int, int], stride: float, outside: int) -> np.ndarray:
    """A mask of 0 and 1, (H, W), on the grid of `size_hw` cells under the view: (h, w) uint8, 255 where covered."""
    if (mask == outside).all():  # most images have neither crowds nor, in places, people
        return np.full(size_hw, 255 * outside, np.uint8)
    pixels_hw = tuple(round(side * stride) for side in size_hw)
    return resize(warp(mask * np.uint8(255), view, pixels_hw, fill=255 * outside), size_hw)


def refuse_other_size(maps: PoseMaps, sample: Sample) -> None:
    """Maps lie on the image that they were made of; one of another size under its name is another one.

    Raises:
        UserError: with both sizes.
    """
    factor = sample.reduction
    if tuple(-(-side // factor) for side in maps.image_hw) != sample.size_hw:
        (made_h, made_w), (h, w) = maps.image_hw, sample.size_hw
        raise UserError(
            f"image {sample.file_name}: has {w * factor} x {h * factor} pixels here, and {made_w} x {made_h} where the "
            "teacher's maps were made: pass the --cache.path of these images"
        )


def warp_teacher_maps(maps: PoseMaps, view: Affine, size_hw: tuple[int, int], stride: float) -> PoseMaps:
    """The teacher's maps on the student's grid of `size_hw` cells under the same view; channels swap on a mirror.

    Bilinear: a peak keeps its place to .15 cell on a grid up to three times coarser, to .3 cell on a finer one. For a
    grid twice as coarse and more, cells first take the greatest value around them: averaged alone, the narrow peaks of
    small people would sink to half their height.
    """
    to_grid = cells(stride).inverse() @ view @ maps.to_image
    heatmaps = [maps.heatmaps[joint] for joint in maps.skeleton.flip] if view.mirrors else maps.heatmaps
    reach = int(1 / to_grid.scale / 2)
    if reach:
        heatmaps = [greatest(channel, reach) for channel in heatmaps]
    return PoseMaps(
        heatmaps=warp_maps(heatmaps, to_grid, size_hw),
        to_image=view.inverse() @ cells(stride),
        image_hw=maps.image_hw,
        skeleton=maps.skeleton,
        peak_sigma=None if maps.peak_sigma is None else _warped_sigma(maps.peak_sigma, to_grid.scale, reach),
    )


def _warped_sigma(sigma: float, scale: float, reach: int) -> float:
    """The deviation of a Gaussian on the grid, whose cells first took the greatest value within `reach`, were averaged
    over blocks by `warp_maps`, and were interpolated: a deviation of 1 and a scale of 1 give 1.08.
    """
    plateau, tails = (
        2 * reach,
        math.sqrt(2 * math.pi) * sigma,
    )  # a Gaussian cut in two, with its summit's height between
    moment = plateau**3 / 12 + tails * (reach**2 + sigma**2) + 4 * reach * sigma**2
    block = max(int(1 / scale), 1)
    variance = moment / (plateau + tails) + (block**2 - 1) / 12 + block**2 / 6  # 1 / 6: bilinear, of all phases
    return scale * math.sqrt(variance)


def poses_as_points(poses: Poses, threshold: float) -> np.ndarray:
    """People found, as if labelled, (P, K, 3): x, y and the score, at most 1; 0 where it is below the threshold."""
    seen = poses.scores >= threshold
    points = np.concatenate([poses.points, poses.scores[..., None].clip(max=1)], -1)
    points[~seen] = 0
    return points[seen.any(1)]


def photometric(image: np.ndarray, settings: AugmentSettings, rng: np.random.Generator) -> np.ndarray:
    """Light, contrast, colour cast and noise changed at random; geometry untouched."""
    gain = 1 + rng.uniform(-settings.light, settings.light) + rng.uniform(-1, 1, 3) * settings.light / 3
    offset = rng.uniform(-settings.light, settings.light) * 64
    table = np.clip(np.arange(256)[:, None] * gain + offset, 0, 255).astype(np.uint8)
    changed = recolour(image, table)
    if rng.random() < settings.grey:
        changed = np.repeat(changed.sum(-1, dtype=np.uint16, keepdims=True) // 3, 3, -1).astype(np.uint8)
    if settings.noise and rng.random() < 1 / 3:
        changed = _noisy(changed, rng.uniform(0, settings.noise), rng)
    return changed


def _noisy(image: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """With normal noise added, of 256 equally likely heights, which are rounded to grey levels."""
    grain = np.frombuffer(rng.bytes(image.size), np.uint8).reshape(image.shape)
    return add_grain(image, grain, np.rint(deviation * _NORMAL).astype(np.int16))
