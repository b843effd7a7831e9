"""What the nets share: the form of their outputs, the normalisation of their inputs, small blocks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rtpe.heads import HEADS

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass
class Outputs:
    """What a dense pose net says about a batch.

    Attributes:
        maps: by the names of `rtpe.heads.HEADS`, every level that is supervised, in the order of computation, (B, C, h,
            w) each; h and w may differ from level to level. Heatmaps have no sigmoid.
        stem: (B, C, h, w) features of the net's own stem, where there is one that learns.
    """

    maps: dict[str, list[Tensor]]
    stem: Tensor | None = None

    @property
    def heatmaps(self) -> list[Tensor]:
        return self.maps.get("heatmaps", [])

    def last(self) -> dict[str, Tensor]:
        """The last level of each kind that people are read from."""
        return {name: levels[-1] for name, levels in self.maps.items() if HEADS[name].decoded}


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
