"""People found beside people labelled: who is matched with whom, who counts, and each score with its measure's name."""

import json

import numpy as np
import pytest
from places import REAL

from rtpe.evaluation.matching import distance_scores, joint_scores, match_people, matched_points
from rtpe.skeleton import COCO17, LSP14, MPII16, Skeleton

FIXTURES = REAL / "fixtures"
TRUTH = np.random.default_rng(0).integers(1, 100, (2, 17, 2)).astype(float)
BOXES = np.array([[0, 0, 100, 40], [0, 0, 30, 200]], float)
PCKS = [f"PCK@{t} box" for t in (0.05, 0.1, 0.2)]


def truth(points=TRUTH):
    """(P, K, 3) people, all of whose joints are labelled."""
    return np.dstack([points, np.full(points.shape[:2], 2)])


def labels(points=TRUTH, boxes=BOXES, **changes):
    """A file of one image with these people, and one where a crowd is and one whose joints nobody labelled."""
    people = [
        {"image_id": 1, "keypoints": rows.ravel().tolist(), "bbox": box.tolist()} | changes
        for rows, box in zip(truth(points), boxes)
    ]
    people += [
        {"image_id": 2, "iscrowd": 1, "keypoints": truth(points)[1].ravel().tolist(), "bbox": [0, 0, 9, 9]},
        {"image_id": 2, "keypoints": [0] * 3 * points.shape[1], "bbox": [0, 0, 9, 9]},
    ]
    people = [{"id": number, "category_id": 1, "iscrowd": 0, "area": 1.0, **p} for number, p in enumerate(people)]
    return {"images": [{"id": 1}, {"id": 2}], "categories": [{"id": 1}], "annotations": people}


def sure(points):
    """(K, 3) with the score 1; what is NaN is 0, 0, 0."""
    return np.where(np.isnan(points[:, :1]), 0, np.column_stack([points, np.ones(len(points))]))


def rows(points):
    """Results in COCO's format."""
    return [{"image_id": 1, "category_id": 1, "score": 1.0, "keypoints": sure(p).ravel().tolist()} for p in points]


def match(found, skeleton=COCO17, images=None, **changes):
    return match_people(labels(**changes), rows(found), images, skeleton)


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_people_are_matched_whatever_their_order_is(order):
    found = TRUTH[order] + 0.5
    assert np.array_equal(matched_points(found, truth(), BOXES, COCO17.sigmas), TRUTH + 0.5)


def test_one_found_person_serves_one_labelled_person():
    matched = matched_points(TRUTH[1:] + 0.5, truth(), BOXES, COCO17.sigmas)
    assert np.isnan(matched[0]).all()
    assert np.array_equal(matched[1], TRUTH[1] + 0.5)


MISSING_A_JOINT = np.where(np.arange(17)[:, None] == 0, np.nan, TRUTH)


@pytest.mark.parametrize(
    "found, expected",
    [
        (TRUTH[:0], 0.0),
        (TRUTH, 1.0),
        (TRUTH[:1], 0.5),
        (np.vstack([TRUTH, TRUTH + 7]), 1.0),  # people too many cost nothing
        (MISSING_A_JOINT, 16 / 17),
        (TRUTH + 1e5, 0.0),
    ],
    ids=["nobody", "all", "one of two", "too many", "a joint missing", "elsewhere"],
)
def test_people_found_by_nobody_are_all_missed(found, expected):
    scores = distance_scores(match(found))
    assert [scores[name] for name in PCKS] == pytest.approx([expected] * 3)


def test_nobody_labelled_has_no_score():
    """The second image has a crowd and a person without labels, neither of whom counts."""
    for scores in (distance_scores(match(TRUTH, images=[2])), distance_scores(match(TRUTH, images=[]))):
        assert set(scores.values()) == {-1.0} and {*PCKS, "EPE px"} <= set(scores)


def test_each_length_is_named_and_measured():
    """One shift of 9 pixels, by sides of 100 and 200, and by torsos of 50 and 30."""
    points = TRUTH.copy()
    shoulder, hip = COCO17.joints.index("left_shoulder"), COCO17.joints.index("right_hip")
    points[:, shoulder], points[:, hip] = 20, [[60, 50], [20, 50]]
    scores = distance_scores(match(points + np.array([9, 0]), points=points))
    assert [scores[name] for name in PCKS] == [0.5, 1, 1]
    assert [scores[f"PCK@{t} torso"] for t in (0.05, 0.1, 0.2)] == [0, 0, 0.5]
    assert scores["EPE px"] == pytest.approx(9)
    assert not any("head" in name or "neck" in name or "PCKh" in name for name in scores)  # COCO labels neither


def test_the_end_point_error_is_of_what_was_found():
    assert distance_scores(match(MISSING_A_JOINT + np.array([3, 4])))["EPE px"] == pytest.approx(5)
    assert distance_scores(match(TRUTH[:0]))["EPE px"] == -1


def test_mpii_people_are_measured_by_their_heads():
    """Heads of size 30: a shift of 10 is right at .5, not at .1; pelvis and thorax are not in the mean."""
    points = np.random.default_rng(1).integers(1, 100, (2, 16, 2)).astype(float)
    found = points + np.array([10, 0])
    found[:, [MPII16.joints.index("pelvis"), MPII16.joints.index("thorax")]] += 300
    matched = match(found, MPII16, points=points, head_box=[5, 5, 35, 45])
    scores = distance_scores(matched)
    assert (scores["PCKh@0.5"], scores["PCKh@0.1"], scores["PCKh@0.11"]) == (1, 0, 0)
    near = distance_scores(match(points + np.array([3.15, 0]), MPII16, points=points, head_box=[5, 5, 35, 45]))
    assert (near["PCKh@0.1"], near["PCKh@0.11"]) == (0, 1)  # .105 of a head
    assert {"PCK@0.1 head", "PCK@0.1 neck"} <= set(scores) and "PCK@0.1 readout" not in scores
    table = {row["joint"]: row for row in joint_scores(matched, "head")}
    assert table["pelvis"]["PCKh@0.5"] == 0 and table["left_hip"]["PCKh@0.5"] == 1
    assert "PCKh@0.5" not in distance_scores(match(found, MPII16, points=points))  # no head boxes, no PCKh


def test_a_table_by_joint():
    """A missed nose is in no mean but its own."""
    table = joint_scores(match(MISSING_A_JOINT + np.array([4.2, 5.6])))
    assert [row["joint"] for row in table] == list(COCO17.joints)
    assert table[0] == {"joint": "nose", "labelled": 2, "found": 0, **dict.fromkeys(PCKS, 0.0), "EPE px": -1.0}
    eye = {"joint": "left_eye", "labelled": 2, "found": 2, **dict(zip(PCKS, (0.5, 1.0, 1.0))), "EPE px": 7.0}
    assert table[1] == pytest.approx(eye)
    assert {row["labelled"] for row in joint_scores(match(TRUTH, images=[]))} == {0}
    json.dumps(table)


def test_a_table_in_a_length_that_is_not_there():
    with pytest.raises(ValueError, match=r"no head in these labels: choose from box, torso$"):
        joint_scores(match(TRUTH), "head")


def test_who_lacks_a_shoulder_has_no_torso():
    dataset = labels()
    shoulder = 3 * COCO17.joints.index("left_shoulder")
    dataset["annotations"][0]["keypoints"][shoulder : shoulder + 3] = 0, 0, 0
    found = TRUTH.copy()
    found[0] = np.nan
    scores = distance_scores(match_people(dataset, rows(found), None, COCO17))
    assert scores["PCK@0.2 torso"] == 1 and scores["PCK@0.2 box"] == pytest.approx(17 / 33)


def test_a_person_without_a_list_of_joints_is_nobody():
    """Some files leave out the list of people who are only boxed."""
    dataset = labels()
    del dataset["annotations"][3]["keypoints"]
    assert distance_scores(match_people(dataset, rows(TRUTH), None, COCO17))["PCK@0.05 box"] == 1


def test_a_skeleton_without_torso_or_head_has_boxes():
    face = Skeleton("face", ("nose", "left_eye", "right_eye"), (), (0.1,) * 3)
    points = TRUTH[:, :3]
    assert list(distance_scores(match(points, face, points=points))) == [*PCKS, "EPE px"]
    assert "PCK@0.1 neck" in distance_scores(match(TRUTH[:, :14], LSP14, points=TRUTH[:, :14]))


def test_a_real_detector_scores_more_the_further_one_looks():
    if not (FIXTURES / "oks").is_dir():
        pytest.skip("the real-data folder is absent")
    results = json.loads((FIXTURES / "oks" / "detections.json").read_text())
    scores = distance_scores(match_people(FIXTURES / "oks" / "annotations.json", results, None, COCO17))
    assert 0.5 < scores["PCK@0.05 box"] < scores["PCK@0.1 box"] < scores["PCK@0.2 box"] < 0.9
    assert scores["PCK@0.2 torso"] < scores["PCK@0.2 box"]  # a torso is shorter
