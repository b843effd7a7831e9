"""Heatmaps of two distributions: a peak is where both have theirs, and as high as the lower one."""

import numpy as np
import pytest
import torch

from rtpe.decode.peaks import dark
from rtpe.geometry import index_to_point
from rtpe.predictors.adapters.simcc import STRIDE, Distributions, rebuilt

SIZE_HW = 96, 64


def label(place, count, sigma):
    """A Gaussian of summit 1 around a bin's index, (1, 1, count)."""
    return torch.exp(-((torch.arange(count, dtype=torch.float32) - place) ** 2) / (2 * sigma**2))[None, None]


def meaning(bins=2.0, factor=1.0, softmax=False, unit=False):
    return Distributions(bins, (2.4 * bins, 2.8 * bins), factor, softmax, unit)


def labels(xy, how, heights=(1, 1)):
    """What a net says that learnt the labels of a joint at that index of a pixel, as high as these."""
    for place, side, sigma, height in zip(xy, SIZE_HW[::-1], how.sigmas_xy, heights):
        own = height * label(place * how.bins, int(side * how.bins), sigma)
        area = sigma * np.sqrt(2 * np.pi)
        if how.softmax:
            own = (own / area + 1e-12).log()  # its softmax is the label again: of area 1
        yield (own / area if how.unit and not how.softmax else own) / how.factor


@pytest.mark.parametrize("how", [
    meaning(), meaning(1), meaning(1.5), meaning(3), meaning(factor=0.5), meaning(unit=True),
    meaning(softmax=True), meaning(factor=10, softmax=True, unit=True),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("xy", [(20, 31), (33.5, 50.5), (47.3, 71.8)])
def test_a_joint_is_found_where_it_was_labelled(how, xy):
    """Cell i is at pixel STRIDE * i; a mean over a cell costs some percent of the height."""
    heat = rebuilt(*labels(xy, how), how)[0].numpy()
    assert heat.shape == (1, *(side // STRIDE for side in SIZE_HW))
    y, x = np.unravel_index(heat.argmax(), heat.shape[1:])
    (found,) = dark(heat, np.array([0]), np.array([y]), np.array([x])) - dark_origin()
    np.testing.assert_allclose(found * STRIDE, xy, atol=0.05)
    assert 0.85 < heat.max() <= 1.0001  # float32


def dark_origin():
    """Peaks are points of cells: the first cell's center."""
    return index_to_point(np.zeros(2))


@pytest.mark.parametrize(
    "heights, want", [((1, 0.4), 0.4), ((0.3, 0.9), 0.3), ((2, 0.5), 0.5), ((3, 2), 1), ((0, 1), 0)]
)
def test_a_peak_is_as_high_as_the_lower_one(heights, want):
    heat = rebuilt(*labels((20, 30), meaning(), heights), meaning())
    assert heat.max() == pytest.approx(want, rel=0.08)  # what a mean over a cell costs


def test_nothing_is_shown_where_nothing_is_said():
    heat = rebuilt(-torch.ones(2, 3, 128), torch.zeros(2, 3, 192), meaning())
    assert heat.shape == (2, 3, 48, 32) and not heat.any()


def test_a_joint_on_the_border_keeps_its_height():
    heat = rebuilt(*labels((0, 0), meaning()), meaning())
    assert heat.argmax() == 0 and heat.max() > 0.85
