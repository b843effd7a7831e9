import json
import os
from pathlib import Path

import numpy as np
import pytest

from rtpe.metrics.distance import epe, matched_points, pck, pck_of_people, pckh, score_pck
from rtpe.skeleton import COCO17, MPII16

REAL = Path(os.environ.get("RTPE_REAL_DATA", Path(__file__).parents[3] / "shared" / "data")) / "fixtures"
TRUTH = np.random.default_rng(0).uniform(0, 100, (2, 17, 2))
SEEN = np.ones((2, 17), bool)


def labelled(points=TRUTH, seen=SEEN):
    """(P, K, 3) people and their boxes."""
    low, high = points.min(axis=1), points.max(axis=1)
    return np.dstack([points, seen * 2]), np.hstack([low, high - low])


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


def test_a_real_detector_has_its_published_pckh():
    """Given to one decimal a joint and two for the mean, hence the tolerances."""
    file = REAL / "pckh" / "detections_our_format.mat"
    if not file.is_file():
        pytest.skip("the real-data folder is absent")
    from scipy.io import loadmat

    raw = {name: np.moveaxis(array, -1, 0) for name, array in loadmat(file).items() if name[0] != "_"}
    per_joint, mean = pckh(
        raw["pos_pred_src"], raw["pos_gt_src"], raw["jnt_missing"] == 0, raw["headboxes_src"].astype(float)
    )
    assert 100 * mean == pytest.approx(82.34, abs=0.05)
    expected = {0: 65.2, 1: 73.4, 2: 82.0, 11: 83.4, 10: 76.4, 12: 92.2, 8: 97.7, 9: 95.6}
    assert 100 * per_joint[list(expected)] == pytest.approx(list(expected.values()), abs=0.05 + 1e-9)


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_people_are_matched_whatever_their_order_is(order):
    truth, boxes = labelled()
    found = TRUTH[order] + 0.5
    assert np.array_equal(matched_points(found, truth, boxes, COCO17.sigmas), TRUTH + 0.5)


def test_one_found_person_serves_one_labelled_person():
    truth, boxes = labelled()
    matched = matched_points(TRUTH[1:] + 0.5, truth, boxes, COCO17.sigmas)
    assert np.isnan(matched[0]).all()
    assert np.array_equal(matched[1], TRUTH[1] + 0.5)


@pytest.mark.parametrize(
    "found, expected",
    [
        (TRUTH[:0], 0.0),
        (TRUTH, 1.0),
        (TRUTH[:1], 0.5),
        (np.vstack([TRUTH, TRUTH + 7]), 1.0),  # people too many cost nothing
        (np.where(np.arange(17)[:, None] == 0, np.nan, TRUTH), 16 / 17),
        (TRUTH + 1e5, 0.0),
    ],
    ids=["nobody", "all", "one of two", "too many", "a joint missing", "elsewhere"],
)
def test_people_found_by_nobody_are_all_missed(found, expected):
    scores = pck_of_people([(found, *labelled())], COCO17.sigmas)
    assert list(scores) == ["PCK@0.05", "PCK@0.1", "PCK@0.2"]
    assert list(scores.values()) == pytest.approx([expected] * 3)


def test_the_measure_is_the_larger_side_of_the_box():
    truth, boxes = labelled()
    boxes = np.array([[0, 0, 100, 40], [0, 0, 30, 200]])
    scores = pck_of_people([(TRUTH + np.array([9, 0]), truth, boxes)], COCO17.sigmas)
    assert list(scores.values()) == pytest.approx([0.5, 1, 1])


def test_no_people_have_no_score():
    assert set(pck_of_people([], COCO17.sigmas).values()) == {-1.0}
    nobody = np.zeros((0, 17, 3)), np.zeros((0, 4))
    assert set(pck_of_people([(TRUTH, *nobody), (TRUTH[:0], *nobody)], COCO17.sigmas).values()) == {-1.0}


def dataset():
    """Two images: two people in one, in the other a crowd and one whose joints nobody labelled."""
    truth, boxes = labelled()
    people = [
        {"image_id": 1, "iscrowd": 0, "keypoints": truth[0].ravel().tolist(), "bbox": boxes[0].tolist()},
        {"image_id": 1, "iscrowd": 0, "keypoints": truth[1].ravel().tolist(), "bbox": boxes[1].tolist()},
        {"image_id": 2, "iscrowd": 1, "keypoints": truth[1].ravel().tolist(), "bbox": boxes[1].tolist()},
        {"image_id": 2, "iscrowd": 0, "keypoints": [0] * 51, "bbox": boxes[1].tolist()},
    ]
    people = [person | {"id": number, "category_id": 1, "area": 1.0} for number, person in enumerate(people)]
    return {"images": [{"id": 1}, {"id": 2}], "categories": [{"id": 1}], "annotations": people}


def rows(points):
    return [
        {"image_id": 1, "category_id": 1, "score": 1.0, "keypoints": np.column_stack([p, np.ones(17)]).ravel().tolist()}
        for p in points
    ]


def test_a_coco_file_is_scored():
    assert set(score_pck(dataset(), [], None, COCO17).values()) == {0.0}
    assert set(score_pck(dataset(), rows(TRUTH), None, COCO17).values()) == {1.0}
    assert set(score_pck(dataset(), rows(TRUTH[:1]), None, COCO17).values()) == {0.5}
    assert set(score_pck(dataset(), rows(TRUTH), [2], COCO17).values()) == {-1.0}


def test_a_joint_of_score_zero_was_not_found():
    results = rows(TRUTH)
    results[0]["keypoints"][2] = 0
    assert score_pck(dataset(), results, None, COCO17)["PCK@0.2"] == pytest.approx(33 / 34)


def test_a_real_detector_scores_more_the_further_one_looks():
    if not (REAL / "oks").is_dir():
        pytest.skip("the real-data folder is absent")
    results = json.loads((REAL / "oks" / "detections.json").read_text())
    scores = score_pck(REAL / "oks" / "annotations.json", results, None, COCO17)
    assert 0.5 < scores["PCK@0.05"] < scores["PCK@0.1"] < scores["PCK@0.2"] < 0.9
