"""People of any tool's results become a cache: where they were, with their scores, and maps to learn from."""

import json

import numpy as np
import pytest

from rtpe.cache import Cache
from rtpe.cli import main
from rtpe.decode.grouping import GroupingSettings, group
from rtpe.geometry import index_to_point
from rtpe.images import write_image

K = 17


@pytest.fixture
def world(tmp_path):
    """Three labelled images of different shapes; the second one's file is torn."""
    root = tmp_path / "world"
    (root / "images" / "val2017").mkdir(parents=True)
    (root / "annotations").mkdir()
    images = []
    for number, (height, width) in enumerate([(60, 80), (50, 50), (128, 100)], 1):
        write_image(root / "images" / "val2017" / f"{number}.png", np.zeros((height, width, 3), np.uint8))
        images.append({"id": 10 * number, "file_name": f"{number}.png", "height": height, "width": width})
    (root / "images" / "val2017" / "2.png").write_bytes(b"torn")
    labels = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "person"}]}
    (root / "annotations" / "person_keypoints_val2017.json").write_text(json.dumps(labels))
    return root


def person(seed, score=0.5, **more):
    rng = np.random.default_rng(seed)
    joints = np.column_stack([rng.uniform(10, 50, (K, 2)), rng.uniform(0.3, 1, K)])
    joints[3] = 0
    return {"keypoints": joints.ravel().tolist(), "score": score, "category_id": 1, **more}


def run(world, tmp_path, rows, *words):
    path = tmp_path / "found.results.json"
    path.write_text(rows if isinstance(rows, str) else json.dumps(rows))
    data = [f"--data.root={world}", "--data.split=val2017"]
    return main(["cache", "import", f"--results={path}", *data, f"--cache.path={tmp_path / 'cache'}", *words])


@pytest.mark.parametrize("codec", ["rendered", "sparse", "float32"])
def test_people_are_where_they_were_found(codec, world, tmp_path, capsys):
    first, second = person(0, 0.4, image_id=10), person(1, 0.9, image_id=10)
    named = person(2, 0.7, file_name="3.png", image_id=10)  # as `rtpe predict` writes it: the name counts
    assert run(world, tmp_path, [first, second, named, person(3, image_id=99)], f"--cache.codec={codec}") == 0
    said = capsys.readouterr().out
    assert "2 built, 0 kept, 1 skipped" in said and "3 people; none on 1 of 3 images" in said
    assert "left out 1 rows of other images" in said
    cache = Cache.open(tmp_path / "cache")
    assert cache.manifest.predictor["name"] == "found" and list(cache.ids) == [10, 30] and [*cache.skipped] == [20]
    for number, rows in ((10, [second, first]), (30, [named])):
        poses, want = cache.poses(number), np.array([row["keypoints"] for row in rows]).reshape(-1, K, 3)
        assert poses.person_scores.tolist() == np.float32([row["score"] for row in rows]).tolist()
        np.testing.assert_allclose(poses.scores, want[..., 2], rtol=1e-6)
        there = want[..., 2] > 0
        np.testing.assert_allclose(poses.points[there], index_to_point(want[..., :2])[there], rtol=1e-6)
        assert (poses.scores[~there] == 0).all() and (~there).sum() == len(rows)


def test_its_maps_hold_the_people(world, tmp_path):
    """A joint's peak is where the joint is, as high as its score; the maps of a lone person are read as that person."""
    row = person(5, image_id=30)
    assert run(world, tmp_path, [row]) == 0
    maps = Cache.open(tmp_path / "cache").load(30).maps
    want = np.array(row["keypoints"]).reshape(K, 3)
    assert maps.size_hw == (128, 100) and maps.peak_sigma == pytest.approx(2, abs=0.02)
    found = group(maps, GroupingSettings(threshold=0.1, refine="dark"))
    there = want[:, 2] > 0
    assert len(found) == 1
    np.testing.assert_allclose(found.points[0][there], index_to_point(want[there, :2]), atol=0.1)
    np.testing.assert_allclose(maps.heatmaps.max((1, 2))[there], want[there, 2], atol=0.07)  # between two cells


def test_visibilities_are_taken_for_sure_and_a_score_may_lack(world, tmp_path, capsys):
    row = person(0, image_id=10)
    row["keypoints"][2::3] = [0.5, 2, 0, 1] + [2] * 13
    del row["score"]
    assert run(world, tmp_path, [row]) == 0
    assert "14 joints have a score above 1, which counts as 1" in capsys.readouterr().out
    poses = Cache.open(tmp_path / "cache").poses(10)
    assert poses.scores[0].tolist() == [0.5, 1, 0, 1] + [1] * 13
    assert poses.person_scores[0] == pytest.approx(15.5 / K)


def test_an_import_goes_on_and_other_results_are_refused(world, tmp_path, capsys):
    rows = [person(0, image_id=10)]
    assert run(world, tmp_path, rows) == 0 and run(world, tmp_path, rows) == 0
    assert "0 built, 2 kept, 1 skipped" in capsys.readouterr().out
    assert run(world, tmp_path, [person(1, image_id=10)]) == 2
    assert "weights_sha256" in capsys.readouterr().err


ROW = {"image_id": 10, "keypoints": [1, 1, 1] * K, "score": 1}
WRONG = {
    "no list": ({"annotations": []}, "expected a list of COCO results, got"),
    "no JSON": ("[", "cannot be read (not JSON"),
    "no object": ([3], "row 0: expected an object, got 3"),
    "no image": ([{**ROW, "image_id": None}], "row 0: image_id: expected a whole number, got null"),
    "too few joints": (
        [ROW, {**ROW, "keypoints": [1, 1, 1]}],
        "row 1: keypoints: expected x, y and score of 17 joints",
    ),
    "no joints": ([{**ROW, "keypoints": None}], "row 0: keypoints: expected x, y and score of 17 joints, got null"),
    "NaN": ([{**ROW, "keypoints": [float("nan"), 1, 1] * K}], "row 0: keypoints: expected"),
    "below 0": ([{**ROW, "keypoints": [1, 1, -1] * K}], "row 0: keypoints: expected"),
    "a score that is none": ([{**ROW, "score": "high"}], 'row 0: score: expected a finite number, got "high"'),
    "of another split": (
        [{**ROW, "image_id": 11}],
        "none of its 1 rows is of these 3 images: pass those of this split",
    ),
    "of nothing": ([], "none of its 0 rows is of these 3 images"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_results_file_is_one_line_and_leaves_nothing(case, world, tmp_path, capsys):
    rows, said = WRONG[case]
    assert run(world, tmp_path, rows) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: results {tmp_path / 'found.results.json'}: ") and said in line
    assert not (tmp_path / "cache").exists()


def test_a_file_that_is_not_there_is_named(world, tmp_path, capsys):
    words = [f"--data.root={world}", "--data.split=val2017", f"--cache.path={tmp_path / 'cache'}"]
    assert main(["cache", "import", *words, "--results=nowhere.json"]) == 2
    assert "error: results nowhere.json: cannot be read (No such file or directory)" in capsys.readouterr().err
    assert main(["cache", "import", *words]) == 2
    assert "nothing to import: pass --results FILE.json" in capsys.readouterr().err
