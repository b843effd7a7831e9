from dataclasses import replace

import numpy as np
import pytest

from rtpe.cache import Manifest
from rtpe.geometry import Affine, index_to_point
from rtpe.skeleton import COCO17
from rtpe.structures import PoseMaps, Poses, Prediction


def blobs(rng, points, size_hw, sigma=2.0, noise=0.004):
    """(K, h, w) float32: at each of (P, K, 2) points a Gaussian of random height, over a low wide background."""
    y, x = (index_to_point(axis) for axis in np.mgrid[: size_hw[0], : size_hw[1]])
    maps = rng.normal(0, noise, (points.shape[1], *size_hw))
    for person in points:
        for k, (px, py) in enumerate(person):
            peak = rng.uniform(0.2, 1.0) * np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2))
            maps[k] = np.maximum(maps[k], peak)
    return maps.astype(np.float32)


def predict(seed, size_hw=(24, 32), people=2, tags=1, skeleton=COCO17):
    """A prediction like a teacher's, with numbers that no rounding leaves alone."""
    rng = np.random.default_rng(seed)
    cells = rng.uniform(0, size_hw[::-1], (people, len(skeleton), 2))
    to_image = Affine(np.array([[rng.uniform(2, 9), rng.normal(), rng.normal()], [0.1, rng.uniform(2, 9), -1 / 3]]))
    tag_maps = rng.normal(0, 3, (tags, len(skeleton), *size_hw)).astype(np.float32) if tags else None
    maps = PoseMaps(
        blobs(rng, cells, size_hw), to_image, (97, 131), skeleton, {} if tag_maps is None else {"tags": tag_maps}
    )
    poses = Poses(to_image(cells), rng.random((people, len(skeleton))), rng.random(people), skeleton)
    return Prediction(maps, poses)


@pytest.fixture
def prediction():
    return predict


@pytest.fixture
def gaussians():
    return blobs


@pytest.fixture
def manifest():
    described = {"name": "fake", "weights_sha256": "ab" * 32, "settings": {"size": (96, 128), "flip": True}}
    made = Manifest(described, COCO17, source="coco/val2017", size=[96, 128], stride=4)

    def make(**changes):
        return replace(made, bound={}, **changes)

    return make
