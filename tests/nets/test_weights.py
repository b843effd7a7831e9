"""Weights files: what others call theirs, what is refused, what comes back."""

import json
import subprocess
import sys
from collections import OrderedDict

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


@pytest.mark.parametrize("prefix", ["", "1.", "module.", "module.1.", "module.module.1.1."], ids=str)
@pytest.mark.parametrize("wrapper", ["bare", "state_dict", "model", "both", "nested"])
def test_others_checkpoints_come_without_wrapping(tmp_path, prefix, wrapper):
    state = Net().state_dict()
    named, other = prefixed(prefix, state), prefixed(prefix, Net(joints=5).state_dict())
    wrapped = {
        "bare": named,
        "state_dict": {"epoch": 3, "state_dict": named, "optimizer": {"lr": 0.1}},
        "model": {"model": named},
        "both": {"model": "pose_net", "state_dict": other, "best_state_dict": named},
        "nested": {"state_dict": {"model": named}},
    }
    torch.save(wrapped[wrapper], tmp_path / "weights.pth.tar")
    assert same(load_weights(tmp_path / "weights.pth.tar"), state)


def test_a_prefix_that_some_names_lack_is_part_of_the_names(tmp_path):
    state = {"1.weight": torch.ones(1), "head.weight": torch.ones(1)}
    torch.save(state, tmp_path / "weights.pt")
    assert list(load_weights(tmp_path / "weights.pt")) == ["1.weight", "head.weight"]


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


@pytest.mark.parametrize(
    "name, content, reason",
    [
        ("absent.pt", None, "No such file"),
        ("absent.safetensors", None, "No such file"),
        ("empty.pt", b"", "cannot be read"),
        ("torn.safetensors", b"\x80\x00\x00\x00\x00\x00\x00\x00{", "cannot be read"),
        ("text.pth", b"not weights", "cannot be read"),
        ("nothing.pt", {}, "expected named tensors, bare or under best_state_dict, state_dict, model"),
        ("numbers.pt", {"a": 1}, "expected named tensors"),
        ("bomb.pt", Bomb(), "cannot be read"),
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
    assert str(path) in str(error.value) and "\n" not in str(error.value)
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


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "net.safetensors"
    save_weights(path, {"a": torch.ones(1)}, {})

    def torn(tensors, file, metadata):
        file.write_bytes(b"half of i")
        raise OSError("disk full")

    monkeypatch.setattr("rtpe.nets.weights.save_file", torn)
    with pytest.raises(OSError, match="disk full"):
        save_weights(path, {"a": torch.zeros(1)}, {})
    assert load_weights(path)["a"].item() == 1
    assert [file.name for file in tmp_path.iterdir()] == ["net.safetensors"]


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
    (tmp_path / "torn.safetensors").write_bytes(json.dumps({}).encode())
    with pytest.raises(ValueError, match=r"weights .*torn.safetensors: cannot be read"):
        read_metadata(tmp_path / "torn.safetensors")
