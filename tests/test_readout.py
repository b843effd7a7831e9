"""The readout head through every command: trained on labels, annotating, cached, taught from."""

import contextlib
import io
import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from places import PROJECT
from tiny_diffusion import save_pipeline

from rtpe.cache import Cache
from rtpe.cli import main
from rtpe.nets.readout import Readout
from rtpe.nets.weights import load_weights, read_metadata

RECIPE = PROJECT / "rtpe/recipes" / "readout.yaml"
TRAINING = [
    "--net.size=64", "--train.epochs=1", "--train.batch=2", "--train.holdout=2", "--train.workers=0",
    "--train.threads=1", "--train.pictures=1",
]  # fmt: skip


def run(*words, status=0):
    said, wrong = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(wrong):
        assert main([str(word) for word in words]) == status, wrong.getvalue()
    return wrong.getvalue() if status else said.getvalue()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    run("synth", f"--out={root}", "--train=8", "--val=3", "--size=96", "--seed=3", "--workers=0")
    return root


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipeline")
    save_pipeline(folder)
    return folder


@pytest.fixture(scope="module")
def trained(world, backbone, tmp_path_factory):
    """A run of the recipe, on a tiny pipeline."""
    out = tmp_path_factory.mktemp("readout")
    run(
        "train", f"--config={RECIPE}", f"--data.root={world}", f"--net.numbers.backbone={backbone}",
        "--net.numbers.width=16", "--net.numbers.groups=2", "--loss.sigmas=[0.5]", *TRAINING, f"--out={out}",
    )  # fmt: skip
    return out


def test_the_recipe_is_the_published_one():
    recipe = yaml.safe_load(RECIPE.read_text())
    stride, loss, steps = 8, recipe["loss"], recipe["train"]
    assert loss["sigmas"] == [recipe["net"]["size"] / stride / 16]
    assert {name: value for name, value in loss.items() if value and name != "sigmas"} == {"labels": 1}
    assert (steps["lr"], steps["batch"], steps["weight_decay"]) == (1e-3, 8, 0)


def test_weights_hold_the_head_alone_and_say_on_what_it_stands(trained, backbone):
    state, said = load_weights(trained / "best.safetensors"), read_metadata(trained / "best.safetensors")
    assert set(state) == set(Readout(18, [16, 16, 8, 8], 32, width=16, groups=2).state_dict())
    numbers = json.loads(said["numbers"])
    assert (said["kind"], said["skeleton"], said["size"]) == ("readout", "openpose18", "64")
    assert numbers["backbone"] == str(backbone) and len(numbers["fingerprint"]) == 16 and numbers["embedded"] == 1
    assert {"labels", "loss", "AP"} <= json.loads((trained / "history.jsonl").read_text().splitlines()[-1]).keys()


def test_every_part_of_the_head_has_moved(trained):
    """From what the seed gave it; the checkpoint holds no diffusion net either."""
    last = torch.load(trained / "last.pt", weights_only=True)
    assert last["step"] > 0 and set(last["net"]) == set(load_weights(trained / "best.safetensors"))
    moments = [each["exp_avg"] for each in last["optimizer"]["state"].values()]
    assert len(moments) == len(last["net"]) and all(moment.abs().sum() > 0 for moment in moments)


def test_a_run_that_was_stopped_goes_on(trained, tmp_path):
    again = shutil.copytree(trained, tmp_path / "again")
    steps = torch.load(trained / "last.pt", weights_only=True)["step"]
    said = run("train", f"--config={again / 'settings.yaml'}", "--train.epochs=2", f"--out={again}")
    assert f"epoch   2  step {2 * steps:6}" in said


def test_it_annotates_a_folder_of_photographs(trained, world, tmp_path):
    """In OpenPose's joints; a broken file is counted and named."""
    photos = tmp_path / "photos"
    (photos / "deep").mkdir(parents=True)
    one, two, three = sorted((world / "images/val2017").iterdir())
    (photos / "deep" / one.name).write_bytes(one.read_bytes())
    (photos / two.name).write_bytes(two.read_bytes())
    (photos / three.name).write_bytes(three.read_bytes()[:300])
    out = tmp_path / "out"
    said = run(
        "predict", f"--weights={trained / 'best.safetensors'}", f"--data.root={photos}", "--data.skeleton=openpose18",
        "--decode.refine=argmax", "--decode.fill_threshold=null", "--decode.threshold=0", "--min_score=0",
        f"--out={out}",
        "--draw=true",
    )  # fmt: skip
    rows = json.loads((out / "results.json").read_text())
    assert said.startswith(f"{len(rows)} people in 2 of 3 images: {out}/results.json")
    assert f"skipped: image {photos / three.name}: " in said
    assert {row["file_name"] for row in rows} <= {f"deep/{one.name}", two.name} and rows
    assert all(len(row["keypoints"]) == 3 * 18 for row in rows)
    drawn = sorted(str(path.relative_to(out / "pictures")) for path in (out / "pictures").rglob("*.jpg"))
    assert drawn == sorted([f"deep/{one.stem}.jpg", f"{two.stem}.jpg"])


def test_it_is_scored_and_teaches_a_student_of_cocos_joints(trained, world, tmp_path):
    """Eighteen joints come in, seventeen are cached; the same cache twice is the same, for latents are no dice."""
    weights, reading = trained / "best.safetensors", ["--decode.threshold=0", "--decode.fill_threshold=null"]
    table = run("validate", f"--weights={weights}", f"--data.root={world}", "--data.split=val2017", *reading)
    assert table.split()[:2] == ["name", "AP"]
    paths = [tmp_path / name for name in ("cache", "again")]
    for path in paths:
        run("cache", "build", f"--teacher.weights={weights}", f"--data.root={world}", f"--cache.path={path}", *reading)
    one, other = (Cache.open(path) for path in paths)
    assert one.manifest.skeleton.name == "coco17" and len(one) == 8
    assert one.manifest.predictor["settings"]["numbers"]["latents"] == "mode"
    for image_id in one.ids:
        np.testing.assert_array_equal(one.load(image_id).maps.heatmaps, other.load(image_id).maps.heatmaps)
    run(
        "train", f"--data.root={world}", f"--cache.path={paths[0]}", "--net.numbers={width: 32, stages: 1}", *TRAINING,
        f"--out={tmp_path / 'student'}",
    )  # fmt: skip
    row = json.loads((tmp_path / "student/history.jsonl").read_text().splitlines()[-1])
    assert row["step"] == 3 and row["teacher"] > 0


def test_it_sees_one_person_a_crop(trained, world, tmp_path):
    """The crops' maps lie on one map an image; crops have the size that the head was trained with."""
    weights, path = trained / "best.safetensors", tmp_path / "cache"
    told = [f"--teacher.weights={weights}", "--teacher.boxes=labels", "--decode.threshold=0"]
    run("cache", "build", *told, f"--data.root={world}", f"--cache.path={path}")
    held = Cache.open(path)
    said = held.manifest.predictor["settings"]
    assert held.manifest.skeleton.name == "coco17" and said["skeleton"] == "openpose18"
    assert (said["size"], said["stride"], "backbone" in said["net"]["numbers"]) == ([64, 64], 8, False)
    assert sum(len(held.poses(image_id)) for image_id in held.ids) > 8


@pytest.mark.parametrize(
    "words, message",
    [
        (["--teacher.kind=readout"], "no weights: pass --teacher.weights FILE"),
        (["--weights={trained}", "--data.skeleton=mpii16"], "predict openpose18, the data have mpii16"),
        (["--weights={trained}", "--teacher.numbers={backbone: nowhere}"], "backbone nowhere: no such folder"),
        (["--weights={trained}", "--teacher.numbers={latents: mean}"], "latents: choose from mode, sample, got 'mean'"),
        (
            ["--weights={trained}", "--teacher.numbers={deep: 1}"],
            "teacher.numbers.deep: no such number: choose from backbone, embedded",
        ),
    ],
)
def test_a_users_mistake_is_one_line(words, message, trained, world):
    words = [word.replace("{trained}", str(trained / "best.safetensors")) for word in words]
    said = run("predict", f"--data.root={world / 'images' / 'val2017'}", *words, status=2)
    assert message in said and len(said.strip().splitlines()) == 1
