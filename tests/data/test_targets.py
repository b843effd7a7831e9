"""Targets: Gaussians on the exact point, centers and offsets, against slow loops and back through a decoder."""

import numpy as np
import pytest
import torch
from reference.centers import center as slow_center
from reference.centers import offset_targets as slow_offsets
from reference.gaussians import gaussian_maps as slow

from rtpe.data import targets
from rtpe.data.targets import cell_indices, gaussian_maps, offset_targets, person_centers, shift_targets
from rtpe.decode.peaks import dark, local_maxima

SIZE_HW = (9, 13)
LIMBS = ((0, 1), (2, 1), (3, 0))


def people(count, joints=4, seed=0, size_hw=SIZE_HW):
    """(1, P, K, 3) somewhere, some of them outside, every visibility."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-2, np.array(size_hw[::-1]) + 2, (count, joints, 2))
    return torch.from_numpy(np.concatenate([points, rng.integers(0, 3, (count, joints, 1))], -1))[None].float()


def test_nobody_draws_nothing():
    empty = gaussian_maps(torch.zeros(2, 0, 4, 3), SIZE_HW, 2.0)
    assert empty.shape == (2, 4, *SIZE_HW) and not empty.any()


@pytest.mark.parametrize("sigma", [0.7, 1.5, 2.0, 4.0])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_maps_equal_the_slow_loop(count, sigma):
    """People merge by the maximum: in a sum, two near joints would peak between them."""
    points = people(count, seed=count)
    want = np.array(slow(points[0].tolist(), SIZE_HW, sigma))
    np.testing.assert_allclose(gaussian_maps(points, SIZE_HW, sigma)[0], want, atol=1e-6)  # float32 against float64


def test_images_of_a_batch_do_not_mix():
    one, other = people(2, seed=1), people(2, seed=2)
    both = gaussian_maps(torch.cat([one, other]), SIZE_HW, 2.0)
    assert torch.equal(both[:1], gaussian_maps(one, SIZE_HW, 2.0))
    assert torch.equal(both[1:], gaussian_maps(other, SIZE_HW, 2.0))


def test_a_gpus_large_steps_draw_the_same(monkeypatch):
    """All images of a batch at once, those with few people filled up with absent ones, as a GPU is given them."""
    points = torch.cat([torch.cat([people(2, seed=1), torch.zeros(1, 3, 4, 3)], dim=1), people(5, seed=2)])
    one_by_one = gaussian_maps(points, SIZE_HW, 1.5)
    monkeypatch.setattr(targets, "_steps", targets._large_steps)
    assert torch.equal(gaussian_maps(points, SIZE_HW, 1.5), one_by_one)


def test_absent_people_draw_nothing():
    """A batch pads with people at (0, 0), invisible; a joint unlabelled stands wherever the file put it."""
    padded = torch.cat([people(2), torch.zeros(1, 3, 4, 3)], dim=1)
    assert torch.equal(gaussian_maps(padded, SIZE_HW, 2.0), gaussian_maps(people(2), SIZE_HW, 2.0))
    hidden = people(2)
    hidden[..., 2] = 0
    assert not gaussian_maps(hidden, SIZE_HW, 2.0).any()


def test_the_center_is_the_point_and_not_its_cell():
    """Height 1 where a point is a cell's center, and equal neighbours where it lies between two."""
    at_center = gaussian_maps(torch.tensor([[[[3.5, 2.5, 2.0]]]]), SIZE_HW, 2.0)[0, 0]
    assert at_center[2, 3] == 1 and at_center.argmax() == 2 * SIZE_HW[1] + 3
    between = gaussian_maps(torch.tensor([[[[4.0, 2.5, 2.0]]]]), SIZE_HW, 2.0)[0, 0]
    assert between[2, 3] == between[2, 4] == between.max() < 1


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0])
def test_encoded_points_are_decoded(sigma):
    """Encode, decode: anywhere on the grid, its borders and corners among it."""
    size_hw = (16, 24)
    inner = np.random.default_rng(0).uniform(0, size_hw[::-1], (60, 2))
    edges = np.array([[0.01, 5.3], [23.99, 5.3], [7.7, 0.01], [7.7, 15.99], [0.2, 0.1], [23.7, 15.8], [12, 8]])
    for x, y in np.concatenate([inner, edges]):
        heat = gaussian_maps(torch.tensor([[[[x, y, 1.0]]]]), size_hw, sigma)[0].numpy()
        peaks = local_maxima(heat, count=1)
        found = dark(heat, peaks.joints, peaks.ys, peaks.xs)[0]
        assert np.abs(found - (x, y)).max() < 0.01


@pytest.mark.parametrize(
    "x, y, cell",
    [
        (0, 0, 0),
        (0.99, 0.99, 0),
        (1.0, 0.5, 1),
        (12.999, 0, 12),
        (0, 1, 13),
        (12.5, 8.5, 116),
        (13, 9, 116),
        (-1, -1, 0),
    ],
)
def test_a_point_lies_in_the_cell_that_covers_it(x, y, cell):
    """Rounded instead of cut, every second joint would read its neighbour's tag; on the border, memory beyond it."""
    indices, visible = cell_indices(torch.tensor([[[[x, y, 1.0]]]]), SIZE_HW)
    assert indices.item() == cell and visible.item() and indices.dtype == torch.int64


def test_only_labelled_joints_are_visible():
    _, visible = cell_indices(torch.tensor([[[[1.0, 1, 0], [1, 1, 1], [1, 1, 2]]]]), SIZE_HW)
    assert visible.tolist() == [[[False, True, True]]]


def test_the_cell_of_a_point_is_where_its_gaussian_peaks():
    """Rows and columns in one order for both."""
    for point in people(1, joints=20)[0, 0]:
        x, y, _ = point.tolist()
        if 0 <= x < SIZE_HW[1] and 0 <= y < SIZE_HW[0]:
            alone = torch.tensor([[[[x, y, 1.0]]]])
            assert gaussian_maps(alone, SIZE_HW, 1.0).argmax() == cell_indices(alone, SIZE_HW)[0].item()


def test_nobody_has_no_center():
    for points in (torch.zeros(2, 0, 4, 3), torch.zeros(2, 3, 4, 3)):
        centers, sizes = person_centers(points)
        assert centers.shape == (2, points.shape[1], 1, 3) and sizes.shape == points.shape[:2]
        assert not centers.any() and not sizes.any()
        indices, offsets, counts = offset_targets(points, centers, SIZE_HW)
        assert indices.shape == (2, points.shape[1], 25) and offsets.shape == (*indices.shape, 4, 2)
        assert counts.shape == offsets.shape[:-1] and not counts.any()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_centers_equal_the_slow_loop(count):
    """Hidden joints, wherever they stand, move no center."""
    points = people(count, seed=count + 10)
    points[0, 0, 1:, 2] = 0
    centers, sizes = person_centers(points)
    for person, got, size in zip(points[0].tolist(), centers[0, :, 0], sizes[0]):
        want = slow_center(person)
        assert got[2] == (want is not None)
        if want:
            assert [*got[:2].tolist(), size.item()] == pytest.approx(want, abs=1e-5)


@pytest.mark.parametrize("reach", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_offsets_equal_the_slow_loop(count, reach):
    """Every cell near a center speaks of the nearest person's visible joints, no other cell, and no cell twice."""
    points = people(count, seed=count + reach)
    indices, offsets, counts = offset_targets(points, person_centers(points)[0], SIZE_HW, reach)
    got = {}
    for _, person, cell, joint in counts.nonzero().tolist():
        key = person, indices[0, person, cell].item(), joint
        assert key not in got
        got[key] = offsets[0, person, cell, joint].tolist()
    want = slow_offsets(points[0].tolist(), SIZE_HW, reach)
    assert got.keys() == want.keys() and want
    assert all(got[key] == pytest.approx(want[key], abs=1e-5) for key in want)


def test_two_people_of_one_center_do_not_contradict_each_other():
    """The first has all the cells."""
    points = torch.tensor([[[[4.0, 4, 1], [6, 4, 1]], [[5.0, 3, 1], [5, 5, 1]]]])
    _, _, counts = offset_targets(points, person_centers(points)[0], SIZE_HW)
    assert counts[0, 0].any() and not counts[0, 1].any()


@pytest.mark.parametrize("count, reach", [(2, 1), (3, 1), (6, 2)])
def test_shifts_equal_the_slow_loop(count, reach):
    """Every cell near a visible joint, within the grid, speaks of the joint of its kind that is nearest to it."""
    points = people(count, seed=count, size_hw=(4, 5))  # crowded: joints of one kind share cells
    indices, shifts, counts = shift_targets(points, (4, 5), reach)
    want, got = {}, {}
    for joint in range(4):
        seen = [
            (person, *points[0, person, joint, :2].tolist()) for person in range(count) if points[0, person, joint, 2]
        ]
        for row in range(4):
            for column in range(5):
                off = [(np.hypot(x - column - 0.5, y - row - 0.5), person, x, y) for person, x, y in seen]
                if off:
                    _, person, x, y = min(off)
                    if abs(np.floor(x) - column) <= reach and abs(np.floor(y) - row) <= reach:
                        want[joint, row, column] = (person, x - column - 0.5, y - row - 0.5)
    for _, person, cell, joint in counts.nonzero().tolist():
        row, column = divmod(indices[0, person, cell, joint].item(), 5)
        assert (joint, row, column) not in got
        got[joint, row, column] = (person, *shifts[0, person, cell, joint].tolist())
    assert got.keys() == want.keys() and len(want) > 3
    for key, value in want.items():
        assert got[key] == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize("count", [0, 2])
def test_nobody_shifts_nothing(count):
    points = people(count)
    points[..., 2] = 0
    indices, shifts, counts = shift_targets(points, SIZE_HW)
    assert indices.shape == (1, count, 9, 4) and shifts.shape == (1, count, 9, 4, 2) and not counts.any()
