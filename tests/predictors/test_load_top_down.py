"""Top-down teachers by the commands: boxes of labels and detections, a cache, its student, and users' mistakes."""

import json
from dataclasses import replace

import pytest
import torch

from rtpe.cache import Cache
from rtpe.cli import main
from rtpe.data.boxes import truth_boxes
from rtpe.data.coco import CocoDataset
from rtpe.data.labels import read_labels
from rtpe.data.mpii import MpiiDataset
from rtpe.decode.settings import DecodeSettings
from rtpe.errors import UserError
from rtpe.nets.create import create_net
from rtpe.nets.metadata import save_net
from rtpe.predictors.load import load_predictor
from rtpe.predictors.settings import CropSettings, TeacherSettings
from rtpe.skeleton import COCO17, MPII16
from rtpe.training.net import trainable_net
from rtpe.training.settings import NetSettings

NETS = {
    "pose_hrnet": {"width": 8, "stem": 8, "bottlenecks": 1, "modules": [1, 1, 1], "blocks": 1},
    "simple_baseline": {"width": 4, "deconv": 8},
}
CROP = ["--teacher.crop.size=[64, 64]", "--teacher.crop.map_size=96", "--decode.threshold=0"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    assert main(["synth", f"--out={root}", "--train=8", "--val=4", "--size=96", "--workers=0"]) == 0
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Of each net, as they are published: a torch file of tensors that does not say what it is."""
    folder = tmp_path_factory.mktemp("nets")
    for kind, numbers in NETS.items():
        torch.manual_seed(0)
        torch.save(create_net(kind, numbers, 17).state_dict(), folder / f"{kind}.pth")
    return folder


@pytest.fixture
def words(world, weights):
    """What every command is told of data and teacher."""

    def made(kind, split="train2017"):
        data = [f"--data.root={world}", f"--data.split={split}"]
        return [*data, f"--teacher.weights={weights / kind}.pth", f"--teacher.numbers={json.dumps(NETS[kind])}"]

    return made


def table(path):
    return json.loads(path.read_text())


@pytest.mark.parametrize("kind", NETS)
def test_a_top_down_teacher_builds_a_cache_that_trains_a_student(kind, words, world, tmp_path, capsys):
    """Its crops' maps are one map an image there, like those of any teacher."""
    path = tmp_path / "cache"
    told = [*words(kind), *CROP, "--teacher.boxes=labels", "--teacher.flip=true", f"--cache.path={path}"]
    assert main(["cache", "build", *told]) == 0
    assert "8 built, 0 kept, 0 skipped" in capsys.readouterr().out
    held = Cache.open(path)
    assert held.manifest.predictor["name"] == f"{kind}@label_boxes" and held.manifest.size == [64, 64]
    settings = held.manifest.predictor["settings"]
    assert settings["boxes"] == {"from": "labels", "boxes": CocoDataset(world, "train2017").labels.boxes_digest}
    assert settings["net"]["color"] == ("bgr" if kind == "simple_baseline" else "rgb")
    people = {image_id: len(boxes) for image_id, boxes in truth_boxes(CocoDataset(world, "train2017")).items()}
    assert all(len(held.poses(image_id)) <= people[image_id] for image_id in held.ids) and sum(people.values()) > 0
    assert held.load(held.ids[0]).maps.size_hw == (24, 24)
    assert main(["cache", "build", *told]) == 0
    assert "0 built, 8 kept" in capsys.readouterr().out
    training = [
        "--net.size=64", "--train.epochs=1", "--train.batch=4", "--train.holdout=0", "--train.workers=0",
        "--train.threads=1", "--train.pictures=0", "--net.numbers={width: 32, stages: 1}", f"--out={tmp_path / 'run'}",
    ]  # fmt: skip
    assert main(["train", f"--data.root={world}", f"--cache.path={path}", *training]) == 0
    row = json.loads((tmp_path / "run/history.jsonl").read_text().splitlines()[-1])
    assert row["teacher"] >= 0 and (tmp_path / "run/best.safetensors").is_file()


def test_boxes_of_the_labels_and_the_same_ones_from_a_file_find_the_same(words, world, tmp_path):
    """Named apart in the table, for the labels tell more than any detector."""
    truth = truth_boxes(CocoDataset(world, "val2017"))
    rows = [
        {"image_id": image_id, "category_id": 1, "bbox": box.tolist(), "score": score}
        for image_id, boxes in truth.items()
        for box in boxes.xywh
        for score in (0.9, 0.1)
    ]
    (tmp_path / "found.json").write_text(json.dumps(rows))
    told, found = words("pose_hrnet", "val2017"), f"--teacher.boxes={tmp_path / 'found.json'}"
    rows = {}
    for name, boxes in (("labels", ["--teacher.boxes=labels"]), ("file", [found, "--teacher.crop.min_box_score=0.5"])):
        assert main(["validate", *told, *CROP, *boxes, f"--out={tmp_path / name}.json"]) == 0
        (rows[name],) = table(tmp_path / f"{name}.json")
    assert [row.pop("name") for row in rows.values()] == ["pose_hrnet@label_boxes", "pose_hrnet"]
    assert all(row.pop("ms") > 0 for row in rows.values())  # no two runs take the same time
    assert rows["labels"] == rows["file"] and rows["labels"]["images"] == 4


def test_the_people_of_one_network_are_boxes_for_the_next(words, world, tmp_path):
    """What `rtpe validate` writes of a teacher is a file of detections."""
    told = words("pose_hrnet", "val2017")
    assert main(["validate", *told, *CROP, "--teacher.boxes=labels", f"--out={tmp_path / 'first.json'}"]) == 0
    (people,) = tmp_path.glob("first*.results.json")
    assert main(["validate", *told, *CROP, f"--teacher.boxes={people}", f"--out={tmp_path / 'second.json'}"]) == 0
    assert table(tmp_path / "second.json")[0]["name"] == "pose_hrnet"


def test_weights_of_a_run_of_ours_see_whole_images_unless_boxes_are_given(world, tmp_path):
    """They say how they were trained; on crops they are top-down by the user's word."""
    path, images = tmp_path / "best.safetensors", CocoDataset(world, "val2017")
    made = create_net("pose_hrnet", NETS["pose_hrnet"], 17)
    save_net(path, made, "pose_hrnet", COCO17, 64, {})
    for boxes, kind in (("", "BottomUpPredictor"), ("labels", "TopDownPredictor")):
        teacher = TeacherSettings(weights=str(path), boxes=boxes)
        assert type(load_predictor(teacher, DecodeSettings(), COCO17, "cpu", images)).__name__ == kind


@pytest.mark.parametrize("how", [{}, {"by_index": True}, {"udp": True}], ids=str)
def test_the_labels_boxes_are_cleaned_where_crops_are_as_published(how, world, weights):
    """And the manifest says so: people read from other boxes are another teacher's."""
    images = CocoDataset(world, "val2017")
    teacher = TeacherSettings(
        weights=str(weights / "pose_hrnet.pth"), numbers=NETS["pose_hrnet"], boxes="labels",
        crop=CropSettings(size=[64, 64], **how),
    )  # fmt: skip
    made = load_predictor(teacher, DecodeSettings(), COCO17, "cpu", images)
    source = {"from": "labels", "boxes": images.labels.boxes_digest}
    assert made.boxes_from == (source | {"cleaned": True} if how else source)
    few = load_predictor(teacher, DecodeSettings(), COCO17, "cpu", images.subset(images.ids[:1]))
    assert few.boxes_from == made.boxes_from  # parts of a build, and a limit, are of one teacher
    first = next(person for number in images.ids for person in images.people[number] if person.labelled)
    assert first.box_xywh.any()
    raw = json.loads(images.annotations.read_text())
    next(row for row in raw["annotations"] if any(row["keypoints"]))["bbox"][0] += 1
    moved = read_labels(raw, COCO17)
    assert moved.boxes_digest != images.labels.boxes_digest == read_labels(images.annotations, COCO17).boxes_digest
    want = truth_boxes(images, cleaned=bool(how))
    assert all(made.boxes[number].xywh.tolist() == want[number].xywh.tolist() for number in images.ids)


def test_mpiis_boxes_are_as_published_already(weights, tmp_path):
    """HRNet's loader of MPII makes squares about centers, and cleans none."""
    record = {"image": "1.jpg", "center": [50, 60], "scale": 0.5, "joints": [[9, 9]] * 16, "joints_vis": [1] * 16}
    (tmp_path / "annot").mkdir()
    (tmp_path / "annot/valid.json").write_text(json.dumps([record]))
    torch.save(create_net("pose_hrnet", NETS["pose_hrnet"], 16).state_dict(), tmp_path / "net.pth")
    images = MpiiDataset(tmp_path, "valid")
    teacher = TeacherSettings(
        weights=str(tmp_path / "net.pth"), numbers=NETS["pose_hrnet"], boxes="labels",
        crop=CropSettings(size=[64, 64], by_index=True),
    )  # fmt: skip
    made = load_predictor(teacher, DecodeSettings(), MPII16, "cpu", images)
    assert made.boxes_from["from"] == "labels" and "cleaned" not in made.boxes_from
    assert made.boxes[1].xywh.tolist() == [[-0.5, 17, 100, 100]]


def test_any_net_may_be_shown_crops(world, tmp_path):
    """Its cells are as fine as they are: a HigherHRNet's are of 2 pixels."""
    path, images = tmp_path / "best.safetensors", CocoDataset(world, "val2017")
    numbers = {**NETS["pose_hrnet"], "head_blocks": 0}
    save_net(path, create_net("higher_hrnet", numbers, 17), "higher_hrnet", COCO17, 64, {})
    made = load_predictor(TeacherSettings(weights=str(path), boxes="labels"), DecodeSettings(), COCO17, "cpu", images)
    assert made.stride == 2


@pytest.mark.parametrize("style", ["caffe", "pytorch"])
def test_weights_called_caffe_want_their_style(style, world, weights, tmp_path, capsys):
    """No file tells; where its name does, nothing is guessed."""
    path = tmp_path / "ResNet50-Caffe.pth.tar"
    path.write_bytes((weights / "simple_baseline.pth").read_bytes())
    images = CocoDataset(world, "val2017")
    numbers = NETS["simple_baseline"]
    teacher = TeacherSettings(weights=str(path), numbers=numbers, boxes="labels", crop=CropSettings(size=[64, 64]))
    with pytest.raises(UserError) as caught:
        load_predictor(teacher, DecodeSettings(), COCO17, "cpu", images)
    assert str(caught.value) == (
        f"weights {path}: called caffe, and no file tells whether the strides of its bottlenecks are as in Caffe: pass "
        '--teacher.numbers "{style: caffe}", or pytorch if they are not'
    )
    stated = replace(teacher, numbers={**numbers, "style": style})
    made = load_predictor(stated, DecodeSettings(), COCO17, "cpu", images)
    assert made.describe()["settings"]["net"]["numbers"]["style"] == style
    start = NetSettings(kind="simple_baseline", init=str(path), numbers=numbers)
    with pytest.raises(UserError, match=r'pass --net.numbers "\{style: caffe\}", or pytorch if they are not$'):
        trainable_net(start, 17)
    assert trainable_net(replace(start, numbers={**numbers, "style": style}), 17).numbers["style"] == style


MISTAKES = {
    "no boxes": ([], "this net sees one person a crop: pass --teacher.boxes labels (the labels' boxes) or a JSON file"),
    "no file": (["--teacher.boxes=gone.json"], "boxes gone.json: cannot be read (No such file or directory): pass --t"),
    "boxes of other images": (["--teacher.boxes={other}"], "none of its 1 boxes is of these 4 images"),
    "no labels": (["--teacher.boxes=labels", "--data.root={photos}"], "boxes labels: nobody labelled the images of"),
    "another net": (
        ["--teacher.boxes=labels", "--teacher.kind=simple_baseline", "--teacher.numbers={}"],
        "build the net with the joints and sizes these weights were trained with, or choose other weights",
    ),
    "another depth": (
        ["--teacher.boxes=labels", "--teacher.kind=simple_baseline", "--teacher.numbers={depth: 34}"],
        "depth: choose from 50, 101, 152, got 34",
    ),
    "a size for whole images": (["--teacher.boxes=labels", "--teacher.size=256"], "takes no --teacher.size: leave"),
    "a shift of nothing": (
        ["--teacher.boxes=labels", "--teacher.crop.shift=true"],
        "pass --teacher.crop.by_index",
    ),
    "a size that cannot be halved": (
        ["--teacher.boxes=labels", "--teacher.crop.size=[100, 100]"],
        "teacher.crop.size [100, 100]: images: expected sides that are multiples of 32, got (100, 100)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line(case, words, world, tmp_path, capsys):
    more, expected = MISTAKES[case]
    (tmp_path / "other.json").write_text('[{"image_id": -1, "bbox": [1, 2, 3, 4], "score": 1}]')
    places = {"{other}": tmp_path / "other.json", "{photos}": world / "images" / "val2017"}
    for place, path in places.items():
        more = [word.replace(place, str(path)) for word in more]
    out = [f"--cache.path={tmp_path / 'cache'}"]
    assert main(["cache", "build", *words("pose_hrnet", "val2017"), *more, *out]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and len(said.strip().splitlines()) == 1
    assert expected in said


def test_a_net_of_whole_images_takes_no_crops(world, tmp_path, capsys):
    path = tmp_path / "net.safetensors"
    numbers = {**NETS["pose_hrnet"], "head_blocks": 0}
    save_net(path, create_net("higher_hrnet", numbers, 17), "higher_hrnet", COCO17, 64, {})
    told = ["validate", f"--data.root={world}", f"--weights={path}", "--teacher.crop.padding=1.5"]
    assert main(told) == 2
    assert "this higher_hrnet, which sees whole images, takes no --teacher.crop" in capsys.readouterr().err
