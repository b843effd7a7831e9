"""The student: a light net with Context-Aware Modules, person attention as a gate, and progressive refinement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtpe.nets.blocks import Outputs, conv_bn_relu
from rtpe.nets.frozen import Freezable
from rtpe.nets.hrnet import BasicBlock, initialise
from rtpe.nets.stems import stem as make_stem


class ContextAwareModule(nn.Module):
    """ReLU(residual + attention * context), after the Progressive Context Refinement network (arXiv:1910.12223).

    Context is seen by parallel 3x3 convolutions of growing dilation; attention is squeeze-and-excitation over channels.
    Channels should be a multiple of 16: some CPUs' bf16 kernels fail on dilated convolutions of other widths.

    Shape: (B, channels, h, w) -> (B, channels, h, w).
    """

    def __init__(self, channels: int, dilations: Sequence[int] = (1, 2, 3, 4), reduction: int = 4):
        super().__init__()
        narrow = channels // reduction
        self.residual = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels))
        self.squeeze, self.excite = nn.Conv2d(channels, narrow, 1), nn.Conv2d(narrow, channels, 1)
        self.context = nn.ModuleList(conv_bn_relu(channels, narrow, dilation=dilation) for dilation in dilations)
        self.mix = conv_bn_relu(narrow * len(dilations), channels, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        attention = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        context = self.mix(torch.cat([branch(x) for branch in self.context], dim=1))
        return F.relu(self.residual(x) + attention * context)


class Student(Freezable):
    """Heatmaps and tags at stride 4 from a small pyramid, every refinement stage supervised.

    Args:
        joints: heatmaps, and tags.
        width: channels at stride 4; strides 8, 16 and 32 have 1.5, 2 and 3 times as many. A multiple of 32.
        stages: refinements at stride 4, each a Context-Aware Module with heatmaps of its own.
        trunk: what describes the beginning of another net to stand on, a teacher's, whose weights stay frozen: the
            arguments of an HRNet or of a `GraphTrunk`; None for a stem of its own.
        dilations: of the Context-Aware Modules.
        stem: arguments of that own `Stem`; None for two convolutions to `width` channels.

    Attributes:
        numbers: the arguments, by name.
    """

    def __init__(
        self,
        joints: int = 17,
        width: int = 32,
        stages: int = 2,
        trunk: Mapping[str, Any] | None = None,
        dilations: Sequence[int] = (1, 2, 3, 4),
        stem: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        self.numbers = {
            "joints": joints, "width": width, "stages": stages, "trunk": dict(trunk) if trunk else None,
            "dilations": list(dilations), "stem": dict(stem) if stem else None,
        }  # fmt: skip
        widths = [width, width * 3 // 2, width * 2, width * 3]
        self.stem = make_stem(width, stem, trunk)
        self.enter = conv_bn_relu(self.stem.channels, width)
        self.down = nn.ModuleList(
            nn.Sequential(conv_bn_relu(before, after, stride=2), BasicBlock(after))
            for before, after in pairwise(widths)
        )
        self.context = ContextAwareModule(widths[-1], dilations)
        self.side = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in widths[1:])
        self.attention = nn.Conv2d(width, 1, 3, padding=1)
        self.stages = nn.ModuleList(ContextAwareModule(width, dilations) for _ in range(stages))
        self.heads = nn.ModuleList(nn.Conv2d(width, joints, 1) for _ in range(stages))
        self.tags = nn.Conv2d(width, joints, 1)
        initialise(self)
        for head in (*self.heads, self.tags):  # maps start at nothing, as nearly all of their cells should end
            nn.init.normal_(head.weight, std=0.001)
        if trunk:
            self.stem.requires_grad_(False)

    def forward(self, images: Tensor) -> Outputs:
        """Normalised images, (B, 3, H, W), sides multiples of 32.

        Returns:
            heatmaps, (B, K, H/4, W/4), one a stage; tags, (B, K, H/4, W/4); attention logits, (B, 1, H/4, W/4); the
            features of a stem of its own, (B, C, H/4, W/4).
        """
        features = self.stem(images)
        pyramid = [self.enter(features)]
        for step in self.down:
            pyramid.append(step(pyramid[-1]))
        pyramid[-1] = self.context(pyramid[-1])
        merged = pyramid[0]
        for side, level in zip(self.side, pyramid[1:]):
            merged = merged + F.interpolate(side(level), merged.shape[2:], mode="bilinear", align_corners=False)
        attention = self.attention(merged)
        x = merged * torch.sigmoid(attention)
        heatmaps = []
        for stage, head in zip(self.stages, self.heads):
            x = x + stage(x)
            heatmaps.append(head(x))
        own = None if self.numbers["trunk"] else features
        return Outputs(heatmaps=heatmaps, tags=self.tags(x), attention=[attention], stem=own)

    def maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The last stage's heatmaps and the tags, (B, K, H/4, W/4) each."""
        out = self(images)
        return out.heatmaps[-1], out.tags
