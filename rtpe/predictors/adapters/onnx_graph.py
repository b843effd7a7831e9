"""The beginning of a network in an .onnx file, up to a tensor inside it, as numbers and weights of a `GraphTrunk`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rtpe.errors import UserError
from rtpe.nets.blocks import IMAGENET_MEAN, IMAGENET_STD
from rtpe.nets.graph import OPERATORS, Graph
from rtpe.predictors.adapters.checksum import checksum_of
from rtpe.predictors.adapters.description import Description

ATTRIBUTES = ("alpha", "axis", "ceil_mode", "dilations", "group", "kernel_shape", "pads", "strides")
SIDE = 64  # of the image that a graph is tried on
HALF_PIXEL = ("half_pixel", "pytorch_half_pixel")


def read_graph(path: str | Path, tensor: str, described: Description) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Cut a network at a tensor.

    Args:
        described: what the network takes.

    Returns:
        the numbers of a `GraphTrunk`, plain values, and the weights of its graph.

    Raises:
        UserError: if the file cannot be read, has no such tensor, or computes it by an operator that rtpe does not
            have; or if the tensor is no map of features.
    """
    checksum_of(Path(path))  # refuses what is no network, or lacks a file
    try:
        graph = _load(path).graph
        sketch = _sketch(graph, _input(graph, described.input), tensor)
        weights = {f"constants.{i}": torch.from_numpy(values) for i, values in enumerate(sketch.kept)}
        trunk = {"nodes": sketch.nodes, "shapes": [list(values.shape) for values in sketch.kept]}
        return {**trunk, "channels": _channels(trunk, weights, tensor), **_colours(described)}, weights
    except UserError as error:
        raise UserError(f"weights {path}: {error}") from error
    except Exception as error:  # a file may have anything anywhere; onnx checks little of it
        reason = str(error) or type(error).__name__
        raise UserError(f"weights {path}: is no network that can be read ({reason}): export it again") from error


@dataclass
class _Sketch:
    """A graph while it is read.

    Attributes:
        constants: of the file, by name.
        readers: the nodes that read each value, by its name.
        numbers: of the values seen so far, by name, as in `Graph`.
        nodes, kept: of the graph; the constants that it needs.
    """

    constants: dict[str, np.ndarray]
    readers: dict[str, list]
    numbers: dict[str, int]
    nodes: list[dict[str, Any]] = field(default_factory=list)
    kept: list[np.ndarray] = field(default_factory=list)

    def number(self, name: str) -> int:
        if name not in self.numbers:
            self.numbers[name] = self.keep(self.constants[name])
        return self.numbers[name]

    def keep(self, values: np.ndarray) -> int:
        """The number of a constant.

        Raises:
            UserError: if it is not finite.
        """
        if not np.isfinite(values).all():
            raise UserError("holds NaN or infinity among its constants: choose other weights")
        self.kept.append(np.array(values, np.float32, order="C"))
        return -len(self.kept)

    def add(self, op: str, *inputs: int, **attributes: Any) -> int:
        self.nodes.append({"op": op, "inputs": list(inputs), **attributes})
        return len(self.nodes)


def _load(path: str | Path):
    try:
        import onnx
    except ImportError as error:
        raise UserError("onnx is not installed: pip install rtpe[export]") from error
    try:
        return onnx.load(path)
    except Exception as error:  # of protobuf, of the operating system
        raise UserError(f"cannot be read ({' '.join(str(error).split())})") from error


def _input(graph, name: str | None) -> str:
    constants = {each.name for each in graph.initializer}
    names = [each.name for each in graph.input if each.name not in constants]  # old files list constants as inputs
    if name in names or (name is None and len(names) == 1):
        return name or names[0]
    raise UserError(f"expected {name or 'one input'}, got {', '.join(names)}: describe one of them as input")


def _sketch(graph, image: str, tensor: str) -> _Sketch:
    """All that the tensor is computed from.

    Raises:
        UserError: if that is impossible.
    """
    from onnx.numpy_helper import to_array

    makers = {node.output[0]: node for node in graph.node if node.op_type != "Constant"}
    constants = {each.name: to_array(each) for each in graph.initializer}
    written_out = [n for n in graph.node if n.op_type == "Constant" and n.attribute[0].name == "value"]
    constants |= {node.output[0]: to_array(node.attribute[0].t) for node in written_out}
    if tensor not in makers:
        raise UserError(f"no tensor {tensor!r}: {_choices(graph, image)}")
    wanted = _ancestors(tensor, makers)
    nodes = [node for node in graph.node if node.op_type != "Constant" and node.output[0] in wanted]
    unknown = sorted({node.op_type for node in nodes} - OPERATORS.keys() - _READERS.keys())
    if unknown:
        raise UserError(f"tensor {tensor} needs the operators {', '.join(unknown)}: choose one before them")
    sketch = _Sketch(constants, _readers(nodes), {image: 0})
    for node in nodes:
        if node.output[0] in sketch.numbers:  # folded into the one before it
            continue
        try:
            sketch.numbers[node.output[0]] = _READERS.get(node.op_type, _plain)(sketch, node, _attributes(node))
        except KeyError as error:
            raise UserError(f"{node.op_type} {node.output[0]}: expected a constant, got {error}") from error
    return sketch


def _ancestors(tensor: str, makers: dict[str, Any]) -> set[str]:
    """The tensors that it is computed from, and itself."""
    found, todo = set(), [tensor]
    while todo:
        name = todo.pop()
        if name in makers and name not in found:
            found.add(name)
            todo += makers[name].input
    return found


def _readers(nodes) -> dict[str, list]:
    readers: dict[str, list] = {}
    for node in nodes:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers


def _attributes(node) -> dict[str, Any]:
    from onnx.helper import get_attribute_value

    values = {each.name: get_attribute_value(each) for each in node.attribute}
    found = {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}
    if found.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise UserError(
            f"{node.op_type} {node.output[0]}: auto_pad {found['auto_pad']} is not known: write out its pads"
        )
    return found


def _plain(sketch: _Sketch, node, attributes: dict[str, Any]) -> int:
    inputs = [sketch.number(name) for name in node.input if name]
    chosen = {name: attributes[name] for name in ATTRIBUTES if name in attributes}
    return sketch.add(node.op_type, *inputs, **chosen)


def _same(sketch: _Sketch, node, attributes: dict[str, Any]) -> int:
    return sketch.number(node.input[0])


def _conv(sketch: _Sketch, node, attributes: dict[str, Any]) -> int:
    """With what is done to each channel next in its own weights: each pass over large maps that is saved counts."""
    if any(name not in sketch.constants for name in node.input[1:] if name):
        return _plain(sketch, node, attributes)
    weight, *given = (sketch.constants[name].astype(np.float64) for name in node.input[1:] if name)
    bias = given[0] if given else np.zeros(len(weight))
    outputs = [node.output[0]]
    while change := _next_change(sketch, outputs[-1], len(weight)):
        output, factor, shift = change
        outputs.append(output)
        weight, bias = weight * factor[:, None, None, None], bias * factor + shift
    chosen = {name: attributes[name] for name in ATTRIBUTES if name in attributes}
    kept = [sketch.keep(values) for values in (weight, bias)]
    number = sketch.add("Conv", sketch.number(node.input[0]), *kept, **chosen)
    sketch.numbers |= dict.fromkeys(outputs, number)
    return number


def _next_change(sketch: _Sketch, name: str, channels: int) -> tuple[str, np.ndarray, np.ndarray] | None:
    """The name of what a norm or an added constant makes of a value that nothing else reads; its factors and shifts."""
    readers = sketch.readers.get(name, [])
    if len(readers) != 1 or len(readers[0].output) != 1:
        return None
    (node,) = readers
    if node.op_type == "BatchNormalization" and node.input[0] == name:
        return node.output[0], *_factor_and_shift(sketch, node, _attributes(node))
    others = [sketch.constants[other] for other in node.input if other in sketch.constants]
    if node.op_type == "Add" and others and others[0].shape in {(channels, 1, 1), (1, channels, 1, 1)}:
        return node.output[0], np.ones(channels), others[0].astype(np.float64).ravel()
    return None


def _batch_norm(sketch: _Sketch, node, attributes: dict[str, Any]) -> int:
    """A factor and a shift for each channel."""
    factor, shift = (values[:, None, None] for values in _factor_and_shift(sketch, node, attributes))
    scaled = sketch.add("Mul", sketch.number(node.input[0]), sketch.keep(factor))
    return sketch.add("Add", scaled, sketch.keep(shift))


def _factor_and_shift(sketch: _Sketch, node, attributes: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """What a norm does to each channel, (C,) both."""
    scale, shift, mean, variance = (sketch.constants[name].astype(np.float64) for name in node.input[1:])
    factor = scale / np.sqrt(variance + attributes.get("epsilon", 1e-5))
    return factor, shift - mean * factor


def _clip(sketch: _Sketch, node, attributes: dict[str, Any]) -> int:
    """Bounds are attributes in old files, constants in new ones."""
    bounds = {name: attributes[name] for name in ("min", "max") if name in attributes}
    bounds |= {side: float(sketch.constants[name]) for side, name in zip(("min", "max"), node.input[1:]) if name}
    return sketch.add("Clip", sketch.number(node.input[0]), **bounds) if bounds else sketch.number(node.input[0])


def _resize(sketch: _Sketch, node, attributes: dict[str, Any]) -> int:
    """A resize by a pure factor, the one kind that rtpe has."""
    scales = sketch.constants.get(node.input[2]) if len(node.input) > 2 else None
    mode, cells = attributes.get("mode", "nearest"), attributes.get("coordinate_transformation_mode", "half_pixel")
    rounded = attributes.get("nearest_mode", "round_prefer_floor")
    if attributes.get("antialias"):
        raise UserError(f"Resize {node.output[0]}: smooths before it takes cells: choose a tensor before it")
    if scales is None or len(scales) != 4:
        raise UserError(f"Resize {node.output[0]}: expected four constant scales: choose a tensor before it")
    whole = all(scale == int(scale) for scale in scales)
    repeats = whole and ((cells in HALF_PIXEL and "round" in rounded) or (cells, rounded) == ("asymmetric", "floor"))
    if not (repeats if mode == "nearest" else mode == "linear" and cells in HALF_PIXEL):
        raise UserError(f"Resize {node.output[0]}: {mode} {cells} is no pure factor: choose a tensor before it")
    return sketch.add("Resize", sketch.number(node.input[0]), mode=mode, scales=[float(scale) for scale in scales])


_READERS: dict[str, Callable[[_Sketch, Any, dict[str, Any]], int]] = {
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Conv": _conv,
    "Dropout": _same,
    "Identity": _same,
    "Resize": _resize,
}


def _channels(trunk: dict[str, Any], weights: dict[str, Tensor], tensor: str) -> int:
    """How many features it gives, once it has been tried."""
    graph = Graph(**trunk)
    graph.load_state_dict(weights)
    try:
        graph.refuse_large((SIDE, SIDE))
        with torch.inference_mode():
            shape = tuple(graph(torch.zeros(1, 3, SIDE, SIDE)).shape)
    except RuntimeError as error:
        raise UserError(f"tensor {tensor}: cannot be computed ({str(error).splitlines()[0]})") from error
    if len(shape) != 4 or shape[2] != shape[3] or shape[3] == 1 or SIDE % shape[3]:
        raise UserError(f"tensor {tensor}: expected maps with a stride, got {shape} from {SIDE} x {SIDE} pixels")
    return shape[1]


def _choices(graph, image: str) -> str:
    """The last tensor of each stride."""
    import onnx

    for each in graph.input:
        if each.name == image:
            for place, size in enumerate((1, 3, SIDE, SIDE)):
                each.type.tensor_type.shape.dim[place].dim_value = size
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    last = {}
    for each in onnx.shape_inference.infer_shapes(model).graph.value_info:
        shape = [dim.dim_value for dim in each.type.tensor_type.shape.dim]
        if len(shape) == 4 and shape[3] and not SIDE % shape[3]:
            last[SIDE // shape[3]] = f"{each.name} (stride {SIDE // shape[3]}, {shape[1]} channels)"
    return f"choose another, the last of each stride are {', '.join(last.values()) or 'unknown'}"


def _colours(described: Description) -> dict[str, list]:
    """From normalised images to what the network takes, (value * scale - mean) / std, in its order."""
    order = [2, 1, 0] if described.color == "bgr" else [0, 1, 2]
    whole = 255 * described.scale
    gain = [whole * IMAGENET_STD[c] / std for c, std in zip(order, described.std)]
    offset = [(whole * IMAGENET_MEAN[c] - described.mean[i]) / described.std[i] for i, c in enumerate(order)]
    return {"order": order, "gain": gain, "offset": offset}
