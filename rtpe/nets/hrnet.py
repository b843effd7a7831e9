"""HRNet's trunk: branches of halving resolution, fused again and again (Sun et al., arXiv:1902.09212).

Module names follow the published weights, so that they load without renaming.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add

import torch.nn.functional as F
from torch import Tensor, nn

STEM_PREFIXES = ("conv1", "bn1", "conv2", "bn2", "layer1")
EXPANSION = 4  # a bottleneck's output channels over its inner ones
COARSEST = 32  # the stride of the last branch


class BasicBlock(nn.Module):
    """ReLU(x + two 3x3 convolutions of x) (He et al., arXiv:1512.03385).

    Shape: (B, channels, h, w) -> (B, channels, h, w).
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv1, self.bn1 = _conv(channels, channels), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = _conv(channels, channels), nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + x)


class Bottleneck(nn.Module):
    """ReLU(x + a narrow 3x3 convolution between two 1x1 ones), x projected where the channels differ.

    Shape: (B, inputs, h, w) -> (B, 4 * planes, h, w).
    """

    def __init__(self, inputs: int, planes: int):
        super().__init__()
        outputs = EXPANSION * planes
        self.conv1, self.bn1 = _conv(inputs, planes, kernel=1), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = _conv(planes, planes), nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = _conv(planes, outputs, kernel=1), nn.BatchNorm2d(outputs)
        self.downsample = None if inputs == outputs else _conv_bn(inputs, outputs, kernel=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(self.bn3(self.conv3(y)) + shortcut)


class Exchange(nn.Module):
    """A module of a stage: every branch for itself, then each output the sum of all branches at its resolution.

    Branch b has widths[b] channels and half the resolution of the one before; only the first `outputs` are fused.
    """

    def __init__(self, widths: Sequence[int], blocks: int, outputs: int):
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(BasicBlock(width) for _ in range(blocks))) for width in widths)
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_fuse(widths, source, target) for source in range(len(widths))) for target in range(outputs)
        )

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        branches = [branch(x) for branch, x in zip(self.branches, branches)]
        sums = [reduce(add, (layer(x) for layer, x in zip(layers, branches))) for layers in self.fuse_layers]
        return [F.relu(x, inplace=True) for x in sums]


class HRStem(nn.Module):
    """Two strided convolutions and bottlenecks: (B, 3, H, W) -> (B, 4 * stem, H/4, W/4), normalised images to features.

    Args:
        stem: channels of the strided convolutions, and inner channels of the bottlenecks.
        bottlenecks: how many follow the strided convolutions.
    """

    def __init__(self, stem: int, bottlenecks: int):
        super().__init__()
        features = EXPANSION * stem
        self.conv1, self.bn1 = _conv(3, stem, stride=2), nn.BatchNorm2d(stem)
        self.conv2, self.bn2 = _conv(stem, stem, stride=2), nn.BatchNorm2d(stem)
        self.layer1 = nn.Sequential(*(Bottleneck(features if i else stem, stem) for i in range(bottlenecks)))

    def stem_features(self, images: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(images)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        return self.layer1(x)

    def forward(self, images: Tensor) -> Tensor:
        return self.stem_features(images)


class HRNet(HRStem):
    """Images to features of strides 4, 8, 16, 32, of width, 2, 4 and 8 times width channels.

    Args:
        width: channels of the finest branch.
        stem: channels of the two strided convolutions, and inner channels of the bottlenecks.
        bottlenecks: how many follow the strided convolutions.
        modules: exchange modules in the stages of 2, 3 and 4 branches.
        blocks: basic blocks in each branch of each module.
        outputs: how many of the branches, the finest first, the last module gives back.
    """

    def __init__(self, width: int, stem: int, bottlenecks: int, modules: Sequence[int], blocks: int, outputs: int):
        super().__init__(stem, bottlenecks)
        widths = [width << branch for branch in range(4)]
        features = EXPANSION * stem
        self.transition1 = nn.ModuleList(
            [_conv_bn_relu(features, widths[0]), nn.Sequential(_conv_bn_relu(features, widths[1], stride=2))]
        )
        self.stage2 = _stage(widths[:2], modules[0], blocks, outputs=2)
        self.transition2 = _new_branch(widths[:3])
        self.stage3 = _stage(widths[:3], modules[1], blocks, outputs=3)
        self.transition3 = _new_branch(widths)
        self.stage4 = _stage(widths, modules[2], blocks, outputs)

    def features(self, images: Tensor) -> list[Tensor]:
        """The branches, finest first, of normalised images: (B, 3, H, W) -> (B, width << b, H/4 >> b, W/4 >> b) each.

        Raises:
            ValueError: if H or W is no multiple of 32.
        """
        if images.shape[-2] % COARSEST or images.shape[-1] % COARSEST:
            raise ValueError(f"images: expected sides that are multiples of {COARSEST}, got {tuple(images.shape[-2:])}")
        x = self.stem_features(images)
        branches = self.stage2([transition(x) for transition in self.transition1])
        branches = self.stage3([*branches, self.transition2[-1](branches[-1])])
        return self.stage4([*branches, self.transition3[-1](branches[-1])])


def initialise(net: nn.Module) -> None:
    """Weights to train from scratch: Kaiming's for convolutions, plain batch norms, biases 0 (arXiv:1502.01852)."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _stage(widths: Sequence[int], modules: int, blocks: int, outputs: int) -> nn.Sequential:
    fused = [len(widths)] * (modules - 1) + [outputs]
    return nn.Sequential(*(Exchange(widths, blocks, count) for count in fused))


def _new_branch(widths: Sequence[int]) -> nn.ModuleList:
    """The branches so far pass; the coarsest one also starts the next."""
    passing = [nn.Identity() for _ in widths[:-1]]
    return nn.ModuleList([*passing, nn.Sequential(_conv_bn_relu(widths[-2], widths[-1], stride=2))])


def _fuse(widths: Sequence[int], source: int, target: int) -> nn.Module:
    """Bring one branch to the resolution and the width of another."""
    if source == target:
        return nn.Identity()
    if source > target:
        upsample = nn.Upsample(scale_factor=float(1 << (source - target)), mode="nearest")
        return nn.Sequential(*_conv_bn(widths[source], widths[target], kernel=1), upsample)
    halvings = [_conv_bn_relu(widths[source], widths[source], stride=2) for _ in range(target - source - 1)]
    return nn.Sequential(*halvings, _conv_bn(widths[source], widths[target], stride=2))


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


def _conv_bn(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(_conv(inputs, outputs, kernel, stride), nn.BatchNorm2d(outputs))


def _conv_bn_relu(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return _conv_bn(inputs, outputs, stride=stride).append(nn.ReLU(inplace=True))
