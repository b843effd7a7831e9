"""The recipes of the phases, one after the other on a few small pictures: what is frozen, learns, and is shipped."""

import json

import numpy as np
import pytest
import torch

from rtpe.cli import main
from rtpe.decode.settings import DecodeSettings
from rtpe.nets.create import create_net
from rtpe.nets.metadata import save_net
from rtpe.nets.student import Student
from rtpe.nets.weights import load_weights, read_metadata
from rtpe.predictors.load import load_predictor
from rtpe.predictors.settings import TeacherSettings
from rtpe.skeleton import COCO17
from rtpe.training.net import imitated_stem, trainable_net
from rtpe.training.settings import NetSettings

TEACHER = {"width": 8, "stem": 8, "bottlenecks": 1, "modules": [1, 1, 1], "blocks": 1, "deconvs": 0, "head_blocks": 0}
TINY = [
    "--net.size=64", "--train.batch=4", "--train.holdout=0", "--train.threads=1", "--train.pictures=0",
    "--train.precision=fp32", "--device=cpu", "--decode.threshold=0.001",
]  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Pictures, a teacher that was never trained, and its cache."""
    root = tmp_path_factory.mktemp("phases")
    assert main(["synth", f"--out={root / 'data'}", "--train=12", "--val=0", "--size=64", "--workers=0"]) == 0
    torch.manual_seed(0)
    teacher = create_net("higher_hrnet", TEACHER, 17)
    save_net(root / "teacher.safetensors", teacher, "higher_hrnet", COCO17, 64, {})
    words = [f"--teacher.weights={root / 'teacher.safetensors'}", f"--data.root={root / 'data'}"]
    assert main(["cache", "build", *words, f"--cache.path={root / 'cache'}", "--decode.threshold=0.001"]) == 0
    return root


def run(world, recipe, out, *changes):
    places = [f"--data.root={world / 'data'}", f"--cache.path={world / 'cache'}", f"--out={world / out}"]
    config = f"--config={recipe}"
    assert main(["train", config, *TINY, *places, *changes]) == 0
    return world / out / "best.safetensors"


@pytest.fixture(scope="module")
def phases(world):
    """The weights after each phase."""
    start = f"--net.stem={world / 'teacher.safetensors'}"
    one = run(world, "phase1_segmentation", "one", start, "--net.stem_stages=1", "--train.epochs=2")
    two = run(world, "phase2_keypoints", "two", f"--net.init={one}", "--train.epochs=2")
    stem = run(world, "phase3_stem", "stem", f"--net.init={two}", f"--net.distill_stem_from={two}", "--train.epochs=8")
    three = run(world, "phase3_together", "three", f"--net.init={stem}", "--train.epochs=2")
    return {"one": one, "two": two, "stem": stem, "three": three}


def weights(path, part=""):
    return {name: value for name, value in load_weights(path).items() if name.startswith(part)}


def same(one, other):
    """The names of the tensors that are equal, bit for bit."""
    return {name for name in one.keys() & other.keys() if torch.equal(one[name], other[name])}


def parts(names):
    return {name.split(".")[0] for name in names}


def test_the_teachers_stem_stays_as_it_is(world, phases):
    teacher, one, two = weights(world / "teacher.safetensors"), weights(phases["one"]), weights(phases["two"])
    stem = {name.removeprefix("stem.trunk."): value for name, value in one.items() if name.startswith("stem.")}
    assert stem and same(stem, teacher) == stem.keys()
    assert {name for name in same(one, two) if name.startswith("stem.")} == weights(phases["one"], "stem.").keys()


def test_all_that_stands_on_it_learns(phases):
    """Every tensor of it changes from phase 1 to phase 2, but the norms' counters, which only count."""
    one, two = weights(phases["one"]), weights(phases["two"])
    assert {name for name in same(one, two) if "num_batches" not in name} == weights(phases["one"], "stem.").keys() - {
        name for name in one if "num_batches" in name
    }
    history = [json.loads(line) for line in (phases["one"].parent / "history.jsonl").read_text().splitlines()]
    assert all({"teacher", "labels", "pull", "push", "person"} <= row.keys() for row in history)


def test_only_the_small_stem_learns_while_the_detector_is_fixed(phases):
    two, stem = weights(phases["two"]), weights(phases["stem"])
    detector = {name for name in two if not name.startswith("stem.")}
    assert same(two, stem) == detector
    assert stem.keys() - detector == weights(phases["stem"], "stem.").keys()


def test_the_small_stem_comes_nearer_to_the_one_it_imitates(phases):
    lines = (phases["stem"].parent / "history.jsonl").read_text().splitlines()
    losses = [json.loads(line)["stem"] for line in lines]
    assert losses[-1] < 0.8 * losses[0]  # 24 steps


@pytest.mark.parametrize("stride", [4, 8])
def test_what_is_imitated_is_what_the_pyramid_sees(tmp_path, stride):
    """A file's features are levelled before the pyramid, so a stem in their place has to give them levelled."""
    nodes = [{"op": "Conv", "inputs": [0, -1], "strides": [8, 8]}]
    plain = {"channels": 2, "order": [0, 1, 2], "gain": [1, 1, 1], "offset": [0, 0, 0]}
    net = Student(width=32, stride=stride, trunk={"nodes": nodes, "shapes": [[2, 3, 8, 8]], **plain})
    net.stem.trunk.constants[0].data.normal_()
    images, seen = torch.randn(4, 3, 64, 64), []
    net.train()(images)
    save_net(tmp_path / "student.safetensors", net.eval(), "student", COCO17, 64, {})
    net.enter.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net(images)
    imitated = imitated_stem(str(tmp_path / "student.safetensors"))
    torch.testing.assert_close(imitated(images), seen[0])
    own = trainable_net(
        settings(distill_stem_from=str(tmp_path / "student.safetensors"), numbers={"trunk": None, "stride": stride}), 17
    )
    assert own.stem(images).shape == seen[0].shape


def test_then_all_of_it_learns(phases):
    stem, three = weights(phases["stem"]), weights(phases["three"])
    assert stem.keys() == three.keys() and all("num_batches" in name for name in same(stem, three))
    assert json.loads(read_metadata(phases["three"])["numbers"])["stem"] == {"channels": 32, "blocks": 2, "outputs": 24}
    assert "stem" not in json.loads((phases["three"].parent / "history.jsonl").read_text().splitlines()[-1])


def test_what_is_shipped_predicts_and_holds_no_teacher(phases):
    """And is smaller by the difference of the two stems."""
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for path in phases.values():
        made = load_predictor(TeacherSettings(weights=str(path)), DecodeSettings(), COCO17, "cpu")
        assert made([image])[0].maps.heatmaps.shape == (17, 16, 16)
    assert not [name for name in weights(phases["three"]) if "trunk" in name]


def settings(**changes):
    return NetSettings(**{"numbers": {"trunk": None, "stem": {"blocks": 1}}, **changes})


def test_a_mistake_in_the_phases_is_named(world, phases):
    two, teacher = str(phases["two"]), str(world / "teacher.safetensors")
    fixed = {"init": two, "trainable": ["stem"]}
    for asked, message in [
        (
            settings(**fixed, distill_stem_from=teacher),
            f"weights {teacher}: expected a student.s, whose stem can be imitated",
        ),
        (
            settings(**fixed, distill_stem_from=two, numbers={}),
            "net.distill_stem_from: this student stands on a frozen stem: leave out",
        ),
        (settings(init=two, trainable=["stam"]), "net.trainable: stam cannot learn: choose from stem, enter, "),
        (settings(**fixed), f"weights {two}: lack enter.0.weight, which --net.trainable freezes: let it learn too"),
        (settings(init=two, numbers={}, trainable=["stem"]), "net.trainable: stem cannot learn: choose from enter, "),
    ]:
        with pytest.raises(ValueError, match=message):
            trainable_net(asked, 17)


def test_a_stem_that_imitates_nobody_is_refused(world, capsys):
    words = ["--loss.stem=1", f"--data.root={world / 'data'}", f"--out={world / 'none'}", *TINY]
    assert main(["train", *words]) == 2
    assert "error: loss.stem: no stem to learn from: pass --net.distill_stem_from" in capsys.readouterr().err
