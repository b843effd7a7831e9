"""What a network in an .onnx file costs, from the shapes in it: parameters and multiply-accumulates."""

from __future__ import annotations

import math
from pathlib import Path

FLOATS = (1, 10, 11, 16)  # float32, float16, float64 and bfloat16, as ONNX numbers them
PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
NOT_LEARNT = {"BatchNormalization": 3, "Resize": 1, "Upsample": 1}  # the inputs from this place on: statistics, sizes


def onnx_cost(path: str | Path, input_hw: tuple[int, int]) -> tuple[int, float] | None:
    """Parameters, and billions of multiply-accumulates of convolutions and products for one image of that size.

    None where it cannot be told: the package onnx is not installed, the file is none, has several inputs, is quantised,
    or leaves a shape open.
    """
    try:
        import onnx

        model = onnx.load(path)
        graph = model.graph
        tensors = {each.name: each for each in graph.initializer}
        tensors |= {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
        constants = {name: tuple(tensor.dims) for name, tensor in tensors.items()}
        (image,) = [each for each in graph.input if each.name not in constants]
        for place, size in enumerate((1, 3, *input_hw)):
            image.type.tensor_type.shape.dim[place].dim_value = size
        del graph.value_info[:]  # shapes that were stored for another size, as those of the outputs may have been
        for each in graph.output:
            each.type.tensor_type.ClearField("shape")
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
        shapes = constants | {each.name: _shape(each) for each in (*inferred.value_info, *inferred.input)}
        shapes |= {each.name: _shape(each) for each in inferred.output if each.name not in shapes}
        products = [node for node in graph.node if node.op_type in PRODUCTS]
        macs = sum(_macs(node, shapes) for node in products)
        others = {name for node in graph.node for name in node.input[NOT_LEARNT.get(node.op_type, 99) :]}
        floats = [name for name, tensor in tensors.items() if tensor.data_type in FLOATS and name not in others]
        parameters = sum(math.prod(constants[name]) for name in floats if math.prod(constants[name]) > 1)
    except Exception:  # a figure beside a score: the score must not fail for it, whatever the file is
        return None
    return (parameters, macs / 1e9) if macs > 0 else None


def _shape(value) -> tuple[int, ...]:
    return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)


def _macs(node, shapes: dict[str, tuple[int, ...]]) -> int:
    """Multiply-accumulates of one node.

    Raises:
        KeyError: if a shape is not known.
    """
    first, second, out = shapes[node.input[0]], shapes[node.input[1]], shapes[node.output[0]]
    if not all(first) or not all(out):
        raise KeyError(node.output[0])
    if node.op_type == "Conv":
        return math.prod(out) * math.prod(second[1:])
    if node.op_type == "ConvTranspose":
        return math.prod(first) * math.prod(second[1:])
    turned = any(each.name == "transA" and each.i for each in node.attribute)
    return math.prod(out) * (first[-2] if turned else first[-1])
