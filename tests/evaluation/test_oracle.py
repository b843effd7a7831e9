"""Bounds: what a decoder that knows the labels would read from maps, and what their grid alone costs."""

import numpy as np
import pytest

from rtpe.decode.grouping import GroupingSettings, group
from rtpe.evaluation.oracle import nearest_peaks, through_grid
from rtpe.geometry import Affine, cells, index_to_point
from rtpe.skeleton import COCO17, Skeleton
from rtpe.structures import PoseMaps

PAIR = Skeleton("pair", ("left_eye", "right_eye"), (), (0.1, 0.1))
FAR = np.array([1e3, 1e3])


def maps_of(*channels, to_image=None, size_hw=(24, 32)):
    """Maps with a Gaussian of that height at each (x, y, height) of a channel, in cells."""
    heat = np.zeros((len(channels), *size_hw), np.float32)
    for channel, peaks in zip(heat, channels):
        for x, y, height in peaks:
            down, across = (np.exp(-((index_to_point(np.arange(n)) - c) ** 2) / 4.5) for n, c in zip(size_hw, (y, x)))
            np.maximum(channel, height * np.outer(down, across), out=channel)
    return PoseMaps(heat, to_image or Affine.identity(), size_hw, PAIR)


def people(*points):
    """(P, 2, 3), labelled."""
    return np.dstack([np.array(points, float).reshape(-1, 2, 2), np.full((len(points), 2), 2)])


def test_nobody_and_nothing():
    empty = maps_of([], [])
    assert len(nearest_peaks(empty, people(), np.zeros(0), 0.1, "dark")) == 0
    assert len(through_grid(empty, people(), "dark")) == 0
    found = nearest_peaks(empty, people([[3, 3], [9, 9]]), FAR[:1], 0.1, "dark")
    assert found.scores.tolist() == [[0, 0]]


def test_each_joint_is_at_its_nearest_peak():
    """The higher peak of the other person tempts a decoder, and not the oracle; the lowest is below the threshold."""
    maps = maps_of([(6.3, 7.6, 0.4), (25.2, 8.9, 0.9)], [(9.5, 16.2, 0.05), (20.4, 15.1, 0.8)])
    found = nearest_peaks(maps, people([[7, 7], [9, 16]], [[24, 9], [21, 15]]), FAR, 0.1, "dark")
    assert found.points[0, 0] == pytest.approx([6.3, 7.6], abs=0.01)  # dark's own bound
    assert found.points[1] == pytest.approx(np.array([[25.2, 8.9], [20.4, 15.1]]), abs=0.01)
    assert found.points[0, 1] == pytest.approx([20.4, 15.1], abs=0.01)  # a peak may serve two: nobody could do better
    assert found.scores[:, 0] == pytest.approx([0.4, 0.9], rel=0.06)  # of a cell half a cell from the summit


def test_a_peak_out_of_reach_is_nobodys():
    maps = maps_of([(20, 10, 1.0)], [(20, 10, 1.0)])
    found = nearest_peaks(maps, people([[10, 10], [19, 10]], [[30, 10], [10, 10]]), np.array([5.0, 20.0]), 0.1, "dark")
    assert (found.scores > 0).tolist() == [[False, True], [True, True]]


def test_distances_are_of_the_image():
    """Cells of 4 by 8 pixels: what is nearer in cells is further in pixels."""
    maps = maps_of([(14.5, 10.5, 1.0), (10.5, 13.5, 1.0)], [], to_image=Affine.scaling(4, 8))
    found = nearest_peaks(maps, people([[42, 84], [0, 0]]), FAR[:1], 0.1, "argmax")
    assert found.points[0, 0].tolist() == [58, 84]  # 16 pixels away, not 24


def test_joints_that_nobody_labelled_are_not_found():
    truth = people([[5, 5], [9, 9]])
    truth[0, 1, 2] = 0
    maps = maps_of([(5, 5, 1.0)], [(9, 9, 1.0)])
    for found in (nearest_peaks(maps, truth, FAR[:1], 0.1, "dark"), through_grid(maps, truth, "dark")):
        assert (found.scores > 0).tolist() == [[True, False]]


@pytest.mark.parametrize("refine, bound", [("argmax", 0.5), ("quarter", 0.25), ("dark", 0.01)])
def test_a_grid_costs_what_its_refinement_cannot_undo(refine, bound):
    """The bounds that `rtpe.decode.peaks` states, in cells of 7 pixels; and they are reached."""
    to_image = Affine.translation(-3, 5) @ cells(7)
    maps = PoseMaps(np.zeros((17, 40, 60), np.float32), to_image, (280, 420), COCO17)
    inside = np.random.default_rng(0).uniform(0, (60, 40), (50, 17, 2))
    truth = np.dstack([to_image(inside), np.full((50, 17), 2)])
    found = through_grid(maps, truth, refine)
    off = np.abs(found.points - truth[..., :2]) / 7
    assert (found.scores == 1).all() and off.max() <= bound + 1e-5  # float32
    assert off.max() > 0.9 * bound or refine == "dark"


def test_what_lies_beside_the_grid_is_lost():
    maps = maps_of([], [], to_image=Affine.translation(10, 20))
    truth = people([[10, 20], [41.9, 43.9]], [[9.9, 30], [30, 44.1]])
    assert through_grid(maps, truth, "argmax").scores.tolist() == [[1, 1], [0, 0]]


def test_no_grouping_of_the_same_peaks_is_nearer():
    """Random people whose maps are torn: the oracle's joints are never further from the truth than the decoder's."""
    rng = np.random.default_rng(3)
    for _ in range(10):
        truth = people(*rng.uniform(4, (28, 20), (3, 2, 2)))
        peaks = truth[..., :2] + rng.normal(0, 1, (3, 2, 2))
        channels = [[(*peaks[p, k], rng.uniform(0.3, 1)) for p in range(3) if rng.random() < 0.8] for k in range(2)]
        maps = maps_of(*channels)
        tagged = PoseMaps(
            maps.heatmaps, maps.to_image, maps.image_hw, PAIR, {"tags": np.zeros((1, *maps.heatmaps.shape), np.float32)}
        )
        found = group(tagged, GroupingSettings(fill_threshold=None))
        best = nearest_peaks(maps, truth, np.full(3, 1e3), 0.1, "dark")
        for person in range(3):
            for other, joint in np.argwhere(found.scores > 0):
                theirs = np.linalg.norm(found.points[other, joint] - truth[person, joint, :2])
                assert np.linalg.norm(best.points[person, joint] - truth[person, joint, :2]) <= theirs + 1e-4
