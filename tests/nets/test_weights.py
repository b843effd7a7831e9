"""Weights files: what others call theirs, what is refused, what comes back."""

import argparse
import pickle
import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from rtpe.nets.higher_hrnet import HigherHRNet
from rtpe.nets.weights import load_into, load_weights, read_metadata, save_weights, sha256

SMALL = {"width": 4, "stem": 4, "bottlenecks": 1, "modules": (1, 1, 1), "blocks": 1, "head_blocks": 1}


class Net(nn.Sequential):
    """A convolution and a batch norm whose numbers are all different."""

    def __init__(self, joints=3):
        super().__init__(OrderedDict(conv=nn.Conv2d(2, joints, 1), bn=nn.BatchNorm2d(joints)))
        for position, value in enumerate(self.state_dict().values()):
            value.copy_((torch.arange(value.numel()) + 1).view(value.shape) / (position + 3))


def same(state, other):
    return list(state) == list(other) and all(torch.equal(state[name], other[name]) for name in state)


def prefixed(prefix, state):
    return OrderedDict((prefix + name, value) for name, value in state.items())


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "1.",
        "module.",
        "module.1.",
        "module.module.1.1.",
        "_orig_mod.",
        "model._orig_mod.module.",
        "net.",
        "backbone.",
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "wrapper",
    [
        "bare",
        "state_dict",
        "model",
        "both",
        "nested",
        *("model_state_dict", "net", "ema", "ema_net", "weight", "weights"),
        "averaged",
    ],
)
def test_others_checkpoints_come_without_wrapping(tmp_path, prefix, wrapper):
    state = Net().state_dict()
    named, other = prefixed(prefix, state), prefixed(prefix, Net(joints=5).state_dict())
    wrapped = {
        "bare": named,
        "state_dict": {"epoch": 3, "state_dict": named, "optimizer": {"lr": 0.1}},
        "model": {"model": named},
        "both": {"model": "pose_net", "state_dict": other, "best_state_dict": named},
        "nested": {"state_dict": {"model": named}},
        "averaged": {"ema": other, "epoch": 3, "net": named},
    }
    wrapped |= {key: {key: named} for key in ("model_state_dict", "net", "ema", "ema_net", "weight", "weights")}
    torch.save(wrapped[wrapper], tmp_path / "weights.pth.tar")
    assert same(load_weights(tmp_path / "weights.pth.tar"), state)


def test_a_prefix_that_some_names_lack_is_part_of_the_names(tmp_path):
    for names in (["1.weight", "head.weight"], ["backbone.conv", "head.conv"], ["model.a", "model_.b"]):
        torch.save({name: torch.ones(1) for name in names}, tmp_path / "weights.pt")
        assert list(load_weights(tmp_path / "weights.pt")) == names


def test_suffixes_in_capitals_are_the_same(tmp_path):
    save_weights(tmp_path / "net.safetensors", Net(), {"skeleton": "coco17"})
    (tmp_path / "net.safetensors").rename(tmp_path / "NET.SAFETENSORS")
    assert load_weights(tmp_path / "NET.SAFETENSORS").keys() == Net().state_dict().keys()
    assert read_metadata(tmp_path / "NET.SAFETENSORS") == {"skeleton": "coco17"}


def test_formats_under_each_others_names(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a.pth: is a safetensors file: give it a name that ends in .safetensors"):
        load_weights(tmp_path / "a.pth")
    for old in (True, False):
        torch.save({"a": torch.ones(1)}, tmp_path / "b.safetensors", _use_new_zipfile_serialization=not old)
        for read in (load_weights, read_metadata):
            with pytest.raises(ValueError, match=r"b.safetensors: is a torch file: give it a name that ends in .pth"):
                read(tmp_path / "b.safetensors")


@pytest.mark.parametrize("notes", ["[1]", "3", '{"kind": 1}'], ids=str)
def test_notes_that_are_no_texts_by_name_are_refused(tmp_path, notes):
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors", {"rtpe": notes})
    with pytest.raises(ValueError, match=r"a.safetensors: its metadata 'rtpe' should be texts by name"):
        read_metadata(tmp_path / "a.safetensors")


def test_half_floats_become_float32_and_integers_stay(tmp_path):
    torch.save({"a": torch.tensor([0.1]).half(), "b": torch.tensor([7])}, tmp_path / "weights.pt")
    state = load_weights(tmp_path / "weights.pt")
    assert state["a"].dtype == torch.float32 and state["b"].dtype == torch.int64
    assert state["a"].item() == torch.tensor(0.1).half().item()


def test_a_published_file_loads_into_the_net(tmp_path):
    """Half-precision weights, float32 batch norms, every name behind `1.`, as the 640-pixel weights are distributed."""
    net = HigherHRNet(**SMALL)
    halved = {k: v.half() if v.ndim == 4 or k.startswith("final") else v for k, v in net.state_dict().items()}
    torch.save(prefixed("1.", halved), tmp_path / "pose.pth.tar")
    other = HigherHRNet(**SMALL)
    load_into(other, load_weights(tmp_path / "pose.pth.tar"), tmp_path / "pose.pth.tar")
    assert all(torch.equal(value.float(), halved[name].float()) for name, value in other.state_dict().items())


def test_counters_of_batch_norms_may_be_absent():
    state = {name: value for name, value in Net().state_dict().items() if "num_batches" not in name}
    net = Net()
    nn.init.zeros_(net.conv.weight)
    load_into(net, state, "weights.pt")
    assert torch.equal(net.conv.weight, state["conv.weight"])


def test_weights_of_another_skeleton_are_named():
    net, state = HigherHRNet(**SMALL), HigherHRNet(joints=14, **SMALL).state_dict()
    with pytest.raises(ValueError) as error:
        load_into(net, state, "crowdpose.pth")
    text = str(error.value)
    assert text.startswith("weights crowdpose.pth: not of this HigherHRNet: 5 of another shape (first final_layers.0.")
    assert "expected (34, 4, 1, 1), got (28, 4, 1, 1)" in text
    assert text.endswith(
        "build the net with the joints and sizes these weights were trained with, or choose other weights"
    )
    assert "\n" not in text


def test_missing_and_unexpected_names_are_counted_and_nothing_is_loaded():
    net, state = Net(), prefixed("", Net().state_dict())
    del state["conv.bias"], state["bn.weight"]
    state["extra"] = torch.ones(1)
    state["conv.weight"] = torch.zeros_like(state["conv.weight"])
    with pytest.raises(ValueError, match=r"2 missing \(first conv.bias\), 1 unexpected \(first extra\): build"):
        load_into(net, state, "weights.pt")
    assert same(net.state_dict(), Net().state_dict())


class Bomb:
    def __reduce__(self):
        return (print, ("boom",))


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1234567\n"
ITSELF = {}
ITSELF["model"] = ITSELF


@pytest.mark.parametrize(
    "name, content, reason",
    [
        ("absent.pt", None, "No such file"),
        ("absent.safetensors", None, "No such file"),
        ("empty.pt", b"", "is an empty file: fetch it again"),
        ("torn.safetensors", b"\x80\x00\x00\x00\x00\x00\x00\x00{", "cannot be read"),
        ("text.pth", b"not weights", "is a text: fetch the file itself"),
        ("html.pth", b"\n<!DOCTYPE html>\n<html>", "is an HTML page: download the file itself"),
        ("html.safetensors", b"<html lang='en'>" + bytes(range(256)), "is an HTML page: download the file itself"),
        ("drive.pth.tar", b"\xef\xbb\xbf<!doctype HTML><title>Google Drive - Quota exceeded", "is an HTML page: "),
        ("lfs.pth", LFS, "is a Git LFS pointer: fetch the file itself with `git lfs pull`"),
        ("lfs.safetensors", LFS, "is a Git LFS pointer: fetch the file itself with `git lfs pull`"),
        ("json.pt", b'{"message": "Not Found"}', "is a text: fetch the file itself"),
        ("network.pth", b"\x08\x08\x12\x07pytorch\x1a\x052.1.0" + bytes(99), "is an ONNX network: give it a name that"),
        (
            "model.bin",
            b'<?xml version="1.0"?><net name="a" version="11">',
            "is an XML file: give it a name that ends in",
        ),
        ("keras.pth", b"\x89HDF\r\n\x1a\n" + bytes(99), "is an HDF5 file: convert it to safetensors"),
        ("packed.pth", b"\x1f\x8b\x08" + bytes(99), "is an archive: unpack it"),
        ("tar.pth", bytes(257) + b"ustar" + bytes(300), "is a tar archive: unpack it"),
        ("plain.pth", pickle.dumps({"a": 1}, 4), "is a pickle that torch.save did not write: save named tensors"),
        ("torn.pth", b"PK\3\4" + bytes(400), r"cannot be read \(PytorchStreamReader"),
        ("whole.pth", nn.Conv2d(1, 1, 1), r"is a whole pickled network \(torch.nn.modules.conv.Conv2d\): keep its "),
        (
            "scalar.pth",
            {"a": torch.ones(1), "AP": np.float64(0.3)},
            r"holds more than tensors \(a numpy scalar\): keep",
        ),
        ("array.pth", {"state_dict": {}, "best": np.ones(3)}, r"holds more than tensors \(a numpy array\): keep its "),
        (
            "namespace.pth",
            {"args": argparse.Namespace(lr=1)},
            r"more than tensors \(argparse.Namespace\): keep its wei",
        ),
        ("itself.pth", ITSELF, "expected named tensors"),
        ("nothing.pt", {}, "expected named tensors, bare or under best_state_dict, state_dict, model"),
        ("numbers.pt", {"a": 1}, "expected named tensors"),
        ("bomb.pt", Bomb(), r"holds more than tensors \(print\): keep its weights alone, as named tensors"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_weights_file_is_refused_in_one_line(tmp_path, capsys, name, content, reason):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ValueError, match=reason) as error:
        load_weights(path)
    said = str(error.value)
    assert str(path) in said and not {"\n", "\x1b"} & set(said)
    assert "weights_only" not in said and "arbitrary" not in said and "trust" not in said
    assert "boom" not in capsys.readouterr().out


@pytest.mark.parametrize("channels_last", [False, True])
def test_saved_weights_and_metadata_come_back(tmp_path, channels_last):
    path, net = tmp_path / "net.safetensors", Net()
    if channels_last:
        net = net.to(memory_format=torch.channels_last)
    save_weights(path, net, {"skeleton": "coco17", "numbers": "{}"})
    assert load_weights(path).keys() == net.state_dict().keys()
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in load_weights(path).items())
    assert read_metadata(path) == {"skeleton": "coco17", "numbers": "{}"}
    assert [file.name for file in tmp_path.iterdir()] == ["net.safetensors"]


def test_shared_tensors_are_written_twice_rather_than_refused(tmp_path):
    shared = torch.ones(2)
    save_weights(tmp_path / "net.safetensors", {"a": shared, "b": shared}, {})
    assert same(load_weights(tmp_path / "net.safetensors"), {"a": shared, "b": shared})


def test_half_keeps_the_statistics_exact_and_the_rest_to_eleven_bits(tmp_path):
    path, state = tmp_path / "net.safetensors", Net().state_dict()
    save_weights(path, state, {}, half=True)
    for name, value in load_weights(path).items():
        exact = name.startswith("bn.running") or name.endswith("tracked")
        torch.testing.assert_close(value, state[name], rtol=0 if exact else 2**-11, atol=0)  # half a unit of 11 bits
    assert not torch.equal(load_weights(path)["conv.weight"], state["conv.weight"])


def test_half_refuses_what_it_cannot_hold_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"weight a: 70000 is too large for float16: save without half"):
        save_weights(tmp_path / "net.safetensors", {"a": torch.tensor([-7e4])}, {}, half=True)
    assert not list(tmp_path.iterdir())


def test_equal_weights_have_equal_checksums_in_any_process(tmp_path):
    program = (
        "import sys, torch; from rtpe.nets.weights import save_weights, sha256\n"
        "save_weights(sys.argv[1], {'b': torch.ones(2), 'a': torch.zeros(1)}, dict(z='1', y='2', x='3', w='4'))\n"
        "print(sha256(sys.argv[1]))"
    )
    path = tmp_path / "other.safetensors"
    run = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    save_weights(
        tmp_path / "net.safetensors",
        {"a": torch.zeros(1), "b": torch.ones(2)},
        {"w": "4", "x": "3", "y": "2", "z": "1"},
    )
    assert sha256(tmp_path / "net.safetensors") == run.stdout.strip()


def test_checksum_of_known_bytes(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(ValueError, match=r"weights .*absent: cannot be read \(No such file or directory\)"):
        sha256(tmp_path / "absent")


def test_metadata_of_others_files(tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "weights.pt")
    save_file({"a": torch.ones(1)}, tmp_path / "bare.safetensors")
    save_file({"a": torch.ones(1)}, tmp_path / "told.safetensors", {"format": "pt"})
    assert read_metadata(tmp_path / "weights.pt") == {}
    assert read_metadata(tmp_path / "bare.safetensors") == {}
    assert read_metadata(tmp_path / "told.safetensors") == {"format": "pt"}
    (tmp_path / "torn.safetensors").write_bytes((tmp_path / "told.safetensors").read_bytes()[:20])
    with pytest.raises(ValueError, match=r"weights .*torn.safetensors: cannot be read"):
        read_metadata(tmp_path / "torn.safetensors")
