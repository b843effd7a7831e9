"""HRNet: branches of halving resolution, fused again and again (Sun et al., arXiv:1902.09212): trunk and top-down net.

Module names follow the published weights, so that they load without renaming.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from rtpe.nets.blocks import Outputs
from rtpe.nets.frozen import Freezable

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
    """ReLU(x + a narrow 3x3 convolution between two 1x1 ones), x projected where channels or sizes differ.

    Shape: (B, inputs, h, w) -> (B, 4 * planes, h / stride, w / stride), rounded up.
    """

    def __init__(self, inputs: int, planes: int, stride: int = 1):
        super().__init__()
        outputs = EXPANSION * planes
        self.conv1, self.bn1 = _conv(inputs, planes, kernel=1), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = _conv(planes, planes, stride=stride), nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = _conv(planes, outputs, kernel=1), nn.BatchNorm2d(outputs)
        projects = inputs != outputs or stride != 1
        self.downsample = _conv_bn(inputs, outputs, kernel=1, stride=stride) if projects else None
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


class HRNet(Freezable):
    """Images to features of strides 4, 8, 16, 32, of width, 2, 4 and 8 times width channels.

    Args:
        width: channels of the finest branch.
        stem: channels of the two strided convolutions, and inner channels of the bottlenecks.
        bottlenecks: how many follow the strided convolutions.
        modules: exchange modules in the stages of 2, 3 and 4 branches; fewer numbers make a trunk that ends earlier,
            none the stem alone.
        blocks: basic blocks in each branch of each module.
        outputs: how many of the branches, the finest first, the last module gives back; None for all.

    Attributes:
        channels: of each branch that `features` gives.
    """

    def __init__(
        self, width: int, stem: int, bottlenecks: int, modules: Sequence[int], blocks: int, outputs: int | None = None
    ):
        super().__init__()
        widths = [width << branch for branch in range(len(modules) + 1)]
        features = EXPANSION * stem
        self.conv1, self.bn1 = _conv(3, stem, stride=2), nn.BatchNorm2d(stem)
        self.conv2, self.bn2 = _conv(stem, stem, stride=2), nn.BatchNorm2d(stem)
        self.layer1 = nn.Sequential(*(Bottleneck(features if i else stem, stem) for i in range(bottlenecks)))
        for stage, count in enumerate(modules, start=1):
            transition = _new_branch(widths[: stage + 1]) if stage > 1 else _first_branches(features, widths)
            setattr(self, f"transition{stage}", transition)
            last = outputs if outputs and stage == len(modules) else stage + 1
            setattr(self, f"stage{stage + 1}", _stage(widths[: stage + 1], count, blocks, last))
        self.stages = len(modules)
        self.channels = widths[:outputs] if modules else [features]

    def features(self, images: Tensor) -> list[Tensor]:
        """The branches, finest first, of normalised images: (B, 3, H, W) -> (B, width << b, H/4 >> b, W/4 >> b) each.

        Raises:
            ValueError: if H or W is no multiple of 32.
        """
        if images.shape[-2] % COARSEST or images.shape[-1] % COARSEST:
            raise ValueError(f"images: expected sides that are multiples of {COARSEST}, got {tuple(images.shape[-2:])}")
        x = F.relu(self.bn1(self.conv1(images)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        branches = [self.layer1(x)]
        for stage in range(1, self.stages + 1):
            transition = getattr(self, f"transition{stage}")
            if stage == 1:
                branches = [begin(branches[0]) for begin in transition]
            else:
                branches = [*branches, transition[-1](branches[-1])]
            branches = getattr(self, f"stage{stage + 1}")(branches)
        return branches


class PoseHRNet(HRNet):
    """A top-down pose net, one person a crop; its defaults are the published pose_hrnet_w32.

    Args:
        joints: heatmaps.
        width: channels of the finest branch; 32 and 48 are published.
        stem, bottlenecks, modules, blocks: as of `HRNet`.

    Attributes:
        numbers: the arguments, by name.
    """

    def __init__(
        self,
        joints: int = 17,
        width: int = 32,
        stem: int = 64,
        bottlenecks: int = 4,
        modules: Sequence[int] = (1, 4, 3),
        blocks: int = 4,
    ):
        super().__init__(width, stem, bottlenecks, modules, blocks, outputs=1)
        self.numbers = {
            "joints": joints, "width": width, "stem": stem, "bottlenecks": bottlenecks, "modules": list(modules),
            "blocks": blocks,
        }  # fmt: skip
        self.final_layer = nn.Conv2d(width, joints, 1)
        initialise(self)
        nn.init.normal_(self.final_layer.weight, std=0.001)  # maps start at nothing, as nearly all of their cells end

    def forward(self, images: Tensor) -> Outputs:
        """Normalised images, (B, 3, H, W), sides multiples of 32, to heatmaps (B, K, H/4, W/4)."""
        return Outputs(heatmaps=[self.final_layer(self.features(images)[0])])

    def maps(self, images: Tensor) -> tuple[Tensor, None]:
        """Heatmaps, (B, K, H/4, W/4), and no tags."""
        return self(images).heatmaps[0], None


def trunk_numbers(state: Mapping[str, Tensor], stages: int) -> dict[str, Any]:
    """The arguments of the `HRNet` whose weights these are, cut after so many stages.

    Raises:
        ValueError: if these are no weights of such a net, or it has fewer stages.
    """
    names = list(state)
    if "conv1.weight" not in state or (f"stage{stages + 1}.0.branches.0.0.conv1.weight" not in names and stages):
        raise ValueError(f"expected an HRNet's stem and {stages} stages, got tensors {', '.join(names[:3])}...")

    def count(prefix: str) -> int:
        return len({name.removeprefix(prefix).split(".")[0] for name in names if name.startswith(prefix)})

    modules = [count(f"stage{stage + 2}.") for stage in range(stages)]
    return {
        "width": len(state["transition1.0.0.weight"]) if stages else 0,
        "stem": len(state["conv1.weight"]),
        "bottlenecks": count("layer1."),
        "modules": modules,
        "blocks": count("stage2.0.branches.0.") if stages else 0,
        "outputs": count(f"stage{stages + 1}.{modules[-1] - 1}.fuse_layers.") if stages else None,
    }


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


def _first_branches(features: int, widths: Sequence[int]) -> nn.ModuleList:
    """The stem's features become the two finest branches."""
    return nn.ModuleList(
        [_conv_bn_relu(features, widths[0]), nn.Sequential(_conv_bn_relu(features, widths[1], stride=2))]
    )


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
