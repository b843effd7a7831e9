"""`rtpe validate` as a table: several predictors, what each costs, bounds, tables by joint, and rows that fail."""

import json

import numpy as np
import pytest
import torch
import yaml

from rtpe.cli import main
from rtpe.cli.cache_merge import CacheMerge
from rtpe.data.load import open_dataset
from rtpe.data.settings import DataSettings
from rtpe.decode.settings import DecodeSettings
from rtpe.evaluation.cost import cost
from rtpe.evaluation.settings import Validate
from rtpe.images import write_image
from rtpe.nets.cost import gmacs, parameters
from rtpe.nets.create import create_net
from rtpe.nets.metadata import save_net
from rtpe.predictors.load import load_predictor
from rtpe.predictors.settings import CropSettings, TeacherSettings
from rtpe.settings.parse import parse_settings
from rtpe.skeleton import COCO17, MPII16

NETS = {
    "higher_hrnet": {"width": 16, "stem": 16, "bottlenecks": 1, "modules": [1, 1, 1], "blocks": 1, "head_blocks": 0},
    "student": {"width": 32, "stages": 1},
}
SCORED = {
    "name",
    "AP",
    "AP50",
    "AP75",
    "APM",
    "APL",
    "AR",
    "PCK@0.05 box",
    "PCK@0.1 torso",
    "PCK@0.2 readout",
    "EPE px",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    assert main(["synth", f"--out={root}", "--train=0", "--val=12", "--size=96", "--workers=0"]) == 0
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    root = tmp_path_factory.mktemp("weights")
    for kind, numbers in NETS.items():
        torch.manual_seed(0)
        save_net(root / f"{kind}.safetensors", create_net(kind, numbers, 17), kind, COCO17, 64, {})
    return root


@pytest.fixture(scope="module")
def cache(world, weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("cache") / "val"
    words = [
        f"--data.root={world}",
        "--data.split=val2017",
        f"--teacher.weights={weights / 'higher_hrnet.safetensors'}",
    ]
    assert main(["cache", "build", *words, "--decode.threshold=0.0001", f"--cache.path={path}"]) == 0
    return path


def validated(world, out, *words, status=0):
    """The rows that `rtpe validate` writes."""
    assert (
        main(["validate", f"--data.root={world}", "--decode.threshold=0.0001", f"--out={out}", *map(str, words)])
        == status
    )
    return json.loads(out.read_text())


def test_one_row_each_and_all_of_it_in_the_file(world, weights, cache, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    torch.set_num_threads(1)  # a test before this one may have trained with more, in the same process
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(yaml.safe_dump({"teacher": {"weights": str(weights / "higher_hrnet.safetensors"), "flip": True}}))
    out = tmp_path / "rows.json"
    rows = validated(world, out, "--compare", weights / "student.safetensors", recipe, cache)
    said = capsys.readouterr().out
    assert [row["name"] for row in rows] == ["student", "higher_hrnet", "higher_hrnet (people)", "higher_hrnet (maps)"]
    assert all(row.keys() >= SCORED and row["images"] == 12 for row in rows)
    assert all((row.keys() >= {"Mparams", "GMACs", "ms", "device", "threads"}) == (row in rows[:2]) for row in rows)
    assert max(map(len, said.splitlines())) <= 80
    assert said.count("ms: median of an image at a time, on cpu, 1 thread") == 1
    results = {path.name for path in tmp_path.glob("*.results.json")}
    assert results == {
        f"rows.{n}.results.json" for n in ("student", "higher_hrnet", "higher_hrnet-people", "higher_hrnet-maps")
    }


def test_rows_that_fail_say_why_and_the_others_are_scored(world, weights, tmp_path, capsys):
    """Each for a reason of its own; the exit status says that something is missing."""
    other = tmp_path / "lsp.safetensors"
    save_net(other, create_net("student", NETS["student"], 16), "student", MPII16, 64, {})
    (tmp_path / "no.yaml").write_text("net: {kind: student}")
    (tmp_path / "bare.onnx").write_bytes(b"")
    failing = {
        tmp_path / "nowhere.pth": "no such file or folder: name a cache, a recipe (.yaml) or weights",
        tmp_path: "a folder, but no cache",
        tmp_path / "no.yaml": "no recipe of a teacher or a cache",
        tmp_path / "bare.onnx": "pass --teacher.network FILE.yaml",
        other: "predict mpii16, the data have coco17",
    }
    out = tmp_path / "rows.json"
    rows = validated(
        world, out, "--compare", *list(failing)[:3], weights / "student.safetensors", *list(failing)[3:], status=2
    )
    said = capsys.readouterr()
    assert [row.keys() >= SCORED for row in rows] == [False] * 3 + [True] + [False] * 2
    for path, reason in failing.items():
        (row,) = (row for row in rows if row["name"] == str(path))
        assert row.keys() == {"name", "error"} and reason in row["error"]
        (line,) = (line for line in said.out.splitlines() if line.startswith(f"{path}: not scored: "))
        assert reason in line
    assert said.err.splitlines()[-1].startswith("error: compare: 5 of 6 not scored: ")


def test_nothing_but_failures(world, tmp_path, capsys):
    assert validated(world, tmp_path / "rows.json", "--compare", "nowhere.pth", status=2)[0]["name"] == "nowhere.pth"
    assert capsys.readouterr().out.startswith("nowhere.pth: not scored: ")


def test_names_that_repeat_are_told_apart(world, weights, tmp_path):
    """Two recipes of one network, each with its own settings."""
    for name, flip in (("plain", False), ("flipped", True)):
        recipe = {"teacher": {"weights": str(weights / "student.safetensors"), "flip": flip}}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    rows = validated(world, tmp_path / "r.json", "--compare", tmp_path / "plain.yaml", tmp_path / "flipped.yaml")
    assert [row["name"] for row in rows] == ["student", "student (flipped)"]
    assert rows[1]["GMACs"] == pytest.approx(2 * rows[0]["GMACs"])


def test_what_is_compared_is_named_in_one_place(world, weights, tmp_path, capsys):
    words = ["--compare", str(weights / "student.safetensors"), f"--weights={weights / 'student.safetensors'}"]
    assert main(["validate", f"--data.root={world}", *words]) == 2
    assert "compare: names all that is scored" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, expected",
    [
        ([], []),
        (["--compare", "a"], ["a"]),
        (["--compare", "a", "b c", "--out=x"], ["a", "b c"]),
        (["--device=cpu", "--compare", "a", "b", "--oracle", "true"], ["a", "b"]),
        (["--compare", "[a, b]"], ["a", "b"]),
        (["--compare=[a, b]"], ["a", "b"]),
    ],
)
def test_several_names_are_typed_one_after_the_other(words, expected):
    assert parse_settings(Validate, words, "validate").compare == expected


def test_lists_of_names_are_typed_alike_everywhere():
    parsed = parse_settings(CacheMerge, ["--sources", "a", "b", "--cache.path", "c"], "merge")
    assert parsed.sources == ["a", "b"] and parsed.cache.path == "c"


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("flip", [False, True])
def test_the_cost_is_that_of_the_net(world, weights, kind, flip):
    """Letterboxed, every image is as large; with the flip test it is seen twice."""
    settings = TeacherSettings(weights=str(weights / f"{kind}.safetensors"), flip=flip)
    predictor = load_predictor(settings, DecodeSettings(), COCO17, "cpu")
    images = open_dataset(DataSettings(root=str(world), split="val2017"))
    found = cost(predictor, images, settings, "cpu")
    assert found["Mparams"] == parameters(predictor.net) / 1e6
    assert found["GMACs"] == pytest.approx((1 + flip) * gmacs(predictor.net, (64, 64)))
    assert found["ms"] > 0 and found["device"] == "cpu"
    assert cost(predictor, images.subset([]), settings, "cpu") == {}


def test_the_cost_of_a_net_that_sees_one_person_a_crop_is_that_of_an_images_people(world, tmp_path):
    """A hundred people cost a hundred looks; a mean over crops would flatter it beside a net that sees all at once."""
    numbers = {"width": 8, "stem": 8, "bottlenecks": 1, "modules": [1, 1, 1], "blocks": 1}
    net = create_net("pose_hrnet", numbers, 17)
    save_net(tmp_path / "crops.safetensors", net, "pose_hrnet", COCO17, 64, {})
    settings = TeacherSettings(
        weights=str(tmp_path / "crops.safetensors"), boxes="labels", crop=CropSettings(size=[64, 64])
    )
    images = open_dataset(DataSettings(root=str(world), split="val2017"))
    predictor = load_predictor(settings, DecodeSettings(), COCO17, "cpu", images)
    people = [len(predictor.boxes[image_id]) for image_id in images.ids[:10]]
    assert max(people) > 1
    found = cost(predictor, images, settings, "cpu")
    assert found["GMACs"] == pytest.approx(np.mean(people) * gmacs(net, (64, 64)))
    assert found["Mparams"] == parameters(net) / 1e6


def test_bounds_have_rows_of_their_own(world, weights, tmp_path, capsys):
    """Whatever these random maps hold, their grid could tell everybody; and nobody takes a bound for a score."""
    rows = validated(world, tmp_path / "rows.json", f"--weights={weights / 'student.safetensors'}", "--oracle=true")
    said = capsys.readouterr().out
    assert [row["name"] for row in rows] == ["student", *(f"student: oracle {k}" for k in ("peaks", "cells", "dark"))]
    assert [row.get("oracle") for row in rows] == [None, "peaks", "cells", "dark"]
    score, peaks, cells, dark = rows
    assert dark["AP"] == pytest.approx(1) and dark["PCK@0.05 box"] == 1
    assert cells["AP"] <= dark["AP"] and cells["EPE px"] > 0 and dark["EPE px"] < 0.1
    for name in ("AP", "AR", "PCK@0.05 box", "PCK@0.1 box", "PCK@0.2 box"):
        assert score[name] <= peaks[name] <= 1
    assert "  oracle peaks" in said and "a bound and no score" in said
    assert "ms" in score and "ms" not in peaks


def test_bounds_of_a_cache_are_those_of_its_maps(world, weights, cache, tmp_path):
    live = validated(
        world, tmp_path / "live.json", f"--weights={weights / 'higher_hrnet.safetensors'}", "--oracle=true"
    )
    held = validated(world, tmp_path / "held.json", f"--cache.path={cache}", "--oracle=true")
    names = [
        f"higher_hrnet{of}" for of in (" (people)", *[f" (people): oracle {k}" for k in ("peaks", "cells", "dark")])
    ]
    assert [row["name"] for row in held] == [*names, "higher_hrnet (maps)"]
    scores = ("AP", "AR", "PCK@0.1 box")
    assert [held[3][name] for name in scores] == [live[3][name] for name in scores]  # the grid is the same


def test_a_table_by_joint(world, weights, tmp_path, capsys):
    validated(
        world,
        tmp_path / "rows.json",
        f"--weights={weights / 'student.safetensors'}",
        "--per_joint=true",
        "--score.pck=torso",
    )
    rows = json.loads((tmp_path / "rows.joints.json").read_text())
    assert [row["joint"] for row in rows] == list(COCO17.joints) and {row["name"] for row in rows} == {"student"}
    assert rows[0].keys() >= {"labelled", "found", "PCK@0.1 torso", "EPE px"}
    said = capsys.readouterr().out
    assert "student, by joint:" in said and "left_ankle" in said


def test_a_length_that_is_not_labelled_is_refused_at_once(world, weights, capsys):
    assert (
        main(["validate", f"--data.root={world}", f"--weights={weights / 'student.safetensors'}", "--score.pck=head"])
        == 2
    )
    want = "error: score.pck head: these labels do not have it: choose from box, readout, "
    assert capsys.readouterr().err.startswith(want)


def test_the_other_engine_says_the_same(world, cache, tmp_path):
    pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed: pip install rtpe[eval]")
    plain, fast = (
        validated(world, tmp_path / f"{name}.json", f"--cache.path={cache}", f"--score.engine={name}")
        for name in ("pycocotools", "faster-coco-eval")
    )
    assert fast == [pytest.approx(row) for row in plain]


@pytest.fixture(scope="module")
def mpii(tmp_path_factory):
    """Eight pictures of one person each, as MPII has them."""
    root, rng = tmp_path_factory.mktemp("mpii"), np.random.default_rng(0)
    (root / "annot").mkdir()
    (root / "images").mkdir()
    records = []
    for number in range(1, 9):
        write_image(root / "images" / f"{number:09}.png", rng.integers(0, 255, (90, 120, 3), np.uint8))
        joints = rng.uniform(20, 80, (16, 2)).tolist()
        records.append({
            "image": f"{number:09}.png", "center": [50, 45], "scale": 0.4, "joints": joints, "joints_vis": [1] * 16,
        })  # fmt: skip
    for split in ("train", "valid"):
        (root / "annot" / f"{split}.json").write_text(json.dumps(records))
    return root


def test_mpii_is_trained_on_cached_and_scored(mpii, tmp_path, capsys):
    """By nothing but the root and the split: the joints are known from the files."""
    data = [f"--data.root={mpii}", "--data.split=train"]
    tiny = ["--net.numbers={width: 32, stages: 1}", "--net.size=64", "--train.epochs=1", "--train.batch=4"]
    tiny += [
        "--train.holdout=2",
        "--train.workers=0",
        "--train.threads=1",
        "--train.pictures=1",
        "--train.precision=fp32",
    ]
    assert main(["train", *data, "--loss.teacher=0", *tiny, f"--out={tmp_path / 'run'}"]) == 0
    best = tmp_path / "run" / "best.safetensors"
    assert main(["cache", "build", *data, f"--teacher.weights={best}", f"--cache.path={tmp_path / 'cache'}"]) == 0
    student = [*data, f"--cache.path={tmp_path / 'cache'}", *tiny, f"--out={tmp_path / 'student'}"]
    assert main(["train", *student]) == 0
    rows = validated(
        mpii, tmp_path / "rows.json", "--data.split=valid", "--compare", best, tmp_path / "student/best.safetensors"
    )
    assert [row["name"] for row in rows] == ["run", "student"]
    assert rows[0].keys() >= {"PCK@0.1 neck", "PCK@0.1 box"} and not rows[0].keys() & {"PCK@0.1 readout", "PCKh@0.5"}
