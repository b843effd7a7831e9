"""A network that was written down as nodes and constants, as in ONNX files (https://onnx.ai/onnx/operators)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtpe.errors import UserError

Node = Mapping[str, Any]
LARGEST = 1 << 26  # values, 256 MiB, of a small image: large networks have less than a hundredth


class Graph(nn.Module):
    """Frozen layers in the order in which they are computed.

    Args:
        nodes: plain values: `op`, one of OPERATORS; `inputs`, the numbers of its inputs: 0 is the graph's input, n the
            output of the n-th node, -n the n-th constant; and the operator's attributes, as ONNX names them. The last
            node's output is the graph's.
        shapes: of the constants.

    Shape: (B, C, H, W) -> whatever the last node gives.

    Raises:
        UserError: for an unknown operator, by name.
    """

    def __init__(self, nodes: Sequence[Node], shapes: Sequence[Sequence[int]]):
        super().__init__()
        unknown = sorted({node["op"] for node in nodes} - OPERATORS.keys())
        if unknown:
            raise UserError(f"graph: operators {', '.join(unknown)}: expected some of {', '.join(sorted(OPERATORS))}")
        self.nodes = nodes
        self.constants = nn.ParameterList(torch.zeros(tuple(shape)) for shape in shapes)
        self.requires_grad_(False)
        last_use = {number: step for step, node in enumerate(nodes) for number in node["inputs"]}
        self._done = [[n for n in set(node["inputs"]) if n >= 0 and last_use[n] == i] for i, node in enumerate(nodes)]

    def forward(self, x: Tensor) -> Tensor:
        for computed in self._values(x, list(self.constants)):
            x = computed
        return x

    def refuse_large(self, size_hw: tuple[int, int] = (64, 64)) -> None:
        """Look, without computing it, how large its values become for one image of that size.

        Raises:
            UserError: if they become far larger than those of any network.
        """
        constants = [torch.empty_like(each, device="meta") for each in self.constants]
        values = self._values(torch.empty(1, 3, *size_hw, device="meta"), constants)
        for node, value in zip(self.nodes, values):
            if value.numel() > LARGEST:
                raise UserError(f"graph: {node['op']} gives {tuple(value.shape)} of {size_hw[0]} x {size_hw[1]} pixels")

    def _values(self, x: Tensor, constants: Sequence[Tensor]) -> Iterator[Tensor]:
        """The outputs of the nodes in turn."""
        values = {0: x}
        for number, (node, done) in enumerate(zip(self.nodes, self._done), start=1):
            inputs = [values[n] if n >= 0 else constants[-n - 1] for n in node["inputs"]]
            values[number] = OPERATORS[node["op"]](node, *inputs)
            yield values[number]
            for n in done:  # a deep network's features would else all stay in memory
                del values[n]


def _conv(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    x, padding = _padded(node, x, 0.0)
    return F.conv2d(x, weight, bias, node.get("strides", 1), padding, node.get("dilations", 1), node.get("group", 1))


def _max_pool(node: Node, x: Tensor) -> Tensor:
    x, padding = _padded(node, x, float("-inf"))
    strides, dilations = node.get("strides", 1), node.get("dilations", 1)
    return F.max_pool2d(x, node["kernel_shape"], strides, padding, dilations, bool(node.get("ceil_mode", 0)))


def _padded(node: Node, x: Tensor, value: float) -> tuple[Tensor, Sequence[int]]:
    """The input, and what is left to pad: torch's layers pad opposite sides alike, ONNX need not."""
    top, left, bottom, right = node.get("pads", (0, 0, 0, 0))
    if (top, left) == (bottom, right):
        return x, (top, left)
    return F.pad(x, (left, right, top, bottom), value=value), (0, 0)


def _prelu(node: Node, x: Tensor, slope: Tensor) -> Tensor:
    return x.clamp(min=0) + slope * x.clamp(max=0)


def _resize(node: Node, x: Tensor) -> Tensor:
    """By a pure factor: nearest, or linear without aligned corners; no other kind is let into a graph."""
    factors = tuple(node["scales"][2:])
    if node["mode"] == "nearest":
        return F.interpolate(x, scale_factor=factors, mode="nearest")
    return F.interpolate(x, scale_factor=factors, mode="bilinear", align_corners=False)


OPERATORS = {
    "Add": lambda node, a, b: a + b,
    "Clip": lambda node, x: x.clamp(node.get("min"), node.get("max")),
    "Concat": lambda node, *parts: torch.cat(parts, node["axis"]),
    "Conv": _conv,
    "Div": lambda node, a, b: a / b,
    "Elu": lambda node, x: F.elu(x, node.get("alpha", 1.0)),
    "GlobalAveragePool": lambda node, x: x.mean((2, 3), keepdim=True),
    "LeakyRelu": lambda node, x: F.leaky_relu(x, node.get("alpha", 0.01)),
    "MaxPool": _max_pool,
    "Mul": lambda node, a, b: a * b,
    "PRelu": _prelu,
    "Relu": lambda node, x: F.relu(x),
    "Resize": _resize,
    "Sigmoid": lambda node, x: torch.sigmoid(x),
    "Sub": lambda node, a, b: a - b,
}
