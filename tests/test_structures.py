"""The values between stages refuse what does not fit, and carry people and maps to other skeletons and frames."""

import numpy as np
import pytest

from rtpe.geometry import Affine
from rtpe.skeleton import COCO17, LSP14, OPENPOSE18, Skeleton
from rtpe.structures import PoseMaps, Poses, Sample

PAIR = Skeleton("pair", ("nose", "left_eye", "right_eye"), ((1, 2),), (0.1, 0.1, 0.1))
EYES = Skeleton("eyes", ("right_eye", "left_eye"), (), (0.1, 0.1))


def poses(people=2):
    rng = np.random.default_rng(0)
    return Poses(rng.random((people, 3, 2)), rng.random((people, 3)), rng.random(people), PAIR)


def maps(**changes):
    fields = {
        "heatmaps": np.arange(36, dtype=np.float32).reshape(3, 3, 4),
        "to_image": Affine.scaling(4),
        "image_hw": (12, 16),
        "skeleton": PAIR,
        "others": {
            "tags": np.arange(72, dtype=np.float32).reshape(2, 3, 3, 4),
            "pafs": np.zeros((2, 3, 4), np.float32),
            "centers": np.ones((1, 3, 4), np.float32),
            "offsets": np.arange(72, dtype=np.float32).reshape(6, 3, 4),
        },
    }
    own = {name: changes.pop(name) for name in list(changes) if name not in fields}
    return PoseMaps(**{**fields, "others": {**fields["others"], **own}, **changes})


def sample(**changes):
    fields = {
        "image_id": 1,
        "file_name": "a.jpg",
        "image": np.zeros((6, 8, 3), np.uint8),
        "points": np.zeros((0, 3, 3), np.float32),
        "valid": np.ones((6, 8), np.uint8),
        "skeleton": PAIR,
    }
    return Sample(**{**fields, **changes})


def test_nobody_is_a_set_of_people():
    """Most code paths meet an image without people first in the middle of a long run."""
    nobody = Poses.none(PAIR)
    assert len(nobody) == len(nobody.moved(Affine.scaling(2))) == len(nobody.as_skeleton(EYES)) == 0
    assert len(nobody.only(np.zeros(0, bool))) == 0


def test_poses_are_float32():
    """The cache keeps people exactly, as float32."""
    assert {poses().points.dtype, poses().scores.dtype, poses().person_scores.dtype} == {np.dtype(np.float32)}


def test_people_by_index_and_by_mask():
    some = poses(3)
    assert some.only([2, 0]).person_scores.tolist() == some.person_scores[[2, 0]].tolist()
    assert some.only(np.array([False, True, False])).points.tolist() == some.points[[1]].tolist()


def test_moving_touches_points_alone():
    some, moved = poses(), poses().moved(Affine.scaling(2))
    np.testing.assert_array_equal(moved.points, 2 * some.points)
    np.testing.assert_array_equal(moved.scores, some.scores)


def test_people_and_maps_change_skeleton_alike():
    """In different orders, the cached people would be those of another net."""
    order = [2, 1]
    some, dense = poses(), maps()
    np.testing.assert_array_equal(some.as_skeleton(EYES).points, some.points[:, order])
    np.testing.assert_array_equal(some.as_skeleton(EYES).scores, some.scores[:, order])
    assert some.as_skeleton(EYES).skeleton == EYES
    changed = dense.as_skeleton(EYES)
    np.testing.assert_array_equal(changed.heatmaps, dense.heatmaps[order])
    np.testing.assert_array_equal(changed.tags, dense.tags[:, order])
    np.testing.assert_array_equal(changed.offsets, dense.offsets[[4, 5, 2, 3]])
    np.testing.assert_array_equal(changed.centers, dense.centers)
    assert changed.pafs is None and changed.skeleton == EYES and changed.to_image == dense.to_image
    assert maps(others={}).as_skeleton(EYES).tags is None


def test_a_skeleton_with_more_joints_is_refused():
    with pytest.raises(ValueError, match="skeleton coco17 lacks neck of openpose18"):
        Poses.none(COCO17).as_skeleton(OPENPOSE18)
    with pytest.raises(ValueError, match="lacks neck, head_top of lsp14"):
        Poses.none(COCO17).as_skeleton(LSP14)


@pytest.mark.parametrize(
    "points, scores, person_scores",
    [((0, 2, 2), (0, 3), 0), ((1, 3, 2), (2, 3), 1), ((1, 3, 2), (1, 3), 2), ((1, 3, 3), (1, 3), 1)],
    ids=str,
)
def test_people_of_other_shapes(points, scores, person_scores):
    with pytest.raises(ValueError, match=r"poses: expected points \(\d, 3, 2\) and scores \(\d, 3\) for pair, got"):
        Poses(np.zeros(points), np.zeros(scores), np.zeros(person_scores), PAIR)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"heatmaps": np.zeros((3, 4))}, r"heatmaps: expected \(3, h, w\) for pair, got \(3, 4\)"),
        ({"heatmaps": np.zeros((2, 3, 4))}, r"heatmaps: expected \(3, h, w\) for pair, got \(2, 3, 4\)"),
        ({"tags": np.zeros((3, 3, 4))}, r"tags: expected \(T, 3, 3, 4\), got \(3, 3, 4\)"),
        ({"tags": np.zeros((1, 3, 4, 3))}, r"tags: expected \(T, 3, 3, 4\), got \(1, 3, 4, 3\)"),
        ({"centers": np.zeros((2, 3, 4))}, r"centers: expected \(1, 3, 4\), got \(2, 3, 4\)"),
        ({"offsets": np.zeros((3, 3, 4))}, r"offsets: expected \(6, 3, 4\), got \(3, 3, 4\)"),
        ({"offsets": np.zeros((6, 4, 4))}, r"offsets: expected \(6, 3, 4\), got \(6, 4, 4\)"),
        ({"pafs": np.zeros((3, 3, 4))}, r"pafs: expected \(2 L, 3, 4\), got \(3, 3, 4\)"),
        ({"pafs": np.zeros((2, 4, 4))}, r"pafs: expected \(2 L, 3, 4\), got \(2, 4, 4\)"),
    ],
)
def test_maps_of_other_shapes(changes, message):
    """Maps that disagree would be read at each other's places without a word."""
    with pytest.raises(ValueError, match=message):
        maps(**changes)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"image": np.zeros((6, 8), np.uint8)}, r"image a.jpg: expected \(H, W, 3\) uint8, got \(6, 8\) uint8"),
        ({"image": np.zeros((6, 8, 3))}, r"image a.jpg: expected \(H, W, 3\) uint8, got \(6, 8, 3\) float64"),
        ({"points": np.zeros((1, 3, 2))}, r"points of a.jpg: expected \(P, 3, 3\) for pair, got \(1, 3, 2\)"),
        ({"valid": np.ones((8, 6))}, r"valid mask of a.jpg: expected \(6, 8\), got \(8, 6\)"),
        ({"person": np.ones((8, 6))}, r"person mask of a.jpg: expected \(6, 8\), got \(8, 6\)"),
    ],
)
def test_samples_of_other_shapes(changes, message):
    """A transposed mask of a nearly square image is not seen by eye."""
    with pytest.raises(ValueError, match=message):
        sample(**changes)


def test_a_sample_needs_nobody():
    assert sample().size_hw == (6, 8) and sample().labelled
