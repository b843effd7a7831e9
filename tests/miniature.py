"""Small things that several tests share: photographs of coloured spots, a teacher that sees them, and its cache.

Joint k of the skeleton is a spot of colour k: a predictor that averages the colours of cells is a perfect teacher
without a net. On a mirrored image a net calls a left eye a right one; whoever mirrors must swap channels.
"""

from dataclasses import replace

import numpy as np

from rtpe.cache import Cache, Manifest
from rtpe.decode.grouping import GroupingSettings, group
from rtpe.geometry import Affine, cells, index_to_point, short_side
from rtpe.raster import warp
from rtpe.skeleton import Skeleton
from rtpe.structures import PoseMaps, Prediction, Sample

FACE = Skeleton("face", ("nose", "left_eye", "right_eye"), ((0, 1), (0, 2)), (0.1, 0.1, 0.1))
STRIDE = 4


def spots(points, size_hw, sigma):
    """(H, W, 3) uint8: colour k is a Gaussian of height 255 at points[k]."""
    y, x = (index_to_point(np.arange(side)) for side in size_hw)
    down = np.exp(-((y[:, None] - points[:, 1]) ** 2) / (2 * sigma**2))
    across = np.exp(-((x[:, None] - points[:, 0]) ** 2) / (2 * sigma**2))
    return np.rint(255 * down[:, None] * across[None]).astype(np.uint8)


def cell_means(image, stride=STRIDE):
    """The heatmaps of the perfect net: (H, W, 3) uint8 -> (3, H / stride, W / stride) float32, 0..1."""
    h, w = image.shape[0] // stride, image.shape[1] // stride
    means = image.reshape(h, stride, w, stride, 3).mean((1, 3), dtype=np.float32) / 255
    return np.ascontiguousarray(means.transpose(2, 0, 1), np.float32)


def look(image, input_hw, view, stride=STRIDE):
    """What the perfect net sees in an image under a view; a mirrored one with left and right confused."""
    heatmaps = cell_means(warp(image, view, input_hw), stride)
    heatmaps = heatmaps[FACE.flip] if view.mirrors else heatmaps
    return PoseMaps(heatmaps, view.inverse() @ cells(stride), image.shape[:2], FACE)


def sample(image_id, points, size_hw=(64, 64), sigma=4.0, **changes):
    """A labelled photograph of one person, its three joints at `points`, its body what is not black."""
    points = np.asarray(points, np.float32)
    people = np.concatenate([points, np.full((3, 1), 2, np.float32)], 1)[None]
    image = spots(points, size_hw, sigma)
    body = (image.max(-1) > 30).astype(np.uint8)
    made = Sample(image_id, f"{image_id}.png", image, people, np.ones(size_hw, np.uint8), FACE, body)
    return replace(made, **changes)


def samples(count=4, size_hw=(64, 64), seed=0, **changes):
    """Photographs of one person each, the joints well inside."""
    rng = np.random.default_rng(seed)
    low, high = np.array(size_hw[::-1]) / 5, np.array(size_hw[::-1]) * 4 / 5
    return [sample(index + 1, rng.uniform(low, high, (3, 2)), size_hw, **changes) for index in range(count)]


def teach(image, size=64):
    """What the perfect teacher says of an image."""
    input_hw, view = short_side(image.shape[:2], size)
    maps = look(image, input_hw, view)
    return Prediction(maps, group(maps, GroupingSettings()))


def cache_of(path, predictions, skeleton=FACE, **changes):
    """A cache of predictions by image id, opened for reading."""
    made_by = {"name": "perfect", "weights_sha256": "0" * 64, "settings": {}}
    with Cache.create(path, Manifest(made_by, skeleton, **changes)) as cache:
        for image_id, prediction in predictions.items():
            cache.add(image_id, f"{image_id}.png", prediction)
    return Cache.open(path)


def teacher_cache(path, photographs):
    return cache_of(path, {photograph.image_id: teach(photograph.image) for photograph in photographs})


def mirrored(view, input_hw) -> Affine:
    return Affine.mirror(input_hw[1]) @ view
