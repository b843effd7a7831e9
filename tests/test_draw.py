"""Drawn joints and overlaid maps lie where the geometry says, and odd input leaves a picture behind."""

import numpy as np
import pytest

from rtpe.draw import draw_truth, grid, overlay_heatmaps, overlay_mask
from rtpe.geometry import Affine, cells, index_to_point, letterbox
from rtpe.skeleton import COCO17, Skeleton
from rtpe.structures import PoseMaps, Poses

PAIR = Skeleton("pair", ("left_hand", "right_hand"), (), (0.1, 0.1))  # no limbs: a joint is seen alone
NOSE, LEFT_WRIST, RIGHT_WRIST = (COCO17.joints.index(name) for name in ("nose", "left_wrist", "right_wrist"))


def blank(height=60, width=80, level=128):
    return np.full((height, width, 3), level, np.uint8)


def poses_at(points, scores, skeleton=PAIR):
    points = np.asarray(points, np.float32).reshape(-1, len(skeleton), 2)
    return Poses(
        points, np.asarray(scores, np.float32).reshape(len(points), len(skeleton)), np.ones(len(points)), skeleton
    )


def changed(before, after):
    return (before != after).any(-1)


def centroid(ink):
    """The mean place (x, y) of all ink, (H, W, 3)."""
    columns, rows = ink.sum((0, 2)), ink.sum((1, 2))
    return [index_to_point(np.average(np.arange(len(ink)), weights=ink)) for ink in (columns, rows)]


def maps_lit(cell, image_hw, grid_hw=(16, 16), joint=0, skeleton=PAIR, stride=4):
    """One cell of height 1 in the maps of a letterboxed input."""
    heatmaps = np.zeros((len(skeleton), *grid_hw), np.float32)
    if cell is not None:
        heatmaps[joint, cell[1], cell[0]] = 1
    input_hw = grid_hw[0] * stride, grid_hw[1] * stride
    return PoseMaps(heatmaps, letterbox(image_hw, input_hw).inverse() @ cells(stride), image_hw, skeleton)


def overlaid(image, maps):
    return overlay_heatmaps(image, maps.heatmaps, maps.to_image)


@pytest.mark.parametrize(
    "points, scores",
    [
        (np.zeros((0, 2, 2)), np.zeros((0, 2))),
        ([[10, 10], [20, 20]], [0, 0]),
        ([[10, 10], [20, 20]], [0.09, np.nan]),
        ([[np.nan, 10], [20, np.inf]], [1, 1]),
        ([[-1e9, 5], [1e30, 5]], [1, 1]),
    ],
    ids=["nobody", "not found", "below the threshold", "not finite", "far outside"],
)
def test_what_is_not_to_be_seen_leaves_the_image_as_it_is(points, scores):
    image = blank()
    np.testing.assert_array_equal(poses_at(points, scores).draw(image), image)


def test_a_score_of_zero_is_not_found_at_any_threshold():
    image = blank()
    assert not changed(image, poses_at([[10, 10], [20, 20]], [0, 0]).draw(image, threshold=0.0)).any()


@pytest.mark.parametrize("x, y", [(40.5, 30.5), (40.0, 30.0), (20.3, 31.9), (9.97, 50.02)])
def test_a_joint_is_drawn_around_its_point(x, y):
    out = poses_at([[x, y], [0, 0]], [1, 0]).draw(blank(level=255))
    # places are kept to 1/32 pixel, and the anti-aliased rim of a small disc is as uneven again
    np.testing.assert_allclose(centroid(255 - out.astype(float)), (x, y), atol=1 / 16)


def test_left_is_warm_and_right_is_cool_for_every_person():
    points = [[[10 + 20 * person, 15], [10 + 20 * person, 45]] for person in range(3)]
    out = poses_at(points, np.ones((3, 2))).draw(blank()).astype(int)
    for (left, right), others in zip(points, [points[:i] + points[i + 1 :] for i in range(3)]):
        warm, cool = out[left[1], left[0]], out[right[1], right[0]]
        assert warm[0] > warm[2] + 100 and cool[2] > cool[0] + 100
        assert all((out[other[0][1], other[0][0]] != warm).any() for other in others)  # a tint a person


def test_a_limb_joins_its_joints_and_needs_both():
    limb = Skeleton("limb", ("left_knee", "left_foot", "right_knee", "right_foot"), ((0, 1),), (0.1,) * 4)
    points = [[10, 30], [70, 30], [5, 5], [6, 5]]
    both = poses_at(points, [1, 1, 0, 0], limb).draw(blank())
    one = poses_at(points, [1, 0, 0, 0], limb).draw(blank())
    assert changed(blank(), both)[30, 10:70].all()
    assert not changed(blank(), one)[30, 20:].any()


def test_hidden_joints_are_hollow_and_unlabelled_ones_absent():
    points = np.zeros((1, 17, 3), np.float32)
    points[0, NOSE], points[0, LEFT_WRIST], points[0, RIGHT_WRIST] = (20.5, 20.5, 2), (60.5, 60.5, 1), (90.5, 90.5, 0)
    out = draw_truth(blank(480, 640), points, COCO17)
    assert out[20, 20].max() > 200 and out[60, 60].max() < 60
    assert out[57:64, 57:64].max() > 200  # its ring
    assert not changed(blank(480, 640), out)[80:, 80:].any()


def test_truth_of_another_skeleton_is_refused():
    with pytest.raises(ValueError, match=r"points: expected \(P, 17, 3\) for coco17, got \(1, 16, 3\)"):
        draw_truth(blank(), np.zeros((1, 16, 3)), COCO17)


def test_strokes_grow_with_the_image():
    areas = [
        changed(blank(*hw), poses_at([[50, 50], [0, 0]], [1, 0]).draw(blank(*hw))).sum()
        for hw in [(100, 100), (480, 640), (1080, 1920)]
    ]
    assert areas == sorted(areas) and areas[2] > 4 * areas[0]


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 50), (50, 1), (3, 2)], ids=str)
def test_tiny_images_can_be_drawn_on(size_hw):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    kept = image.copy()
    poses = poses_at(rng.uniform(-5, 50, (2, 17, 2)), np.ones((2, 17)), COCO17)
    maps = maps_lit((8, 8), size_hw)
    for out in (
        poses.draw(image),
        draw_truth(image, np.dstack([poses.points, np.ones((2, 17, 1))]), COCO17),
        overlaid(image, maps),
        overlay_mask(image, np.ones((4, 4)), Affine.identity()),
    ):
        assert out.shape == image.shape and out.dtype == np.uint8
    np.testing.assert_array_equal(image, kept)
    assert grid([[image]]).shape == grid([[blank()]]).shape


@pytest.mark.parametrize("image_hw", [(64, 64), (60, 120), (120, 60), (30, 77)], ids=str)
def test_one_lit_cell_colours_the_pixels_within_a_cell_of_its_center(image_hw):
    """Bilinear, so exactly those; the padding of the input is no part of the image."""
    cell, image = (9, 7), blank(*image_hw)
    maps = maps_lit(cell, image_hw)
    out = overlaid(image, maps)
    rows, columns = np.mgrid[: image_hw[0], : image_hw[1]]
    there = maps.to_image.inverse()(index_to_point(np.dstack([columns, rows]).astype(float)))
    apart = np.abs(there - index_to_point(np.array(cell))).max(-1)
    assert not changed(image, out)[apart > 1 + 1 / 16].any()  # warping rounds places to 1/32 cell
    assert changed(image, out)[apart < 0.8].all()


def test_a_cell_in_the_padding_colours_nothing():
    image = blank(30, 60)
    np.testing.assert_array_equal(overlaid(image, maps_lit((8, 1), (30, 60))), image)


def test_no_heat_no_colour():
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    nothing = maps_lit(None, (40, 50))
    for out in (
        overlaid(image, nothing),
        overlay_mask(image, np.zeros((5, 5)), Affine.scaling(10)),
    ):
        np.testing.assert_array_equal(out, image)


def test_maps_of_half_precision_out_of_range_or_not_finite_are_shown():
    maps = maps_lit((8, 8), (64, 64))
    strange = np.where(maps.heatmaps > 0, 7, -3).astype(np.float16)
    strange[1, 2, 2] = np.nan
    out = overlay_heatmaps(blank(64, 64), strange, maps.to_image)
    np.testing.assert_array_equal(out[33, 33], overlaid(blank(64, 64), maps)[33, 33])


def test_a_mask_colours_its_cells_alone():
    mask = np.zeros((4, 4))
    mask[:, :2] = 1
    out = changed(blank(40, 40), overlay_mask(blank(40, 40), mask, Affine.scaling(10)))
    assert out[5:35, 5:15].all() and not out[:, 26:].any()


@pytest.mark.parametrize(
    "counts, titles, shape", [([2, 1], [], (2, 2)), ([2, 3, 1], ["a", "b"], (3, 3)), ([1], ["a", "b", "c"], (1, 3))]
)
def test_every_image_of_a_grid_is_in_its_cell(counts, titles, shape):
    """Images of one grey level each, of several aspects; what is not filled is paper."""
    cell_hw, gap = (40, 60), 6
    rows = [[blank(20 + 9 * r, 40 + 9 * c, 20 * (r + 1) + 5 * c) for c in range(n)] for r, n in enumerate(counts)]
    sheet = grid(rows, titles, cell_hw, gap)
    bare = grid(rows, (), cell_hw, gap)
    top = sheet.shape[0] - shape[0] * (40 + gap)
    for r, row in enumerate(rows):
        for c, image in enumerate(row):
            y, x = top + r * (40 + gap) + 20, gap + c * (60 + gap) + 30
            assert sheet[y, x].tolist() == image[0, 0].tolist()
    assert (top > gap) == bool(titles)
    if max(counts) == shape[1]:
        np.testing.assert_array_equal(sheet[top:], bare[gap:])


@pytest.mark.parametrize("rows, titles", [([], []), ([[]], []), ([], ["a"])])
def test_a_grid_of_nothing_is_a_sheet_of_paper(rows, titles):
    sheet = grid(rows, titles)
    assert sheet.ndim == 3 and sheet.size and sheet.dtype == np.uint8


def test_captions_are_shortened_to_their_cells():
    sheet = grid([[blank(), blank()]], ["long " * 40, ""], (60, 80))
    assert sheet.shape == grid([[blank(), blank()]], ["a", ""], (60, 80)).shape
    assert (sheet[:30, :86] < 128).any() and not (sheet[:30, 86:] < 128).any()
