"""Networks in files: what is lit in an image is found there, colours and channels keep order, faults are named."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from places import PROJECT, REAL
from reference import paf as slow

from rtpe.decode.grouping import GroupingSettings
from rtpe.decode.paf import PafSettings
from rtpe.errors import UserError
from rtpe.geometry import index_to_point
from rtpe.images import read_image
from rtpe.predictors.adapters.checksum import checksum_of
from rtpe.predictors.adapters.onnx import from_onnx, top_down_from_onnx
from rtpe.predictors.top_down import TopDownSettings
from rtpe.skeleton import COCO17
from rtpe.structures import Boxes

onnx = pytest.importorskip("onnx", reason="networks in files need pip install rtpe[export]")
pytest.importorskip("onnxruntime", reason="networks in files need pip install rtpe[export]")

RECIPES = PROJECT / "rtpe/recipes" / "networks"
RECIPE = RECIPES / "hpe0001.yaml"
STRIDE = 8
ASPECTS_HW = [(1, 1), (9, 300), (96, 128), (128, 96), (200, 200), (427, 640), (640, 427), (1000, 1300)]
PLAIN = {
    "name": "colours",
    "skeleton": "tri.json",
    "stride": STRIDE,
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


def save_net(
    outputs,
    shape=("N", 3, "H", "W"),
    stride=STRIDE,
    inputs=("data",),
    path="net.onnx",
    takes_type=0,
    gives_type=0,
    **how,
):
    """Each output, named, is a 1x1 convolution, given as (weights (C, 3), bias (C, 1, 1) or (C, h, w)), of the means of
    the pixels that a cell covers."""
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    nodes = [helper.make_node("AveragePool", [inputs[0]], ["cells"], kernel_shape=[stride] * 2, strides=[stride] * 2)]
    constants = []
    for name, (weights, bias) in outputs.items():
        weights = np.asarray(weights, np.float32)[..., None, None]
        constants.append(numpy_helper.from_array(weights, f"{name}_w"))
        constants.append(numpy_helper.from_array(np.asarray(bias, np.float32), f"{name}_b"))
        nodes.append(helper.make_node("Conv", ["cells", f"{name}_w"], [f"{name}_c"]))
        nodes.append(helper.make_node("Add", [f"{name}_c", f"{name}_b"], [name]))
    float32 = onnx.TensorProto.FLOAT
    takes = [helper.make_tensor_value_info(name, takes_type or float32, shape) for name in inputs]
    gives = [helper.make_tensor_value_info(name, gives_type or float32, None) for name in outputs]
    if takes_type:
        nodes[0].input[0] = "as_float"
        nodes.insert(0, helper.make_node("Cast", [inputs[0]], ["as_float"], to=float32))
    if gives_type:
        for node in nodes[-1:]:
            node.output[0] = "float"
        nodes.append(helper.make_node("Cast", ["float"], list(outputs), to=gives_type))
    graph = helper.make_graph(nodes, "net", takes, gives, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path, **how)
    return path


def colours(output="heat", **net):
    """Heatmap k is the k-th channel of the input."""
    return save_net({output: (np.eye(3), np.zeros((3, 1, 1)))}, **net)


def predictor(described=SIZED, net=None, **settings):
    return from_onnx(net or colours(), describe(described), **{"threads": 1, **settings})


def lit(size_hw, points, sigma):
    """An image with a red, a green and a blue Gaussian."""
    ys, xs = (index_to_point(np.arange(side)) for side in size_hw)
    bumps = [np.exp(-((ys[:, None] - y) ** 2 + (xs - x) ** 2) / (2 * sigma**2)) for x, y in points]
    return np.round(255 * np.stack(bumps, axis=-1)).astype(np.uint8)


@pytest.mark.parametrize("size", [None, (128, 128), 96], ids=["letterbox", "square", "short side"])
@pytest.mark.parametrize("height, width", ASPECTS_HW[2:], ids=str)
def test_a_lit_joint_comes_back_to_its_place(folder, height, width, size):
    """No border is stretched over the image, no half pixel is lost on the way."""
    points = np.array([[0.3, 0.35], [0.62, 0.4], [0.55, 0.7]]) * [width, height]
    made = predictor(size=size)
    scale = made.description.frame((height, width))[1].scale
    image = lit((height, width), points, 1.2 * STRIDE / scale)
    prediction = made([image])[0]
    assert len(prediction.poses) == 1
    # a cell's mean of a Gaussian is nearly a Gaussian; what is left, and the rounding to bytes, stays below .03 cell
    np.testing.assert_allclose(prediction.poses.points[0], points, atol=0.03 * STRIDE / scale)


@pytest.mark.parametrize("rule", [{"input_hw": [96, 128]}, {"short_side": 96}, {"short_side": 96, "max_side": 160}])
@pytest.mark.parametrize("size_hw", ASPECTS_HW, ids=str)
def test_maps_lie_in_the_image(folder, size_hw, rule):
    """The whole image is on the map, centered, with square cells, in an input that the stride divides."""
    made = predictor({**PLAIN, **rule})
    input_hw, to_input = made.description.frame(size_hw)
    maps = made([np.zeros((*size_hw, 3), np.uint8)])[0].maps
    assert maps.size_hw == tuple(side // STRIDE for side in input_hw)
    assert all(side % STRIDE == 0 for side in input_hw)
    corners = maps.to_image.inverse()(np.array([[0.0, 0.0], size_hw[::-1]]))
    assert (corners[0] > -1e-9).all()
    assert (corners[1] < np.array(maps.size_hw[::-1]) + 1e-9).all()
    np.testing.assert_allclose(corners.mean(axis=0), np.array(maps.size_hw[::-1]) / 2)
    assert to_input.scale * maps.to_image.scale == pytest.approx(STRIDE)


@pytest.mark.parametrize("color, want", [("rgb", (0.8, 0.4, 0.2)), ("bgr", (0.2, 0.4, 0.8))])
def test_colours_and_normalisation(folder, color, want):
    image = np.full((96, 128, 3), (204, 102, 51), np.uint8)
    mean, std = [0.1, 0.2, 0.3], [0.5, 1.0, 2.0]
    made = predictor({**SIZED, "color": color, "mean": mean, "std": std})
    heat = made([image])[0].maps.heatmaps
    wanted = np.broadcast_to(((np.array(want) - mean) / std)[:, None, None], heat.shape)
    np.testing.assert_allclose(heat, wanted, rtol=1e-5)  # float32


@pytest.mark.parametrize(
    "net, rule, batch",
    [
        ({}, {"input_hw": [96, 128]}, 3),
        ({}, {"short_side": 96}, 1),
        ({}, {"short_side": 96}, 8),
        ({"shape": (1, 3, 96, 128)}, {"input_hw": [96, 128]}, 8),
    ],
)
def test_batches_change_nothing(folder, rng, net, rule, batch):
    images = [rng.integers(0, 256, (*size_hw, 3), np.uint8) for size_hw in ASPECTS_HW[2:6] * 2]
    described = {**PLAIN, "scale": 1 / 255, **rule}
    together = predictor(described, colours(**net), batch=batch)(images)
    alone = predictor(described)
    for image, prediction in zip(images, together):
        expected = alone([image])[0]
        np.testing.assert_allclose(prediction.maps.heatmaps, expected.maps.heatmaps, rtol=1e-6)
        assert prediction.maps.to_image == expected.maps.to_image
        np.testing.assert_allclose(prediction.poses.points, expected.poses.points, rtol=1e-4)
    assert alone([]) == []


def test_channels_are_chosen_by_number(folder):
    """Heatmaps and tags may share one output, in any order, with others between them."""
    net = save_net({"all": (np.zeros((8, 3)), np.arange(8.0)[:, None, None])})
    heatmaps, tags = {"output": "all", "channels": [5, 0, 2]}, {"output": "all", "channels": [1, 7, 4]}
    maps = predictor({**SIZED, "heatmaps": heatmaps, "tags": tags}, net)([np.zeros((50, 60, 3), np.uint8)])[0].maps
    assert maps.heatmaps[:, 0, 0].tolist() == [5, 0, 2]
    assert maps.tags[:, :, 0, 0].tolist() == [[1, 7, 4]]


def test_the_shipped_description_reads_painted_people(folder, rng):
    """Two people in the channels that the network's makers document come back as 17 joints of the image."""
    channels = {
        (1, 2): (12, 13), (1, 5): (20, 21), (2, 3): (14, 15), (3, 4): (16, 17), (5, 6): (22, 23), (6, 7): (24, 25),
        (1, 8): (0, 1), (8, 9): (2, 3), (9, 10): (4, 5), (1, 11): (6, 7), (11, 12): (8, 9), (12, 13): (10, 11),
        (1, 0): (28, 29), (0, 14): (30, 31), (14, 16): (34, 35), (0, 15): (32, 33), (15, 17): (36, 37),
        (2, 16): (18, 19), (5, 17): (26, 27),
    }  # fmt: skip
    one = np.stack([rng.permutation(18) * 2.0, np.arange(18) * 3.0], axis=1)
    people = one + np.array([[[3, 4]], [[41, 4]]]) + rng.uniform(-0.5, 0.5, (2, 18, 2))
    heat, limbs = slow.paint(people, list(channels), (60, 80))
    fields = np.zeros((38, 60, 80))
    fields[[c for pair in channels.values() for c in pair]] = limbs
    heat = np.concatenate([heat, 1 - heat.max(axis=0, keepdims=True)])  # background
    net = save_net({"Mconv7_stage2_L1": (np.zeros((38, 3)), fields), "Mconv7_stage2_L2": (np.zeros((19, 3)), heat)})
    prediction = from_onnx(net, RECIPE, threads=1)([np.zeros((240, 480, 3), np.uint8)])[0]
    coco = [0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10]
    np.testing.assert_array_equal(prediction.maps.heatmaps, heat[coco])
    assert prediction.maps.skeleton == prediction.poses.skeleton == COCO17
    # 480 x 240 pixels fill 640 x 320 of 640 x 480: 80 rows of border, 8 / (4 / 3) = 6 pixels a cell
    want = (people[:, coco] * STRIDE - [0, 80]) * 0.75
    found = prediction.poses.points[np.argsort(prediction.poses.points[..., 0].mean(axis=1))]
    np.testing.assert_allclose(found, want, atol=0.05 * 6)  # flanks of neighbours move a peak by .05 cell at most


def test_openvino_says_the_same(folder, rng):
    """The same network in both formats, though stored for another size."""
    openvino = pytest.importorskip("openvino", reason="networks in .xml files need pip install rtpe[export]")
    model = openvino.convert_model(colours(shape=(1, 3, 48, 48)))
    openvino.save_model(model, "net.xml", compress_to_fp16=False)
    images = [rng.integers(0, 256, (*size_hw, 3), np.uint8) for size_hw in ASPECTS_HW[2:5]]
    made = predictor(net="net.xml")
    for one, other in zip(made(images), predictor()(images)):
        np.testing.assert_allclose(one.maps.heatmaps, other.maps.heatmaps, atol=1e-4)  # float32
    before = made.describe()["weights_sha256"]
    Path("net.bin").write_bytes(Path("net.bin").read_bytes() + b"\0")
    assert predictor(net="net.xml").describe()["weights_sha256"] != before


def test_a_predictor_says_who_it_is(folder):
    said = predictor().describe()
    assert said == predictor(threads=2, batch=3).describe()
    assert json.loads(json.dumps(said)) == said
    assert (said["name"], len(said["weights_sha256"])) == ("colours", 64)
    assert said["settings"]["input_hw"] == [96, 128]
    others = [{"size": 96}, {"decode": GroupingSettings(threshold=0.3)}, {"described": {**SIZED, "color": "bgr"}}]
    assert all(predictor(**other).describe() != said for other in others)
    doubtful = predictor(described={**SIZED, "min_score": 0.03})
    assert doubtful.min_score == 0.03 and doubtful.describe() == said  # its people are the same
    assert predictor().min_score is None


CENTERD = {
    **SIZED,
    "centers": {"output": "rest", "channels": [0]},
    "offsets": {"output": "rest", "channels": [2, 1, 4, 3, 6, 5]},  # the network has y first
    "shifts": {"output": "rest", "channels": [8, 7, 10, 9, 12, 11]},
}


@pytest.mark.parametrize("origin", ["center", "corner"])
def test_centers_offsets_and_shifts_make_a_person(folder, origin):
    """Red, green and blue light up where the joints are, white light is the center; all of it for one cell each."""
    place = {"center": 0.0, "corner": 0.5}[origin]
    rest = np.zeros((13, 12, 16))
    joints, shift = [(4, 3), (9, 3), (6, 8)], (0.3, -0.2)  # x, y of their cells; all in the same place of their cells
    for joint, (x, y) in enumerate(joints):
        rest[2 + 2 * joint], rest[1 + 2 * joint] = x - 7 + place, y - 5 + place
        rest[8 + 2 * joint], rest[7 + 2 * joint] = shift[0] + place, shift[1] + place
    rest[0] = -1.0
    rest[0, 5, 7] = 0.9
    net = save_net({"heat": (np.eye(3), np.zeros((3, 1, 1))), "rest": (np.zeros((13, 3)), rest)})
    image = np.zeros((96, 128, 3), np.uint8)
    for joint, (x, y) in enumerate(joints):
        image[8 * y : 8 * y + 8, 8 * x : 8 * x + 8, joint] = 255
    made = predictor({**CENTERD, "origin": origin}, net)
    (found,) = made([image])
    want = 8 * (index_to_point(np.array(joints, float)) + shift)
    np.testing.assert_allclose(found.poses.points, want[None], atol=1e-4)
    np.testing.assert_allclose(found.poses.scores, 1)
    unrefined = {name: value for name, value in CENTERD.items() if name != "shifts"}
    (found,) = predictor({**unrefined, "origin": origin}, net)([image])  # by the heat alone: the cell's center
    np.testing.assert_allclose(found.poses.points, 8 * index_to_point(np.array(joints, float))[None], atol=1e-4)


def test_what_nobody_asks_for_goes_unsaid(folder):
    """Caches made before a key was there go on."""
    said = predictor().describe()["settings"].keys()
    assert said.isdisjoint({"centers", "offsets", "shifts", "origin", "multiple", "min_score"})


def test_sides_are_rounded_up_to_what_the_network_asks(folder):
    sized = {**PLAIN, "scale": 1 / 255, "short_side": 64, "max_side": 200, "multiple": 32}
    made = predictor(sized)
    for size_hw, want in (((64, 64), (64, 64)), ((64, 65), (64, 96)), ((40, 70), (64, 128)), ((50, 500), (32, 224))):
        maps = made([np.zeros((*size_hw, 3), np.uint8)])[0].maps
        assert maps.size_hw == (want[0] // STRIDE, want[1] // STRIDE)


def test_outputs_that_nobody_described_are_not_asked_for(folder):
    """Of texts, or of a sequence of maps."""
    model = onnx.load(colours())
    helper, text = onnx.helper, onnx.TensorProto.STRING
    model.graph.node.append(helper.make_node("Constant", [], ["words"], value_strings=["a", "b"]))
    model.graph.node.append(helper.make_node("SequenceConstruct", ["heat", "heat"], ["several"]))
    model.graph.output.append(helper.make_tensor_value_info("words", text, [2]))
    model.graph.output.append(helper.make_tensor_sequence_value_info("several", onnx.TensorProto.FLOAT, None))
    onnx.save(model, "more.onnx")
    image = lit((96, 128), [(30, 30), (60, 40), (90, 60)], 6)
    (one,), (other,) = (predictor(net=name)([image]) for name in ("net.onnx", "more.onnx"))
    np.testing.assert_array_equal(one.maps.heatmaps, other.maps.heatmaps)


def test_an_input_that_nobody_gives_is_refused_when_the_file_is_read(folder):
    net = save_net({"heat": (np.eye(3), np.zeros((3, 1, 1)))}, inputs=("data", "more"))
    with pytest.raises(UserError, match=r"weights net.onnx: also takes more, which nobody gives: export it with one"):
        predictor({**SIZED, "input": "data"}, net)


def test_maps_of_fewer_images_than_were_given_are_refused(folder):
    model = onnx.load(colours())
    model.graph.node[-1].output[0] = "all"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, -1, 12, 16]), "shape"))
    model.graph.node.append(onnx.helper.make_node("Reshape", ["all", "shape"], ["heat"]))
    onnx.save(model, "one.onnx")
    images = [np.zeros((96, 128, 3), np.uint8)] * 3
    with pytest.raises(UserError, match=r"heatmaps: output heat has maps of 1 images for 3: export it"):
        predictor(net="one.onnx")(images)
    assert len(predictor(net="one.onnx", batch=1)(images)) == 3


def test_people_are_read_as_asked(folder):
    assert isinstance(from_onnx_settings(PLAIN | {"input_hw": [96, 128]}), GroupingSettings)
    pafs = {"output": "heat", "limbs": [["left_eye", "right_eye", 3, 4]]}
    assert isinstance(from_onnx_settings(SIZED | {"pafs": pafs}), PafSettings)


def from_onnx_settings(described):
    return predictor(described).decode


@pytest.mark.parametrize(
    "net, message",
    [
        (
            {"shape": (1, 3, 64, 64)},
            "network net.yaml: input_hw: expected \\[64, 64\\], all that the network takes, got ",
        ),
        ({"shape": (4, 3, 96, 128)}, "network net.yaml: input: the network takes only 4 images at once"),
        ({"output": "warm"}, "network net.yaml: heatmaps.output: no heat, choose from warm"),
        ({"inputs": ("left", "right")}, "weights net.onnx: expected one input, got left, right: describe one of them"),
    ],
)
def test_networks_that_are_other_than_described(folder, net, message):
    with pytest.raises(ValueError, match=message):
        predictor(net=colours(**net))


def test_maps_that_are_other_than_described(folder):
    image = np.zeros((96, 128, 3), np.uint8)
    message = "network colours: heatmaps: output heat should hold {} or more channels of {} cells, got {}"
    with pytest.raises(ValueError, match=message.format(3, r"\(12, 16\)", r"\(3, 24, 32\)")):
        predictor(net=colours(stride=4))([image])
    with pytest.raises(ValueError, match=message.format(10, r"\(12, 16\)", r"\(3, 12, 16\)")):
        predictor({**SIZED, "heatmaps": {"output": "heat", "channels": [0, 1, 9]}})([image])
    with pytest.raises(ValueError, match=r"image: expected \(H, W, 3\) uint8 RGB, got \(96, 128\) uint8"):
        predictor()([image[..., 0]])


def test_files_that_cannot_be_read(folder):
    Path("torn.onnx").write_bytes(Path(colours()).read_bytes()[:100])
    Path("text.onnx").write_bytes(b"no network")
    Path("page.xml").write_text("<!doctype html><html>")
    Path("pointer.onnx").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n")
    Path("half.xml").write_text("<net/>")
    Path("half.bin").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n")
    Path("lonely.xml").write_text("<net/>")
    for name, message in [
        ("torn.onnx", "weights torn.onnx: cannot be read"),
        ("gone.onnx", "weights gone.onnx: cannot be read"),
        ("text.onnx", "weights text.onnx: is a text: fetch the file itself"),
        ("page.xml", "weights page.xml: is an HTML page: download the file itself"),
        ("pointer.onnx", "weights pointer.onnx: is a Git LFS pointer: fetch the file itself with `git lfs pull`"),
        ("half.xml", "weights half.bin: is a Git LFS pointer: fetch the file itself with `git lfs pull`"),
        ("lonely.xml", "weights lonely.bin: cannot be read"),
        ("net.pth", "weights net.pth: expected a file .onnx or .xml, got .pth"),
    ]:
        with pytest.raises(ValueError, match=message) as caught:
            predictor(net=name)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"^network gone.yaml: cannot be read"):
        from_onnx("torn.onnx", "gone.yaml")


TYPES = onnx.TensorProto
WHOLE = [TYPES.UINT8, TYPES.UINT16, TYPES.INT16, TYPES.INT32, TYPES.INT64]


def as_openvino(path):
    """The same network as an .xml file."""
    openvino = pytest.importorskip("openvino", reason="networks in .xml files need pip install rtpe[export]")
    openvino.save_model(openvino.convert_model(path), "net.xml", compress_to_fp16=False)
    return "net.xml"


@pytest.mark.parametrize("runtime", [str, as_openvino], ids=["onnxruntime", "openvino"])
@pytest.mark.parametrize("kind", [TYPES.FLOAT16, TYPES.DOUBLE, *WHOLE], ids=lambda kind: TYPES.DataType.Name(kind))
def test_an_input_of_another_type_is_fed_as_it_asks(folder, rng, kind, runtime):
    """Whole numbers are the image's values; float16 rounds to 11 bits."""
    image = rng.integers(0, 256, (96, 128, 3), np.uint8)
    described = {**SIZED, "scale": 1} if kind in WHOLE else SIZED
    (want,) = predictor(described)([image])
    (got,) = predictor(described, runtime(colours(takes_type=kind)))([image])
    assert got.maps.heatmaps.dtype == np.float32
    np.testing.assert_allclose(got.maps.heatmaps, want.maps.heatmaps, rtol=2**-11, atol=1e-4)


@pytest.mark.parametrize("runtime", [str, as_openvino], ids=["onnxruntime", "openvino"])
@pytest.mark.parametrize("kind", [TYPES.FLOAT16, TYPES.DOUBLE])
def test_outputs_of_another_type_become_float32(folder, rng, kind, runtime):
    image = rng.integers(0, 256, (96, 128, 3), np.uint8)
    (want,) = predictor()([image])
    (got,) = predictor(net=runtime(colours(gives_type=kind)))([image])
    assert got.maps.heatmaps.dtype == np.float32
    np.testing.assert_allclose(got.maps.heatmaps, want.maps.heatmaps, rtol=2**-11, atol=1e-4)


@pytest.mark.parametrize(
    "net, message",
    [
        (
            {"takes_type": TYPES.UINT8},
            r"network net.yaml: input: the network takes uint8, values of 0 to 255: leave ou",
        ),
        (
            {"takes_type": TYPES.INT32},
            r"network net.yaml: input: the network takes int32, values of 0 to 255: leave ou",
        ),
        (
            {"takes_type": TYPES.INT8},
            r"weights net.onnx: its input is of type tensor\(int8\): export it with an input ",
        ),
        ({"takes_type": TYPES.BFLOAT16}, r"weights net.onnx: its input is of type tensor\(bfloat16\): export it with"),
        (
            {"takes_type": TYPES.BOOL},
            r"weights net.onnx: its input is of type tensor\(bool\): export it with an input ",
        ),
        ({"gives_type": TYPES.UINT8}, r"network net.yaml: heatmaps.output: heat is of type tensor\(uint8\): export it"),
        ({"shape": (1, 96, 128, 3)}, r"weights net.onnx: its input is \(1, 96, 128, 3\), channels last \(NHWC\): rtpe"),
        ({"shape": ("N", 96, 128, 3)}, r"weights net.onnx: its input is \(any, 96, 128, 3\), channels last \(NHWC\)"),
    ],
    ids=str,
)
def test_inputs_that_are_not_fed_are_refused_on_loading(folder, net, message):
    with pytest.raises(UserError, match=message):
        predictor(net=colours(**net))


def test_channels_last_are_refused_in_an_xml_file_too(folder):
    openvino = pytest.importorskip("openvino", reason="networks in .xml files need pip install rtpe[export]")
    from openvino.preprocess import PrePostProcessor

    made = PrePostProcessor(openvino.convert_model(colours(shape=(1, 3, 96, 128))))
    made.input().tensor().set_layout(openvino.Layout("NHWC"))
    made.input().model().set_layout(openvino.Layout("NCHW"))
    openvino.save_model(made.build(), "last.xml")
    with pytest.raises(
        UserError, match=r"last.xml: its input is \(1, 96, 128, 3\), channels last \(NHWC\): rtpe gives"
    ):
        predictor(net="last.xml")


def test_what_a_runtime_cannot_compute_is_one_line(folder, capfd):
    """A description of one input size, and a graph that takes another without saying so."""
    shape = onnx.numpy_helper.from_array(np.array([1, 3, 64, 64]), "shape")
    float32, helper = TYPES.FLOAT, onnx.helper
    nodes = [helper.make_node("Reshape", ["data", "shape"], ["heat"])]
    takes = [helper.make_tensor_value_info("data", float32, ["N", "C", "H", "W"])]
    graph = helper.make_graph(nodes, "net", takes, [helper.make_tensor_value_info("heat", float32, None)], [shape])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "fixed.onnx")
    made = predictor(net="fixed.onnx")
    with pytest.raises(
        UserError, match=r"weights fixed.onnx: cannot compute an input of 1 x 3 x 96 x 128 \(.*\): check"
    ):
        made([np.zeros((96, 128, 3), np.uint8)])
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_maps_that_are_no_numbers_are_an_error(folder, value):
    """They would be an image without people: NaN is no peak."""
    net = save_net({"heat": (np.eye(3), np.full((3, 1, 1), value))})
    message = (
        r"^colours: heatmaps: expected finite values, got NaN or infinity: check its weights, or export it in float"
    )
    with pytest.raises(UserError, match=message):
        predictor(net=net)([np.zeros((96, 128, 3), np.uint8)])
    with pytest.raises(UserError, match=r"^colours: heatmaps: expected finite values"):
        top_down(net=net)([np.zeros((96, 128, 3), np.uint8)], [BOX])


def test_suffixes_in_capitals_are_the_same(folder, rng):
    image = rng.integers(0, 256, (96, 128, 3), np.uint8)
    (want,) = predictor()([image])
    Path(colours()).rename("NET.ONNX")
    Path(as_openvino("NET.ONNX")).rename("IR.XML")
    Path("net.bin").rename("IR.BIN")
    for name in ("NET.ONNX", "IR.XML"):
        (got,) = predictor(net=name)([image])
        np.testing.assert_allclose(got.maps.heatmaps, want.maps.heatmaps, atol=1e-4)


EXTERNAL = {"save_as_external_data": True, "size_threshold": 0}


@pytest.mark.parametrize("apart", [False, True], ids=["one file", "a file a tensor"])
def test_weights_in_other_files_are_part_of_the_checksum(folder, apart):
    """Two teachers in one cache: the .onnx file stays when its weights are changed."""
    where = {"all_tensors_to_one_file": not apart} | ({} if apart else {"location": "net.onnx.data"})
    net = colours(**EXTERNAL, **where)
    files = sorted(path.name for path in Path().iterdir() if path.name.startswith(("net.onnx.data", "heat_")))
    assert len(files) == (2 if apart else 1)
    told = {checksum_of(Path(net))}
    for name in files:
        raw = Path(name).read_bytes()
        Path(name).write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
        told.add(checksum_of(Path(net)))
    assert len(told) == 1 + len(files)
    assert predictor(net=net).describe()["weights_sha256"] in told


def test_weights_in_other_files_of_a_branch_are_found(folder):
    """A tensor within a graph within a node."""
    helper, value = onnx.helper, onnx.numpy_helper.from_array(np.ones(3, np.float32), "inner")
    inner = helper.make_graph([helper.make_node("Identity", ["inner"], ["y"])], "b", [], [
        helper.make_tensor_value_info("y", TYPES.FLOAT, [3])], [value])  # fmt: skip
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    takes = [helper.make_tensor_value_info("c", TYPES.BOOL, [])]
    graph = helper.make_graph([node], "net", takes, [helper.make_tensor_value_info("y", TYPES.FLOAT, [3])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for attribute in model.graph.node[0].attribute:
        onnx.external_data_helper.set_external_data(attribute.g.initializer[0], "inner.bin")
        attribute.g.initializer[0].ClearField("raw_data")
    Path("net.onnx").write_bytes(model.SerializeToString())
    Path("inner.bin").write_bytes(np.ones(3, np.float32).tobytes())
    before = checksum_of(Path("net.onnx"))
    Path("inner.bin").write_bytes(np.zeros(3, np.float32).tobytes())
    assert checksum_of(Path("net.onnx")) != before


@pytest.mark.parametrize(
    "place, message",
    [
        ("../net.data", "names weights in '../net.data', outside its folder: save it with them beside it"),
        ("/etc/hostname", "names weights in '/etc/hostname', outside its folder"),
        ("sub/../../a", "names weights in 'sub/../../a', outside its folder"),
        ("gone.data", "names weights in 'gone.data', which is missing: put that file beside it"),
    ],
)
def test_weights_that_lie_elsewhere_are_refused(folder, place, message):
    model = onnx.load(colours())
    for tensor in model.graph.initializer:
        onnx.external_data_helper.set_external_data(tensor, place)
        tensor.ClearField("raw_data")
    Path("net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=f"weights net.onnx: {re.escape(message)}"):
        predictor(net="net.onnx")


def test_weights_in_another_file_that_only_stand_for_it(folder):
    net = colours(**EXTERNAL, location="net.onnx.data")
    Path("net.onnx.data").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n")
    with pytest.raises(UserError, match=r"weights net.onnx.data: is a Git LFS pointer: fetch the file itself"):
        predictor(net=net)


def test_a_missing_runtime_says_what_to_install(folder, monkeypatch):
    net = colours()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match=r"net.onnx: onnxruntime is not installed: pip install rtpe\[export\]"):
        predictor(net=net)


# ---- networks that see one person a crop


def top_down(described=None, net=None, **settings):
    settings = TopDownSettings(refine="dark", **settings)
    described = describe({**SIZED, "top_down": True, **(described or {})})
    return top_down_from_onnx(net or colours(), described, settings, {}, {"from": "labels"}, threads=1)


BOX = Boxes(np.array([[30, 40, 90, 60]]), np.ones(1))


@pytest.mark.parametrize("batch", [1, "N"])
def test_a_joint_lit_in_a_crop_comes_back_to_its_place(folder, batch):
    """A network that takes but one crop at once is given one at a time."""
    points = np.array([[55.3, 61.0], [80.2, 55.5], [90.0, 85.1]])
    image = lit((150, 200), points, 1.2 * STRIDE * 1.25 * 90 / 128)
    made = top_down(net=colours(shape=(batch, 3, 96, 128)))
    twice = Boxes(np.repeat(BOX.xywh, 2, axis=0), np.ones(2))
    one, other = made([image, image], [BOX, twice])
    np.testing.assert_allclose(one.poses.points[0], points, atol=0.05 * STRIDE)
    np.testing.assert_allclose(other.maps.heatmaps, one.maps.heatmaps, rtol=1e-5)


def test_joints_and_colours_of_a_crop_are_in_the_order_that_is_asked_for(folder):
    pair = {"name": "pair", "joints": ["right_eye", "left_eye"], "limbs": [[0, 1]], "sigmas": [0.1] * 2}
    Path("pair.json").write_text(json.dumps(pair))
    image = np.full((150, 200, 3), (204, 102, 51), np.uint8)
    made = top_down({"to_skeleton": "pair.json", "color": "bgr"})
    (found,) = made([image], [BOX])
    assert made.skeleton.joints == ("right_eye", "left_eye")
    np.testing.assert_allclose(found.poses.scores[0], [0.8, 0.4], rtol=1e-4)  # blue, green, red: nose, left, right


def test_a_top_down_predictor_says_what_was_described(folder):
    said = top_down().describe()
    assert said["name"] == "colours" and len(said["weights_sha256"]) == 64
    assert said["settings"]["size"] == [96, 128] and said["settings"]["net"]["top_down"] is True
    assert json.loads(json.dumps(said)) == said
    assert top_down({"color": "bgr"}).describe() != said
    assert "top_down" not in predictor().describe()["settings"]


def test_whole_images_and_crops_are_not_confused(folder):
    with pytest.raises(ValueError, match=r"^network net.yaml: sees one person a crop, not whole images: give it boxes"):
        predictor({**SIZED, "top_down": True})
    with pytest.raises(
        ValueError, match=r"^network net.yaml: sees whole images of any size: leave out --teacher.boxes"
    ):
        net = colours()
        settings = TopDownSettings()
        top_down_from_onnx(net, describe({**PLAIN, "short_side": 96}), settings, {}, {})


def real_people(network, count):
    """Weights of a real network, some photographs, and by image their people with most joints labelled."""
    weights = REAL / "teachers" / network
    labels = REAL / "coco_subset" / "annotations" / "person_keypoints_val2017.json"
    if not (weights.is_file() and labels.is_file()):
        pytest.skip(f"no real network and photographs in {REAL}")
    labels = json.loads(labels.read_text())
    people = [each for each in labels["annotations"] if each["num_keypoints"] >= 10 and not each["iscrowd"]]
    ids = sorted({each["image_id"] for each in people})[:count]
    names = {each["id"]: each["file_name"] for each in labels["images"]}
    images = [read_image(REAL / "coco_subset" / "images" / "val2017" / names[each]) for each in ids]
    return weights, images, [[each for each in people if each["image_id"] == image_id] for image_id in ids]


def test_a_real_network_finds_real_people():
    """On some photographs with labelled people: most are found, about where they are labelled."""
    weights, images, people = real_people("hpe0001/human-pose-estimation-0001.onnx", 6)
    found = [prediction.poses for prediction in from_onnx(weights, RECIPE, threads=1, batch=1)(images)]
    similar = [
        max([similarity(each, pose) for pose in poses.points], default=0)
        for poses, own in zip(found, people)
        for each in own
    ]
    assert np.mean(np.array(similar) > 0.5) > 0.8
    assert len(similar) <= sum(map(len, found)) <= 5 * len(similar)


def test_a_real_top_down_network_finds_real_people():
    """Where their boxes are, each in its turn."""
    weights, images, people = real_people("simplepose/simplepose.onnx", 6)
    settings = TopDownSettings(by_index=True, nms_oks=1.0)
    made = top_down_from_onnx(weights, RECIPES / "simplepose.yaml", settings, {}, {}, threads=1)
    boxes = [Boxes(np.array([each["bbox"] for each in own]), np.ones(len(own))) for own in people]
    similar = [
        max(similarity(each, pose) for pose in prediction.poses.points)
        for prediction, own in zip(made(images, boxes), people)
        for each in own
    ]
    assert np.mean(np.array(similar) > 0.5) > 0.8


def similarity(label, points):
    """COCO's object keypoint similarity of one found person to one label."""
    labelled = np.array(label["keypoints"], float).reshape(17, 3)
    squared = ((index_to_point(labelled[:, :2]) - points) ** 2).sum(axis=1)
    alike = np.exp(-squared / (2 * label["area"] * (2 * np.array(COCO17.sigmas)) ** 2))
    return alike[labelled[:, 2] > 0].mean()


@pytest.fixture
def rng():
    return np.random.default_rng(11)
