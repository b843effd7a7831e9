"""Label files as other tools write them, through the commands: cache, scores, training and results agree."""

import json
import shutil
import struct

import numpy as np
import pytest
import torch

from rtpe.cli import main
from rtpe.images import encode_jpeg, read_image, write_image
from rtpe.nets.create import create_net
from rtpe.nets.metadata import save_net
from rtpe.skeleton import COCO17

NUMBERS = {"width": 32, "stages": 1}
LABELS = "annotations/person_keypoints_val2017.json"
DECODE = "--decode.threshold=0.0001"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("odd")
    assert main(["synth", f"--out={root}", "--train=0", "--val=6", "--size=64", "--workers=0"]) == 0
    torch.manual_seed(0)
    save_net(root / "net.safetensors", create_net("student", NUMBERS, 17), "student", COCO17, 64, {})
    return root


@pytest.fixture
def changed(world, tmp_path):
    """The world with a change to what its label file holds."""

    def make(change=lambda raw: raw):
        root = tmp_path / "data"
        shutil.copytree(world, root)
        raw = json.loads((root / LABELS).read_text())
        (root / LABELS).write_text(json.dumps(change(raw) or raw))
        return root

    return make


def words(root, *more):
    return [f"--data.root={root}", "--data.split=val2017", *more]


def scored(root, out, *more, status=0):
    weights = () if any(word.startswith("--cache.path") for word in more) else (f"--weights={root}/net.safetensors",)
    assert main(["validate", *words(root, DECODE, f"--out={out}", *weights, *more)]) == status
    return json.loads(out.read_text())[0] if status == 0 else None


def another_number(raw):
    for row in raw["annotations"]:
        row["category_id"] = 2
    raw["categories"] = [{"id": 1, "name": "dog"}, {**raw["categories"][0], "id": 2, "name": "person"}]
    raw["annotations"].append({"image_id": raw["images"][0]["id"], "category_id": 1, "bbox": [0, 0, 64, 64], "id": 1})


def test_scores_results_and_caches_know_the_number_of_the_category(world, changed, tmp_path, capsys):
    """People are category 2 here, a dog covers an image, ids repeat: nothing changes but the number in the results."""
    root = changed(another_number)
    plain, other = scored(world, tmp_path / "a.json"), scored(root, tmp_path / "b.json")
    unlike = {"ms", "name"}
    assert {k: v for k, v in plain.items() if k not in unlike} == {k: v for k, v in other.items() if k not in unlike}
    assert capsys.readouterr().err.count("left out 1 annotations of other categories: 1 dog") == 1
    rows = [json.loads(next(tmp_path.glob(f"{name}.*.results.json")).read_text()) for name in "ab"]
    assert {row["category_id"] for row in rows[0]} == {1} and {row["category_id"] for row in rows[1]} == {2}
    build_words = [f"--teacher.weights={root}/net.safetensors", DECODE, f"--cache.path={tmp_path / 'cache'}"]
    assert main(["cache", "build", *words(root, *build_words)]) == 0
    cached = scored(root, tmp_path / "c.json", f"--cache.path={tmp_path / 'cache'}")
    assert cached["AP"] == plain["AP"] and cached["PCK@0.2 box"] == plain["PCK@0.2 box"]
    assert main(["predict", *words(root, f"--weights={root}/net.safetensors", f"--out={tmp_path / 'p'}")]) == 0
    assert {row["category_id"] for row in json.loads((tmp_path / "p/results.json").read_text())} <= {2}


def nobody(raw):
    raw["annotations"] = []


def instances(raw):
    for row in raw["annotations"]:
        del row["keypoints"], row["num_keypoints"]


def all_crowds(raw):
    for row in raw["annotations"]:
        row["iscrowd"] = 1


@pytest.mark.parametrize("change", [nobody, instances, all_crowds], ids=lambda change: change.__name__)
def test_labels_in_which_nobody_counts_are_refused_where_labels_are_asked_for(changed, tmp_path, change, capsys):
    root = changed(change)
    want = "none of the people on these 6 images has labelled joints"
    scored(root, tmp_path / "a.json", status=2)
    err = capsys.readouterr().err
    assert (
        want in err
        and "are they person_keypoints_..., not instances_...?" in err
        and not (tmp_path / "a.json").exists()
    )
    train = words(root, "--train.holdout=0", "--train.epochs=1", "--net.size=64", f"--out={tmp_path / 'run'}")
    assert main(["train", *train]) == 2
    assert want in capsys.readouterr().err and not (tmp_path / "run/last.pt").exists()
    build_words = [f"--teacher.weights={root}/net.safetensors", f"--cache.path={tmp_path / 'cache'}"]
    assert main(["cache", "build", *words(root, *build_words)]) == 0
    assert main(["cache", "info", f"--cache.path={tmp_path / 'cache'}"]) == 0
    assert "nobody on these images has labelled joints" in capsys.readouterr().out


def test_a_holdout_without_people_is_said(changed, tmp_path, capsys):
    """No epoch is better than another then; -1 would look like a score."""

    def half(raw):
        kept = {image["id"] for image in raw["images"][:3]}
        raw["annotations"] = [row for row in raw["annotations"] if row["image_id"] in kept]
        for image in raw["images"]:
            image["split"] = image["id"] in kept

    root = changed(half)
    raw = json.loads((root / LABELS).read_text())
    empty = {**raw, "images": [image for image in raw["images"] if not image["split"]], "annotations": []}
    (root / "annotations/person_keypoints_empty.json").write_text(json.dumps(empty))
    shutil.copytree(root / "images/val2017", root / "images/empty")
    more = ["--train.holdout=2", "--train.holdout_split=empty", "--train.epochs=1", "--train.batch=2", "--net.size=64"]
    net = ["--net.numbers.width=32", "--net.numbers.stages=1", "--train.workers=0", f"--out={tmp_path / 'run'}"]
    assert main(["train", *words(root, *more, *net)]) == 0
    out = capsys.readouterr().out
    assert "train.holdout: none of the 2 held-out images has labelled people: the last epoch is kept" in out
    assert " AP " not in out and (tmp_path / "run/best.safetensors").exists()


def test_a_score_of_nothing_is_a_dash(world, changed, tmp_path, capsys):
    """Everybody is small: there are no large people to score, which is no score of -1."""

    def small(raw):
        for row in raw["annotations"]:
            row["area"] = 500.0

    assert scored(changed(small), tmp_path / "a.json")["APL"] == -1
    out = capsys.readouterr().out
    assert "-1.0" not in out and "-: these images hold no such person" in out


def lying(root, name, hw, orientation=6, order="<"):
    """A photograph of a camera held on its side: rows of the file as they came, and EXIF that says so."""
    image = encode_jpeg(np.full((*hw, 3), 90, np.uint8))
    mark = {"<": b"II", ">": b"MM"}[order]
    exif = b"Exif\0\0" + struct.pack(order + "2sHIHHHIHHI", mark, 42, 8, 1, 0x112, 3, 1, orientation, 0, 0)
    path = root / "images/val2017" / name
    path.write_bytes(image[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + image[2:])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(10))
def test_turns_that_sizes_cannot_tell_are_said(world, changed, orientation, order, capsys):
    """Square photographs that were turned or mirrored; 1 is as it is, 0 and 9 are none."""
    root = changed()
    for image in json.loads((root / LABELS).read_text())["images"]:
        lying(root, image["file_name"], (64, 64), orientation, order)
    assert main(["validate", f"--weights={root}/net.safetensors", f"--data.root={root}", "--data.split=val2017"]) == 0
    said = f"data {root}: 6 of 6 images looked at are turned or mirrored by their EXIF: labels are taken to be of"
    assert (said in capsys.readouterr().err) == (2 <= orientation <= 8)


@pytest.mark.parametrize("how", ["turned", "half", "by one pixel"])
def test_sizes_that_contradict_the_image_are_refused_by_all(world, changed, tmp_path, how, capsys):
    """Labels of an upright or larger image lie elsewhere in this one."""
    root = changed()
    raw = json.loads((root / LABELS).read_text())
    first = raw["images"][0]
    path = root / "images/val2017" / first["file_name"]
    if how == "turned":
        first |= {"height": 64, "width": 48}
        lying(root, first["file_name"], (48, 64))
        want = "labels are of the upright image: turn the file's pixels as its EXIF says"
    else:
        size = (32, 32) if how == "half" else (64, 63)
        write_image(path, read_image(path)[: size[0], : size[1]])
        want = "its labels are of height 64, width 64: take the image that was labelled"
    (root / LABELS).write_text(json.dumps(raw))
    net, train = f"{root}/net.safetensors", ["--train.holdout=0", "--train.workers=0", "--net.size=64"]
    for command in (
        ["validate", f"--weights={net}"],
        ["predict", f"--weights={net}", f"--out={tmp_path / 'p'}"],
        ["cache", "build", f"--teacher.weights={net}", f"--cache.path={tmp_path / 'cache'}"],
        ["train", *train, f"--out={tmp_path / 'run'}"],
        ["train", *train, "--data.crops=1", f"--out={tmp_path / 'crops'}"],
    ):
        assert main([*command, *words(root)]) == 2, command
        err = capsys.readouterr().err.strip().splitlines()[-1]
        assert err.startswith(f"error: image {path}: is of height ") and want in err, (command, err)


def test_detections_of_another_number_are_people(world, tmp_path):
    """A detector's file whose only category is 0, ids as text."""
    from rtpe.data.boxes import read_boxes

    rows = [{"image_id": "7", "category_id": 0, "bbox": ["1", 2, 3, 4], "score": "0.5"}]
    (tmp_path / "boxes.json").write_text(json.dumps(rows))
    assert read_boxes(tmp_path / "boxes.json", [7])[7].xywh.tolist() == [[1, 2, 3, 4]]
    rows += [rows[0] | {"category_id": 3}]
    (tmp_path / "boxes.json").write_text(json.dumps(rows))
    with pytest.raises(ValueError, match="none of its boxes is of the labels' category 1, they are of 0, 3: write"):
        read_boxes(tmp_path / "boxes.json", [7])
    assert len(read_boxes(tmp_path / "boxes.json", [7], category=3)[7]) == 1
