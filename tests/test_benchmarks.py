"""The benchmarks run, and what they say holds together; what they time is not tested."""

import io
import json
import os
import runpy
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from unittest.mock import patch

import here
import numpy as np
import pytest
import yaml
from places import PROJECT

from rtpe.cache import CODECS, STORES, Cache, Manifest
from rtpe.data.coco import CocoDataset
from rtpe.decode.decoders import make_decoder
from rtpe.evaluation.settings import Validate
from rtpe.geometry import cells
from rtpe.nets.cost import gmacs, parameters
from rtpe.nets.create import create_net
from rtpe.nets.metadata import save_net
from rtpe.nets.student import Student
from rtpe.settings.parse import parse_settings
from rtpe.skeleton import COCO17
from rtpe.structures import PoseMaps, Poses, Prediction
from rtpe.synthetic import write_world
from rtpe.training import study as trainings
from rtpe.training.checks import check_heads_have_losses
from rtpe.training.net import trainable_net
from rtpe.training.settings import NetSettings, Train
from rtpe.training.study import words

KEYS = {
    "store", "codec", "bytes_per_image", "encode_ms", "decode_ms", "loader_images_per_s", "rmse", "shift_mean_px",
    "shift_max_px", "peaks_lost", "ap_change",
}  # fmt: skip
PLAIN = ["npz_float32", "npz_float16"]


@dataclass(frozen=True)
class Done:
    """What a script did, as `subprocess.run` tells it."""

    returncode: int
    stdout: str
    stderr: str


def run(script, *words):
    """Run a script as its command does, but in this process, for each would import torch for seconds."""
    path, out, err = PROJECT / "benchmarks" / script, io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "argv", [str(path), *map(str, words)]),
        patch.object(sys, "path", [str(path.parent), *sys.path]),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        runpy.run_path(str(path), run_name="__main__")
    return Done(ended.value.code, out.getvalue(), err.getvalue())


def measure_students(recipes, *words):
    """In a process of its own: engines in bf16 widen the registers that a signal must save, beyond pytest's stack."""
    command = [sys.executable, "benchmarks/student.py", f"--recipes={json.dumps(list(map(str, recipes)))}", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, env=environment)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The rows and the output of one run: a net that never learned, over three small pictures."""
    folder = tmp_path_factory.mktemp("benchmark")
    write_world(str(folder / "world"), "val2017", 3, 3, (96, 96), 0)
    save_net(folder / "net.safetensors", Student(joints=17, width=32, stages=1), "student", COCO17, 64, {})
    done = run(
        "cache.py", f"--teacher.weights={folder / 'net.safetensors'}", f"--data.root={folder / 'world'}", "--passes=1",
        f"--out={folder / 'rows.json'}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "rows.json").read_text()), done.stdout


def test_every_store_and_codec_has_a_row_beside_the_plain_files(measured):
    rows, table = measured
    ways = [("npz", name) for name in PLAIN] + [(store, codec) for store in STORES for codec in CODECS]
    assert [(row["store"], row["codec"]) for row in rows] == ways
    assert [(row["store"], row["codec"]) for row in rows if row["default"]] == [("hdf5", "sparse")]
    assert all(row.keys() >= KEYS for row in rows)
    assert max(map(len, table.splitlines())) <= 100


def test_the_rows_hold_together(measured):
    rows = {(row["store"], row["codec"]): row for row in measured[0]}
    for (_, codec), row in rows.items():
        assert row["encode_ms"] > 0 and row["decode_ms"] > 0 and row["loader_images_per_s"] > 0
        assert row["bytes_per_image"] >= row["maps_bytes_per_image"] > 0
        assert row["projected_gb"] == pytest.approx(row["bytes_per_image"] * 123_287 / 1e9)
        if codec in ("float32", "npz_float32"):
            assert row["rmse"] == row["peaks_lost"] == row["ap_change"] == 0
    assert rows["npz", "npz_float32"]["times_smaller"] == rows["npz", "npz_float32"]["decode_times_faster"] == 1
    assert rows["hdf5", "sparse"]["times_smaller"] > rows["hdf5", "uint8"]["times_smaller"] > 1


def test_the_size_of_data_is_measured_from_the_labels_to_the_second_epoch(tmp_path):
    done = run("size.py", "--images=150", f"--out={tmp_path}")
    assert done.returncode == 0, done.stderr[-3000:]
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [row["until"] for row in rows] == [
        "labels of 150 images", "labels of 150 images", "first batch", "64 images", "scores of 100 images",
        "128 images", "scores of 100 images",
    ]  # fmt: skip
    assert all(row["s"] > 0 and 0 < row["MB"] <= row["peak MB"] for row in rows)
    assert all(row["worker MB"] > 0 for row in rows[2:])
    assert not list(tmp_path.glob("tmp*"))


def test_students_are_measured_in_every_engine(tmp_path):
    """The row has the recipe's size and the net's own numbers, and a time for each engine that is installed."""
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text("net: {kind: student, numbers: {width: 32, stages: 1, blocks: [0, 0, 1]}, size: 64}")
    done = measure_students([recipe], "--passes=1", f"--out={tmp_path / 'rows.json'}")
    assert done.returncode == 0, done.stderr[-3000:]
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    net = Student(joints=17, width=32, stages=1, blocks=(0, 0, 1))
    assert (row["name"], row["size"], row["numbers"]) == ("tiny", 64, net.numbers)
    assert row["parameters"] == parameters(net) and row["gmacs"] == pytest.approx(gmacs(net, (64, 64)))
    assert row["torch_fp32_ms"] > 0 and row["torch_bf16_ms"] > 0
    for key, library in {
        "onnxruntime_ms": "onnxruntime",
        "openvino_ms": "openvino",
        "openvino_bf16_ms": "openvino",
    }.items():
        installed = find_spec(library) is not None and find_spec("onnxscript") is not None
        assert (row[key] is not None) == installed


def test_a_student_on_another_net_is_measured_with_its_stem_or_left_out(tmp_path):
    """Without its stem it would be another student, and its row wrong."""
    numbers = {"width": 4, "stem": 4, "bottlenecks": 1, "modules": [1, 1, 1], "blocks": 1}
    save_net(tmp_path / "net.safetensors", create_net("higher_hrnet", numbers, 17), "higher_hrnet", COCO17, 64, {})
    chosen = NetSettings(numbers={"width": 32, "stages": 1}, size=64, stem=str(tmp_path / "net.safetensors"))
    recipes = {
        "on": chosen,
        "stem": replace(chosen, stem="nowhere.onnx", stem_network="nowhere.yaml"),
        "imitate": replace(chosen, stem="", distill_stem_from="nowhere.safetensors"),
    }
    for name, settings in recipes.items():
        (tmp_path / f"{name}.yaml").write_text(json.dumps({"net": asdict(settings), "loss": {"stem": 1.0}}))
    names = [tmp_path / f"{name}.yaml" for name in recipes]
    done = measure_students(names, "--passes=1", f"--out={tmp_path / 'rows.json'}")
    assert done.returncode == 0, done.stderr[-3000:]
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    whole = trainable_net(chosen, 17)
    assert row["name"] == "on" and row["gmacs"] == pytest.approx(gmacs(whole, (64, 64)))
    assert row["parameters"] == parameters(whole) != parameters(create_net("student", chosen.numbers, 17))
    assert [line for line in done.stderr.splitlines() if line.startswith("left out")] == [
        f"left out {names[1]}: needs nowhere.onnx, which is not there",
        f"left out {names[2]}: needs nowhere.safetensors, which is not there",
    ]
    done = run("student.py", f"--recipes={json.dumps(list(map(str, names[1:])))}", "--passes=1")
    assert done.returncode == 2 and "error: recipes: none to measure of " in done.stderr


@pytest.fixture(scope="module", params=["with a teacher", "with labels alone"])
def loaded(request, tmp_path_factory):
    """The rows and the output of one run over three small pictures."""
    folder = tmp_path_factory.mktemp("loader")
    write_world(str(folder / "world"), "train2017", 3, 3, (96, 96), 0)
    taught = request.param == "with a teacher"
    if taught:
        images = CocoDataset(folder / "world", "train2017")
        found = Prediction(PoseMaps(np.zeros((17, 24, 24), np.float32), cells(4), (96, 96), COCO17), Poses.none(COCO17))
        with Cache.create(folder / "cache", Manifest({"name": "nobody"}, COCO17)) as cache:
            for image_id, name in images.records:
                cache.add(image_id, name, found)
    done = run(
        "loader.py", f"--data.root={folder / 'world'}", f"--cache.path={folder / 'cache' if taught else ''}",
        "--net.size=64", "--train.batch=2", "--passes=1", f"--out={folder / 'rows.json'}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return taught, json.loads((folder / "rows.json").read_text()), done.stdout


def test_every_stage_of_loading_has_a_row(loaded):
    """A function that was renamed would be timed nowhere, and its stage would be missing without a word."""
    taught, rows, table = loaded
    of_teacher = ["read the cache", "decode the cache", "warp the teacher's maps", "widen the teacher's peaks"]
    assert [row["stage"] for row in rows] == [
        "decode the image", "labels and masks", "warp the image", "colours", "warp the masks",
        *(of_teacher if taught else []), "the rest",
        "collate", "expand, in training", "targets, in training", "whole", "loader, workers: 1", "loader, workers: 2",
    ]  # fmt: skip
    assert max(map(len, table.splitlines())) <= 80 and "whole" in table


def test_the_stages_hold_together(loaded):
    rows = {row["stage"]: row for row in loaded[1]}
    whole = rows["whole"]
    assert whole["samples_per_s_per_core"] == pytest.approx(1000 / whole["ms"])
    for name, row in rows.items():
        if name.startswith("loader"):
            assert row["samples_per_s"] > 0
        else:
            assert row["ms"] > 0 and row["share"] == pytest.approx(row["ms"] / whole["ms"])


def test_a_study_trains_each_way_once_and_compares_them(tmp_path, monkeypatch):
    """Trained are those that lack their scores alone; a way that was changed since is no silent row of the table."""
    monkeypatch.setattr(trainings, "_rtpe", here.begin)
    write_world(str(tmp_path / "world"), "train2017", 8, 1, (96, 96), 0)
    write_world(str(tmp_path / "world"), "val2017", 2, 2, (96, 96), 0)
    common = {
        "data.root": f"{tmp_path / 'world'}", "net.numbers": {"width": 32, "stages": 1}, "net.size": 64,
        "loss.teacher": 0, "train.batch": 4, "train.holdout": 0, "train.epochs": 1, "train.workers": 0,
        "train.pictures": 0,
    }  # fmt: skip
    study, out = tmp_path / "study.yaml", tmp_path / "runs"
    said = {
        "common": common,
        "ways": {"plain": None, "hard": {"loss.foreground": 4}},
        "score": {"data.root": common["data.root"]},
    }
    study.write_text(json.dumps(said))
    words = f"--study={study}", f"--out={out}"
    done = run("study.py", *words, "--seeds=[0, 1]")
    assert done.returncode == 0, done.stderr[-3000:]
    rows = json.loads((out / "scores.json").read_text())
    assert [(row["way"], row["seeds"], row["steps"]) for row in rows] == [("plain", 2, 2), ("hard", 2, 2)]
    for row in rows:
        ap = [each["AP"] for each in row["runs"]]
        assert row["AP"] == pytest.approx(sum(ap) / 2) and (row["low"], row["high"]) == (min(ap), max(ap))
    assert rows[0]["to first"] == 0 and max(map(len, done.stdout.splitlines())) <= 80
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    assert len(before) == 4
    done = run("study.py", *words, "--seeds=[0, 1]", "--ways=[hard]")
    assert done.returncode == 0 and {path: path.stat().st_mtime_ns for path in before} == before
    study.write_text(json.dumps({**said, "common": {**common, "train.lr": 0.1}}))
    done = run("study.py", *words, "--seeds=[0]")
    assert done.returncode == 2 and "was trained by another command: pass another --out" in done.stderr


WAYS = [
    (path.stem, way)
    for path in sorted((PROJECT / "benchmarks" / "studies").glob("*.yaml"))
    for way in yaml.safe_load(path.read_text())["ways"]
]


@pytest.mark.parametrize("study, way", WAYS)
def test_every_way_of_the_studies_can_be_trained_and_scored(study, way, monkeypatch):
    """A way that is refused would only show when its turn comes, after hours."""
    monkeypatch.chdir(PROJECT)
    said = yaml.safe_load((PROJECT / "benchmarks" / "studies" / f"{study}.yaml").read_text())
    options = {**said["common"], **(said["ways"][way] or {})}
    score = {**said["score"], **options.pop("score", {})}
    settings = parse_settings(Train, words(options), "rtpe train")
    made = create_net(settings.net.kind, settings.net.numbers, len(COCO17))
    check_heads_have_losses(settings, made)
    make_decoder(parse_settings(Validate, words(score), "rtpe validate").decode, made)


@pytest.mark.parametrize(
    "script, mistake",
    [
        ("cache.py", ["--teacher.weights=nowhere.safetensors", "--data.root=nowhere"]),
        ("loader.py", ["--data.root=nowhere"]),
        ("loader.py", ["--passes=many"]),
        ("student.py", ["--recipes=[nowhere.yaml]"]),
        ("study.py", []),
        ("study.py", ["--study=rtpe/recipes/student_s.yaml"]),
        ("study.py", ["--study=benchmarks/studies/distillation.yaml", "--ways=[nothing]"]),
    ],
)
def test_a_users_mistake_is_one_line(script, mistake):
    done = run(script, *mistake)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and done.stderr.startswith("error: ")
