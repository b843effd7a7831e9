"""Descriptions of networks: what they say, and which file and key is at fault."""

import json
from pathlib import Path

import pytest
import yaml
from places import PROJECT

from rtpe.predictors.adapters.description import read_description
from rtpe.skeleton import COCO17, OPENPOSE18

NETWORKS = PROJECT / "rtpe/recipes" / "networks"
RECIPE = NETWORKS / "hpe0001.yaml"
PLAIN = {
    "name": "colours",
    "skeleton": "tri.json",
    "stride": 8,
    "heatmaps": {"output": "heat", "channels": [0, 1, 2]},
}
SIZED = {**PLAIN, "input_hw": [96, 128], "scale": 1 / 255}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tri = {"name": "tri", "joints": ["nose", "left_eye", "right_eye"], "limbs": [[1, 2]], "sigmas": [0.1] * 3}
    Path("tri.json").write_text(json.dumps(tri))
    return tmp_path


def describe(content, name="net.yaml"):
    Path(name).write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return name


def test_the_shipped_description_is_complete():
    described = read_description(RECIPE)
    assert sorted(described.pafs.channels) == list(range(38))
    assert (described.skeleton, described.joints) == (OPENPOSE18, COCO17)


def test_the_shipped_description_of_a_top_down_network():
    described = read_description(NETWORKS / "simplepose.yaml")
    assert described.top_down and not read_description(RECIPE).top_down
    assert (described.joints, described.input_hw, described.stride) == (COCO17, (256, 192), 4)


@pytest.mark.parametrize(
    "rule, image_hw, want",
    [
        ({"short_side": 96}, (200, 400), (96, 192)),
        ({"short_side": 100}, (400, 200), (200, 104)),
        ({"short_side": 96, "max_side": 160}, (200, 400), (80, 160)),
        ({"short_side": 96, "max_side": 160}, (200, 250), (96, 120)),
        ({"input_hw": [96, 128]}, (400, 200), (96, 128)),
    ],
)
def test_sizes_of_inputs(folder, rule, image_hw, want):
    assert read_description(describe({**PLAIN, **rule})).frame(image_hw)[0] == want


@pytest.mark.parametrize(
    "content, message",
    [
        ("", "content: expected keys name, skeleton, .*, got None"),
        ("[1, 2]", "content: expected keys name, .* got \\[1, 2\\]"),
        ("a: b: c", "cannot be read \\(mapping values are not allowed here"),
        ({**SIZED, "colour": "bgr"}, "colour: unknown key, choose from name, skeleton, "),
        ({key: SIZED[key] for key in SIZED if key != "stride"}, "stride: missing, expected a whole number above 0"),
        ({**SIZED, "stride": "8"}, "stride: expected a whole number above 0, got '8'"),
        ({**SIZED, "stride": True}, "stride: expected a whole number above 0, got True"),
        ({**SIZED, "color": "grey"}, "color: expected rgb or bgr, got 'grey'"),
        ({**SIZED, "mean": [1, 2]}, "mean: expected three numbers, got \\[1, 2\\]"),
        ({**SIZED, "std": [1, 0, 1]}, "std: expected three numbers above 0, got \\[1, 0, 1\\]"),
        ({**SIZED, "scale": float("nan")}, "scale: expected a number, got nan"),
        ({**SIZED, "input_hw": 480}, "input_hw: expected \\[height, width\\], got 480"),
        ({**SIZED, "input_hw": [96, 100]}, "input_hw: expected multiples of the stride 8, got \\[96, 100\\]"),
        ({**SIZED, "short_side": 96}, "input_hw, short_side: give one of them"),
        (PLAIN, "input_hw, short_side: give one of them"),
        ({**SIZED, "top_down": "yes"}, "top_down: expected true or false, got 'yes'"),
        (
            {**PLAIN, "short_side": 96, "top_down": True},
            "top_down: expected input_hw, the size of a crop, got a short_",
        ),
        ({**SIZED, "skeleton": "cat"}, "unknown skeleton 'cat': choose from coco17"),
        ({**SIZED, "to_skeleton": "coco17"}, "skeleton tri lacks left_ear"),
        ({**SIZED, "heatmaps": "heat"}, "heatmaps: expected a mapping with output and channels, got 'heat'"),
        ({**SIZED, "heatmaps": {"output": "heat"}}, "heatmaps.channels: missing, expected a list of channel numbers"),
        (
            {**SIZED, "tags": {"output": "heat", "channels": [0, 1]}},
            "tags.channels: expected 3 for tri, got 2",
        ),
        (
            {**SIZED, "heatmaps": {"output": "heat", "channels": [0, 1, 1]}},
            "heatmaps: channel 1 of output heat is taken by heatmaps already: name each channel once",
        ),
        (
            {**SIZED, "tags": {"output": "heat", "channels": [3, 4, 2]}},
            "tags: channel 2 of output heat is taken by heatmaps already: name each channel once",
        ),
        (
            {**SIZED, "pafs": {"output": "pafs", "limbs": [["left_eye", "right_eye", 2, 2]]}},
            "pafs: channel 2 of output pafs is taken by pafs already: name each channel once",
        ),
        (
            {**SIZED, "pafs": {"output": "pafs", "limbs": [["nose", "left_eye", 0, 1], ["nose", "left_eye", 2, 3]]}},
            "pafs.limbs: \\[nose, left_eye\\] is given twice: name each limb once",
        ),
        (
            {**SIZED, "pafs": {"output": "heat", "limbs": [["nose", "left_eye", 0, 1]]}},
            "pafs.limbs: \\[left_eye, right_eye\\] of skeleton tri missing",
        ),
        (
            {**SIZED, "centers": {"output": "rest", "channels": [0]}},
            "centers, offsets: give both of them, or neither",
        ),
        (
            {**SIZED, "offsets": {"output": "rest", "channels": [0, 1, 2, 3, 4, 5]}},
            "centers, offsets: give both of them, or neither",
        ),
        (
            {**SIZED, "shifts": {"output": "rest", "channels": [0, 1, 2]}},
            "shifts.channels: expected 6 for tri, got 3",
        ),
        (
            {**SIZED, "centers": {"output": "a", "channels": [0, 1]}, "offsets": {"output": "b", "channels": [0, 1]}},
            "centers.channels: expected 1 for tri, got 2",
        ),
        ({**SIZED, "origin": "corner"}, "origin corner: has no effect without offsets or shifts: leave it out"),
        ({**SIZED, "origin": "top"}, "origin: expected center or corner, got 'top'"),
        ({**SIZED, "multiple": 32}, "multiple: expected one of the stride 8, beside short_side, got 32"),
        ({**PLAIN, "short_side": 96, "multiple": 12}, "multiple: expected one of the stride 8, beside short_side, got"),
        ({**SIZED, "min_score": "low"}, "min_score: expected a number, got 'low'"),
        ({**SIZED, "scale": 10**400}, "scale: expected a number, got 1000"),
        ({**SIZED, "mean": [0, 0, -(10**400)]}, "mean: expected three numbers, got"),
        ({**SIZED, "stride": 10**400}, "stride: expected a whole number above 0, got 1000"),
        ({**PLAIN, "short_side": 10**400}, "short_side: expected a whole number above 0, got 1000"),
        (
            {**SIZED, "pafs": {"output": "heat", "limbs": [["nose", 0, 1]]}},
            "pafs.limbs: expected a list of \\[from, to, channel of x, channel of y\\], got ",
        ),
    ],
)
def test_descriptions_that_are_wrong(folder, content, message):
    with pytest.raises(ValueError, match=f"^network net.yaml: {message}") as caught:
        read_description(describe(content))
    assert "\n" not in str(caught.value)
