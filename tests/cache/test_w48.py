import numpy as np
import pytest

from rtpe.cache.w48 import read_w48, w48_input
from rtpe.geometry import Affine, index_to_point


@pytest.mark.parametrize(
    "image_hw, input_hw",
    [
        ((480, 640), (640, 896)),
        ((427, 640), (640, 960)),
        ((426, 640), (640, 1024)),
        ((360, 640), (640, 1152)),
        ((640, 480), (896, 640)),
        ((640, 640), (640, 640)),
    ],
)
def test_the_input_sizes_that_were_published(image_hw, input_hw):
    assert w48_input(image_hw)[0] == input_hw


@pytest.mark.parametrize("image_hw", [(480, 640), (427, 640), (640, 427), (333, 500), (501, 501)])
def test_the_affine_is_the_one_of_three_points(image_hw):
    """A warp by indices that carries the middle pixel, and the one half a width above it, to those of the input."""
    (h, w), (in_hw, affine) = image_hw, w48_input(image_hw)
    middle = np.array([int(w / 2 + 0.5), int(h / 2 + 0.5)], float)
    scale = 640 / min(image_hw)
    index = np.array([middle, middle - (0, in_hw[1] / 2 / scale)])
    wanted = np.array([[in_hw[1] / 2, in_hw[0] / 2], [in_hw[1] / 2, in_hw[0] / 2 - in_hw[1] / 2]])
    assert np.allclose(affine(index_to_point(index)), wanted)  # the network counts from the center of the first pixel


def write(path, image_hw, point, order=None):
    """Files as the first rtpe wrote them: a Gaussian in each level, at a point in pixels of the image."""
    input_hw, affine = w48_input(image_hw)
    named = {}
    for name, stride in (("pred_heatmaps", 4), ("heatmaps_refined", 2)):
        x, y = (Affine.scaling(1 / stride) @ affine)(np.array([point]))[0]
        rows, columns = (index_to_point(axis) for axis in np.mgrid[: input_hw[0] // stride, : input_hw[1] // stride])
        blob = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8)
        named[name] = np.repeat(blob[None], 17, 0).astype(np.float32)
    named["embeddings"] = np.full_like(named["pred_heatmaps"], 3)
    np.savez_compressed(path, heatmaps_order=np.array(["nose"] * 17), **named)
    return path


@pytest.mark.parametrize("image_hw", [(120, 160), (107, 160), (160, 107)])
def test_a_peak_lies_where_it_was_in_the_image(tmp_path, image_hw):
    point = np.array([71.3, 40.8])
    maps = read_w48(write(tmp_path / "a.npz", image_hw, point), image_hw)
    assert maps.tags.shape == (1, *maps.heatmaps.shape) and (maps.tags == 3).all()
    y, x = np.unravel_index(maps.heatmaps[0].argmax(), maps.size_hw)
    cell = 2 * min(image_hw) / 640  # in image pixels; the highest cell is at most half of one away, either way
    assert np.abs(maps.to_image(np.array([index_to_point(x), index_to_point(y)])) - point).max() <= cell / 2 + 1e-6


def test_what_cannot_be_read(tmp_path):
    path = write(tmp_path / "a.npz", (120, 160), (5, 5))
    with pytest.raises(ValueError, match=r"holds maps of \(17, 320, 448\), an image of \(160, 120\) gives"):
        read_w48(path, (160, 120))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"a\.npz: not a whole _w48_predictions\.npz file"):
        read_w48(path, (120, 160))
    np.savez(path, pred_heatmaps=np.array([{}], object))
    with pytest.raises(ValueError, match="not a whole"):
        read_w48(path, (120, 160))
