"""Networks cut at an inner tensor: the same features as onnxruntime gives, whatever colours and stride they have."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from places import PROJECT, REAL

from rtpe.decode.settings import DecodeSettings
from rtpe.geometry import index_to_point
from rtpe.nets.blocks import normalise
from rtpe.nets.graph import OPERATORS, Graph
from rtpe.nets.metadata import save_net
from rtpe.nets.stems import GraphTrunk
from rtpe.predictors.adapters.description import Channels, Description, read_description
from rtpe.predictors.adapters.onnx_graph import _READERS, read_graph
from rtpe.predictors.load import load_predictor
from rtpe.predictors.settings import TeacherSettings
from rtpe.skeleton import COCO17
from rtpe.training.net import trainable_net
from rtpe.training.settings import NetSettings

onnx = pytest.importorskip("onnx", reason="networks in files need pip install rtpe[export]")
onnxruntime = pytest.importorskip("onnxruntime", reason="networks in files need pip install rtpe[export]")

RECIPE = PROJECT / "rtpe/recipes" / "networks" / "hpe0001.yaml"
TOLERANCE = 1e-4  # float32, added up in another order
RNG = np.random.default_rng(3)


def described(**changes):
    channels = Channels("end", tuple(range(17)))
    return Description("tiny", COCO17, 8, channels, **{"input_hw": (64, 64), "scale": 1 / 255, **changes})


def values(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def write(nodes, constants=(), opset=17, path="net.onnx"):
    """A network of these nodes, (operator, inputs, output, attributes), between a convolution and an end."""
    helper = onnx.helper
    first = ("Conv", ["image", "x_w"], "x", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]})
    nodes = [first, *nodes, ("Relu", [nodes[-1][2] if nodes else "x"], "end", {})]
    made = [helper.make_node(op, inputs, [output], **attributes) for op, inputs, output, attributes in nodes]
    constants = {"x_w": np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32), **dict(constants)}
    kept = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    ends = [
        helper.make_tensor_value_info("image", 1, ("N", 3, "H", "W")),
        helper.make_tensor_value_info("end", 1, None),
    ]
    graph = helper.make_graph(made, "net", ends[:1], ends[1:], kept)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


def as_onnxruntime_says(path, tensor, inputs):
    """The value of an inner tensor."""
    model = onnx.load(path)
    model.graph.output.append(onnx.helper.make_tensor_value_info(tensor, 1, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run([tensor], {session.get_inputs()[0].name: inputs})[0]


def trunk(path, tensor, network):
    """As a student has it: its numbers went through a file."""
    numbers, weights = read_graph(path, tensor, network)
    made = GraphTrunk(**json.loads(json.dumps(numbers))).eval()
    made.trunk.load_state_dict(weights)
    return made


def photograph(size_hw=(64, 96)):
    return np.random.default_rng(1).integers(0, 256, (2, 3, *size_hw), np.uint8)


def graph_of(made, image):
    with torch.inference_mode():
        return made.trunk(normalise(torch.from_numpy(image))[:, made.order] * made.gain + made.offset).numpy()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


W = ("w", values(6, 4, 3, 3))
CASES = {
    "nothing": ([], []),
    "Conv, a bias": ([("Conv", ["x", "w", "b"], "y", {"pads": [1] * 4})], [W, ("b", values(6))]),
    "Conv, uneven pads": ([("Conv", ["x", "w"], "y", {"pads": [0, 1, 2, 1], "strides": [1, 1]})], [W]),
    "Conv, dilated": ([("Conv", ["x", "w"], "y", {"pads": [2] * 4, "dilations": [2, 2]})], [W]),
    "Conv, groups": (
        [("Conv", ["x", "w"], "y", {"pads": [1] * 4, "group": 4, "strides": [2, 2]})],
        [("w", values(8, 1, 3, 3))],
    ),
    "BatchNormalization": (
        [("BatchNormalization", ["x", "s", "b", "m", "v"], "y", {"epsilon": 1e-3})],
        [("s", values(4)), ("b", values(4)), ("m", values(4)), ("v", np.abs(values(4)))],
    ),
    "Add to both sides": ([("Add", ["c", "x"], "z", {}), ("Add", ["z", "x"], "y", {})], [("c", values(1, 4, 1, 1))]),
    "Sub": ([("Sub", ["c", "x"], "y", {})], [("c", np.float32(2.5))]),
    "Mul": ([("Mul", ["x", "x"], "y", {})], []),
    "Div": ([("Div", ["x", "c"], "y", {})], [("c", np.abs(values(4, 1, 1)) + 1)]),
    "Relu": ([("Relu", ["x"], "y", {})], []),
    "LeakyRelu": ([("LeakyRelu", ["x"], "y", {"alpha": 0.2})], []),
    "PRelu": ([("PRelu", ["x", "c"], "y", {})], [("c", values(4, 1, 1))]),
    "Elu": ([("Elu", ["x"], "y", {"alpha": 0.7})], []),
    "Clip": ([("Clip", ["x", "low", "high"], "y", {})], [("low", np.float32(-0.5)), ("high", np.float32(0.7))]),
    "Clip, one bound": ([("Clip", ["x", "", "high"], "y", {})], [("high", np.float32(0.7))]),
    "Sigmoid": ([("Sigmoid", ["x"], "y", {})], []),
    "Concat": ([("Relu", ["x"], "z", {}), ("Concat", ["z", "x"], "y", {"axis": 1})], []),
    "MaxPool": ([("MaxPool", ["x"], "y", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4})], []),
    "MaxPool, uneven pads": (
        [("MaxPool", ["x"], "y", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]})],
        [],
    ),
    "GlobalAveragePool": ([("GlobalAveragePool", ["x"], "z", {}), ("Mul", ["z", "x"], "y", {})], []),
    "Identity": ([("Identity", ["x"], "z", {}), ("Identity", ["z"], "y", {})], []),
    "Constant": (
        [("Constant", [], "c", {"value": onnx.numpy_helper.from_array(values(4, 1, 1))}), ("Mul", ["x", "c"], "y", {})],
        [],
    ),
    "Resize, nearest": (
        [("Resize", ["x", "", "f"], "y", {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"})],
        [("f", np.float32([1, 1, 2, 2]))],
    ),
    "Resize, nearest by halves": (
        [("MaxPool", ["x"], "z", {"kernel_shape": [2, 2], "strides": [2, 2]}), ("Resize", ["z", "", "f"], "y", {})],
        [("f", np.float32([1, 1, 4, 4]))],
    ),
    "Resize, linear": ([("Resize", ["x", "", "f"], "y", {"mode": "linear"})], [("f", np.float32([1, 1, 2, 2]))]),
    "a branch that is not needed": (
        [("Gelu", ["x"], "unknown", {}), ("Relu", ["x"], "y", {})],
        [],
    ),
}


NORM = [("s", values(6)), ("b", values(6)), ("m", values(6)), ("v", np.abs(values(6)))]
CONV, ADD, RELU = ("Conv", ["x", "w"], "z", {"pads": [1] * 4}), ("Add", ["c", "z"], "y", {}), ("Relu", ["y"], "r", {})
FOLDED = {  # name: nodes behind the first convolution, the tensor asked for, operators that are left
    "a bias": ([CONV, ADD, RELU], "r", ["Conv", "Conv", "Relu"]),
    "a norm": ([CONV, ("BatchNormalization", ["z", "s", "b", "m", "v"], "y", {})], "y", ["Conv", "Conv"]),
    "a norm, then a bias": (
        [CONV, ("BatchNormalization", ["z", "s", "b", "m", "v"], "n", {}), ("Add", ["n", "c"], "y", {})],
        "y",
        ["Conv", "Conv"],
    ),
    "read twice": ([CONV, ADD, ("Mul", ["y", "z"], "r", {})], "r", ["Conv", "Conv", "Add", "Mul"]),
    "asked for": ([CONV, ADD, RELU], "z", ["Conv", "Conv"]),
    "one number for all": ([CONV, ("Add", ["z", "one"], "y", {})], "y", ["Conv", "Conv", "Add"]),
}


@pytest.mark.parametrize("case", FOLDED)
def test_what_follows_a_convolution_becomes_its_weights(case):
    """Fewer passes over the maps, the same features: wherever nobody else reads what lies between."""
    nodes, tensor, want = FOLDED[case]
    path = write(nodes, [W, ("c", values(1, 6, 1, 1)), ("one", np.float32(2.0)), *NORM])
    made, image = trunk(path, tensor, described()), photograph()
    assert [node["op"] for node in made.trunk.nodes] == want
    features = as_onnxruntime_says(path, tensor, image.astype(np.float32) / 255)
    np.testing.assert_allclose(graph_of(made, image), features, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("case", CASES)
def test_operators_do_as_in_onnxruntime(case):
    nodes, constants = CASES[case]
    path = write(nodes, constants, opset=20)
    image, tensor = photograph(), "y" if nodes else "x"
    want = as_onnxruntime_says(path, tensor, image.astype(np.float32) / 255)
    np.testing.assert_allclose(graph_of(trunk(path, tensor, described()), image), want, atol=TOLERANCE, rtol=TOLERANCE)


def test_old_files_keep_bounds_in_attributes():
    path = write([("Clip", ["x"], "y", {"min": 0.0, "max": 0.6})], opset=8)
    image = photograph()
    want = as_onnxruntime_says(path, "y", image.astype(np.float32) / 255)
    np.testing.assert_allclose(graph_of(trunk(path, "y", described()), image), want, atol=TOLERANCE)


@pytest.mark.parametrize(
    "network",
    [
        {"scale": 1.0},
        {"color": "bgr"},
        {"color": "bgr", "scale": 1.0, "mean": (123.7, 116.3, 103.5), "std": (58.4, 57.1, 57.4)},
        {"mean": (0.5, 0.4, 0.3), "std": (0.1, 0.2, 0.4)},
    ],
    ids=str,
)
def test_it_sees_the_colours_that_are_described(network):
    """The student normalises in its own way, the network wants another: both see one and the same photograph."""
    network, image = described(**network), photograph()
    wanted = image[:, ::-1] if network.color == "bgr" else image
    mean, std = (np.float32(v)[:, None, None] for v in (network.mean, network.std))
    path = write([])
    want = as_onnxruntime_says(path, "x", (wanted * np.float32(network.scale) - mean) / std)
    np.testing.assert_allclose(graph_of(trunk(path, "x", network), image), want, rtol=TOLERANCE, atol=TOLERANCE * 255)


@pytest.mark.parametrize("stride", [1, 2, 4, 8, 16])
def test_features_of_any_stride_come_to_stride_4(stride):
    """Features that tell where in the image their cell's center is: away from the border they still do."""
    made = trunk(write([]), "x", described())
    centers = torch.from_numpy(index_to_point(np.arange(128 // stride)) * stride).float()
    del made.trunk
    made.trunk = lambda images: centers.expand(2, 1, 64 // stride, -1)
    found = made(normalise(torch.from_numpy(photograph((64, 128)))))
    assert found.shape == (2, 1, 16, 32)
    want = torch.from_numpy(index_to_point(np.arange(32)) * 4).float()
    torch.testing.assert_close(found[0, 0, 0, 2:-2], want[2:-2])


@pytest.mark.parametrize(
    "tensor, nodes, message",
    [
        ("z", [], r"net.onnx: no tensor 'z': choose another, the last of each stride are x \(stride 2, 4 channels\)"),
        (
            "y",
            [("Gelu", ["x"], "z", {}), ("Erf", ["z"], "y", {})],
            "tensor y needs the operators Erf, Gelu: choose one",
        ),
        ("y", [("Flatten", ["x"], "y", {})], "tensor y needs the operators Flatten"),
        ("y", [("GlobalAveragePool", ["x"], "y", {})], r"tensor y: expected maps with a stride, got \(1, 4, 1, 1\)"),
        ("y", [("Add", ["x", "five"], "y", {})], "tensor y: cannot be computed"),
        ("y", [("Conv", ["x", "x_w"], "y", {"auto_pad": "SAME_UPPER"})], "Conv y: auto_pad SAME_UPPER is not known"),
        ("y", [("Resize", ["x", "", "", "s"], "y", {})], "Resize y: expected four constant scales"),
        (
            "y",
            [("Resize", ["x", "", "f"], "y", {"mode": "linear", "coordinate_transformation_mode": "align_corners"})],
            "Resize y: linear align_corners is no pure factor",
        ),
        (
            "y",
            [("Resize", ["x", "", "f"], "y", {"mode": "linear", "antialias": 1})],
            "Resize y: smooths before",
        ),
        ("y", [("Mul", ["x", "nan"], "y", {})], "holds NaN or infinity among its constants"),
    ],
)
def test_what_it_cannot_read_it_says(tensor, nodes, message):
    constants = [
        ("f", np.float32([1, 1, 2, 2])),
        ("s", np.int64([1, 4, 8, 8])),
        ("five", values(5, 1, 1)),
        ("nan", np.full((1, 1, 1), np.nan, np.float32)),
    ]
    path = write(nodes, constants, opset=20)
    with pytest.raises(ValueError, match=message) as caught:
        read_graph(path, tensor, described())
    assert "\n" not in str(caught.value)


def test_a_file_that_is_none():
    Path("torn.onnx").write_bytes(b"no network")
    for name in ("torn.onnx", "gone.onnx"):
        with pytest.raises(ValueError, match=f"^weights {name}: (cannot be read|is a text)"):
            read_graph(name, "x", described())
    with pytest.raises(ValueError, match=r"expected eyes, got image: describe one of them as input"):
        read_graph(write([]), "x", described(input="eyes"))


def test_a_graph_of_unknown_operators_is_none():
    """The nodes of a student's file are data; nothing but the operators that are listed can run."""
    with pytest.raises(ValueError, match=r"^graph: operators Erf, eval: expected some of Add, Clip,"):
        Graph([{"op": "eval", "inputs": [0]}, {"op": "Erf", "inputs": [1]}], [])


def test_the_documents_list_the_operators():
    page = (PROJECT / "docs" / "phases.md").read_text()
    listed = next(line for line in page.splitlines() if line.startswith("| operators |")).split("|")[2].split(";")[0]
    assert {name.strip() for name in listed.split(",")} == OPERATORS.keys() | _READERS.keys()


def test_features_that_nobody_needs_any_more_are_let_go():
    """Of a chain no more than two are alive; a shortcut stays until it is used."""
    chain = [{"op": "Relu", "inputs": [n]} for n in range(3)] + [{"op": "Add", "inputs": [1, 3]}]
    assert [sorted(done) for done in Graph(chain, [])._done] == [[0], [], [2], [1, 3]]


def test_a_real_network_gives_its_features():
    """The middle of a Lightweight OpenPose, stride 8, whose channels are blue, green, red."""
    weights = REAL / "teachers" / "hpe0001" / "human-pose-estimation-0001.onnx"
    if not weights.is_file():
        pytest.skip(f"no real network in {REAL}")
    image, tensor = photograph((64, 96)), "t57"
    want = as_onnxruntime_says(weights, tensor, image[:, ::-1].astype(np.float32))
    made = trunk(weights, tensor, read_description(RECIPE))
    np.testing.assert_allclose(graph_of(made, image), want, rtol=TOLERANCE, atol=TOLERANCE)
    assert made(normalise(torch.from_numpy(image))).shape == (2, made.channels, 16, 24)


TINY = {
    "name": "tiny",
    "skeleton": "coco17",
    "stride": 2,
    "input_hw": [64, 64],
    "color": "bgr",
    "heatmaps": {"output": "end", "channels": list(range(17))},
}


def asked(**changes):
    """A student that stands on the middle of net.onnx."""
    write([("MaxPool", ["x"], "y", {"kernel_shape": [4, 4], "strides": [4, 4]})])
    Path("net.yaml").write_text(yaml.safe_dump(TINY))
    stem = {"stem": "net.onnx", "stem_tensor": "y", "stem_network": "net.yaml"}
    return NetSettings(**{"numbers": {"width": 32, "stages": 1}, **stem, **changes})


@pytest.mark.parametrize("half", [False, True])
def test_a_student_ships_what_it_stands_on(half):
    """Its file needs neither the network nor the library that read it."""
    torch.manual_seed(0)
    net = trainable_net(asked(), 17).eval()
    save_net(Path("student.safetensors"), net, "student", COCO17, 64, {}, half)
    Path("net.onnx").unlink()
    made = load_predictor(TeacherSettings(weights="student.safetensors"), DecodeSettings(), COCO17, "cpu")
    image = photograph((64, 64))
    want = net.maps(normalise(torch.from_numpy(image)))["heatmaps"].detach().numpy()
    heatmaps = [prediction.maps.heatmaps for prediction in made(list(image.transpose(0, 2, 3, 1)))]
    # float16 keeps 11 bits of each weight
    np.testing.assert_allclose(heatmaps, want, atol=(0.002 if half else 1e-6) * np.abs(want).max())


def test_a_student_learns_on_what_it_stands_on():
    """What is frozen stays, in bf16 too, and everything else has a gradient."""
    net = trainable_net(asked(), 17)
    before = {name: value.clone() for name, value in net.stem.state_dict().items()}
    with torch.autocast("cpu", torch.bfloat16):
        out = net.train()(normalise(torch.from_numpy(photograph())))
    levels = [level for each in out.maps.values() for level in each]
    sum((level.float() - 1).square().mean() for level in levels).backward()
    assert all(torch.equal(value, before[name]) for name, value in net.stem.state_dict().items())
    learning = {
        name for name, parameter in net.named_parameters() if parameter.grad is not None and parameter.grad.any()
    }
    assert learning == {name for name, _ in net.named_parameters() if not name.startswith("stem.")}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"stem_network": ""}, "weights net.onnx: pass --net.stem_network FILE.yaml"),
        ({"stem_tensor": ""}, "weights net.onnx: no tensor '': choose another, the last of each stride are x"),
        ({"stem": "net.xml"}, "weights net.xml: a stem comes from an .onnx file or a HigherHRNet's weights"),
        (
            {"kind": "higher_hrnet", "numbers": {}},
            "net.stem: only a student has such a stem, not a higher_hrnet: leave it out",
        ),
    ],
)
def test_a_stem_that_is_asked_for_wrongly(changes, message):
    with pytest.raises(ValueError, match=message):
        trainable_net(asked(**changes), 17)
