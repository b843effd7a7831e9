"""Residual blocks, and what may be left out between their convolutions (He et al., arXiv:1512.03385)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

EXPANSION = 4  # a bottleneck's output channels over its inner ones


@dataclass(frozen=True)
class Between:
    """What follows a convolution: batch norm, or the bias that it needs without; and ReLU, or nothing."""

    norm: bool = True
    act: bool = True

    def conv(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
        return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=not self.norm)

    def norm_of(self, channels: int) -> nn.Module:
        return nn.BatchNorm2d(channels) if self.norm else nn.Identity()

    def activation(self) -> nn.Module:
        return nn.ReLU(inplace=True) if self.act else nn.Identity()

    def conv_norm(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
        return nn.Sequential(self.conv(inputs, outputs, kernel, stride), self.norm_of(outputs))

    def conv_norm_act(self, inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
        return self.conv_norm(inputs, outputs, stride=stride).append(self.activation())


PUBLISHED = Between()  # both


class BasicBlock(nn.Module):
    """ReLU(x + two 3x3 convolutions of x).

    Shape: (B, channels, h, w) -> (B, channels, h, w).
    """

    def __init__(self, channels: int, between: Between = PUBLISHED):
        super().__init__()
        self.conv1, self.bn1 = between.conv(channels, channels), between.norm_of(channels)
        self.conv2, self.bn2 = between.conv(channels, channels), between.norm_of(channels)
        self.relu = between.activation()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + x)


class Bottleneck(nn.Module):
    """ReLU(x + a narrow 3x3 convolution between two 1x1 ones), x projected where channels or sizes differ.

    Shape: (B, inputs, h, w) -> (B, 4 * planes, h / stride, w / stride), rounded up.

    Args:
        caffe: the stride stands on the first 1x1 convolution, not on the 3x3 one; weights do not tell which.
    """

    def __init__(self, inputs: int, planes: int, stride: int = 1, between: Between = PUBLISHED, caffe: bool = False):
        super().__init__()
        outputs = EXPANSION * planes
        first, second = (stride, 1) if caffe else (1, stride)
        self.conv1, self.bn1 = between.conv(inputs, planes, kernel=1, stride=first), between.norm_of(planes)
        self.conv2, self.bn2 = between.conv(planes, planes, stride=second), between.norm_of(planes)
        self.conv3, self.bn3 = between.conv(planes, outputs, kernel=1), between.norm_of(outputs)
        projects = inputs != outputs or stride != 1
        self.downsample = between.conv_norm(inputs, outputs, kernel=1, stride=stride) if projects else None
        self.relu = between.activation()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(self.bn3(self.conv3(y)) + shortcut)
