"""Views: image, mask, points and teacher's maps move as one, and left stays left in a mirror."""

import numpy as np
import pytest
from miniature import FACE, STRIDE, mirrored, spots
from reference.colours import photometric as slow_photometric
from reference.masks import covered

from rtpe.data.settings import AugmentSettings
from rtpe.data.transforms import (
    photometric,
    plain_view,
    poses_as_points,
    random_view,
    warp_mask,
    warp_points,
    warp_teacher_maps,
)
from rtpe.geometry import Affine, cells, index_to_point
from rtpe.raster import warp
from rtpe.skeleton import COCO17
from rtpe.structures import PoseMaps, Poses

INPUT_HW, GRID_HW = (64, 96), (16, 24)
SIZES_HW = [(1, 1), (64, 96), (30, 120), (300, 100)]
PLAIN = Affine.identity()
STILL = AugmentSettings(rotate=0.0, scale=(1.0, 1.0), shift=0.0, flip=0.0)
ANYWHERE = AugmentSettings(rotate=180.0, scale=(0.5, 2.0), shift=0.3, flip=0.5)


def random_views(count=30, size_hw=(80, 100), settings=ANYWHERE):
    rng = np.random.default_rng(0)
    return [random_view(size_hw, INPUT_HW, settings, rng) for _ in range(count)]


def maps(heatmaps, skeleton=FACE, stride=STRIDE):
    return PoseMaps(heatmaps.astype(np.float32), cells(stride), INPUT_HW, skeleton)


@pytest.mark.parametrize("size_hw", SIZES_HW, ids=str)
def test_a_view_that_strays_by_nothing_is_the_plain_one(size_hw):
    """A factor about the wrong center would show here first."""
    view = random_view(size_hw, INPUT_HW, STILL, np.random.default_rng(0))
    np.testing.assert_allclose(view.matrix, plain_view(size_hw, INPUT_HW).matrix, atol=1e-9)


def test_views_stray_as_far_as_they_may_and_no_further():
    plain = plain_view((80, 100), INPUT_HW)
    settings = AugmentSettings(rotate=30.0, scale=(0.5, 2.0), shift=0.1, flip=0.5)
    views = random_views(300, settings=settings)
    factors = np.array([view.scale / plain.scale for view in views])
    assert (factors >= 0.5).all() and (factors <= 2).all() and factors.min() < 0.6 and factors.max() > 1.7
    assert 0.4 < np.mean([view.mirrors for view in views]) < 0.6
    centers = np.array([view(np.array([50.0, 40.0])) for view in views]) - (48, 32)
    assert (np.abs(centers) <= (9.6 + 1e-9, 6.4 + 1e-9)).all() and (np.abs(centers).max(0) > (8, 5)).all()
    upright = [view if not view.mirrors else mirrored(view, INPUT_HW) for view in views]
    turned = [np.degrees(np.arctan2(view.matrix[1, 0], view.matrix[0, 0])) for view in upright]
    assert np.abs(turned).max() <= 30 + 1e-9 and np.min(turned) < -25 and np.max(turned) > 25


def test_a_view_is_what_its_generator_drew():
    """Resumed or read by another worker, an example must look the same."""
    one, other = (random_view((80, 100), INPUT_HW, ANYWHERE, np.random.default_rng(7)) for _ in range(2))
    assert one == other != random_view((80, 100), INPUT_HW, ANYWHERE, np.random.default_rng(8))


def test_no_points_stay_none():
    assert warp_points(np.zeros((0, 17, 3), np.float32), PLAIN, INPUT_HW, COCO17.flip).shape == (0, 17, 3)


@pytest.mark.parametrize("view", [PLAIN, Affine.mirror(96)], ids=["plain", "mirrored"])
def test_points_move_and_sides_swap_in_a_mirror(view):
    """The left eye of the mirrored person is what was the right one."""
    people = np.array([[[10, 5, 2], [20, 6, 1], [30, 7, 2]]], np.float32)
    moved = warp_points(people, view, INPUT_HW, FACE.flip)
    order = FACE.flip if view.mirrors else [0, 1, 2]
    np.testing.assert_allclose(moved[0, :, :2], view(people[0, order, :2]))
    assert moved[0, :, 2].tolist() == people[0, order, 2].tolist()


def test_points_are_not_changed_in_place():
    """They belong to the data set, and are asked for again in the next epoch."""
    people = np.array([[[10, 5, 2], [20, 6, 1], [300, 7, 2]]], np.float32)
    before = people.copy()
    warp_points(people, PLAIN, INPUT_HW, FACE.flip)
    warp_points(people, Affine.mirror(96), INPUT_HW, FACE.flip)
    np.testing.assert_array_equal(people, before)


@pytest.mark.parametrize(
    "place, inside",
    [
        ((0, 0), True),
        ((95.9, 63.9), True),
        ((96, 10), False),
        ((10, 64), False),
        ((-0.1, 10), False),
        ((10, -0.1), False),
    ],
    ids=str,
)
def test_a_joint_outside_the_frame_is_not_labelled(place, inside):
    """Kept, it would be taught at the border where nothing is."""
    people = np.array([[[*place, 2]] * 3], np.float32)
    moved = warp_points(people, PLAIN, INPUT_HW, FACE.flip)
    assert (moved[..., 2] > 0).all() == moved.any() == inside


def test_an_unlabelled_joint_stays_nowhere():
    assert not warp_points(np.array([[[5, 5, 0]] * 3], np.float32), Affine.translation(9, 9), INPUT_HW, FACE.flip).any()


@pytest.mark.parametrize("x, y", [(0, 0), (23, 15), (7, 3), (12, 0)])
@pytest.mark.parametrize("view", [PLAIN, Affine.mirror(96)], ids=["plain", "mirrored"])
def test_one_lit_cell_answers_in_image_mask_and_maps(view, x, y):
    """The 4 x 4 pixels of a cell are lit in the image and in the mask, the cell itself in the teacher's map of the left
    eye: under the view the same cell answers in all three, in the mirror for the right eye; so it does for the label.
    """
    block = np.zeros(INPUT_HW, np.uint8)
    block[y * STRIDE : (y + 1) * STRIDE, x * STRIDE : (x + 1) * STRIDE] = 1
    heat = np.zeros((3, *GRID_HW))
    heat[1, y, x] = 1
    label = np.array([[[0, 0, 0], [*(STRIDE * index_to_point(np.array([x, y]))), 2], [0, 0, 0]]], np.float32)
    image = warp(np.repeat(255 * block[..., None], 3, -1), view, INPUT_HW)
    seen = image[..., 0].reshape(GRID_HW[0], STRIDE, GRID_HW[1], STRIDE).mean((1, 3))
    mask = warp_mask(block, view, GRID_HW, STRIDE, outside=0)
    carried = warp_teacher_maps(maps(heat), view, GRID_HW, STRIDE).heatmaps
    moved = warp_points(label, view, INPUT_HW, FACE.flip)[0]
    joint, column = (2, 23 - x) if view.mirrors else (1, x)
    want = np.zeros(GRID_HW)
    want[y, column] = 1
    np.testing.assert_array_equal(seen, 255 * want)
    np.testing.assert_array_equal(mask, 255 * want)
    np.testing.assert_array_equal(carried[joint], want)
    assert carried.sum() == 1
    assert moved[joint].tolist() == [*(STRIDE * index_to_point(np.array([column, y]))), 2] and moved[:, 2].sum() == 2


def test_image_mask_points_and_maps_stay_registered():
    """A spot in the image, in the mask and in the teacher's map has one center under any view, where the label is."""
    compared = 0
    for view in random_views():
        place = np.array([47.2, 36.9])
        labels = np.array([[[*place, 2], [0, 0, 0], [0, 0, 0]]], np.float32)
        moved = warp_points(labels, view, INPUT_HW, FACE.flip)[0, 0]
        radius = 6 * view.scale
        if moved[2] == 0 or np.minimum(moved[:2], (96, 64) - moved[:2]).min() < 3 * radius:
            continue
        spot = spots(np.repeat(place[None], 3, 0), (80, 100), 6.0)
        image = warp(spot, view, INPUT_HW)[..., 0]
        mask = warp_mask((spot[..., 0] > 80).astype(np.uint8), view, GRID_HW, STRIDE, outside=0)
        teacher = PoseMaps(np.float32(spots(np.repeat(place[None], 3, 0) / 2, (40, 50), 3.0)).transpose(2, 0, 1) / 255,
                           cells(2), (80, 100), FACE)  # fmt: skip
        carried = warp_teacher_maps(teacher, view, GRID_HW, STRIDE).heatmaps[0]
        assert np.abs(center(image) - moved[:2]).max() < 0.3, "image"
        assert np.abs(STRIDE * center(mask) - moved[:2]).max() < 0.3 * STRIDE, "mask: a disc of few cells"
        assert np.abs(STRIDE * center(carried) - moved[:2]).max() < 0.1 * STRIDE, "maps"
        compared += 1
    assert compared >= 5


def center(image):
    y, x = (index_to_point(axis) for axis in np.mgrid[: image.shape[0], : image.shape[1]])
    return np.array([(x * image).sum(), (y * image).sum()]) / image.sum()


@pytest.mark.parametrize("outside", [0, 1])
def test_beyond_the_photograph_a_mask_is_what_was_asked(outside):
    """The border is valid, for nobody is there; and it is no person."""
    mask = warp_mask(np.full((64, 64), 1 - outside, np.uint8), plain_view((64, 64), INPUT_HW), GRID_HW, STRIDE, outside)
    assert (mask[:, :3] == 255 * outside).all() and (mask[:, 5:19] == 255 * (1 - outside)).all()


def test_a_mask_is_the_covered_share_of_a_cell():
    half = np.zeros(INPUT_HW, np.uint8)
    half[:, :10] = 1
    mask = warp_mask(half, PLAIN, GRID_HW, STRIDE, outside=0)
    assert mask[8, :5].tolist() == [255, 255, 128, 0, 0]


@pytest.mark.parametrize("outside", [0, 1])
@pytest.mark.parametrize("size_hw", [(80, 100), (301, 207)], ids=str)
def test_masks_equal_the_slow_count(size_hw, outside):
    """Under any view. An edge is sampled as a ramp a pixel wide: the worst cell is off by a sixth, hardly any by more
    than a twentieth."""
    y, x = (index_to_point(axis) for axis in np.mgrid[: size_hw[0], : size_hw[1]])
    disc = ((x - size_hw[1] / 2) ** 2 + (y - size_hw[0] / 3) ** 2 < (size_hw[0] / 4) ** 2).astype(np.uint8)
    for view in random_views(8, size_hw):
        share = warp_mask(disc, view, GRID_HW, STRIDE, outside) / 255
        error = np.abs(share - covered(disc, view, GRID_HW, STRIDE, outside))
        assert error.max() < 1 / 6 and (error > 0.05).mean() < 0.05
        assert error.mean() < 0.01


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("outside", [0, 1])
def test_a_mask_of_one_value_is_as_any_other(value, outside):
    """What is constant takes a short way: it must be the same in the frame, and outside if that differs."""
    view = random_views(1)[0]
    plain = np.full((80, 100), value, np.uint8)
    want = covered(plain, view, GRID_HW, STRIDE, outside)
    got = warp_mask(plain, view, GRID_HW, STRIDE, outside)
    assert got.dtype == np.uint8 and got.shape == GRID_HW
    np.testing.assert_allclose(got / 255, want, atol=1 / 6)
    if value == outside:
        assert (got == 255 * outside).all()


def test_carried_maps_know_where_they_are():
    """What a warped map says of a place in the photograph is what the teacher said of it."""
    teacher = maps(np.random.default_rng(0).random((3, *GRID_HW)))
    for view in random_views(5, size_hw=INPUT_HW):
        carried = warp_teacher_maps(teacher, view, GRID_HW, STRIDE)
        cell = np.array([3.0, 4.0])
        np.testing.assert_allclose(carried.to_image(cell), view.inverse()(STRIDE * cell), atol=1e-9)
        assert carried.skeleton == FACE and carried.image_hw == teacher.image_hw and carried.tags is None


@pytest.mark.parametrize("factor, share", [(1, 0.99), (0.5, 0.95), (0.4, 0.7), (0.34, 0.7)])
def test_a_peak_keeps_its_height_on_a_coarser_grid(factor, share):
    """Averaged alone, a peak of about a cell, that of a small person, would sink to .59, .35 and .35."""
    for place in np.random.default_rng(0).uniform(20, 28, (20, 2)):
        heat = np.float32(spots(np.repeat(place[None], 3, 0), (48, 48), 1.2)).transpose(2, 0, 1) / 255
        carried = warp_teacher_maps(maps(heat), Affine.scaling(factor), (48, 48), STRIDE).heatmaps
        assert share * heat.max() <= carried.max() <= heat.max()


def test_the_teachers_channels_swap_in_a_mirror_only():
    """Twice mirrored is not mirrored."""
    heat = np.stack([np.full(GRID_HW, value) for value in (0.1, 0.2, 0.3)])
    for view in (PLAIN, Affine.rotation(180), Affine.mirror(96) @ Affine.mirror(96)):
        middle = warp_teacher_maps(maps(heat), Affine.translation(48, 32) @ view @ Affine.translation(-48, -32),
                                   GRID_HW, STRIDE).heatmaps[:, 8, 12]  # fmt: skip
        np.testing.assert_allclose(middle, [0.1, 0.2, 0.3], rtol=1e-6)
    middle = warp_teacher_maps(maps(heat), Affine.mirror(96), GRID_HW, STRIDE).heatmaps[:, 8, 12]
    np.testing.assert_allclose(middle, [0.1, 0.3, 0.2], rtol=1e-6)


def test_a_teachers_people_serve_as_labels():
    """Their scores say how sure they are. Joints below the threshold are not labelled, and a person without any joint
    left is nobody.
    """
    scores = np.array([[1.25, 0.5, 0.1], [0.1, 0.1, 0.0]])
    found = Poses(np.full((2, 3, 2), 7.0), scores, [0.5, 0.5], FACE)
    points = poses_as_points(found, 0.5)
    assert points.tolist() == [[[7, 7, 1], [7, 7, 0.5], [0, 0, 0]]] and points.dtype == np.float32
    assert poses_as_points(Poses.none(FACE), 0.2).shape == (0, 3, 3)


def test_colours_may_stay_as_they_are():
    image = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    same = photometric(image, AugmentSettings(light=0, noise=0, grey=0), np.random.default_rng(0))
    np.testing.assert_array_equal(same, image)


def test_colours_change_and_nothing_moves():
    """Light is one curve a channel: equal pixels stay equal, brighter ones do not become darker."""
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, -1)
    for seed in range(20):
        changed = photometric(ramp, AugmentSettings(light=0.5, noise=0, grey=0), np.random.default_rng(seed))
        assert changed.dtype == np.uint8 and (np.diff(changed.astype(int), axis=1) >= 0).all()
        assert np.ptp(changed) > 100


def test_noise_and_grey_are_as_asked():
    flat = np.full((64, 64, 3), 128, np.uint8)
    noisy = [photometric(flat, AugmentSettings(light=0, noise=6, grey=0), np.random.default_rng(s)) for s in range(40)]
    deviations = np.array([image.std() for image in noisy])
    assert 5 < (deviations > 0).sum() < 25 and deviations.max() < 6.5  # a third of the images, up to 6 grey levels
    coloured = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    grey = photometric(coloured, AugmentSettings(light=0, noise=0, grey=1), np.random.default_rng(0))
    assert (grey == grey[..., :1]).all()


@pytest.mark.parametrize("settings", [AugmentSettings(noise=0.0), AugmentSettings(noise=0.0, grey=1.0, light=0.6)])
def test_colours_equal_the_slow_way(settings):
    """Bit for bit: every look at the generator included."""
    image = np.random.default_rng(0).integers(0, 256, (16, 17, 3), np.uint8)
    for seed in range(20):
        one, other = np.random.default_rng(seed), np.random.default_rng(seed)
        np.testing.assert_array_equal(photometric(image, settings, one), slow_photometric(image, settings, other))
        assert one.random() == other.random()


def test_noise_is_as_normal_as_the_slow_one():
    """Of 256 heights it lacks the far tails, a hundredth of the spread; rounding to grey levels adds sqrt(1 / 12)."""
    flat, settings = np.full((96, 96, 3), 128, np.uint8), AugmentSettings(light=0, noise=20, grey=0)
    noisy = 0
    for seed in range(60):
        fast, slow = (
            way(flat, settings, np.random.default_rng(seed)) - 128.0 for way in (photometric, slow_photometric)
        )
        assert (fast.std() > 0) == (slow.std() > 0)
        if slow.std() > 5:  # at less, twice the spread is a whole number or is not
            assert fast.std() == pytest.approx((slow.std() ** 2 + 1 / 12) ** 0.5, rel=0.03)
            assert abs(fast.mean()) < 5 * slow.std() / flat.size**0.5
            assert (np.abs(fast) > 2 * slow.std()).mean() == pytest.approx(0.0455, abs=0.015)
            noisy += 1
    assert noisy > 5
