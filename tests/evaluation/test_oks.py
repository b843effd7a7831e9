import copy
import json
import sys
from functools import partial

import numpy as np
import pytest
from places import REAL
from reference import oks as slow

from rtpe.data.labels import read_labels
from rtpe.evaluation import oks
from rtpe.evaluation.oks import object_keypoint_similarity
from rtpe.geometry import index_to_point
from rtpe.skeleton import COCO17, LSP14, Skeleton
from rtpe.structures import Poses

FIXTURE = REAL / "fixtures" / "oks"
SIDES = (60, 120)  # of a medium and of a large person: 32^2 and 96^2 square pixels part them


@pytest.fixture(params=["pycocotools", "faster-coco-eval"])
def score_keypoints(request):
    """AP by each of the libraries that compute it."""
    if request.param == "faster-coco-eval":
        pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed: pip install rtpe[eval]")
    return partial(oks.score_keypoints, engine=request.param)


SIX = ("AP", "AP50", "AP75", "APM", "APL", "AR")


def six(scores):
    return [scores[name] for name in SIX]


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
        rows += poses.to_coco(image["id"])
    return rows


def test_nobody_has_no_results():
    assert Poses.none(COCO17).to_coco(3) == []
    assert Poses(np.zeros((1, 17, 2)), np.zeros((1, 17)), [0.5], COCO17).to_coco(3) == []


def test_results_are_pixel_indices_and_missing_joints_are_zeros():
    poses = Poses(
        [[[10.5, 20.5], [30.5, 60.5], [7, 7]]], [[0.9, 0.8, 0.0]], [0.7], Skeleton("s", ("a", "b", "c"), (), (1,) * 3)
    )
    (row,) = json.loads(json.dumps(poses.to_coco(np.int64(3))))
    assert row["keypoints"] == pytest.approx([10, 20, 0.9, 30, 60, 0.8, 0, 0, 0])
    assert row["bbox"] == [10, 20, 20, 40]
    assert (row["image_id"], row["category_id"], row["score"]) == (3, 1, pytest.approx(0.7))


def test_no_results_score_zero_and_nobody_labelled_scores_nothing(score_keypoints):
    scores = score_keypoints(world(), [], None, COCO17)
    assert scores.pop("F1 at") == -1 and set(scores.values()) == {0.0}
    nobody = world() | {"annotations": []}
    assert set(score_keypoints(nobody, [], None, COCO17).values()) == {-1.0}
    assert set(score_keypoints(nobody, perfect(world()), None, COCO17).values()) == {-1.0}
    assert set(score_keypoints(world(), perfect(world()), [], COCO17).values()) == {-1.0}


@pytest.mark.parametrize("form", ["dict", "path", "labels"])
def test_perfect_poses_score_one(score_keypoints, form, tmp_path, capsys):
    dataset = world()
    (tmp_path / "labels.json").write_text(json.dumps(dataset))
    forms = {"dict": dataset, "path": tmp_path / "labels.json", "labels": read_labels(dataset, COCO17)}
    scores = score_keypoints(forms[form], perfect(dataset), None, COCO17)
    assert list(scores) == [*SIX, "F1", "F1 at"]
    assert six(scores) == pytest.approx([1] * 6)
    assert capsys.readouterr().out == ""


def test_an_annotation_may_have_the_number_zero(score_keypoints):
    dataset = world(first=0)
    for labels in (dataset, read_labels(dataset, COCO17)):
        assert score_keypoints(labels, perfect(dataset), None, COCO17)["AP"] == pytest.approx(1)


def test_a_shift_to_similarity_three_quarters_is_right_up_to_there(score_keypoints):
    """Right at 6 of the 10 thresholds, .50 to .75; every joint is equally hard, so that one shift serves all."""
    even = Skeleton("even", COCO17.joints, COCO17.limbs, (0.08,) * 17)

    def shift(similarity):
        return lambda annotation: np.sqrt(-2 * annotation["area"] * 0.16**2 * np.log(similarity))

    scores = score_keypoints(world(), perfect(world(), shift(0.7501)), None, even)
    assert six(scores) == pytest.approx([0.6, 1, 1, 0.6, 0.6, 0.6])
    scores = score_keypoints(world(), perfect(world(), shift(0.7499)), None, even)
    assert six(scores) == pytest.approx([0.5, 1, 0, 0.5, 0.5, 0.5])


def test_only_the_chosen_images_count(score_keypoints):
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
def test_crowds_and_unlabelled_people_neither_help_nor_hurt(score_keypoints, changes, found):
    dataset = world()
    inside = np.random.default_rng(1).integers(180, 240, (17, 2)).astype(float)
    dataset["annotations"].append(person(0, 99, inside, 60, **{"visibility": 2, **changes}))
    results = perfect(world())
    if found:
        ghosts = Poses(index_to_point(inside)[None], np.ones((1, 17)), [2.0], COCO17)  # surer than all the others
        results += ghosts.to_coco(0)
    assert six(score_keypoints(dataset, results, None, COCO17)) == pytest.approx([1] * 6)


def test_people_that_are_not_there_cost_precision_but_no_recall(score_keypoints):
    ghosts = [row | {"keypoints": [0.0] * 51, "score": 9.0} for row in perfect(world())]
    scores = score_keypoints(world(), perfect(world()) + ghosts, None, COCO17)
    assert scores["AP"] == pytest.approx(0.5, abs=0.01)  # every second of the surest is wrong
    assert scores["AR"] == pytest.approx(1)


def test_a_part_of_a_medium_person_is_not_a_large_one(score_keypoints):
    """The missing joints at 0, 0 must not stretch the box, or an unmatched half person would count as large."""
    dataset = world()
    half = Poses(np.full((1, 17, 2), 450.5), [[1.0] * 2 + [0.0] * 15], [2.0], COCO17)
    half.points[0, 1] += 40
    scores = score_keypoints(dataset, perfect(dataset) + half.to_coco(0), None, COCO17)
    assert scores["APL"] == pytest.approx(1)
    assert scores["APM"] < 1


def test_scoring_changes_neither_labels_nor_results(score_keypoints):
    dataset, results = world(), perfect(world())
    before = copy.deepcopy(results)
    first = score_keypoints(dataset, results, None, COCO17)
    assert results == before
    assert score_keypoints(dataset, results, None, COCO17) == first


def test_a_real_detector_scores_what_it_scored(score_keypoints):
    """Given to three decimals, hence the tolerance."""
    if not FIXTURE.is_dir():
        pytest.skip("the real-data folder is absent")
    results = json.loads((FIXTURE / "detections.json").read_text())
    scores = score_keypoints(FIXTURE / "annotations.json", results, None, COCO17)
    expected = {"AP": 0.379, "AP50": 0.593, "AP75": 0.395, "APM": 0.321, "APL": 0.465, "AR": 0.423}
    assert {name: scores[name] for name in SIX} == pytest.approx(expected, abs=0.0005)


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


def test_similarity_equals_pycocotools(score_keypoints):
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
        ([], None, LSP14, "annotation 1 has 17 keypoints, skeleton lsp14 has 14: pass --data.skeleton"),
        ([], [0, 77, 78], COCO17, "annotations lack 2 of 3 images to score, the first is 77"),
        (
            [{"image_id": 0, "keypoints": [0] * 42}],
            None,
            COCO17,
            "result on image 0: expected 51 numbers for coco17, got 42",
        ),
    ],
)
def test_what_does_not_fit_is_said(score_keypoints, results, image_ids, skeleton, message):
    with pytest.raises(ValueError, match=message):
        score_keypoints(world(), results, image_ids, skeleton)


def scattered(images=20):
    """People found at random places near the labelled ones, each with a score of its own, some twice."""
    dataset, rng = world(images), np.random.default_rng(5)
    rows = perfect(dataset) + perfect(dataset)[::3]
    for row in rows:
        off = np.column_stack([rng.normal(0, 6, (17, 2)), np.zeros(17)]).ravel()
        row |= {"keypoints": (np.array(row["keypoints"]) + off).tolist(), "score": float(rng.uniform())}
    crowd = person(0, 900, np.full((17, 2), 200.0), 90, iscrowd=1)
    return dataset | {"annotations": [*dataset["annotations"], crowd]}, rows


def test_both_engines_give_the_same_figures():
    """On nothing that is all 0 or all 1; the sums are of the same numbers, but not in the same order."""
    pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed: pip install rtpe[eval]")
    dataset, results = scattered()
    for ids in (None, range(0, 20, 3)):
        plain, fast = (oks.score_keypoints(dataset, results, ids, COCO17, engine) for engine in oks.ENGINES)
        assert 0.05 < plain["AP"] < 0.95 and len(set(plain.values())) == 8
        assert fast == pytest.approx(plain, abs=1e-12)


def test_the_best_f1_is_that_of_the_people_who_are_kept():
    """Against every threshold there is; recalls are looked at a hundredth apart."""
    dataset, results = scattered(30)
    dataset["annotations"] = [each for each in dataset["annotations"] if not each.get("iscrowd")]
    scores = oks.score_keypoints(dataset, results, None, COCO17)

    def f1(least):
        kept = [row for row in results if row["score"] >= least]
        found = 0
        for image in dataset["images"]:
            labelled = [each for each in dataset["annotations"] if each["image_id"] == image["id"]]
            rows = sorted((r for r in kept if r["image_id"] == image["id"]), key=lambda row: -row["score"])
            points = np.array([row["keypoints"] for row in rows]).reshape(-1, 17, 3)[..., :2]
            truth = np.array([each["keypoints"] for each in labelled]).reshape(-1, 17, 3)
            areas = np.array([each["area"] for each in labelled])
            alike = oks.object_keypoint_similarity(points, truth, areas, np.array(COCO17.sigmas))
            for row in alike:
                if len(row) and row.max() >= 0.5:
                    alike[:, row.argmax()] = 0
                    found += 1
        return 2 * found / (len(kept) + len(dataset["annotations"]))

    best = max(f1(row["score"]) for row in results)
    assert 0.1 < best < 0.95 and f1(0) < best
    assert scores["F1"] <= f1(scores["F1 at"]) <= best <= scores["F1"] + 0.01


def test_an_engine_that_is_not_there_is_one_line(monkeypatch):
    with pytest.raises(ValueError, match="unknown engine 'fast': choose from pycocotools, faster-coco-eval"):
        oks.score_keypoints(world(), [], None, COCO17, "fast")
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(ValueError, match=r"faster-coco-eval: not installed: pip install rtpe\[eval\]"):
        oks.score_keypoints(world(), [], None, COCO17, "faster-coco-eval")


def test_people_found_where_nobody_is_cost_precision(score_keypoints):
    """An image without people is not left out: whoever is found there is found wrongly."""
    dataset = world() | {"images": [*world()["images"], {"id": 9, "height": 500, "width": 500}]}
    results = perfect(world())
    assert score_keypoints(dataset, results, None, COCO17)["AP"] == pytest.approx(1)
    ghosts = [row | {"image_id": 9, "score": 2.0} for row in results[:2]]
    assert score_keypoints(dataset, results + ghosts, None, COCO17)["AP"] < 0.9
    assert score_keypoints(dataset, results + ghosts, [0, 1, 2, 3], COCO17)["AP"] == pytest.approx(1)


@pytest.mark.parametrize("left_out", [["keypoints", "num_keypoints"], ["num_keypoints"], ["iscrowd"]], ids=str)
def test_labels_may_leave_out_what_they_need_not_say(score_keypoints, left_out):
    """A boxed person without a list of joints, joints without their number, a person who is no crowd."""
    dataset = world()
    unlabelled = person(0, 99, np.zeros((17, 2)), 60, visibility=0)
    people = [*dataset["annotations"], unlabelled]
    for annotation in people if "keypoints" not in left_out else people[-1:]:
        for name in left_out:
            del annotation[name]
    results = perfect(world())
    assert six(score_keypoints(dataset | {"annotations": people}, results, None, COCO17)) == pytest.approx([1] * 6)


def test_the_area_of_the_label_is_the_scale_not_that_of_the_box(score_keypoints):
    """COCO's area is that of the body's mask, about half of the box: by the box everything would score higher."""
    dataset, results = scattered()
    bodies = [a | {"area": a["bbox"][2] * a["bbox"][3]} for a in dataset["annotations"]]
    boxed = [a | {"area": a["area"] / 2} for a in bodies]
    whole, half = (score_keypoints(dataset | {"annotations": a}, results, None, COCO17)["AP"] for a in (bodies, boxed))
    assert half < whole - 0.02
