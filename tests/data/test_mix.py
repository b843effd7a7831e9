"""Mosaics and pastes, put together by hand: one lit cell answers, and what is covered is gone."""

import numpy as np
import pytest
from miniature import STRIDE

from rtpe.data.mix import REACH, mosaic, paste, quadrants
from rtpe.geometry import index_to_point

INPUT_HW, GRID_HW = (128, 160), (32, 40)
FRAMES_HW = [(48, 64), (48, 96), (80, 64), (80, 96)]  # quadrants of that input
ABSENT = np.zeros((0, 3, 3), np.float32)


def rng(seed=0):
    return np.random.default_rng(seed)


def part(size_hw, joint=None, cell=(0, 0), level=0, labelled=True):
    """An example of a flat image in which one cell is lit: in image, masks and the teacher's map of a joint."""
    grid_hw = size_hw[0] // STRIDE, size_hw[1] // STRIDE
    made = {
        "images": np.full((*size_hw, 3), level, np.uint8),
        "points": ABSENT,
        "labelled": np.array(labelled),
        "valid": np.full(grid_hw, 255, np.uint8),
        "person": np.zeros(grid_hw, np.uint8),
        "teacher": np.zeros((3, *grid_hw), np.float16),
        "body": np.zeros(size_hw, np.uint8),
    }
    if joint is not None:
        y, x = cell
        block = np.s_[y * STRIDE : (y + 1) * STRIDE, x * STRIDE : (x + 1) * STRIDE]
        made["images"][block] = made["body"][block] = made["person"][y, x] = 255
        made["valid"][y, x], made["teacher"][joint, y, x] = 0, 1
        made["points"] = np.zeros((1, 3, 3), np.float32)
        made["points"][0, joint] = *(STRIDE * index_to_point(np.array([x, y]))), 2
    return made


def covering(rows, columns, size_hw=(64, 64), level=200):
    """An example whose body is a block of cells, nothing said about joints."""
    made = part(size_hw, level=level)
    made["body"][rows.start * STRIDE : rows.stop * STRIDE, columns.start * STRIDE : columns.stop * STRIDE] = 255
    made["person"][rows, columns] = 255
    return made


def people(*joints):
    """One person a list of (x, y, visibility)."""
    return np.array(joints, np.float32)


@pytest.mark.parametrize("input_hw", [(32, 32), (64, 96), (128, 160), (224, 224)], ids=str)
def test_the_cross_is_on_cells_in_the_middle(input_hw):
    """A cell cut by it would be half of one image and half of another."""
    tops = set()
    for seed in range(100):
        frames = quadrants(input_hw, STRIDE, rng(seed))
        (top, left), (height, width) = frames[0], input_hw
        assert frames == [(top, left), (top, width - left), (height - top, left), (height - top, width - left)]
        assert top % STRIDE == left % STRIDE == 0
        assert height <= 3 * top <= 2 * height and width <= 3 * left <= 2 * width
        tops.add(top)
    assert min(tops) - height / 3 < STRIDE and height * 2 / 3 - max(tops) < STRIDE  # all of the middle is used


def test_a_mosaic_of_nobody():
    made = mosaic([part(size_hw, level=9 * number) for number, size_hw in enumerate(FRAMES_HW)])
    assert made["points"].shape == (0, 3, 3) and made["images"].shape == (*INPUT_HW, 3)
    assert not made["person"].any() and made["valid"].all() and not made["teacher"].any() and "body" not in made
    assert made["images"][[0, 47, 0, 47, 48, 127], [0, 63, 64, 159, 63, 64], 0].tolist() == [0, 0, 9, 9, 18, 27]


@pytest.mark.parametrize("quadrant, origin", [(0, (0, 0)), (1, (0, 16)), (2, (12, 0)), (3, (12, 16))])
@pytest.mark.parametrize("corner", [(0, 0), (-1, -1)], ids=["first", "last"])
def test_one_lit_cell_answers_in_its_quadrant(quadrant, origin, corner):
    """Next to the cross or in a corner: image, masks, teacher and label light up the same cell, and no other."""
    size_hw = FRAMES_HW[quadrant]
    y, x = (at % (side // STRIDE) for at, side in zip(corner, size_hw))
    parts = [part(frame_hw) for frame_hw in FRAMES_HW]
    parts[quadrant] = part(size_hw, joint=1, cell=(y, x))
    made, want = mosaic(parts), np.zeros(GRID_HW)
    y, x = y + origin[0], x + origin[1]
    want[y, x] = 1
    seen = made["images"][..., 0].reshape(GRID_HW[0], STRIDE, GRID_HW[1], STRIDE).mean((1, 3))
    for name, cells in {"image": seen / 255, "person": made["person"] / 255, "valid": 1 - made["valid"] / 255}.items():
        np.testing.assert_array_equal(cells, want, err_msg=name)
    np.testing.assert_array_equal(made["teacher"][1], want)
    assert made["teacher"].sum() == 1
    assert made["points"].tolist() == [[[0, 0, 0], [*(STRIDE * index_to_point(np.array([x, y]))), 2], [0, 0, 0]]]


@pytest.mark.parametrize("unlabelled", [0, 3])
def test_a_mosaic_is_labelled_if_all_of_it_is(unlabelled):
    """Gaussians may not be taught where nobody looked for people."""
    parts = [part(size_hw, labelled=number != unlabelled) for number, size_hw in enumerate(FRAMES_HW)]
    assert not mosaic(parts)["labelled"] and mosaic([part(size_hw) for size_hw in FRAMES_HW])["labelled"]


def test_a_mosaic_without_a_teacher():
    parts = [part(size_hw) for size_hw in FRAMES_HW]
    assert "teacher" not in mosaic([{name: of[name] for name in of if name != "teacher"} for of in parts])


def test_nobody_to_paste_changes_nothing():
    """Not even whether the image is labelled."""
    below = part((64, 64), joint=1, cell=(3, 3))
    assert paste(below, part((64, 64), level=99, labelled=False)) is below


@pytest.mark.parametrize("cell", [(0, 0), (7, 5), (15, 15)], ids=str)
def test_one_lit_cell_is_pasted(cell):
    """Onto a dark image whose joints nobody knows: the cell answers in image, masks, teacher and label."""
    below, above = part((64, 64), level=20), part((64, 64), joint=1, cell=cell)
    below["valid"][:] = 0
    made, want = paste(below, above), np.zeros((16, 16))
    want[cell] = 1
    seen = made["images"][..., 0].reshape(16, STRIDE, 16, STRIDE).mean((1, 3))
    np.testing.assert_array_equal(seen, np.where(want, 255, 20))
    for cells in (made["person"] / 255, made["valid"] / 255, made["teacher"][1]):
        np.testing.assert_array_equal(cells, want)
    np.testing.assert_array_equal(made["points"], above["points"])
    assert made["labelled"] and "body" not in made


def test_what_is_covered_is_gone():
    """A lit cell below, a dark body over it: neither image nor person nor the teacher's heat is left, and the cell is
    valid, for the body's joints are known.
    """
    made = paste(
        part((64, 64), joint=1, cell=(7, 7)), covering(np.s_[5:10], np.s_[5:10], level=0) | {"person": _none()}
    )
    assert not made["images"].any() and not made["person"].any() and not made["teacher"].any() and made["valid"].all()


def _none():
    return np.zeros((16, 16), np.uint8)


def test_half_covered_cells_are_shared():
    """Pixels blend as the body's edge does, cells by the share that is covered; heat above needs more than half."""
    below, above = part((64, 64), level=100), part((64, 64), level=200)
    above["body"][:, :2], above["body"][:, 2], above["body"][:, 4] = 255, 51, 255
    below["person"][:], below["valid"][:], below["teacher"][0], above["teacher"][0] = 255, 0, 0.5, 0.25
    made = paste(below, above)
    assert made["images"][9, :5, 0].tolist() == [200, 200, 120, 100, 200]
    assert made["teacher"][0, 5, :3].tolist() == [0.25, 0.5, 0.5]
    covered = (2 * 255 + 51) / 4
    assert abs(made["person"][5, 0] - (255 - covered)) <= 1 and abs(made["valid"][5, 0] - covered) <= 1


def test_the_teachers_heat_goes_as_far_as_it_spreads():
    """Heat above inside the body; the greater of both up to two standard deviations from it; heat below beyond."""
    below, above = part((64, 64)), covering(np.s_[0:16], np.s_[0:4])
    below["teacher"][0], above["teacher"][0] = 0.5, 0.25
    below["teacher"][1], above["teacher"][1] = 0.25, 0.5
    heat = paste(below, above)["teacher"][:, 8]
    assert REACH == 4 and heat[0].tolist() == [0.25] * 4 + [0.5] * 12
    assert heat[1].tolist() == [0.5] * 8 + [0.25] * 8


SEEN_THERE = [(8, 32, 2), (50, 32, 2), (58, 32, 2)]  # the body of the tests below covers x from 0 to 16


@pytest.mark.parametrize(
    "person, want",
    [
        ([(0, 0, 0)] * 3, None),
        ([(50, 32, 2), (52, 32, 1), (0, 0, 0)], [2, 1, 0]),  # in sight: as it was
        (SEEN_THERE, [1, 2, 2]),
        ([(8, 32, 1), (50, 32, 1), (0, 0, 0)], [1, 1, 0]),  # hidden before; half a person is not most of it
        ([(8, 32, 0.3), (50, 32, 0.8), (60, 9, 0.9)], [0.3, 0.8, 0.9]),  # a teacher is as sure as it was
        ([(8, 32, 2), (9, 32, 2), (50, 32, 2)], [0, 0, 2]),  # mostly covered: nobody labels what is under there
        ([(8, 32, 2), (9, 32, 2), (10, 32, 2)], None),  # wholly covered: nobody
        ([(15.9, 32, 2), (16, 32, 2), (60, 9, 2)], [1, 2, 2]),  # the edge of the body
    ],
    ids=str,
)
def test_joints_below_a_body_are_hidden(person, want):
    below = part((64, 64)) | {"points": people(person)}
    points = paste(below, covering(np.s_[0:16], np.s_[0:4]))["points"]
    if want is None:
        assert points.shape == (0, 3, 3)
    else:
        np.testing.assert_array_equal(points[0, :, 2], np.float32(want))
        np.testing.assert_array_equal(points[0, :, :2], people(person)[0, :, :2] * (points[0, :, 2:] > 0))


def test_joints_above_are_pasted_with_their_body():
    """At its edge and as far as its heat is; not beyond, where nothing of them is shown. Who is below goes first."""
    below = part((64, 64)) | {"points": people(SEEN_THERE)}
    above = covering(np.s_[0:16], np.s_[0:4]) | {"points": people([(2, 3, 2), (31.9, 3, 1), (32, 3, 2)])}
    points = paste(below, above)["points"]
    assert points[1].tolist() == [[2, 3, 2], [np.float32(31.9), 3, 1], [0, 0, 0]] and len(points) == 2
    assert points[0, :, 2].tolist() == [1, 2, 2]


def test_parts_are_not_changed():
    """They may be asked for again."""
    below, above = part((64, 64), joint=1, cell=(7, 7)), covering(np.s_[5:10], np.s_[5:10])
    before = [{name: array.copy() for name, array in made.items()} for made in (below, above)]
    paste(below, above), mosaic([below] * 4)
    for made, was in zip((below, above), before):
        for name in made:
            np.testing.assert_array_equal(made[name], was[name], err_msg=name)
