"""The benchmarks run, and what they say holds together; what they time is not tested."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from rtpe.build import save_net
from rtpe.cache import CODECS, STORES
from rtpe.data.synthetic import write_world
from rtpe.nets.cost import gmacs, parameters
from rtpe.nets.student import Student
from rtpe.skeleton import COCO17

PROJECT = Path(__file__).resolve().parents[1]
KEYS = {
    "store", "codec", "bytes_per_image", "encode_ms", "decode_ms", "loader_images_per_s", "rmse", "shift_mean_px",
    "shift_max_px", "peaks_lost", "ap_change",
}  # fmt: skip
PLAIN = ["npz_float32", "npz_float16"]


def run(*words, name="cache"):
    command = [sys.executable, str(PROJECT / f"benchmarks/{name}.py"), *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, env=environment, timeout=300)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The rows and the output of one run: a net that never learned, over three small pictures."""
    folder = tmp_path_factory.mktemp("benchmark")
    write_world(str(folder / "world"), "val2017", 3, 3, (96, 96), 0)
    save_net(folder / "net.safetensors", Student(joints=17, width=32, stages=1), "student", COCO17, 64, {})
    done = run(
        f"--teacher.weights={folder / 'net.safetensors'}", f"--data.root={folder / 'world'}", "--passes=1",
        f"--out={folder / 'rows.json'}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "rows.json").read_text()), done.stdout


def test_every_store_and_codec_has_a_row_beside_the_plain_files(measured):
    rows, table = measured
    ways = [("npz", name) for name in PLAIN] + [(store, codec) for store in STORES for codec in CODECS]
    assert [(row["store"], row["codec"]) for row in rows] == ways
    assert [(row["store"], row["codec"]) for row in rows if row["default"]] == [("hdf5", "masked")]
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
    assert rows["hdf5", "masked"]["times_smaller"] > rows["hdf5", "uint8"]["times_smaller"] > 1


def test_students_are_measured_in_every_engine(tmp_path):
    """The row has the recipe's size and the net's own numbers, and a time for each engine that is installed."""
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text("net: {kind: student, numbers: {width: 32, stages: 1, blocks: [0, 0, 1]}, size: 64}")
    done = run(f"--recipes=[{recipe}]", "--passes=1", f"--out={tmp_path / 'rows.json'}", name="student")
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


@pytest.mark.parametrize(
    "words, name",
    [
        (("--teacher.weights=nowhere.safetensors", "--data.root=nowhere"), "cache"),
        (("--recipes=[nowhere.yaml]",), "student"),
    ],
)
def test_a_users_mistake_is_one_line(words, name):
    done = run(*words, name=name)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and done.stderr.startswith("error: ")
