"""Poses read out of a frozen diffusion net: its features are mixed by a small net, and a head draws the heatmaps.

Readout Guidance (Luo et al., arXiv:2312.02150) with the aggregation of Diffusion Hyperfeatures (Luo et al.,
arXiv:2305.14334). The names and shapes of the weights are those of the published ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtpe.errors import UserError
from rtpe.nets.blocks import Outputs
from rtpe.nets.frozen import Freezable
from rtpe.settings.limits import refuse_others, whole

SQUEEZE = 4  # a bottleneck is so many times narrower than what it gives
HEAD = (128, 32)  # channels between the mixed features and the heatmaps


class Features(NamedTuple):
    """What a frozen net saw in a batch of images.

    Attributes:
        maps: (B, C, h, w) each, of any sizes.
        embedding: (1, E), of the time at which it looked.
        size_hw: of the grid on which the maps are laid over each other.
    """

    maps: list[Tensor]
    embedding: Tensor
    size_hw: tuple[int, int]


class NormedConv(nn.Conv2d):
    """A convolution that keeps the size, and a group norm; between them the map may be resized.

    A 1 x 1 convolution and a bilinear resize may change places: small maps are convolved before they grow.

    Shape: (B, inputs, h, w) -> (B, outputs, *size_hw), of the same size if none is given.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, groups: int):
        super().__init__(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.GroupNorm(groups, outputs)
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor, size_hw: tuple[int, int] | None = None) -> Tensor:
        return self.norm(_resized(super().forward(x), size_hw))


class Bottleneck(nn.Module):
    """Brings one map of features to a common width and size, knowing the time at which it was taken.

    Shape: (B, inputs, h, w), (1 or B, embedding) -> (B, outputs, *size_hw), not negative.
    """

    def __init__(self, inputs: int, outputs: int, embedding: int, groups: int):
        super().__init__()
        middle = outputs // SQUEEZE
        self.shortcut = NormedConv(inputs, outputs, 1, groups) if inputs != outputs else None
        self.conv1 = NormedConv(inputs, middle, 1, groups)
        self.conv2 = NormedConv(middle, middle, 3, groups)
        self.conv3 = NormedConv(middle, outputs, 1, groups)
        self.emb_layers = nn.Linear(embedding, middle)

    def forward(self, x: Tensor, embedding: Tensor, size_hw: tuple[int, int]) -> Tensor:
        h = F.relu(self.conv1(x, size_hw)) + F.relu(self.emb_layers(embedding))[:, :, None, None]
        h = self.conv3(F.relu(self.conv2(h)))
        return F.relu(h + (_resized(x, size_hw) if self.shortcut is None else self.shortcut(x, size_hw)))


class Readout(Freezable):
    """Heatmaps from the features that a frozen net sees in images.

    Legend: B images, K joints.

    Args:
        joints: K.
        channels: of each map of features.
        embedding: length of the time's embedding.
        look: normalised images (B, 3, H, W) to `Features`; what it is made of is no part of this net or its weights.
        width: channels that all maps are brought to.
        groups: of the group norms.

    Attributes:
        numbers: that rebuild it, where `look` is rebuilt too with that one's.
        identity: those of them that tell two such nets apart.
        input: what weights that do not say it are taken for: the side of the input in pixels, and how images fit it.

    Shape: images (B, 3, H, W) -> heatmaps (B, K, h, w) on the grid of the features.

    Raises:
        UserError: if the groups do not divide the width of a bottleneck.
    """

    def __init__(
        self,
        joints: int,
        channels: Sequence[int],
        embedding: int,
        look: Callable[[Tensor], Features] | None = None,
        width: int = 384,
        groups: int = 32,
    ):
        super().__init__()
        refuse_others({"width": width, "groups": groups}, {"width": whole(1), "groups": whole(1)})
        if width % (SQUEEZE * groups):
            raise UserError(f"width: expected a multiple of {SQUEEZE * groups} for {groups} groups, got {width}")
        self.look = look
        self.numbers: dict[str, Any] = {"joints": joints, "width": width, "groups": groups}
        self.identity = self.numbers
        self.input: dict[str, Any] = {}
        self.mixing_weights = nn.Parameter(torch.ones(len(channels)))
        self.bottleneck_layers = nn.ModuleList(Bottleneck(count, width, embedding, groups) for count in channels)
        wide, narrow = HEAD
        self.output_head = nn.Sequential(
            nn.Conv2d(width, wide, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(wide, narrow, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(narrow, joints, 1),
        )

    def read(self, features: Features) -> Tensor:
        """The heatmaps, no sigmoid."""
        embedding = features.embedding.float()
        shares = self.mixing_weights.softmax(0)
        mixed = sum(  # one map at a time: side by side and at full size, those of SD 1.5 are 10,560 channels
            share * bottleneck(x.float(), embedding, features.size_hw)
            for share, bottleneck, x in zip(shares, self.bottleneck_layers, features.maps, strict=True)
        )
        return self.output_head(mixed)

    def forward(self, images: Tensor) -> Outputs:
        return Outputs({"heatmaps": [self.read(self.look(images))]})

    def maps(self, images: Tensor) -> dict[str, Tensor]:
        """The heatmaps alone: one person an image."""
        return self(images).last()


def _resized(x: Tensor, size_hw: tuple[int, int] | None) -> Tensor:
    if size_hw is None or x.shape[2:] == size_hw:
        return x
    return F.interpolate(x, size_hw, mode="bilinear", align_corners=False)
