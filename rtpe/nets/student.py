"""The student: a light net with Context-Aware Modules, person attention if asked, and progressive refinement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtpe.errors import UserError
from rtpe.nets.blocks import Outputs, conv_bn_relu
from rtpe.nets.colours import COLOURS
from rtpe.nets.frozen import Freezable
from rtpe.nets.head_layers import HEAD_NAMES, Heads
from rtpe.nets.hrnet import initialise
from rtpe.nets.residual import BasicBlock
from rtpe.nets.stems import GraphTrunk, refuse_stem
from rtpe.nets.stems import stem as make_stem
from rtpe.settings.limits import FLAG, MAPPING, NULL, choice, each, multiple, refuse_others, whole

LIMITS = {
    "joints": whole(1),
    "width": multiple(32),
    "stages": whole(1),
    "trunk": NULL | MAPPING,
    "dilations": each(whole(1)),
    "blocks": each(whole(0), count=3),
    "attention": whole(0, 4),
    "context": choice("cam", "plain"),
    "heads": HEAD_NAMES,
    "colours": choice(*COLOURS),
    "stem": NULL | MAPPING,
    "stride": choice(4, 8),
    "direct": FLAG,
}
BESIDE = 0.1  # of the stem's features before the heads: hundreds of them that agree would be learnt from in leaps


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


class PlainModule(nn.Module):
    """ReLU(residual + two 3x3 convolutions): a Context-Aware Module's place and about its latency, without its ideas.

    Shape: (B, channels, h, w) -> (B, channels, h, w).
    """

    def __init__(self, channels: int):
        super().__init__()
        inner = channels * 3 // 4  # measured: `python benchmarks/student.py --blocks`
        self.residual = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels))
        self.convs = nn.Sequential(
            conv_bn_relu(channels, inner),
            nn.Conv2d(inner, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.residual(x) + self.convs(x))


class Student(Freezable):
    """Heatmaps, and what tells people apart, from a small pyramid, every refinement stage supervised.

    Args:
        joints: heatmaps, and tags or offsets.
        width: channels of the pyramid's first level; the next, of 2, 4 and 8 times its stride, have 1.5, 2 and 3 times
            as many. A multiple of 32.
        stages: refinements at the first level, each a context module with heatmaps of its own.
        trunk: what describes the beginning of another net to stand on, a teacher's, whose weights stay frozen: the
            arguments of an HRNet or of a `GraphTrunk`; None for a stem of its own.
        dilations: of the Context-Aware Modules.
        blocks: basic blocks at the other levels.
        attention: at how many levels person logits are given: 1 to 4; the features times 1 + the attention of the
            first go on. 0 (false) has neither.
        context: the kind of the context modules, cam (Context-Aware Module) or plain (`PlainModule`).
        heads: the maps that it gives besides heatmaps: tags, or centers and offsets, to group people by; shifts.
        colours: the colour space that the stem sees, rgb, hsv or lab; the input is normalised RGB in any case.
        stem: arguments of that own `Stem` but for the stride; None for plain convolutions to `width` channels.
        stride: of the pyramid's first level and of the maps, 4 or 8. At 8 a net twice as wide costs as much, and
            suits a network whose features are no finer.
        direct: whether the heads see the stem's features as well: a teacher's may hold maps like theirs already.

    Attributes:
        numbers: the arguments, by name.

    Raises:
        UserError: for a choice that there is not.
    """

    def __init__(
        self,
        joints: int = 17,
        width: int = 32,
        stages: int = 2,
        trunk: Mapping[str, Any] | None = None,
        dilations: Sequence[int] = (1, 2, 3, 4),
        blocks: Sequence[int] = (1, 1, 1),
        attention: int = 0,
        context: str = "cam",
        heads: Sequence[str] = ("tags",),
        colours: str = "rgb",
        stem: Mapping[str, Any] | None = None,
        stride: int = 4,
        direct: bool = False,
    ):
        super().__init__()
        self.numbers = {
            "joints": joints, "width": width, "stages": stages, "trunk": trunk or None, "dilations": dilations,
            "blocks": blocks, "attention": int(attention) if isinstance(attention, bool) else attention,
            "context": context, "heads": list(heads), "colours": colours, "stem": stem or None,
            "stride": stride, "direct": direct,
        }  # fmt: skip
        _check(**self.numbers)
        self.numbers |= {"dilations": list(dilations), "blocks": list(blocks)}
        widths = [width, width * 3 // 2, width * 2, width * 3]
        self.stem = make_stem(width, stem, trunk, stride)
        # maps and features beside each other differ a hundredfold: the small ones would be learnt from last
        self.level = nn.BatchNorm2d(self.stem.channels, affine=False) if isinstance(self.stem, GraphTrunk) else None
        self.enter = conv_bn_relu(self.stem.channels, width, stride=stride // self.stem.stride)
        self.down = nn.ModuleList(
            nn.Sequential(conv_bn_relu(before, after, stride=2), *(BasicBlock(after) for _ in range(count)))
            for (before, after), count in zip(pairwise(widths), blocks)
        )
        self.context = _context(context, widths[-1], dilations)
        self.side = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in widths[1:])
        self.attention = nn.Conv2d(width, 1, 3, padding=1) if attention else None
        self.coarse_attention = nn.ModuleList(nn.Conv2d(width, 1, 3, padding=1) for _ in range(int(attention) - 1))
        self.stages = nn.ModuleList(_context(context, width, dilations) for _ in range(stages))
        seen = width + (self.stem.channels if direct else 0)
        self.early = nn.ModuleList(Heads(seen, joints, ["heatmaps"]) for _ in range(stages - 1))
        self.heads = Heads(seen, joints, ("heatmaps", *heads))
        initialise(self)
        for last in (*self.early, self.heads):
            last.begin()
        for head in (*self.coarse_attention, *([self.attention] if attention else [])):  # even at first
            nn.init.normal_(head.weight, std=0.001)
        if trunk:
            self.stem.requires_grad_(False)

    def forward(self, images: Tensor) -> Outputs:
        """Normalised images, (B, 3, H, W), sides multiples of 32.

        Returns:
            heatmaps, (B, K, h, w), one a stage, h = H/stride, w = W/stride; one level of the other heads; attention
            logits, (B, 1, .., ..), from the coarsest to h, w; the features of a stem of its own, (B, C, h, w).
        """
        features = self.stem(COLOURS[self.numbers["colours"]](images))
        own = None if self.numbers["trunk"] else features
        features = self.level(features) if self.level else features
        sides = self._sides(features)
        merged = sides[0]
        for side in sides[1:]:
            merged = merged + _resized(side, merged)
        attention = self._person_logits(merged, sides)
        # added, not as a gate that closes: that cost more accuracy (docs/results.md)
        x = merged * (1 + torch.sigmoid(attention[-1])) if attention else merged
        beside = [BESIDE * _resized(features, x)] if self.numbers["direct"] else []
        heatmaps = []
        for stage, head in zip(self.stages, [*self.early, self.heads]):
            x = x + stage(x)
            maps = head(torch.cat([x, *beside], dim=1))
            heatmaps.append(maps.pop("heatmaps"))
        levels = {"heatmaps": heatmaps, **{name: [each] for name, each in maps.items()}}
        return Outputs(levels | ({"attention": attention} if attention else {}), stem=own)

    def _sides(self, features: Tensor) -> list[Tensor]:
        """What each level of the pyramid on the stem's features adds, (B, width, h, w) each, fine to coarse."""
        pyramid = [self.enter(features)]
        for step in self.down:
            pyramid.append(step(pyramid[-1]))
        pyramid[-1] = self.context(pyramid[-1])
        return [pyramid[0], *(side(level) for side, level in zip(self.side, pyramid[1:]))]

    def _person_logits(self, merged: Tensor, sides: list[Tensor]) -> list[Tensor]:
        """(B, 1, h, w) each, coarse to fine: each level corrects the one before, so that all reach the features."""
        coarse = list(zip(self.coarse_attention, sides[1:]))[::-1]
        logits: list[Tensor] = []
        for head, features in [*coarse, (self.attention, merged)] if self.attention else []:
            own = head(features)
            logits.append(own + _resized(logits[-1], own) if logits else own)
        return logits

    def maps(self, images: Tensor) -> dict[str, Tensor]:
        """The last level of each head's maps, (B, C, h, w)."""
        return self(images).last()


def _check(**numbers: Any) -> None:
    """Refuse what would fail later, or silently be something else."""
    refuse_others(numbers, LIMITS)
    if numbers["stem"]:
        refuse_stem(numbers["stem"])
    if numbers["trunk"] and numbers["colours"] != "rgb":
        raise UserError(
            f"colours: a teacher's stem was trained on rgb, got {numbers['colours']!r}: choose rgb, or no --net.stem"
        )


def _context(kind: str, channels: int, dilations: Sequence[int]) -> nn.Module:
    return ContextAwareModule(channels, dilations) if kind == "cam" else PlainModule(channels)


def _resized(maps: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(maps, like.shape[2:], mode="bilinear", align_corners=False)
