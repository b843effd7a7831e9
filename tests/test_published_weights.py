"""A file of weights as the authors of HigherHRNet distribute theirs, from the file to a student and to a score.

The nets are tiny and random; names, prefixes, precision and settings are those of the real ones.
"""

import json
from collections import OrderedDict

import numpy as np
import pytest
import torch

from rtpe.cache import Cache
from rtpe.cli import main
from rtpe.decode.settings import DecodeSettings
from rtpe.evaluation.oks import score_keypoints
from rtpe.nets.higher_hrnet import HigherHRNet
from rtpe.predictors.load import load_predictor
from rtpe.predictors.settings import TeacherSettings
from rtpe.skeleton import COCO17, CROWDPOSE14

NUMBERS = {"width": 8, "stem": 8, "bottlenecks": 1, "modules": [1, 1, 1], "blocks": 1, "head_blocks": 1}
PUBLISHED = [
    "--teacher.resize=published",
    "--teacher.project_to_image=true",
    "--teacher.flip=true",
    "--decode.grouping=higher_hrnet",
]


def published_file(path, joints=17, prefix="1."):
    """Convolutions in half precision, batch norms in float32, every name behind what the training wrapped around it."""
    torch.manual_seed(joints)
    state = HigherHRNet(joints, **NUMBERS).state_dict()
    halved = {k: v.half() if v.ndim == 4 or k.startswith("final") else v for k, v in state.items()}
    torch.save(OrderedDict((prefix + name, value) for name, value in halved.items()), path)
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    assert main(["synth", f"--out={root}", "--train=2", "--val=2", "--size=96", "--seed=5", "--workers=0"]) == 0
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return published_file(tmp_path_factory.mktemp("weights") / "pose_higher_hrnet.pth.tar")


def words_of(weights, size=64):
    numbers = f"--teacher.numbers={json.dumps(NUMBERS)}"
    # a net that learnt nothing sees next to nothing
    return [f"--teacher.weights={weights}", numbers, f"--teacher.size={size}", "--decode.threshold=0.001"]


def test_it_fills_a_cache_that_trains_a_student(world, weights, tmp_path):
    data, cache = [f"--data.root={world}", "--data.split=train2017"], f"--cache.path={tmp_path / 'cache'}"
    assert main(["cache", "build", *data, cache, *words_of(weights), *PUBLISHED]) == 0
    made = Cache.open(tmp_path / "cache")
    said = made.manifest.predictor["settings"]
    assert said["resize"] == "published" and said["project_to_image"] and said["decode"]["grouping"] == "higher_hrnet"
    held = made.load(made.ids[0])
    assert held.maps.size_hw == (64, 64) and held.maps.tags.shape[0] == 2 and len(held.poses) > 0
    student = ["--net.size=64", "--net.numbers={width: 32, stages: 1}", "--train.epochs=3", "--train.batch=2"]
    quick = ["--train.holdout=0", "--train.workers=0", "--train.threads=1", "--train.pictures=0", "--device=cpu"]
    assert main(["train", *data, cache, *student, *quick, "--loss.labels=0", f"--out={tmp_path / 'run'}"]) == 0
    assert (tmp_path / "run/best.safetensors").is_file()


@pytest.mark.parametrize("scales, size", [("[1]", 64), ("[0.5, 1, 2]", 128)])
def test_it_is_scored_by_the_published_test(world, weights, scales, size, tmp_path):
    words = [*words_of(weights, size), *PUBLISHED, f"--teacher.scales={scales}"]
    assert main(["validate", f"--data.root={world}", *words, f"--out={tmp_path / 'scores.json'}"]) == 0
    (row,) = json.loads((tmp_path / "scores.json").read_text())
    assert row["name"] == "pose_higher_hrnet" and 0 <= row["AP"] <= 1 and row["images"] == 2


@pytest.mark.parametrize("prefix", ["1.", "module.1."])
@pytest.mark.parametrize("skeleton", [COCO17, CROWDPOSE14], ids=lambda skeleton: skeleton.name)
def test_it_says_the_same_each_time(skeleton, prefix, tmp_path):
    """The number of joints is that of the data; heads of another number are refused by name."""
    path = published_file(tmp_path / "pose.pth.tar", len(skeleton), prefix)
    settings = TeacherSettings(
        weights=str(path), numbers=NUMBERS, size=64, resize="published", flip=True, project_to_image=True
    )
    decode = DecodeSettings(grouping="higher_hrnet", threshold=0.001)
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    one, same = (load_predictor(settings, decode, skeleton, "cpu")([image])[0] for _ in range(2))
    assert one.maps.heatmaps.shape == (len(skeleton), 64, 128) and one.maps.heatmaps.std() > 0
    assert np.array_equal(one.maps.heatmaps, same.maps.heatmaps) and np.array_equal(one.maps.tags, same.maps.tags)
    assert len(one.poses) > 0 and np.array_equal(one.poses.points, same.poses.points)
    other = CROWDPOSE14 if skeleton is COCO17 else COCO17
    with pytest.raises(ValueError, match=rf"first final_layers.0.weight: expected \({2 * len(other)}, 8, 1, 1\)"):
        load_predictor(settings, decode, other, "cpu")


def test_labels_of_14_joints_have_their_own_sigmas():
    """A head so far off that its similarity is .77 passes 6 of COCO's 10 thresholds; by LSP's sigma it fails all."""
    off = np.sqrt(-np.log(0.77) * 2 * 1e4 * (2 * 0.079) ** 2)
    labelled, found = np.zeros((14, 3)), np.full((14, 3), 50.0)
    labelled[12] = 50, 50, 2
    found[12, 0] += off
    person = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 100, 100]}
    truth = {"id": 1, "iscrowd": 0, "num_keypoints": 1, "area": 1e4, "keypoints": labelled.ravel().tolist(), **person}
    annotations = {"images": [{"id": 1}], "categories": [{"id": 1}], "annotations": [truth]}
    result = {"score": 1.0, "keypoints": found.ravel().tolist(), **person}
    assert score_keypoints(annotations, [result], None, CROWDPOSE14)["AP"] == pytest.approx(0.6)


def test_labels_of_14_joints_are_scored_and_cached(world, tmp_path):
    """CrowdPose in COCO's form: the drawn people from the shoulders down, and two more joints."""
    source = json.loads((world / "annotations/person_keypoints_val2017.json").read_text())
    for person in source["annotations"]:
        person["keypoints"] = person["keypoints"][15:] + person["keypoints"][3:6] + person["keypoints"][15:18]
    source["categories"][0]["keypoints"] = [*COCO17.joints[5:], "head", "neck"]
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/person_keypoints_val2017.json").write_text(json.dumps(source))
    (tmp_path / "images").symlink_to(world / "images")
    weights = published_file(tmp_path / "crowdpose.pth.tar", 14)
    words = [f"--data.root={tmp_path}", "--data.skeleton=crowdpose14", "--data.split=val2017", *words_of(weights)]
    assert main(["validate", *words, f"--out={tmp_path / 'scores.json'}"]) == 0
    assert json.loads((tmp_path / "scores.json").read_text())[0]["images"] == 2
    assert main(["cache", "build", *words, f"--cache.path={tmp_path / 'cache'}"]) == 0
    assert Cache.open(tmp_path / "cache").manifest.skeleton == CROWDPOSE14
