"""Wider peaks: those of labels, wherever they lie, and each as high as the teacher's."""

import itertools

import numpy as np
import pytest
from miniature import FACE, STRIDE

from rtpe.cache.peak_width import peak_sigma
from rtpe.data.peak_width import FAINT, widen
from rtpe.data.transforms import warp_teacher_maps
from rtpe.geometry import Affine, cells, index_to_point
from rtpe.skeleton import COCO17
from rtpe.structures import PoseMaps

HW = (32, 48)
WIDE = 1.5


def gaussians(*spots, size_hw=HW):
    """Peaks (x, y, height, deviation) merged by their maximum, one channel (1, h, w) float32."""
    y, x = (index_to_point(np.arange(side)) for side in size_hw)
    heat = np.zeros(size_hw)
    for at_x, at_y, height, sigma in spots:
        apart = (x[None] - at_x) ** 2 + (y[:, None] - at_y) ** 2
        heat = np.maximum(heat, height * np.exp(-apart / (2 * sigma**2)))
    return heat[None].astype(np.float32)


def around(heatmaps, x, y, cells=1):
    """The greatest value within so many cells of a place."""
    row, column = int(y), int(x)
    return heatmaps[0, max(row - cells, 0) : row + cells + 1, max(column - cells, 0) : column + cells + 1].max()


def anywhere(count, seed=0):
    return np.random.default_rng(seed).uniform((10, 10), (38, 22), (count, 2))


@pytest.mark.parametrize("height", [0.2, 0.4, 0.8, 1.2])
@pytest.mark.parametrize("sigma", [0.7, 0.8, 1.0, 1.3])
@pytest.mark.parametrize("wide", [1.5, 2.0])
def test_narrow_peaks_are_as_those_that_were_wide_from_the_beginning(sigma, wide, height):
    """Wherever between cells they lie: a Gaussian's logarithm is a parabola everywhere."""
    for x, y in anywhere(20):
        made, want = widen(gaussians((x, y, height, sigma)), wide, sigma), gaussians((x, y, height, wide))
        np.testing.assert_allclose(made, want, atol=1e-3)
        assert made.max() == pytest.approx(want.max(), rel=1e-3)


@pytest.mark.parametrize("height", [0.1, 0.35, 0.6, 0.9])
@pytest.mark.parametrize("sigma", [0.8, 1.0, 1.4, 2.0, 3.0])
def test_a_peak_keeps_its_height_whatever_its_width(sigma, height):
    """A doubtful peak is often broad: a gain that suits the narrow ones would make .9 of .35."""
    for x, y in anywhere(20, seed=1):
        made = widen(gaussians((x, y, height, sigma)), WIDE, narrow=1.0)
        want = gaussians((x, y, height, np.sqrt(sigma**2 + WIDE**2 - 1)))
        assert made.max() <= height * 1.001 and made.max() == pytest.approx(want.max(), rel=0.01)


@pytest.mark.parametrize("distance", [4, 5, 7, 12])
@pytest.mark.parametrize(
    "one, other", list(itertools.permutations([(0.9, 1.0), (0.35, 1.0), (0.35, 2.0), (0.6, 1.4)], 2)), ids=str
)
def test_neighbours_of_other_heights_and_widths_keep_their_own(one, other, distance):
    """Merged by the maximum, as labels are: near a high peak a low one may lie under its flank."""
    for x, y in np.random.default_rng(2).uniform((12, 12), (20, 20), (5, 2)):
        places = (x, y), (x + distance, y + 0.3)
        made = widen(gaussians(*((*place, *peak) for place, peak in zip(places, (one, other)))), WIDE, narrow=1.0)
        wide = [(height, np.sqrt(sigma**2 + WIDE**2 - 1)) for height, sigma in (one, other)]
        want = gaussians(*((*place, *peak) for place, peak in zip(places, wide)))
        for place in places:
            assert around(made, *place, 0) == pytest.approx(around(want, *place, 0), rel=0.02)


def reference(heatmaps, sigma, narrow, fine=8):
    """Every value between cells, by parabolas through logarithms, spread over every cell: the definition, slowly."""
    added, heatmaps = sigma**2 - narrow**2, np.pad(heatmaps, ((0, 0), (1, 1), (1, 1)))
    for axis in (2, 1):
        logs = np.moveaxis(np.log(np.maximum(heatmaps, 1e-6)).astype(np.float64), axis, -1)
        spread = np.full_like(logs, -np.inf)
        for line in np.ndindex(logs.shape[:-1]):
            for at in range(logs.shape[-1]):
                for step in np.linspace(-0.5, 0.5, 2 * fine + 1):
                    apart = at + step - np.arange(logs.shape[-1])
                    value = between(logs[line], at, step, 2 / narrow**2) - apart**2 / (2 * added)
                    spread[line] = np.maximum(spread[line], value)
        heatmaps = np.moveaxis(np.exp(spread), -1, axis)
    return heatmaps[:, 1:-1, 1:-1]


def between(line, at, step, sharpest):
    """The logarithm so far from a cell: by a parabola, which is flattened towards an edge."""
    before = line[at] - line[max(at - 1, 0)]
    behind = line[min(at + 1, len(line) - 1)] - line[at]
    bend = max(before - behind, 0)
    if bend > sharpest:
        bend = max(2 * sharpest - bend, 0)
    either = behind + bend / 2, before - bend / 2  # slopes at the cell of parabolas through one neighbour each
    slope = max(either[0], min(either[1], 0))
    return line[at] + slope * step - bend * step**2 / 2


@pytest.mark.parametrize("people", [0, 1, 3, 6])
@pytest.mark.parametrize("sigma, narrow", [(1.5, 1.0), (2.0, 0.8)])
def test_crowds_are_widened_as_the_definition_says(people, sigma, narrow):
    """Anywhere on a small grid, beyond its border too; to what faint cells would add, which do not spread."""
    rng = np.random.default_rng(people)
    spots = np.concatenate(
        [rng.uniform(-1, 15, (people, 2)), rng.uniform(0.1, 1, (people, 1)), rng.uniform(0.7, 2, (people, 1))], 1
    )
    given = gaussians(*spots, size_hw=(13, 15))
    made, want = widen(given, sigma, narrow), reference(given, sigma, narrow)
    np.testing.assert_allclose(made, want, atol=FAINT)
    assert (made >= given).all()


@pytest.mark.parametrize("seed", range(10))
def test_nothing_grows_above_what_was_in_reach(seed):
    """A summit between two cells is higher than either: as high as the Gaussian that was drawn."""
    rng = np.random.default_rng(seed)
    spots = np.column_stack(
        [rng.uniform(0, 48, 9), rng.uniform(0, 32, 9), rng.uniform(0.1, 1, 9), rng.uniform(1, 3, 9)]
    )
    given = gaussians(*spots)
    made = widen(given, WIDE, narrow=1.0)
    for row, column in np.argwhere(made[0] > FAINT):
        near = spots[np.hypot(spots[:, 0] - column, spots[:, 1] - row) < 4]
        reached = [around(given, column, row, cells=3), *near[:, 2]]
        assert made[0, row, column] <= max(reached) * 1.01


@pytest.mark.parametrize("x, y", [(0.5, 16.5), (0.1, 0.1), (47.9, 31.9), (24.2, 31.5), (0.0, 16.0)], ids=str)
def test_a_peak_at_the_border_keeps_the_height_of_its_cells(x, y):
    """Beyond the last center of a cell nothing tells whether it goes on to rise."""
    given = gaussians((x, y, 0.7, 1.0))
    assert given.max() * 0.999 <= widen(given, WIDE, narrow=1.0).max() <= 0.7 * 1.001


@pytest.mark.parametrize("value", [0.05, 0.4, 1.0])
def test_a_plateau_keeps_its_height_and_grows(value):
    heat = np.zeros((2, 20, 20), np.float32)
    heat[1, 6:13, 6:13] = value
    made = widen(heat, WIDE, narrow=1.0)
    assert not made[0].any() and made.max() == pytest.approx(value, rel=1e-5)
    np.testing.assert_allclose(made[1, 6:13, 6:13], value, rtol=1e-5)
    assert (made[1, 9, 3:6] > 0).all() and (np.diff(made[1, 9, :7]) >= 0).all()


def test_a_single_high_cell_is_no_summit_between_cells():
    heat = np.zeros((1, 9, 9), np.float32)
    heat[0, 4, 4:6] = 0.8  # as a parabola through 0 it would be far higher between the two
    assert widen(heat, WIDE, narrow=1.0).max() == pytest.approx(0.8, rel=1e-5)


def test_background_and_negative_values_stay():
    rng = np.random.default_rng(0)
    heat = rng.uniform(-0.3, FAINT, (3, 24, 24)).astype(np.float32)
    assert (widen(heat, WIDE, narrow=1.0) == heat).all()
    heat[1] = np.maximum(heat[1], gaussians((12.3, 12.6, 0.5, 1.0), size_hw=(24, 24))[0])
    made = widen(heat, WIDE, narrow=1.0)
    assert (made[[0, 2]] == heat[[0, 2]]).all() and (made >= heat).all() and made.min() == heat.min()


@pytest.mark.parametrize(
    "heatmaps, narrow",
    [(gaussians((20.2, 15.7, 0.8, 1.6)), 1.6), (gaussians((20.2, 15.7, 0.8, 1.0)), None),
     (gaussians((20.2, 15.7, 0.8, WIDE)), WIDE), (np.zeros((17, 8, 8), np.float32), 1.0),
     (np.full((17, 8, 8), 0.5, np.float32), 1.0), (np.zeros((17, 1, 1), np.float32), 1.0),
     (np.ones((17, 1, 1), np.float32), 1.0)],
    ids=["wide already", "of unknown width", "just so", "empty", "flat", "one empty cell", "one cell"],
)  # fmt: skip
def test_what_is_no_narrow_peak_stays_as_it_is(heatmaps, narrow):
    np.testing.assert_allclose(widen(heatmaps, WIDE, narrow), heatmaps, rtol=1e-5)


def test_what_was_given_is_not_changed():
    heat = gaussians((20.2, 15.7, 0.8, 1.0))
    before = heat.copy()
    made = widen(heat, WIDE, narrow=1.0)
    assert (heat == before).all() and made.dtype == np.float32 and made.shape == heat.shape


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("factor", [2, 1, 0.7, 0.5, 0.4, 0.34, 0.25])
def test_the_width_is_known_on_another_grid(factor, sigma):
    """By the second moment of each peak; to 4 % on the same and finer grids, to 10 % where the greatest was taken."""
    rng = np.random.default_rng(0)
    widths, told = [], []
    for x, y in rng.uniform(44, 52, (20, 2)):
        heat = np.repeat(gaussians((x, y, 0.8, sigma), size_hw=(96, 96)), 3, 0)
        maps = PoseMaps(heat, cells(STRIDE), (384, 384), FACE, peak_sigma=sigma)
        view = Affine.translation(*rng.uniform(0, STRIDE, 2)) @ Affine.scaling(factor)
        carried = warp_teacher_maps(maps, view, (int(96 * factor) + 4,) * 2, STRIDE)
        widths.append(moment(carried.heatmaps[0]))
        told.append(carried.peak_sigma)
    assert np.mean(told) == pytest.approx(np.mean(widths), rel=0.04 if factor > 0.5 else 0.1)


def moment(heat):
    """The standard deviation along an axis of what lies there."""
    y, x = np.mgrid[: heat.shape[0], : heat.shape[1]]
    share = heat / heat.sum()
    middle = (share * x).sum(), (share * y).sum()
    return np.sqrt((share * ((x - middle[0]) ** 2 + (y - middle[1]) ** 2)).sum() / 2)


def test_what_has_no_width_has_none_on_another_grid():
    maps = PoseMaps(np.zeros((3, 8, 8), np.float32), cells(STRIDE), (32, 32), FACE)
    assert warp_teacher_maps(maps, Affine.identity(), (8, 8), STRIDE).peak_sigma is None


@pytest.mark.parametrize("factor", [1, 0.8, 0.4])
@pytest.mark.parametrize("turn", [0, 30])
def test_a_teachers_peaks_come_out_as_wide_as_asked(factor, turn):
    """Measured in the cache, carried by the view, widened: by 1.5 cells, to 8 %, on finer and coarser grids."""
    rng, made = np.random.default_rng(0), []
    for x, y in rng.uniform(44, 52, (20, 2)):
        heat = np.repeat(gaussians((x, y, 0.8, 1.5), size_hw=(96, 96)), 17, 0)
        maps = PoseMaps(heat, cells(STRIDE), (384, 384), COCO17, peak_sigma=peak_sigma(heat))
        middle = Affine.translation(192, 192)
        view = middle @ Affine.rotation(turn) @ Affine.scaling(factor) @ middle.inverse()
        carried = warp_teacher_maps(maps, view, (96, 96), STRIDE)
        made.append(moment(widen(carried.heatmaps, 2.0, carried.peak_sigma)[0]))
    assert np.mean(made) == pytest.approx(2.0, rel=0.08)
