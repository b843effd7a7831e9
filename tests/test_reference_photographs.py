"""Six photographs, seven people, a real teacher's cache: harmless variations of the labels leave its score alone."""

import json

import numpy as np
import pytest
from places import PROJECT, REAL

from rtpe.cli import main

PHOTOGRAPHS = (1490, 2261, 3156, 4765, 5037, 5060)
LABELS = "annotations/person_keypoints_val2017.json"
RECIPE = PROJECT / "rtpe/recipes/hpe0001.yaml"
NETWORK = PROJECT / "rtpe/recipes/networks/hpe0001.yaml"

pytestmark = pytest.mark.skipif(
    not (REAL / "teachers").is_dir(), reason="needs the real-data folder: set RTPE_REAL_DATA"
)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """The photographs and their labels as a data set, and a cache of hpe0001's people."""
    root = tmp_path_factory.mktemp("photographs")
    raw = json.loads((REAL / "coco_subset" / LABELS).read_text())
    images = [row for row in raw["images"] if row["id"] in PHOTOGRAPHS]
    people = [row for row in raw["annotations"] if row["image_id"] in PHOTOGRAPHS]
    (root / "images").mkdir()
    (root / "images/val2017").symlink_to(REAL / "coco_subset/images/val2017")
    write(root, {**raw, "images": images, "annotations": people})
    weights = next((REAL / "teachers/hpe0001").glob("*.onnx"))
    teacher = [f"--teacher.weights={weights}", f"--teacher.network={NETWORK}", "--teacher.batch=1"]
    assert main(["cache", "build", f"--config={RECIPE}", *teacher, *of(root), f"--cache.path={root / 'cache'}"]) == 0
    return root, json.loads((root / LABELS).read_text())


def of(root):
    return f"--data.root={root}", "--data.split=val2017"


def write(root, raw, encoding="utf-8"):
    (root / "annotations").mkdir(exist_ok=True)
    (root / LABELS).write_text(json.dumps(raw), encoding=encoding)


def score(root, out):
    assert main(["validate", f"--cache.path={root / 'cache'}", *of(root), f"--out={out}"]) == 0
    return json.loads(out.read_text())[0]


def dog(raw):
    """People are category 2, and an image has a dog."""
    for row in raw["annotations"]:
        row["category_id"] = 2
    raw["categories"] = [{"id": 1, "name": "dog"}, {**raw["categories"][0], "id": 2}]
    raw["annotations"].append(
        {"id": 1, "image_id": PHOTOGRAPHS[0], "category_id": 1, "bbox": [0, 0, 300, 600], "area": 9}
    )


def repeated_ids(raw):
    for row in raw["annotations"]:
        row["id"] = 1


def reversed_rows(raw):
    raw["images"].reverse()
    raw["annotations"].reverse()


def nulls(raw):
    for row in raw["annotations"]:
        row |= {"iscrowd": None, "segmentation": None, "num_keypoints": None}
        rows = np.array(row["keypoints"]).reshape(-1, 3).tolist()
        row["keypoints"] = [value for joint in rows for value in (joint if joint[2] else [None, None, 0])]


def least(raw):
    """Without what may be absent."""
    for row in raw["annotations"]:
        for name in ("id", "iscrowd", "segmentation", "num_keypoints", "category_id"):
            row.pop(name, None)
    for row in raw["images"]:
        del row["height"], row["width"]
    del raw["categories"]


def texts(raw):
    for row in raw["annotations"]:
        row |= {"image_id": str(row["image_id"]), "category_id": "1", "area": str(row["area"])}
    for row in raw["images"]:
        row["id"] = str(row["id"])


def shuffled_joints(raw):
    order = np.random.default_rng(1).permutation(17)
    person = raw["categories"][-1]
    person["keypoints"] = [person["keypoints"][place] for place in order]
    for row in raw["annotations"]:
        row["keypoints"] = np.array(row["keypoints"]).reshape(17, 3)[order].ravel().tolist()


@pytest.mark.parametrize(
    "changes",
    [
        (), (dog,), (repeated_ids,), (reversed_rows,), (nulls,), (least,), (texts,), (shuffled_joints,),
        (shuffled_joints, nulls, reversed_rows, repeated_ids, dog), (shuffled_joints, texts, nulls),
    ],
    ids=lambda changes: "+".join(change.__name__ for change in changes) or "as it is",
)  # fmt: skip
def test_a_harmless_variation_scores_the_same(photographs, tmp_path, changes):
    root, raw = photographs
    raw = json.loads(json.dumps(raw))
    for change in changes:
        change(raw)
    write(root, raw, "utf-8-sig" if changes else "utf-8")
    row = score(root, tmp_path / "scores.json")
    assert row["AP"] == pytest.approx(0.5129, abs=5e-5)  # given to four decimals
    assert row["images"] == 6 and row["PCK@0.1 box"] == pytest.approx(33 / 43)
