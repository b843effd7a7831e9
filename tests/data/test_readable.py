"""Nothing that can be read: one line, exit status 2, and nothing left behind, whichever command asked."""

import json

import numpy as np
import pytest

from rtpe.cli import main
from rtpe.data.load import open_dataset
from rtpe.data.readable import few_predicted, require_readable
from rtpe.data.settings import DataSettings
from rtpe.errors import UserError
from rtpe.images import write_image
from rtpe.nets.create import create_net
from rtpe.nets.metadata import save_net
from rtpe.skeleton import COCO17

GREY = np.full((48, 64, 3), 99, np.uint8)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    save_net(path, create_net("student", {"width": 32, "stages": 1}, 17), "student", COCO17, 64, {})
    return path


def labelled(root, names, files=()):
    """A data set whose labels name such files; the files that are there are named below its root."""
    person = {"category_id": 1, "iscrowd": 0, "area": 400.0, "bbox": [5, 5, 20, 20], "segmentation": []}
    rows = [
        {"id": i, "image_id": i, "num_keypoints": 17, "keypoints": [9, 9, 2] * 17, **person} for i in range(len(names))
    ]
    images = [{"id": i, "file_name": name, "height": 48, "width": 64} for i, name in enumerate(names)]
    category = {"id": 1, "name": "person", "keypoints": list(COCO17.joints), "skeleton": []}
    (root / "annotations").mkdir(parents=True)
    content = {"images": images, "annotations": rows, "categories": [category]}
    (root / "annotations" / "person_keypoints_val2017.json").write_text(json.dumps(content))
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        write_image(root / file, GREY)
    return root


def commands(weights, root, out):
    data = [f"--data.root={root}", "--data.split=val2017"]
    return {
        "predict": ["predict", f"--weights={weights}", *data, f"--out={out}"],
        "validate": ["validate", f"--weights={weights}", *data, f"--out={out}/table.json"],
        "cache build": ["cache", "build", f"--teacher.weights={weights}", *data, f"--cache.path={out}"],
    }


PLACES = {
    "nowhere": ("a.jpg", [], None),
    "backslashes": (r"images\val2017\a.jpg", ["images/val2017/a.jpg"], "images/val2017/a.jpg"),
    "of a server": ("/data/coco/a.jpg", ["images/val2017/a.jpg"], "images/val2017/a.jpg"),
    "split repeated": ("images/val2017/a.jpg", ["images/val2017/a.jpg"], "images/val2017/a.jpg"),
    "in images": ("a.jpg", ["images/a.jpg"], "images/a.jpg"),
    "in split": ("a.jpg", ["val2017/a.jpg"], "val2017/a.jpg"),
    "in root": ("a.jpg", ["a.jpg"], "a.jpg"),
    "below root": ("photos/a.jpg", ["photos/a.jpg"], "photos/a.jpg"),
}


@pytest.mark.parametrize("case", PLACES)
def test_the_place_of_the_first_image_is_named(tmp_path, case):
    name, files, there = PLACES[case]
    root = labelled(tmp_path / "data", [name, "b.jpg"], files)
    with pytest.raises(UserError) as error:
        require_readable(open_dataset(DataSettings(str(root), "val2017")))
    text = str(error.value)
    assert text.startswith(f"data {root}: none of 2 images can be read, the first is image ")
    assert "No such file or directory: check --data.root and file_name" in text
    assert text.endswith(f": {root / there} is there" if there else "file_name")


@pytest.mark.parametrize("command", ["predict", "validate", "cache build"])
def test_nothing_readable_is_a_mistake_and_leaves_nothing(tmp_path, weights, command, capsys):
    root, out = labelled(tmp_path / "data", ["a.jpg", "b.jpg"]), tmp_path / "out"
    assert main(commands(weights, root, out)[command]) == 2
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith(f"error: data {root}: none of 2 images can be read, the first is image ")
    assert "AP" not in said.out and not out.exists()


@pytest.mark.parametrize("command", ["predict", "cache build"])
@pytest.mark.parametrize("torn", [["a.jpg"], ["a.jpg", "b.png", "c.mp4"]], ids=str)
def test_torn_files_without_labels_are_nothing_readable_either(tmp_path, weights, command, torn, capsys):
    root, out = tmp_path / "data", tmp_path / "out"
    root.mkdir()
    for name in torn:
        (root / name).write_bytes(b"\xff\xd8")
    assert main(commands(weights, root, out)[command]) == 2
    assert "can" in capsys.readouterr().err and not out.exists()


@pytest.mark.parametrize("command", ["predict", "validate", "cache build"])
def test_few_that_can_be_read_are_a_share(tmp_path, weights, command, capsys):
    root = labelled(tmp_path / "data", ["gone.jpg", "a.jpg", "lost.jpg"], ["images/val2017/a.jpg"])
    assert main(commands(weights, root, tmp_path / "out")[command]) == 0
    assert "only 1 of 3 images (33%)" in capsys.readouterr().out


@pytest.mark.parametrize(
    "skipped, total, said", [(0, 0, ""), (0, 4, ""), (2, 4, ""), (3, 4, "only 1 of 4 images (25%)")]
)
def test_half_of_the_images_is_enough_to_say_nothing(skipped, total, said):
    assert few_predicted(skipped, total) == said


def test_a_finished_cache_is_kept_though_its_images_are_gone(tmp_path, weights, capsys):
    root = labelled(tmp_path / "data", ["a.jpg"], ["images/val2017/a.jpg"])
    words = commands(weights, root, tmp_path / "cache")["cache build"]
    assert main(words) == 0
    (root / "images/val2017/a.jpg").unlink()
    assert main(words) == 0
    assert "0 built, 1 kept, 0 skipped" in capsys.readouterr().out
