"""ViTPose by the commands: a cache and its student, scores with and without the labels' boxes, and users' mistakes."""

import json

import pytest
from tiny_vitpose import save_vitpose

from rtpe.cache import Cache
from rtpe.cli import main


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    assert main(["synth", f"--out={root}", "--train=8", "--val=4", "--size=96", "--workers=0"]) == 0
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nets") / "vitpose-tiny"
    save_vitpose(folder, experts=2)
    return folder


def words(world, folder, split="train2017"):
    data = [f"--data.root={world}", f"--data.split={split}"]
    return [*data, f"--teacher.weights={folder}", "--teacher.crop.map_size=96", "--decode.threshold=0"]


def test_a_vitpose_builds_a_cache_that_trains_a_student(world, folder, tmp_path, capsys):
    """Named by its folder alone; built again, the cache is kept as it is."""
    path = tmp_path / "cache"
    told = [*words(world, folder), "--teacher.boxes=labels", "--teacher.flip=true", f"--cache.path={path}"]
    assert main(["cache", "build", *told]) == 0
    assert "8 built, 0 kept, 0 skipped" in capsys.readouterr().out
    held = Cache.open(path)
    said = held.manifest.predictor
    assert said["name"] == "vitpose-tiny@label_boxes" and said["settings"]["net"]["numbers"]["dataset_index"] == 0
    assert held.manifest.size == [64, 48] and held.load(held.ids[0]).maps.size_hw == (24, 24)
    assert sum(len(held.poses(image_id)) for image_id in held.ids) > 0
    assert main(["cache", "build", *told]) == 0
    assert "0 built, 8 kept" in capsys.readouterr().out
    assert main(["cache", "build", *told, "--teacher.numbers.dataset_index=1"]) == 2  # other experts: another teacher
    training = [
        "--net.size=64", "--train.epochs=1", "--train.batch=4", "--train.holdout=0", "--train.workers=0",
        "--train.threads=1", "--train.pictures=0", "--net.numbers={width: 32, stages: 1}", f"--out={tmp_path / 'run'}",
    ]  # fmt: skip
    assert main(["train", f"--data.root={world}", f"--cache.path={path}", *training]) == 0
    row = json.loads((tmp_path / "run/history.jsonl").read_text().splitlines()[-1])
    assert row["teacher"] >= 0 and (tmp_path / "run/best.safetensors").is_file()


def test_it_is_scored_with_what_it_costs(world, folder, tmp_path):
    out = tmp_path / "scores.json"
    assert main(["validate", *words(world, folder, "val2017"), "--teacher.boxes=labels", f"--out={out}"]) == 0
    (row,) = json.loads(out.read_text())
    assert row["name"] == "vitpose-tiny@label_boxes" and row["images"] == 4
    assert row["Mparams"] > 0 and row["GMACs"] > 0


MISTAKES = {
    "no boxes": ([], "this net sees one person a crop: pass --teacher.boxes labels"),
    "a folder of nothing": (["--teacher.weights={empty}"], "empty: no config.json in it, so no ViTPose: give a folder"),
    "no such folder": (["--teacher.kind=vitpose", "--teacher.weights={empty}/x"], "empty/x: no such folder: give a"),
    "neither file nor folder": (["--teacher.weights=gone"], "weights gone: no such file: pass --teacher.weights FILE"),
    "another kind": (["--teacher.kind=student"], "no such file: pass --teacher.weights FILE"),
    "a size for crops": (["--teacher.crop.size=[64, 64]"], "its config.json says the size: leave out --teacher.crop.s"),
    "a size for whole images": (["--teacher.size=64"], "a ViTPose takes no --teacher.size: leave it out"),
    "colours": (["--teacher.color=bgr"], "a ViTPose takes no --teacher.color: leave it out"),
    "other places of cells": (["--teacher.crop.by_index=true"], "crop.by_index: not with crop.udp, as which every"),
    "another number": (["--teacher.numbers={width: 48}"], "a ViTPose takes no --teacher.numbers.width: leave it out"),
    "experts there are not": (["--teacher.numbers.dataset_index=2"], "has experts for 2 data sets, got 2: pass --t"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line(case, world, folder, tmp_path, capsys):
    more, expected = MISTAKES[case]
    (tmp_path / "empty").mkdir()
    more = [word.replace("{empty}", str(tmp_path / "empty")) for word in more]
    boxes = [] if case == "no boxes" else ["--teacher.boxes=labels"]
    told = [*words(world, folder, "val2017"), *boxes, *more, f"--cache.path={tmp_path / 'cache'}"]
    assert main(["cache", "build", *told]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and len(said.strip().splitlines()) == 1
    assert expected in said
