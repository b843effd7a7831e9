"""Small files that stand for much: refused in one line, before the memory is taken."""

import json
import os
import resource
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import zstandard
from film import write_video
from safetensors.torch import save_file
from test_images import png

from rtpe.cache.codecs import CODECS
from rtpe.cache.codecs.blob import unpack
from rtpe.data.folder import FolderDataset
from rtpe.decode.settings import DecodeSettings
from rtpe.errors import UserError
from rtpe.nets.create import create_net
from rtpe.nets.metadata import save_net
from rtpe.nets.weights import load_weights
from rtpe.predictors.load import load_predictor
from rtpe.predictors.settings import TeacherSettings
from rtpe.skeleton import COCO17
from rtpe.training.net import imitated_stem, refuse_numbers, trainable_net
from rtpe.training.settings import NetSettings

MORE = 400  # MiB of address space beside what is there: each of these files stands for more
FRAME = zstandard.ZstdCompressor().compress(bytes(64 << 20))


@pytest.fixture
def little_memory():
    """No more than some hundred MiB can be had."""
    pages = int(open("/proc/self/statm").read().split()[0])  # noqa: SIM115
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (MORE << 20), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def itself():
    held = {"a": {}}
    held["a"]["state_dict"] = held["state_dict"] = held
    return held


def nested():
    held = []
    held.append(held)
    return {"model": held}


TORCH = {
    "a mapping that holds itself": (itself, "expected named tensors"),
    "a list that holds itself": (nested, "expected named tensors"),
    "views of one number": (lambda: {"w": torch.zeros(1, dtype=torch.float16).expand(1 << 40)}, "stand for"),
    "many views of a few numbers": (
        lambda: {f"w{i}": torch.zeros(1 << 10).expand(1 << 10, 1 << 10) for i in range(99)}, "stand for",
    ),
    "a tensor without memory": (lambda: {"w": torch.zeros(1 << 40, device="meta")}, "expected named tensors"),
    "a tensor that is all but empty": (
        lambda: {"w": torch.sparse_coo_tensor(torch.zeros(1, 1, dtype=torch.long), torch.ones(1), (1 << 40,))},
        "expected named tensors",
    ),
    "numbers for names": (lambda: {1: torch.zeros(2)}, "expected named tensors"),
}  # fmt: skip


@pytest.mark.parametrize("case", TORCH)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_torch_files_hold_what_they_stand_for(case, tmp_path, little_memory):
    make, said = TORCH[case]
    torch.save(make(), tmp_path / "a.pth")
    with pytest.raises(UserError, match=f"weights .*a.pth: .*{said}"):
        load_weights(tmp_path / "a.pth")


def test_a_compressed_torch_file_is_not_unpacked(tmp_path, little_memory):
    torch.save({"w": torch.zeros(1 << 24)}, tmp_path / "a.pth")
    with (
        zipfile.ZipFile(tmp_path / "a.pth") as plain,
        zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_DEFLATED) as b,
    ):
        for part in plain.namelist():
            b.writestr(part, plain.read(part))
    with pytest.raises(UserError, match=r"b.pth: is compressed"):
        load_weights(tmp_path / "b.pth")


def test_tied_weights_and_slices_are_read(tmp_path):
    shared = torch.arange(1 << 16, dtype=torch.float16)
    torch.save({"a": shared, "b": shared, "c": shared[::2].view(2, -1).T}, tmp_path / "a.pth")
    assert torch.equal(load_weights(tmp_path / "a.pth")["c"], shared[::2].view(2, -1).T.float())


NOTES = {
    "wide": {"width": 8192, "joints": 17},
    "wider than numbers go": {"width": 1 << 30, "joints": 17},
    "deep": {"stages": 10**9},
    "deep within": {"stem": {"blocks": 10**9}, "joints": 17},
    "large constants": {
        "joints": 17,
        "trunk": {
            "nodes": [{"op": "Relu", "inputs": [0]}], "shapes": [[1 << 20, 1 << 20]], "channels": 3, "order": [0, 1, 2],
            "gain": [1, 1, 1], "offset": [0, 0, 0],
        },
    },
    "no stem": {"trunk": {"nodes": [{}], "shapes": 3}, "joints": 17},
}  # fmt: skip


@pytest.mark.parametrize("case", NOTES)
def test_metadata_are_compared_with_the_tensors_first(case, tmp_path, little_memory):
    path = str(tmp_path / "a.safetensors")
    save_file({"a": torch.zeros(1)}, path, {"kind": "student", "numbers": json.dumps(NOTES[case])})
    settings = NetSettings(init=path)
    for read in (
        lambda: load_predictor(TeacherSettings(weights=path), DecodeSettings(), COCO17, "cpu"),
        lambda: refuse_numbers(settings),
        lambda: trainable_net(settings, 17),
        lambda: imitated_stem(path),
    ):
        with pytest.raises(UserError, match=r"not of this Student|describe|lack joints"):
            read()


@pytest.mark.parametrize(
    "key, value", [("numbers", "["), ("numbers", "3"), ("joints", "{"), ("size", "x"), ("size", "9" * 99)]
)
def test_metadata_that_are_no_values_are_refused(key, value, tmp_path):
    path = str(tmp_path / "a.safetensors")
    save_file({"a": torch.zeros(1)}, path, {"kind": "student", key: value})
    with pytest.raises(UserError, match=f"weights {path}: its metadata '{key}' "):
        load_predictor(TeacherSettings(weights=path), DecodeSettings(), COCO17, "cpu")


def test_true_metadata_are_taken(tmp_path):
    path = tmp_path / "a.safetensors"
    save_net(path, create_net("student", {"width": 32, "stages": 1}, 17), "student", COCO17, 64, {})
    load_predictor(TeacherSettings(weights=str(path)), DecodeSettings(), COCO17, "cpu")
    trainable_net(NetSettings(init=str(path), numbers={"stages": 2}), 17)
    imitated_stem(str(path))


@pytest.mark.parametrize("backbone", ["OWNER/NAME", "nowhere", "https://host/name", ["OWNER/NAME"], None])
def test_weights_reach_no_network(backbone, tmp_path, monkeypatch):
    def refuse(*_, **__):
        pytest.fail("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    path = str(tmp_path / "a.safetensors")
    save_file(
        {"a": torch.zeros(1)}, path, {"kind": "readout", "numbers": json.dumps({"backbone": backbone, "embedded": 1})}
    )
    with pytest.raises(UserError, match="which is no folder here: name it yourself"):
        load_predictor(TeacherSettings(weights=path), DecodeSettings(), COCO17, "cpu")
    with pytest.raises(UserError, match="which is no folder here: name it yourself"):
        trainable_net(NetSettings(kind="readout", init=path), 17)


@pytest.mark.parametrize("codec", sorted(CODECS.keys() - {"rendered"}))
@pytest.mark.parametrize("shape", [(0, 17, 8, 8), (0, 1, 1, 1), (3, 1 << 20, 1 << 20, 1), (0, 0, 8, 8)])
def test_an_entry_is_unpacked_up_to_its_size(codec, shape, little_memory):
    with pytest.raises(UserError, match="no codec writes so many"):
        CODECS[codec].decode(np.array(shape, "<u4").tobytes() + FRAME)


def test_a_frame_that_hides_its_size_is_not_unpacked():
    packer = zstandard.ZstdCompressor(write_content_size=False)
    with pytest.raises(UserError, match="no codec writes so many"):
        unpack(np.array((0, 1, 1, 1), "<u4").tobytes() + packer.compress(bytes(99)))


@pytest.mark.parametrize("size", [(20_000, 20_000), (30_000, 10_000)])
def test_an_image_is_measured_before_it_is_decoded(size, tmp_path):
    """In a process of its own: OpenCV looks for the limit when it is loaded."""
    (tmp_path / "a.png").write_bytes(png(*size, 1))
    code = "import sys; from rtpe.images import read_image; read_image(sys.argv[1])"
    env = {"PYTHONPATH": ":".join(sys.path)}
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.png")], env=env, capture_output=True, text=True)
    assert "UnreadableImage" in ran.stderr and "larger than what OpenCV opens" in ran.stderr


def test_the_limit_of_images_is_the_users():
    code = "import os, rtpe; print(os.environ['OPENCV_IO_MAX_IMAGE_PIXELS'])"
    for given, want in (({}, str(1 << 28)), ({"OPENCV_IO_MAX_IMAGE_PIXELS": "9"}, "9")):
        env = {"PYTHONPATH": ":".join(sys.path), **given}
        assert (
            subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True).stdout.strip() == want
        )


def stem(path, nodes, constants):
    """The graph of an .onnx file up to the tensor y."""
    onnx = pytest.importorskip("onnx", reason="networks in files need pip install rtpe[export]")
    from rtpe.predictors.adapters.description import Channels, Description
    from rtpe.predictors.adapters.onnx_graph import read_graph

    helper = onnx.helper
    ends = [helper.make_tensor_value_info("x", 1, (1, 3, 64, 64)), helper.make_tensor_value_info("y", 1, None)]
    kept = [
        onnx.numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in dict(constants).items()
    ]
    made = [helper.make_node(op, ins, outs, **attributes) for op, ins, outs, attributes in nodes]
    model = helper.make_model(helper.make_graph(made, "net", ends[:1], ends[1:], kept))
    onnx.save(model, path)
    return read_graph(path, "y", Description("net", COCO17, 4, Channels("y", tuple(range(17))), short_side=64))


LARGE = {
    "pads": ([("Conv", ["x", "w"], ["y"], {"pads": [10**5] * 4})], {"w": np.zeros((64, 3, 3, 3))}),
    "scales": (
        [("Resize", ["x", "", "s"], ["y"], {"mode": "nearest", "coordinate_transformation_mode": "half_pixel"})],
        {"s": [1, 1, 4096, 4096]},
    ),
    "an axis": ([("Concat", ["x"] * 99999, ["y"], {"axis": 1})], {}),
    "two vectors": (
        [("Add", ["x", "a"], ["z"], {}), ("Mul", ["z", "b"], ["y"], {})],
        {"a": np.zeros((9999, 1, 1, 1)), "b": np.zeros((1, 1, 1, 1))},
    ),
}


@pytest.mark.parametrize("case", LARGE)
def test_a_stem_is_measured_before_it_is_computed(case, tmp_path, little_memory):
    with pytest.raises(UserError, match=r"a\.onnx: .*gives \("):
        stem(tmp_path / "a.onnx", *LARGE[case])


WRONG_STEMS = {
    "no weights": [("Conv", ["x"], ["y"], {})],
    "no input": [("Relu", [], ["y"], {})],
    "in a circle": [("Relu", ["y"], ["y"], {})],
    "no axis": [("Concat", ["x", "x"], ["y"], {})],
    "no kernel": [("MaxPool", ["x"], ["y"], {})],
    "pads of one side": [("Conv", ["x", "w"], ["y"], {"pads": [1]})],
    "strides of 0": [("Conv", ["x", "w"], ["y"], {"strides": [0, 0]})],
    "a norm of nothing": [("BatchNormalization", ["x", "w"], ["y"], {})],
    "a clip by a mapping": [("Clip", ["x", "w"], ["y"], {})],
    "a text for a number": [("Elu", ["x"], ["y"], {"alpha": "a"})],
    "no output": [("Relu", ["x"], ["y"], {}), ("Relu", ["x"], [], {})],
}


@pytest.mark.parametrize("case", WRONG_STEMS)
def test_a_stem_that_is_no_network_is_named(case, tmp_path, little_memory):
    with pytest.raises(UserError, match=r"weights .*a\.onnx: "):
        stem(tmp_path / "a.onnx", WRONG_STEMS[case], {"w": np.zeros((4, 3, 3, 3))})


def test_a_film_has_the_frames_that_it_has(tmp_path):
    """An .avi may say of itself that it has 2^31."""
    path = write_video(tmp_path / "a.avi", 3)
    raw, count = bytearray(path.read_bytes()), (2**31 - 1).to_bytes(4, "little")
    for mark, place in ((b"avih", 24), (b"strh", 40)):
        raw[raw.index(mark) + place : raw.index(mark) + place + 4] = count
    path.write_bytes(raw)
    assert len(FolderDataset(tmp_path)) == 4  # and one that tells that it ends early


def test_changed_files_are_read_or_refused():
    """Some of `python tests/fuzz.py --cases 10000`."""
    script = Path(__file__).with_name("fuzz.py")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run([sys.executable, str(script), "--cases", "700"], env=env, capture_output=True, text=True)
    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert len(rows) >= 24 and sum(row["cases"] for row in rows) >= 700 and max(row["peak_mib"] for row in rows) < 2000
