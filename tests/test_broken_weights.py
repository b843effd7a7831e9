"""Weights that cannot be used: one line and exit status 2 in every command, never an image without people."""

import json

import numpy as np
import pytest
import torch

from rtpe.cli import main
from rtpe.images import write_image
from rtpe.nets.create import create_net
from rtpe.nets.metadata import save_net
from rtpe.skeleton import COCO17

STUDENT = {"width": 32, "stages": 1}


@pytest.fixture
def world(tmp_path):
    """Two labelled images."""
    root = tmp_path / "data"
    (root / "images/val2017").mkdir(parents=True)
    (root / "annotations").mkdir()
    person = {"iscrowd": 0, "area": 400.0, "bbox": [5, 5, 20, 20], "segmentation": [], "num_keypoints": 17}
    rows = [{"id": i, "image_id": i, "category_id": 1, "keypoints": [9, 9, 2] * 17, **person} for i in (1, 2)]
    images = [{"id": i, "file_name": f"{i}.png", "height": 48, "width": 64} for i in (1, 2)]
    categories = [{"id": 1, "name": "person", "keypoints": list(COCO17.joints), "skeleton": []}]
    content = {"images": images, "annotations": rows, "categories": categories}
    (root / "annotations/person_keypoints_val2017.json").write_text(json.dumps(content))
    for image in images:
        write_image(root / "images/val2017" / image["file_name"], np.full((48, 64, 3), 99, np.uint8))
    return root


def run(command, weights, world, out, *words):
    data = [f"--data.root={world}", "--data.split=val2017", *words]
    return main(
        {
            "predict": ["predict", f"--weights={weights}", *data, f"--out={out}"],
            "validate": ["validate", f"--weights={weights}", *data, f"--out={out}/table.json"],
            "cache build": ["cache", "build", f"--teacher.weights={weights}", *data, f"--cache.path={out}"],
        }[command]
    )


@pytest.mark.parametrize("command", ["predict", "validate", "cache build"])
@pytest.mark.parametrize("top_down", [False, True])
def test_weights_of_nan_are_an_error_everywhere(tmp_path, world, command, top_down, capsys):
    broken = create_net("student", STUDENT, 17)
    with torch.no_grad():
        for parameter in broken.parameters():
            parameter.fill_(torch.nan)
    save_net(tmp_path / "nan.safetensors", broken, "student", COCO17, 64, {})
    boxes = ["--teacher.boxes=labels", "--teacher.crop.size=[64, 64]"] if top_down else []
    assert run(command, tmp_path / "nan.safetensors", world, tmp_path / "out", *boxes) == 2
    said = capsys.readouterr()
    line = said.err.strip().splitlines()[-1]
    assert line.startswith("error: nan") and ": heatmaps: expected finite values, got NaN or infinity: check" in line
    assert "AP" not in said.out and not list(tmp_path.glob("out/*.json.results.json"))


@pytest.mark.parametrize("command", ["predict", "validate", "cache build"])
@pytest.mark.parametrize(
    "name, content, message",
    [
        ("page.pth", b"<!DOCTYPE html><html>", "is an HTML page: download the file itself"),
        (
            "pointer.onnx",
            b"version https://git-lfs.github.com/spec/v1\n",
            "is a Git LFS pointer: fetch the file itself",
        ),
        ("TORN.SAFETENSORS", b"\x80\0\0\0\0\0\0\0{", "cannot be read ("),
    ],
)
def test_files_that_are_no_weights_are_named(tmp_path, world, command, name, content, message, capsys):
    path = tmp_path / name
    path.write_bytes(content)
    network = tmp_path / "net.yaml"
    network.write_text(
        "{name: a, skeleton: coco17, stride: 4, input_hw: [64, 64], heatmaps: {output: a, channels: "
        f"{list(range(17))}}}}}"
    )
    words = [f"--teacher.network={network}"] if name.endswith("onnx") else []
    assert run(command, path, world, tmp_path / "out", *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: weights {path}: {message}") and "weights_only" not in line
    assert not (tmp_path / "out").exists()


def test_capitals_are_no_other_format(tmp_path, world):
    save_net(tmp_path / "net.safetensors", create_net("student", STUDENT, 17), "student", COCO17, 64, {})
    (tmp_path / "net.safetensors").rename(tmp_path / "NET.SAFETENSORS")
    assert run("validate", tmp_path / "NET.SAFETENSORS", world, tmp_path / "out") == 0
