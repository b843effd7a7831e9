"""What the nets share: the form of their outputs, the normalisation of their inputs, small blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass
class Outputs:
    """What a dense pose net says about a batch.

    Legend: B images, K joints; h x w cells, which may differ from level to level.

    Attributes:
        heatmaps: (B, K, h, w) each, no sigmoid; in the order of computation, every one of them supervised.
        tags: (B, K, h, w) associative embeddings (Newell et al., arXiv:1611.05424), or None.
        attention: (B, 1, h, w) each, logits of "a person is here"; empty if the net has no such head.
        centres: (B, 1, h, w) heatmap of people's centres, no sigmoid, or None.
        offsets: (B, 2 K, h, w), x and y of each joint in turn: in cells, from the centre of a cell to the joint of the
            person whose centre is there; or None.
        shifts: (B, 2 K, h, w), x and y of each joint in turn: in cells, from the centre of a cell to the joint that is
            in it or beside it; or None.
        stem: (B, C, h, w) features of the net's own stem, where there is one that learns.
    """

    heatmaps: list[Tensor]
    tags: Tensor | None = None
    attention: list[Tensor] | None = None
    centres: Tensor | None = None
    offsets: Tensor | None = None
    shifts: Tensor | None = None
    stem: Tensor | None = None


class Maps(NamedTuple):
    """What people are read from; a net's `maps` gives the first two, or all."""

    heatmaps: Tensor
    tags: Tensor | None = None
    centres: Tensor | None = None
    offsets: Tensor | None = None
    shifts: Tensor | None = None


def normalise(images: Tensor) -> Tensor:
    """Images, (B, 3, H, W) uint8 RGB, as float32 with ImageNet's mean 0 and standard deviation 1."""
    mean = torch.tensor(IMAGENET_MEAN, device=images.device).view(1, 3, 1, 1) * 255
    std = torch.tensor(IMAGENET_STD, device=images.device).view(1, 3, 1, 1) * 255
    return (images.float() - mean) / std


def denormalise(images: Tensor) -> Tensor:
    """Normalised images, (B, 3, H, W), as float32 in 0..1."""
    mean, std = (images.new_tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return images * std + mean


def conv_bn_relu(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1, dilation: int = 1):
    """A convolution that keeps the size (over the stride), batch norm, ReLU."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
