import numpy as np
import pytest
from reference import peaks as slow
from reference import top_down as published

from rtpe.decode.peaks import REFINERS, dark, local_maxima, published_quarter, refiner
from rtpe.geometry import index_to_point

# exact-center Gaussians sampled at cell centers; dark is exact up to the rounding of float32
BOUNDS = {"argmax": 0.5, "quarter": 0.25, "dark": 0.01, "corner": 1.0}


def gaussians(points, size_hw, sigma=2.0):
    """(N, 2) points -> (N, h, w) float32, one Gaussian of height 1 each, sampled at the cell centers."""
    h, w = size_hw
    ys, xs = index_to_point(np.arange(h)), index_to_point(np.arange(w))
    squared = (xs - points[:, 0, None]) ** 2, (ys - points[:, 1, None]) ** 2
    return np.exp(-(squared[1][:, :, None] + squared[0][:, None]) / (2 * sigma**2)).astype(np.float32)


def peaks_of(points, size_hw, sigma=2.0):
    maps = gaussians(points, size_hw, sigma)
    found = local_maxima(maps, count=1)
    assert found.joints.tolist() == list(range(len(points)))
    return maps, found


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("count", [1, 3, 30])
@pytest.mark.parametrize("size_hw", [(1, 1), (1, 9), (2, 3), (12, 17)], ids=str)
def test_local_maxima_equal_the_slow_ones(size_hw, count, kernel):
    rng = np.random.default_rng(sum(size_hw) + count + kernel)
    smooth, stepped = rng.random((3, *size_hw)), rng.integers(0, 4, (3, *size_hw)) / 4  # the second is full of ties
    broken = np.where(rng.random(smooth.shape) < 0.2, rng.choice([np.nan, np.inf, -np.inf], smooth.shape), smooth)
    for maps in (np.zeros((0, *size_hw)), np.zeros((2, *size_hw)), smooth, stepped, broken, smooth - 2):
        found = local_maxima(maps, count, 0.1, kernel)
        got = list(zip(found.joints.tolist(), found.ys.tolist(), found.xs.tolist()))
        assert got == slow.local_maxima(maps, count, 0.1, kernel)
        assert np.array_equal(found.scores, [maps[cell] for cell in got])


@pytest.mark.parametrize("name", REFINERS)
@pytest.mark.parametrize("sigma", [1.0, 2.0, 3.5])
def test_a_gaussian_comes_back_within_the_bound(name, sigma):
    rng = np.random.default_rng(7)
    size_hw = 40, 56
    points = np.vstack([rng.uniform(1, [55, 39], (200, 2)), rng.integers(2, 38, (20, 2)), rng.integers(2, 38, (9, 2))])
    maps, found = peaks_of(points, size_hw, sigma)
    error = np.abs(refiner(name)(maps, found.joints, found.ys, found.xs) - points)
    assert error.max() <= BOUNDS[name] + 1e-6  # the bound itself is met by points between two cells


@pytest.mark.parametrize("name, bound", [("argmax", 0.5), ("quarter", 0.5), ("dark", 0.01)])
def test_a_gaussian_in_the_border_cells_comes_back(name, bound):
    """Without a neighbour on both sides a quarter step has nothing to compare: half a cell there."""
    line = np.linspace(0, 16, 33)
    points = np.array([(x, y) for x in line for y in line if min(x, y) < 1 or max(x, y) > 15])
    maps, found = peaks_of(points, (16, 16))
    error = np.abs(refiner(name)(maps, found.joints, found.ys, found.xs) - points)
    assert error.max() <= bound + 1e-6


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 6), (2, 2), (3, 3), (3, 4), (4, 4), (5, 3), (7, 6)], ids=str)
def test_the_published_quarter_is_that_of_the_published_code(size_hw):
    """Wherever the peak is, at the border and beside it; of smooth maps and of ones full of ties."""
    rng = np.random.default_rng(sum(size_hw))
    for y, x in np.ndindex(size_hw):
        smooth, stepped = rng.random((2, *size_hw)), rng.integers(0, 3, (2, *size_hw)) / 4
        maps = np.concatenate([smooth, stepped])
        maps[:, y, x] = 2
        cells = np.arange(4), np.full(4, y), np.full(4, x)
        want = [published.peak(heat.tolist())[0] for heat in maps]
        np.testing.assert_array_equal(published_quarter(maps, *cells), index_to_point(np.array(want)))


@pytest.mark.parametrize(
    "y, x, step",
    [(0, 3, 0), (1, 3, 0), (5, 3, 0), (3, 0, 0), (3, 1, 0), (3, 6, 0), (1, 1, 0), (2, 2, 1), (4, 5, 1), (2, 5, 1)],
)
def test_the_published_quarter_takes_no_step_near_the_border(y, x, step):
    """A row too near to the border stops the step along the columns as well; the plain quarter has no such rule."""
    heat = np.fromfunction(lambda row, column: 1 + 0.1 * column + 0.1 * row, (6, 7))
    heat[y, x] = 9
    cells = [0], [y], [x]
    moved = published_quarter(heat[None], *cells) - refiner("argmax")(heat[None], *cells)
    assert moved.tolist() == [[0.25 * step, 0.25 * step]]
    assert refiner("quarter")(heat[None], *cells).tolist() != refiner("argmax")(heat[None], *cells).tolist() or (
        y in (0, 5) and x in (0, 6)
    )


def test_dark_stays_exact_after_its_own_blur_and_profits_from_it_on_noise():
    rng = np.random.default_rng(3)
    points = rng.uniform(8, 24, (100, 2))
    maps, found = peaks_of(points, (32, 32))
    cells = found.joints, found.ys, found.xs
    assert np.abs(dark(maps, *cells, blur=1.0) - points).max() < 0.01
    noisy = maps + rng.normal(0, 0.02, maps.shape)
    plain, blurred = (np.abs(dark(noisy, *cells, blur=blur) - points).mean() for blur in (0.0, 1.0))
    assert blurred < plain


@pytest.mark.parametrize(
    "heat",
    [
        np.zeros((5, 5)),
        np.ones((5, 5)),
        -np.ones((5, 5)),
        np.full((5, 5), np.nan),
        np.full((5, 5), np.inf),
        np.where(np.eye(5) > 0, 1.0, np.nan),
        np.eye(5) - 0.01,
        np.fromfunction(lambda y, x: 1 + (x - 2) ** 2 - (y - 2) ** 2, (5, 5)),
        np.fromfunction(lambda y, x: 1 + 0.1 * x, (5, 5)),
        np.ones((1, 1)),
        np.ones((2, 5)),
    ],
    ids=["zero", "flat", "negative", "nan", "inf", "nan around", "zeros around", "saddle", "slope", "1x1", "thin"],
)
@pytest.mark.parametrize("name", ["quarter", "dark"])
def test_where_there_is_no_summit_a_refiner_stays_near_its_cell(name, heat):
    ys, xs = np.indices(heat.shape).reshape(2, -1)
    joints = np.zeros_like(ys)
    points = refiner(name)(heat[None], joints, ys, xs)
    step = np.abs(points - REFINERS["argmax"](heat[None], joints, ys, xs))
    assert step.max() <= (0.25 if name == "quarter" else 1)
    if name == "dark":
        assert not step.any()


@pytest.mark.parametrize("name", REFINERS)
def test_no_peaks_no_points(name):
    none = np.zeros(0, int)
    assert refiner(name)(np.zeros((1, 8, 8)), none, none, none).shape == (0, 2)


def test_an_unknown_refiner_lists_the_known():
    with pytest.raises(ValueError, match="unknown refiner 'udp': choose from argmax, quarter, dark, corner"):
        refiner("udp")
