import numpy as np
import pytest
from places import REAL
from reference.mpii import mean_at

from rtpe.evaluation.distance import (
    box_lengths,
    epe,
    head_lengths,
    labelled_extents,
    neck_lengths,
    pck,
    pckh,
    readout_pck,
    torso_lengths,
)
from rtpe.skeleton import COCO17, LSP14, MPII16

FIXTURES = REAL / "fixtures"
TRUTH = np.random.default_rng(0).uniform(0, 100, (2, 17, 2))
SEEN = np.ones((2, 17), bool)


@pytest.mark.parametrize(
    "shift, lengths, expected",
    [(0, (10, 10), 1.0), (2, (10, 10), 1.0), (2.01, (10, 10), 0.0), (3, (10, 20), 0.5), (np.nan, (10, 10), 0.0)],
)
def test_a_shift_is_correct_up_to_the_threshold(shift, lengths, expected):
    per_joint, mean = pck(np.round(TRUTH) + np.array([shift, 0]), np.round(TRUTH), SEEN, np.array(lengths), 0.2)
    assert mean == expected
    assert per_joint.tolist() == [expected] * 17


def test_joints_weigh_by_how_often_they_are_labelled():
    seen = SEEN.copy()
    seen[0], seen[:, 3] = False, False
    seen[0, 0] = True
    found = TRUTH.copy()
    found[0, 0] += 99
    per_joint, mean = pck(found, TRUTH, seen, np.array([10, 10]), 0.2)
    assert per_joint[0] == 0.5
    assert np.isnan(per_joint[3])
    assert mean == pytest.approx(16 / 17)


@pytest.mark.parametrize("length", [np.nan, 0.0])
def test_who_has_no_length_does_not_count(length):
    """Counted as missed, people with a hidden shoulder would lower the score of every predictor."""
    per_joint, mean = pck(TRUTH, TRUTH, SEEN, np.array([length, 10]), 0.2)
    assert mean == 1 and per_joint.tolist() == [1] * 17
    assert np.isnan(pck(TRUTH, TRUTH, SEEN, np.array([length, length]), 0.2)[1])


def test_nothing_labelled_has_no_score():
    per_joint, mean = pck(TRUTH[:0], TRUTH[:0], SEEN[:0], np.zeros(0), 0.2)
    assert np.isnan(mean)
    assert np.isnan(per_joint).all()


def test_end_point_error_is_the_mean_distance_of_what_was_found():
    found = TRUTH + np.array([3, 4])
    found[0, 0], found[1, 1] = np.nan, TRUTH[1, 1]
    per_joint, mean = epe(found, TRUTH, SEEN)
    assert per_joint[:3].tolist() == pytest.approx([5, 2.5, 5])
    assert mean == pytest.approx(32 * 5 / 33)
    assert np.isnan(epe(TRUTH, TRUTH, ~SEEN)[1])


def test_pckh_leaves_pelvis_and_thorax_out_of_its_mean():
    truth = np.random.default_rng(1).uniform(0, 100, (3, 16, 2))
    found = truth.copy()
    found[:, [MPII16.joints.index("pelvis"), MPII16.joints.index("thorax")]] += 50
    heads = np.array([[[0, 0], [30, 40]]] * 3)
    per_joint, mean = pckh(found, truth, np.ones((3, 16), bool), heads)
    assert mean == 1
    assert per_joint[[6, 7]].tolist() == [0, 0]
    head_size = 0.6 * 50
    for shift, expected in ((0.499, 1), (0.501, 0)):
        assert pckh(truth + np.array([shift * head_size, 0]), truth, np.ones((3, 16), bool), heads)[1] == expected


def test_hrnets_mean_at_a_tenth_is_at_eleven_hundredths():
    """Its table reads number 11 of the thresholds 0, .01, .02, ...: at .1 the same people have less."""
    rng = np.random.default_rng(2)
    truth, heads = rng.uniform(0, 100, (40, 16, 2)), np.array([[[0, 0], [30, 40]]] * 40)
    found, missing = truth + rng.normal(0, 2.5, truth.shape), rng.random((40, 16)) < 0.2
    means = [pckh(found, truth, ~missing, heads, threshold)[1] for threshold in (0.1, 0.11, 0.5)]
    for mean, step in zip(means, (10, 11, 50)):
        assert 100 * mean == pytest.approx(mean_at(found, truth, missing, heads, step))
    assert means[0] < means[1]


def real_detections():
    file = FIXTURES / "pckh" / "detections_our_format.mat"
    if not file.is_file():
        pytest.skip("the real-data folder is absent")
    from scipy.io import loadmat

    return {name: np.moveaxis(array, -1, 0) for name, array in loadmat(file).items() if name[0] != "_"}


def test_a_real_detector_has_hrnets_mean_at_a_tenth_too():
    raw = real_detections()
    points, truth, missing, heads = (
        raw[name].astype(float) for name in ("pos_pred_src", "pos_gt_src", "jnt_missing", "headboxes_src")
    )
    means = [pckh(points, truth, missing == 0, heads, threshold)[1] for threshold in (0.1, 0.11)]
    for mean, step in zip(means, (10, 11)):
        assert 100 * mean == pytest.approx(mean_at(points, truth, missing, heads, step))
    assert 100 * np.array(means) == pytest.approx([28.97, 33.14], abs=0.005)


def test_a_real_detector_has_its_published_pckh():
    """Given to one decimal a joint and two for the mean, hence the tolerances."""
    raw = real_detections()
    per_joint, mean = pckh(
        raw["pos_pred_src"], raw["pos_gt_src"], raw["jnt_missing"] == 0, raw["headboxes_src"].astype(float)
    )
    assert 100 * mean == pytest.approx(82.34, abs=0.05)
    expected = {0: 65.2, 1: 73.4, 2: 82.0, 11: 83.4, 10: 76.4, 12: 92.2, 8: 97.7, 9: 95.6}
    assert 100 * per_joint[list(expected)] == pytest.approx(list(expected.values()), abs=0.05 + 1e-9)


def test_reference_lengths():
    """A person who stands from (0, 0) to (30, 40) has a torso of 50 and, in a box of that size, a side of 40."""
    assert box_lengths(np.zeros((0, 4))).tolist() == []
    assert box_lengths([[9, 9, 30, 40], [0, 0, 20, 5]]).tolist() == [40, 20]
    assert head_lengths([[[0, 0], [30, 40]], [[30, 40], [0, 0]]]).tolist() == pytest.approx([30, 30])
    for skeleton, lengths, (one, other) in (
        (COCO17, torso_lengths, ("left_shoulder", "right_hip")),
        (MPII16, neck_lengths, ("head_top", "upper_neck")),
        (LSP14, neck_lengths, ("head_top", "neck")),
    ):
        truth, seen = np.zeros((3, len(skeleton), 2)), np.ones((3, len(skeleton)), bool)
        truth[:2, skeleton.joints.index(one)] = 30, 40
        seen[1, skeleton.joints.index(other)] = False
        assert lengths(truth, seen, skeleton).tolist() == pytest.approx([50, np.nan, 0], nan_ok=True)
    assert np.isnan(neck_lengths(TRUTH, SEEN, COCO17)).all()


def readout(errors, truth, labelled, missed=(), extents=lambda truth, visible: None):
    """The three scores of one person of COCO's joints, whose joints are off by `errors`."""
    found, visible = truth.copy(), np.zeros(17, bool)
    visible[list(labelled)] = True
    for joint, error in errors.items():
        found[joint] += error
    found[list(missed)] = np.nan
    case = found[None], truth[None], visible[None]
    return [readout_pck(*case, t, extents(*case[1:])) for t in (0.05, 0.1, 0.2)]


def test_the_readout_papers_own_pck_measures_from_the_corner_of_the_image():
    """Worked out by hand: the measure is (260, 400), the place of the furthest joints, and .1 is not below .1."""
    truth = np.zeros((17, 2))
    truth[[5, 6, 11, 12]] = (200, 300), (260, 300), (205, 400), (255, 400)
    off = {5: (10, 0), 6: (0, 40)}
    assert readout(off, truth, (5, 6, 11, 12), missed=(12,)) == [0.5, 0.5, 0.75]
    # of what is labelled, 60 x 100, and of a box of 100 x 500
    assert readout(off, truth, (5, 6, 11, 12), (12,), labelled_extents) == [0.25, 0.25, 0.5]
    assert readout(off, truth, (5, 6, 11, 12), (12,), lambda *_: [[100, 500]]) == [0.25, 0.5, 0.75]
    assert labelled_extents(truth[None], np.zeros((1, 17), bool)).tolist() == [[0, 0]]


def test_the_readout_papers_own_pck_measures_each_axis_of_a_whole_person():
    """All joints labelled: (160, 320)."""
    truth = np.array([[10.0 * i + 100, 20.0 * i + 50] for i in range(17)])
    off = {0: (8, 0), 1: (8, 16), 2: (0, 32), 3: (24, 0)}
    assert readout(off, truth, range(17)) == pytest.approx([13 / 17, 15 / 17, 1])


def test_the_readout_papers_own_pck_is_a_mean_over_people():
    """Whoever has one joint counts as much as whoever has all; who is nobody does not, who is flat scores 0."""
    found, seen = TRUTH.copy(), SEEN.copy()
    seen[0, 1:] = False
    found[0, 0] += 1e3
    assert readout_pck(found, TRUTH, seen, 0.2) == 0.5
    assert readout_pck(found, TRUTH, seen & [[False], [True]], 0.2) == 1
    assert np.isnan(readout_pck(found, TRUTH, seen & False, 0.2)) and np.isnan(
        readout_pck(found[:0], TRUTH[:0], SEEN[:0], 1)
    )
    flat = TRUTH * [1, 0]
    assert readout_pck(flat, flat, SEEN, 0.2) == 0
