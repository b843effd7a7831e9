"""Colour spaces: the same numbers as OpenCV's, at every corner; about mean 0 and deviation 1 on photographs."""

import cv2
import numpy as np
import pytest
import torch
from places import REAL

from rtpe.images import read_image
from rtpe.nets.blocks import normalise
from rtpe.nets.colours import COLOURS, HSV_MEAN, HSV_STD, LAB_MEAN, LAB_STD, rgb_to_hsv, rgb_to_lab

GREYS = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
CORNERS = np.array([[r, g, b] for r in (0, 255) for g in (0, 255) for b in (0, 255)], np.uint8)
DARK = np.array([[r, g, b] for r in range(12) for g in range(12) for b in range(12)], np.uint8)
MANY = np.random.default_rng(0).integers(0, 256, (20_000, 3), dtype=np.uint8)
ALL = {"greys": GREYS, "corners": CORNERS, "dark": DARK, "many": MANY}
BY_HAND = {
    (255, 0, 0): (0, 1, 1),
    (0, 255, 0): (1 / 3, 1, 1),
    (0, 0, 255): (2 / 3, 1, 1),
    (255, 0, 255): (5 / 6, 1, 1),
    (0, 0, 0): (0, 0, 0),
    (255, 255, 255): (0, 0, 1),
}


def converted(convert, colours):
    """(N, 3) uint8 through a conversion of (B, 3, h, w)."""
    image = torch.from_numpy(np.asarray(colours, np.float32).T / 255)[None, :, None]
    return convert(image)[0, :, 0].T.numpy()


def by_opencv(code, colours):
    return cv2.cvtColor(colours[None].astype(np.float32) / 255, code)[0]


def as_images(colours, shape):
    """Colours as normalised images, (B, 3, h, w)."""
    return normalise(torch.from_numpy(colours.reshape(*shape, 3)).permute(0, 3, 1, 2))


@pytest.mark.parametrize("colours", ALL.values(), ids=ALL)
def test_hsv_is_opencvs(colours):
    want = by_opencv(cv2.COLOR_RGB2HSV, colours) / (360, 1, 1)
    got = converted(rgb_to_hsv, colours)
    assert got.min() >= 0 and got.max() <= 1
    np.testing.assert_allclose(got, want, atol=5e-5)  # it adds 1e-7 to what it divides by, 1/255 at least


@pytest.mark.parametrize("colours", ALL.values(), ids=ALL)
def test_lab_is_opencvs(colours):
    """Of 0..100 and -110..110, within .5, as it interpolates in a table of 33 x 33 x 33 colours."""
    np.testing.assert_allclose(converted(rgb_to_lab, colours), by_opencv(cv2.COLOR_RGB2LAB, colours), atol=0.5)


@pytest.mark.parametrize("colours", ALL.values(), ids=ALL)
def test_lab_is_opencvs_of_linear_light(colours):
    """Without that table, if it is told the light that sRGB stands for; its roots are splines."""
    srgb = colours.astype(np.float64) / 255
    light = np.where(srgb > 0.04045, ((srgb + 0.055) / 1.055) ** 2.4, srgb / 12.92).astype(np.float32)
    want = cv2.cvtColor(light[None], cv2.COLOR_LRGB2LAB)[0]
    np.testing.assert_allclose(converted(rgb_to_lab, colours), want, atol=0.05)


@pytest.mark.parametrize("rgb", BY_HAND, ids=str)
def test_hsv_by_hand(rgb):
    assert converted(rgb_to_hsv, [rgb])[0].tolist() == pytest.approx(BY_HAND[rgb], abs=1e-6)


@pytest.mark.parametrize("rgb, lab", [((255, 255, 255), (100, 0, 0)), ((0, 0, 0), (0, 0, 0))], ids=str)
def test_lab_by_hand(rgb, lab):
    """To a hundredth: the matrix has six digits."""
    assert converted(rgb_to_lab, [rgb])[0].tolist() == pytest.approx(lab, abs=0.01)


@pytest.mark.parametrize(
    "name, convert, mean, std", [("hsv", rgb_to_hsv, HSV_MEAN, HSV_STD), ("lab", rgb_to_lab, LAB_MEAN, LAB_STD)]
)
def test_a_net_sees_them_normalised(name, convert, mean, std):
    """From normalised RGB back to colours, converted, and normalised by their own statistics."""
    seen = COLOURS[name](as_images(MANY[:1200], (2, 20, 30)))[0].flatten(1).T
    want = (converted(convert, MANY[:600]) - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(seen, want, atol=1e-3)  # there and back in float32, and a hue turns quickly near grey


@pytest.mark.parametrize("name", COLOURS)
@pytest.mark.parametrize("value", [0, 1, 128, 255])
def test_gradients_are_finite(name, value):
    """Greys and black have no hue, and a root is steep at 0; attributions follow gradients to the pixels."""
    images = normalise(torch.full((1, 3, 2, 2), value, dtype=torch.uint8)).requires_grad_()
    COLOURS[name](images).sum().backward()
    assert torch.isfinite(images.grad).all()


@pytest.mark.parametrize("name", ["hsv", "lab"])
def test_half_precision_around_it_changes_nothing(name):
    images = as_images(MANY[:600], (1, 20, 30))
    with torch.autocast("cpu", torch.bfloat16):
        half = COLOURS[name](images)
    assert torch.equal(half, COLOURS[name](images))


@pytest.mark.skipif(not (REAL / "coco_subset").is_dir(), reason="needs the real-data folder: set RTPE_REAL_DATA")
@pytest.mark.parametrize("name", COLOURS)
def test_photographs_have_about_mean_0_and_deviation_1(name):
    """Of other photographs than those that the numbers are from: within a third."""
    paths = sorted((REAL / "coco_subset/images/val2017").glob("*.jpg"))[:60]
    thinned = [np.ascontiguousarray(read_image(path)[::4, ::4]) for path in paths]
    pixels = torch.cat([COLOURS[name](as_images(each, (1, *each.shape[:2]))).flatten(2)[0] for each in thinned], dim=1)
    assert pixels.mean(1).abs().max() < 1 / 3 and (pixels.std(1) - 1).abs().max() < 1 / 3
