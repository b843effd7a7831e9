import copy
import json
import os
from pathlib import Path

import numpy as np
import pytest
from reference import oks as slow

from rtpe.geometry import index_to_point
from rtpe.metrics.oks import object_keypoint_similarity, read_annotations, score_keypoints, to_results
from rtpe.skeleton import COCO17, LSP14, Skeleton
from rtpe.structures import Poses

FIXTURE = Path(os.environ.get("RTPE_REAL_DATA", Path(__file__).parents[3] / "shared" / "data")) / "fixtures" / "oks"
SIDES = (60, 120)  # of a medium and of a large person: 32^2 and 96^2 square pixels part them


def person(image_id, number, points, side, visibility=2, **changes):
    """An annotation whose area is side^2."""
    low = points.min(axis=0)
    return {
        "id": number,
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": 0,
        "area": float(side**2),
        "bbox": [*low.tolist(), *(points.max(axis=0) - low).tolist()],
        "keypoints": np.column_stack([points, np.full(len(points), visibility)]).ravel().tolist(),
        "num_keypoints": len(points) * (visibility > 0),
        **changes,
    }


def world(images=4, seed=0, first=1):
    """A COCO file of a medium and a large person an image, whole numbers as in COCO, far apart."""
    rng = np.random.default_rng(seed)
    annotations = [
        person(image, first + 10 * image + number, rng.integers(0, side, (17, 2)) + 300.0 * number, side)
        for image in range(images)
        for number, side in enumerate(SIDES)
    ]
    return {
        "images": [{"id": image, "height": 500, "width": 500} for image in range(images)],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": annotations,
    }


def points_of(annotation):
    return np.array(annotation["keypoints"], float).reshape(-1, 3)[:, :2]


def perfect(dataset, shift=lambda annotation: 0.0):
    """Results that repeat the labels, moved to the right."""
    rows = []
    for image in dataset["images"]:
        people = [a for a in dataset["annotations"] if a["image_id"] == image["id"] and a["num_keypoints"]]
        points = np.array([points_of(a) + np.array([shift(a), 0]) for a in people]).reshape(-1, 17, 2)
        poses = Poses(index_to_point(points), np.ones(points.shape[:2]), np.ones(len(points)), COCO17)
        rows += to_results(image["id"], poses)
    return rows


def test_nobody_has_no_results():
    assert to_results(3, Poses.none(COCO17)) == []
    assert to_results(3, Poses(np.zeros((1, 17, 2)), np.zeros((1, 17)), [0.5], COCO17)) == []


def test_results_are_pixel_indices_and_missing_joints_are_zeros():
    poses = Poses(
        [[[10.5, 20.5], [30.5, 60.5], [7, 7]]], [[0.9, 0.8, 0.0]], [0.7], Skeleton("s", ("a", "b", "c"), (), (1,) * 3)
    )
    (row,) = json.loads(json.dumps(to_results(np.int64(3), poses)))
    assert row["keypoints"] == pytest.approx([10, 20, 0.9, 30, 60, 0.8, 0, 0, 0])
    assert row["bbox"] == [10, 20, 20, 40]
    assert (row["image_id"], row["category_id"], row["score"]) == (3, 1, pytest.approx(0.7))


def test_no_results_score_zero_and_nobody_labelled_scores_nothing():
    assert set(score_keypoints(world(), [], None, COCO17).values()) == {0.0}
    nobody = world() | {"annotations": []}
    assert set(score_keypoints(nobody, [], None, COCO17).values()) == {-1.0}
    assert set(score_keypoints(nobody, perfect(world()), None, COCO17).values()) == {-1.0}
    assert set(score_keypoints(world(), perfect(world()), [], COCO17).values()) == {-1.0}


@pytest.mark.parametrize("form", ["dict", "path", "coco"])
def test_perfect_poses_score_one(form, tmp_path, capsys):
    dataset = world()
    (tmp_path / "labels.json").write_text(json.dumps(dataset))
    forms = {"dict": dataset, "path": tmp_path / "labels.json", "coco": read_annotations(dataset, COCO17)}
    scores = score_keypoints(forms[form], perfect(dataset), None, COCO17)
    assert list(scores) == ["AP", "AP50", "AP75", "APM", "APL", "AR"]
    assert list(scores.values()) == pytest.approx([1] * 6)
    assert capsys.readouterr().out == ""


def test_an_annotation_may_have_the_number_zero():
    dataset = world(first=0)
    for labels in (dataset, read_annotations(dataset, COCO17)):
        assert score_keypoints(labels, perfect(dataset), None, COCO17)["AP"] == pytest.approx(1)


def test_a_shift_to_similarity_three_quarters_is_right_up_to_there():
    """Right at 6 of the 10 thresholds, .50 to .75; every joint is equally hard, so that one shift serves all."""
    even = Skeleton("even", COCO17.joints, COCO17.limbs, (0.08,) * 17)

    def shift(similarity):
        return lambda annotation: np.sqrt(-2 * annotation["area"] * 0.16**2 * np.log(similarity))

    scores = score_keypoints(world(), perfect(world(), shift(0.7501)), None, even)
    assert list(scores.values()) == pytest.approx([0.6, 1, 1, 0.6, 0.6, 0.6])
    scores = score_keypoints(world(), perfect(world(), shift(0.7499)), None, even)
    assert list(scores.values()) == pytest.approx([0.5, 1, 0, 0.5, 0.5, 0.5])


def test_only_the_chosen_images_count():
    dataset = world()
    results = [row for row in perfect(dataset) if row["image_id"] != 2]
    assert score_keypoints(dataset, results, None, COCO17)["AR"] == pytest.approx(0.75)
    assert score_keypoints(dataset, results, [0, 1, 3], COCO17)["AP"] == pytest.approx(1)
    assert score_keypoints(dataset, results, np.array([2]), COCO17)["AP"] == 0
    wrong = [row | {"keypoints": [0.0] * 51, "score": 9.0} for row in results if row["image_id"] == 3]
    assert score_keypoints(dataset, results + wrong, [0, 1], COCO17)["AP"] == pytest.approx(1)


@pytest.mark.parametrize("found", [False, True])
@pytest.mark.parametrize(
    "changes", [{"iscrowd": 1}, {"num_keypoints": 0, "visibility": 0}], ids=["crowd", "unlabelled"]
)
def test_crowds_and_unlabelled_people_neither_help_nor_hurt(changes, found):
    dataset = world()
    inside = np.random.default_rng(1).integers(180, 240, (17, 2)).astype(float)
    dataset["annotations"].append(person(0, 99, inside, 60, **{"visibility": 2, **changes}))
    results = perfect(world())
    if found:
        ghosts = Poses(index_to_point(inside)[None], np.ones((1, 17)), [2.0], COCO17)  # surer than all the others
        results += to_results(0, ghosts)
    assert list(score_keypoints(dataset, results, None, COCO17).values()) == pytest.approx([1] * 6)


def test_people_that_are_not_there_cost_precision_but_no_recall():
    ghosts = [row | {"keypoints": [0.0] * 51, "score": 9.0} for row in perfect(world())]
    scores = score_keypoints(world(), perfect(world()) + ghosts, None, COCO17)
    assert scores["AP"] == pytest.approx(0.5, abs=0.01)  # every second of the surest is wrong
    assert scores["AR"] == pytest.approx(1)


def test_a_part_of_a_medium_person_is_not_a_large_one():
    """The missing joints at 0, 0 must not stretch the box, or an unmatched half person would count as large."""
    dataset = world()
    half = Poses(np.full((1, 17, 2), 450.5), [[1.0] * 2 + [0.0] * 15], [2.0], COCO17)
    half.points[0, 1] += 40
    scores = score_keypoints(dataset, perfect(dataset) + to_results(0, half), None, COCO17)
    assert scores["APL"] == pytest.approx(1)
    assert scores["APM"] < 1


def test_scoring_changes_neither_labels_nor_results():
    dataset, results = world(), perfect(world())
    before = copy.deepcopy(results)
    first = score_keypoints(dataset, results, None, COCO17)
    assert results == before
    assert score_keypoints(dataset, results, None, COCO17) == first


def test_a_real_detector_scores_what_it_scored():
    """Given to three decimals, hence the tolerance."""
    if not FIXTURE.is_dir():
        pytest.skip("the real-data folder is absent")
    results = json.loads((FIXTURE / "detections.json").read_text())
    scores = score_keypoints(FIXTURE / "annotations.json", results, None, COCO17)
    expected = {"AP": 0.379, "AP50": 0.593, "AP75": 0.395, "APM": 0.321, "APL": 0.465, "AR": 0.423}
    assert scores == pytest.approx(expected, abs=0.0005)


def test_similarity_equals_the_slow_one():
    rng = np.random.default_rng(0)
    truth = np.dstack([rng.uniform(0, 100, (4, 17, 2)), rng.integers(0, 3, (4, 17))])
    truth[3, :, 2] = 0
    points = truth[[0, 1, 2], :, :2] + rng.normal(0, 5, (3, 17, 2))
    points[1, :6] = np.nan
    areas = rng.uniform(500, 9000, 4)
    expected = [[slow.similarity(p, t, a, COCO17.sigmas) for t, a in zip(truth, areas)] for p in points]
    assert object_keypoint_similarity(points, truth, areas, COCO17.sigmas) == pytest.approx(np.array(expected))
    assert object_keypoint_similarity(points[:0], truth, areas, COCO17.sigmas).shape == (0, 4)


def test_similarity_equals_pycocotools():
    dataset = world(1)
    result = perfect(dataset, lambda annotation: 6.0)
    truth = np.array([a["keypoints"] for a in dataset["annotations"]], float).reshape(-1, 17, 3)
    areas = np.array([a["area"] for a in dataset["annotations"]])
    points = np.array([row["keypoints"] for row in result]).reshape(-1, 17, 3)[..., :2]
    alike = object_keypoint_similarity(points, truth, areas, COCO17.sigmas).diagonal()
    thresholds = np.linspace(0.5, 0.95, 10)
    assert score_keypoints(dataset, result, None, COCO17)["AR"] == pytest.approx((alike[:, None] >= thresholds).mean())


@pytest.mark.parametrize(
    "results, image_ids, skeleton, message",
    [
        ([], None, LSP14, "annotation 1 has 17 keypoints, skeleton lsp14 has 14: choose the skeleton"),
        ([], [0, 77, 78], COCO17, "annotations lack 2 of 3 images to score, the first is 77"),
        (
            [{"image_id": 0, "keypoints": [0] * 42}],
            None,
            COCO17,
            "result on image 0: expected 51 numbers for coco17, got 42",
        ),
    ],
)
def test_what_does_not_fit_is_said(results, image_ids, skeleton, message):
    with pytest.raises(ValueError, match=message):
        score_keypoints(world(), results, image_ids, skeleton)
