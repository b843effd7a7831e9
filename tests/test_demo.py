"""The demo in miniature, its commands in this process; and the files that it ships."""

import contextlib
import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from rtpe import demo
from rtpe.cli import main
from rtpe.files import shipped
from rtpe.images import read_image
from rtpe.nets.cost import gmacs, parameters
from rtpe.nets.create import create_net
from rtpe.nets.metadata import save_net
from rtpe.nets.weights import load_weights, read_metadata, sha256
from rtpe.report import pictures
from rtpe.skeleton import COCO17
from rtpe.synthetic import write_world

SIZE = 64
ROWS = ["teacher", "cache (people)", "cache (maps)", "student", "shipped student"]
TINY_TEACHER = {"width": 16, "stem": 16, "bottlenecks": 1, "modules": [1, 1, 1], "blocks": 1, "head_blocks": 0}
TINY_RECIPE = {
    "net": {"kind": "student", "numbers": {"width": 32, "stages": 1}, "size": SIZE, "stem_stages": 2},
    "train": {"epochs": 1, "batch": 4, "holdout": 4, "workers": 0, "threads": 1, "pictures": 1},
}
MOST_BYTES = {demo.TEACHER: 7_000_000, demo.SHIPPED: 4_000_000}  # a clone has every version of them


def _net(path, kind, numbers):
    torch.manual_seed(0)
    net = create_net(kind, numbers, len(COCO17))
    save_net(path, net, kind, COCO17, SIZE, made={})
    return net


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A demo on twelve pictures with nets of a few channels: its folder, rows and words, and the shipped student."""
    root = tmp_path_factory.mktemp("demo")
    files = {name: root / name.lower() for name in ("STUDENT_RECIPE", "TEACHER", "SHIPPED")}
    files = {name: path.with_suffix(".yaml" if "RECIPE" in name else ".safetensors") for name, path in files.items()}
    files["STUDENT_RECIPE"].write_text(yaml.safe_dump(TINY_RECIPE))
    _net(files["TEACHER"], "higher_hrnet", TINY_TEACHER)
    shipped = _net(files["SHIPPED"], "student", {"width": 32, "stages": 1})
    said, drawn = io.StringIO(), []

    def found_people(images, predictor):
        drawn.append(predictor.weights_sha256)
        return pictures.found_people(images, predictor)

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        for name, path in files.items():
            patch.setattr(demo, name, path)
        patch.setattr(demo, "WORLD_HW", (96, 96))
        patch.setattr(demo, "found_people", found_people)
        rows = demo.demo(str(root / "run"), str(root / "world"), images=8, val=4, epochs=1)
    assert drawn == [sha256(files["SHIPPED"])]
    return SimpleNamespace(out=root / "run", rows=rows, said=said.getvalue(), shipped=shipped)


def test_all_that_speak_are_in_the_table(done):
    assert [row["name"] for row in done.rows] == ROWS
    assert json.loads((done.out / "scores.json").read_text()) == done.rows
    report = (done.out / "report.html").read_text()
    table = done.said.splitlines()[-len(ROWS) - 2 :]
    for line, name in zip(table[1:], ROWS):
        assert line.startswith(name) and f"<td>{name}</td>" in report
    assert table[-1] == f"report: {done.out / 'report.html'}"


def test_the_shipped_student_is_another_than_the_one_that_is_trained(done):
    rows = {row["name"]: row for row in done.rows}
    shipped, trained = rows["shipped student"], rows["student"]
    assert shipped["Mparams"] == pytest.approx(parameters(done.shipped) / 1e6)
    assert shipped["GMACs"] == pytest.approx(gmacs(done.shipped, (SIZE, SIZE)))
    assert trained["Mparams"] != shipped["Mparams"] and trained["GMACs"] != shipped["GMACs"]


@pytest.mark.parametrize("file, titles", [("pictures.jpg", demo.PEOPLE), ("maps.jpg", demo.MAPS)])
def test_each_title_has_its_column(done, file, titles):
    """As many cells as titles fill the width, so nothing that the sheet is to show was left out."""
    width = read_image(done.out / file).shape[1]
    side, gap = 224 if len(titles) > 4 else 288, 6
    assert width == gap + len(titles) * (side + gap)


@pytest.mark.parametrize("lacking", [["TEACHER"], ["SHIPPED"], ["TEACHER", "SHIPPED"]], ids="-".join)
def test_what_is_missing_is_said_before_anything_is_done(lacking, tmp_path, monkeypatch):
    paths = [tmp_path / name for name in lacking]
    for name, path in zip(lacking, paths):
        monkeypatch.setattr(demo, name, path)
    with pytest.raises(ValueError, match=r"^demo: ") as error:
        demo.demo(str(tmp_path / "run"), str(tmp_path / "world"), 2000, 200, 9)
    assert str(error.value).endswith(f"git checkout -- {' '.join(map(str, paths))}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("weights", MOST_BYTES, ids=lambda path: path.stem)
def test_shipped_weights_are_small_and_name_no_place_of_their_maker(weights):
    assert weights.stat().st_size <= MOST_BYTES[weights]
    made = json.loads(read_metadata(weights)["made"])["settings"]
    paths = [made["out"], made["data"]["root"], made["cache"]["path"], made["net"]["stem"], made["net"]["init"]]
    assert (made["train"].get("save_fp16") or made["train"].get("half")) and not any(
        Path(path).is_absolute() for path in paths
    )


@pytest.mark.slow
def test_shipped_weights_find_people(tmp_path):
    """A net that has changed since would not take its weights any more, or worse, would take them."""
    write_world(str(tmp_path), "val2017", 12, 5, (320, 320), 0)
    out, named = tmp_path / "said.json", [str(demo.TEACHER), str(demo.SHIPPED)]
    assert main(["validate", f"--compare={json.dumps(named)}", f"--data.root={tmp_path}", f"--out={out}"]) == 0
    teacher, student = (row["AP"] for row in json.loads(out.read_text()))
    assert teacher > 0.6 and student > 0.5  # .1 and more below what they have on hundreds


def test_the_shipped_student_stands_on_the_shipped_teacher():
    student, teacher = load_weights(demo.SHIPPED), load_weights(demo.TEACHER)
    trunk = {name.removeprefix("stem.trunk."): value for name, value in student.items() if "stem.trunk." in name}
    assert trunk and all((value == teacher[name]).all() for name, value in trunk.items())


@pytest.mark.parametrize("part", ["net", "loss", "augment"])
def test_the_shipped_student_is_of_the_demos_recipe(part):
    """Only how it was trained may differ: for how long, and on images of which size."""
    recipe = yaml.safe_load(shipped(demo.STUDENT_RECIPE).read_text())[part]
    recipe.pop("size", None)
    made = json.loads(read_metadata(demo.SHIPPED)["made"])["settings"][part]
    assert {name: made[name] for name in recipe} == recipe
