"""What a student stands on: (B, 3, H, W) normalised images -> (B, channels, H/stride, W/stride) features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtpe.nets.blocks import conv_bn_relu
from rtpe.nets.graph import Graph
from rtpe.nets.hrnet import HRNet
from rtpe.nets.residual import BasicBlock
from rtpe.settings.limits import NULL, refuse_others, refuse_unknown, whole

STRIDE = 4
_OWN = {"channels": whole(1), "blocks": whole(0), "outputs": NULL | whole(1)}


class Stem(nn.Sequential):
    """Strided convolutions, and what may follow.

    Args:
        channels: of the features.
        blocks: residual blocks behind the convolutions.
        outputs: a last convolution makes so many channels, of either sign, as another stem gives them; None for none.
        stride: 4, by two convolutions, or 8, by three.

    Shape: (B, 3, H, W) -> (B, outputs or channels, H/stride, W/stride).
    """

    def __init__(self, channels: int, blocks: int = 0, outputs: int | None = None, stride: int = STRIDE):
        super().__init__(conv_bn_relu(3, 16, stride=2), conv_bn_relu(16, channels, stride=2))
        if stride == 2 * STRIDE:
            self.append(conv_bn_relu(channels, channels, stride=2))
        self.extend(BasicBlock(channels) for _ in range(blocks))
        if outputs:
            self.append(nn.Conv2d(channels, outputs, 1))
        self.channels, self.stride = outputs or channels, stride


class Trunk(nn.Module):
    """The beginning of an HRNet, all its branches at stride 4: (B, 3, H, W) -> (B, channels, H/4, W/4)."""

    def __init__(self, **numbers: Any):
        super().__init__()
        self.trunk = HRNet(**numbers)
        self.channels, self.stride = sum(self.trunk.channels), STRIDE

    def forward(self, images: Tensor) -> Tensor:
        finest, *coarser = self.trunk.features(images)
        resized = [F.interpolate(x, finest.shape[2:], mode="bilinear", align_corners=False) for x in coarser]
        return torch.cat([finest, *resized], dim=1)


class GraphTrunk(nn.Module):
    """The beginning of a network from a file, brought to a stride: (B, 3, H, W) -> (B, channels, H/stride, W/stride).

    Args:
        nodes, shapes: of the `Graph`.
        channels: that it gives.
        order: of the three colours that it takes, (2, 1, 0) for blue first.
        gain, offset: from normalised images, already in that order, to its input: gain * value + offset.
        stride: of the features that are wanted; where the network has another at its end they are interpolated.
    """

    def __init__(
        self,
        nodes: Sequence[Mapping[str, Any]],
        shapes: Sequence[Sequence[int]],
        channels: int,
        order: Sequence[int],
        gain: Sequence[float],
        offset: Sequence[float],
        stride: int = STRIDE,
    ):
        super().__init__()
        self.trunk = Graph(nodes, shapes)
        self.trunk.refuse_large()
        self.channels, self.order, self.stride = channels, list(order), stride
        for name, values in (("gain", gain), ("offset", offset)):  # numbers, which float16 weights would round
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        features = self.trunk(images[:, self.order] * self.gain + self.offset)
        size = [side // self.stride for side in images.shape[2:]]
        if list(features.shape[2:]) == size:
            return features
        return F.interpolate(features, size, mode="bilinear", align_corners=False)


def refuse_stem(own: Mapping[str, Any]) -> None:
    """Raise UserError for arguments that no `Stem` takes, by their names."""
    refuse_unknown(own, _OWN, "stem")
    refuse_others({f"stem.{name}": value for name, value in own.items()}, {f"stem.{name}": _OWN[name] for name in own})


def stem(width: int, own: Mapping[str, Any] | None, trunk: Mapping[str, Any] | None, stride: int = STRIDE) -> nn.Module:
    """The stem that a student's numbers ask for: another net's, else one of its own, of `width` channels or as said.

    An HRNet's is at stride 4 whatever is asked for; each says its own.
    """
    if trunk:
        return GraphTrunk(**trunk, stride=stride) if "nodes" in trunk else Trunk(**trunk)
    return Stem(**{"channels": width, **(own or {})}, stride=stride)
