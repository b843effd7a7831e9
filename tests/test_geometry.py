"""The pixel convention: affines compose and invert, and every frame lies where it says."""

import numpy as np
import pytest

from rtpe.geometry import (
    Affine,
    cells,
    centered,
    crop,
    index_to_point,
    letterbox,
    point_to_index,
    published_side,
    round_up,
    short_side,
)

SIZES_HW = [(1, 1), (1, 400), (100, 400), (400, 100), (480, 640), (640, 427), (799, 201), (333, 334)]
EXACT = 1e-9  # float64, lengths up to some thousand


def random_affine(rng):
    return (
        Affine.translation(*rng.normal(0, 100, 2))
        @ Affine.rotation(rng.uniform(-180, 180))
        @ Affine.scaling(*rng.uniform(0.1, 10, 2))
    )


def corners(size_hw):
    h, w = size_hw
    return np.array([[0, 0], [w, 0], [0, h], [w, h]], float)


def test_an_index_and_its_center_are_inverse():
    """The first pixel covers [0, 1): its center is not 0."""
    indices = np.arange(5)
    assert index_to_point(indices).tolist() == [0.5, 1.5, 2.5, 3.5, 4.5]
    assert point_to_index(index_to_point(indices)).tolist() == indices.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_affines_compose_from_right_to_left(seed):
    """`(a @ b)(x)` in the wrong order would rotate about the wrong place."""
    rng = np.random.default_rng(seed)
    first, then, points = random_affine(rng), random_affine(rng), rng.normal(0, 100, (3, 4, 2))
    np.testing.assert_allclose((then @ first)(points), then(first(points)), rtol=EXACT, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_the_inverse_leads_back(seed):
    rng = np.random.default_rng(seed)
    affine, points = random_affine(rng), rng.normal(0, 100, (7, 2))
    np.testing.assert_allclose(affine.inverse()(affine(points)), points, atol=1e-8)


def test_points_keep_their_type():
    """Integers that stayed integers would be cut to whole pixels."""
    half = Affine.scaling(0.5)
    assert half(np.array([[1, 3]])).tolist() == [[0.5, 1.5]]
    assert half(np.zeros((0, 17, 2), np.float32)).shape == (0, 17, 2)
    assert half(np.ones((2, 2), np.float32)).dtype == np.float32


def test_mirror_exchanges_the_borders():
    """A pixel convention of integer centers would mirror 0 to width - 1."""
    mirror = Affine.mirror(8)
    assert mirror(np.array([[0.0, 3.0], [8.0, 3.0], [0.5, 3.0]])).tolist() == [[8, 3], [0, 3], [7.5, 3]]
    assert mirror.mirrors and not (mirror @ mirror).mirrors and not Affine.rotation(180).mirrors
    assert mirror @ mirror == Affine.identity()


def test_rotation_is_clockwise_on_the_screen():
    """To the right of the origin becomes below it: y points down."""
    np.testing.assert_allclose(Affine.rotation(90)(np.array([1.0, 0.0])), [0, 1], atol=EXACT)


def test_scale_is_the_growth_of_lengths():
    assert Affine.scaling(3).scale == pytest.approx(3)
    assert (Affine.mirror(5) @ Affine.rotation(33) @ Affine.scaling(2, 8)).scale == pytest.approx(4)


@pytest.mark.parametrize("factor", [1, 2, 4, 0.5])
def test_index_matrix_is_the_same_map_between_indices(factor):
    """Doubling an image puts the center of pixel 0 at 1.0, which is index 0.5 and not 0."""
    linear, shift = np.split(Affine.scaling(factor).index_matrix(), [2], axis=1)
    index = np.array([3.0, 7.0])
    np.testing.assert_allclose(linear @ index + shift[:, 0], point_to_index(factor * index_to_point(index)), atol=EXACT)


@pytest.mark.parametrize("seed", range(5))
def test_any_map_is_the_same_between_indices(seed):
    """Turned and unevenly scaled, too: numpy's own products say what the written-out sums must give."""
    affine, index = random_affine(np.random.default_rng(seed)), np.array([3.0, 7.0])
    linear, shift = np.split(affine.index_matrix(), [2], axis=1)
    np.testing.assert_allclose(linear @ index + shift[:, 0], point_to_index(affine(index_to_point(index))), atol=1e-8)
    back = np.linalg.inv(np.vstack([affine.matrix, [0, 0, 1]]))[:2]
    np.testing.assert_allclose(affine.inverse().matrix, back, rtol=EXACT, atol=EXACT)
    assert affine.scale == pytest.approx(abs(np.linalg.det(affine.matrix[:, :2])) ** 0.5)


@pytest.mark.parametrize("matrix", [np.zeros((2, 3)), np.eye(3), np.full((2, 3), np.nan), [[1, 2, 0], [2, 4, 0]]])
def test_a_matrix_that_is_no_affine(matrix):
    with pytest.raises(ValueError, match="affine: expected"):
        Affine(np.asarray(matrix))


def test_equal_affines_are_equal():
    """They stand in caches and settings, and are compared there."""
    assert Affine.scaling(2) == Affine.scaling(2, 2) and hash(Affine.scaling(2)) == hash(Affine.scaling(2, 2))
    assert Affine.scaling(2) != Affine.scaling(3) and Affine.scaling(2) != "scaling"


@pytest.mark.parametrize("input_hw", [(64, 64), (96, 160)], ids=str)
@pytest.mark.parametrize("image_hw", SIZES_HW, ids=str)
def test_letterbox_fits_fills_and_centers(image_hw, input_hw):
    """The whole image is inside, touches two borders, and leaves equal margins: nothing is cut or stretched."""
    (left, top), _, _, (right, bottom) = letterbox(image_hw, input_hw)(corners(image_hw))
    assert min(left, top) == pytest.approx(0, abs=EXACT)
    assert left == pytest.approx(input_hw[1] - right, abs=1e-6) and top == pytest.approx(input_hw[0] - bottom, abs=1e-6)
    assert (right - left) / (bottom - top) == pytest.approx(image_hw[1] / image_hw[0])


@pytest.mark.parametrize("size, multiple", [(64, 64), (512, 64), (128, 32)])
@pytest.mark.parametrize("image_hw", SIZES_HW, ids=str)
def test_short_side_keeps_the_aspect(image_hw, size, multiple):
    """The padded border belongs to the affine. Stretched over the image instead, it costs a third of the score."""
    input_hw, view = short_side(image_hw, size, multiple)
    (left, top), _, _, (right, bottom) = view(corners(image_hw))
    assert min(input_hw) == size and not max(input_hw) % multiple
    assert (input_hw[0] > input_hw[1]) == (image_hw[0] > image_hw[1] and input_hw[0] != input_hw[1])
    assert (right - left) / (bottom - top) == pytest.approx(image_hw[1] / image_hw[0])
    assert min(left, top) >= -1e-6 and max(left, top) < multiple / 2  # less than a multiple of border in sum
    np.testing.assert_allclose(view(np.array(image_hw[::-1]) / 2), np.array(input_hw[::-1]) / 2, atol=1e-6)


@pytest.mark.parametrize(
    "length, multiple, want",
    [
        (0, 64, 64),
        (1, 64, 64),
        (64, 64, 64),
        (65, 64, 128),
        (64 + 1e-9, 64, 64),
        (853.33, 64, 896),
        (127.9999999, 64, 128),
    ],
)
def test_round_up(length, multiple, want):
    """A factor's rounding error must not cost a whole multiple; a length of 0 still needs an input."""
    assert round_up(length, multiple) == want


def test_centered_puts_center_on_center():
    view = centered((10, 20), (64, 32), 1.5)
    assert view(np.array([10.0, 5.0])).tolist() == [16, 32] and view.scale == pytest.approx(1.5)


@pytest.mark.parametrize("box", [(10, 20, 30, 60), (10, 20, 60, 30), (-5, -5, 10, 10), (3, 3, 0, 0)], ids=str)
def test_a_crop_holds_its_box(box):
    """Centerd, aspect kept, padded by the factor; an empty box does not divide by zero."""
    box, input_hw = np.array(box, float), (256, 192)
    view = crop(box, input_hw, padding=1.25)
    np.testing.assert_allclose(view(box[:2] + box[2:] / 2), [96, 128], atol=1e-3)
    mapped = view(box[:2] + box[2:]) - view(box[:2])
    if box[2:].any():
        assert max(mapped / (192, 256)) == pytest.approx(1 / 1.25) and view.matrix[0, 0] == view.matrix[1, 1]


def test_cells_are_a_pure_factor():
    """Cell 0 of stride 4 covers input pixels [0, 4), and so its center is 2."""
    assert cells(4)(np.array([index_to_point(0), 1.0])).tolist() == [2.0, 4.0]


@pytest.mark.parametrize(
    "image_hw, multiple, input_hw",
    [
        ((480, 640), 64, (640, 896)),
        ((640, 427), 64, (960, 640)),
        ((426, 640), 64, (640, 1024)),
        ((333, 500), 64, (640, 960)),  # the image is 960.96 wide there: .96 px are cut
        ((333, 500), 128, (640, 1024)),  # at half the size 480.48: to 512, and twice that
        ((321, 322), 128, (640, 640)),  # at half the size 320.997
        ((320, 321), 128, (640, 768)),  # and 321, a whole pixel too long
    ],
)
def test_a_published_input_is_cut_by_less_than_a_pixel_rather_than_grown(image_hw, multiple, input_hw):
    assert published_side(image_hw, 640, multiple)[0] == input_hw


@pytest.mark.parametrize("image_hw", [(480, 640), (333, 501), (1, 1)], ids=str)
def test_a_published_input_has_a_pixel_of_the_image_in_its_middle(image_hw):
    """Its coordinates are indices: a center of a pixel, not the edge between two, is at half the input's size."""
    (h, w), affine = published_side(image_hw, 128)
    middle = index_to_point(np.array([(image_hw[1] + 1) // 2, (image_hw[0] + 1) // 2]))
    np.testing.assert_allclose(affine(middle), [w / 2, h / 2], atol=EXACT)
    assert affine.scale == pytest.approx(128 / min(image_hw))
