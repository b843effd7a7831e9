"""The student that is designed by latency: plain 3x3 convolutions, wide at coarse strides, heads at stride 8."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from rtpe.nets.blocks import Outputs
from rtpe.nets.frozen import Freezable
from rtpe.nets.head_layers import HEAD_NAMES, Heads
from rtpe.nets.hrnet import initialise
from rtpe.nets.repvgg import RepConv
from rtpe.settings.limits import NULL, choice, each, multiple, refuse_others, whole

LEVELS = 4  # strides 4, 8, 16, 32
# channels at strides 2, 4, 8, 16 and 32; 3x3 convolutions at strides 4 to 32 beside the strided ones; of the neck
SIZES = {
    "nano": ((16, 32, 64, 128, 192), (1, 1, 2, 1), 64),
    "s": ((32, 64, 96, 192, 256), (1, 2, 4, 2), 96),
    "m": ((32, 64, 128, 256, 384), (1, 4, 6, 3), 128),
    "l": ((32, 64, 160, 320, 512), (1, 4, 8, 4), 160),
}
LIMITS = {
    "joints": whole(1),
    "size": choice(*SIZES),
    "widths": NULL | each(multiple(16), count=LEVELS + 1),
    "convs": NULL | each(whole(0), count=LEVELS),
    "neck": NULL | multiple(32),
    "stride": choice(4, 8),
    "heads": HEAD_NAMES,
}


class RepStudent(Freezable):
    """Heatmaps, and what tells people apart, by convolutions that processors are fast at.

    Args:
        joints: heatmaps, and tags or offsets.
        size: nano, s, m or l: what the next three are where they are not given.
        widths: channels at strides 2, 4, 8, 16 and 32.
        convs: 3x3 convolutions at strides 4, 8, 16 and 32, besides the one that leads there.
        neck: channels that all levels are brought to.
        stride: of the maps, 4 or 8.
        heads: the maps that it gives besides heatmaps: tags, or centers and offsets, to group people by; shifts, which
            say where in its cell a peak is (`--decode.refine shifts`).

    Attributes:
        numbers: the arguments, by name.

    Raises:
        UserError: for a choice that there is not.
    """

    def __init__(
        self,
        joints: int = 17,
        size: str = "s",
        widths: Sequence[int] | None = None,
        convs: Sequence[int] | None = None,
        neck: int | None = None,
        stride: int = 8,
        heads: Sequence[str] = ("centers", "offsets"),
    ):
        super().__init__()
        numbers: dict[str, Any] = {"joints": joints, "size": size, "widths": widths, "convs": convs, "neck": neck}
        self.numbers = {**numbers, "stride": stride, "heads": list(heads)}
        refuse_others(self.numbers, LIMITS)
        usual = SIZES[size]
        widths, convs, neck = widths or usual[0], convs or usual[1], neck or usual[2]
        self.stem = RepConv(3, widths[0], stride=2)
        self.levels = nn.ModuleList(
            nn.Sequential(RepConv(before, after, stride=2), *(RepConv(after, after) for _ in range(count)))
            for before, after, count in zip(widths, widths[1:], convs)
        )
        self.first = {4: 0, 8: 1}[stride]
        self.side = nn.ModuleList(nn.Conv2d(channels, neck, 1) for channels in widths[1 + self.first :])
        self.neck = RepConv(neck, neck)
        self.heads = Heads(neck, joints, ("heatmaps", *heads))
        initialise(self)
        self.heads.begin()

    def forward(self, images: Tensor) -> Outputs:
        """Normalised images, (B, 3, H, W), sides multiples of 32, to a level of each head's maps, h = H/stride."""
        return Outputs({name: [maps] for name, maps in self.heads(self._features(images)).items()})

    def maps(self, images: Tensor) -> dict[str, Tensor]:
        """The maps of all heads, (B, C, h, w)."""
        return self(images).last()

    def _features(self, images: Tensor) -> Tensor:
        """What the heads see, (B, neck, h, w)."""
        x, levels = self.stem(images), []
        for level in self.levels:
            x = level(x)
            levels.append(x)
        sides = [side(level) for side, level in zip(self.side, levels[self.first :])]
        merged = sides[-1]
        for finer in sides[-2::-1]:
            merged = finer + F.interpolate(merged, scale_factor=2.0, mode="nearest")
        return self.neck(merged)
