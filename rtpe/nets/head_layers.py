"""The last layers of a student: one 1x1 convolution for each kind of map."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from rtpe.heads import HEADS, OF_NETS
from rtpe.settings.limits import Limit

REACH = 16.0  # cells: as far as a vector of 1 reaches, so that vectors are learnt as fast as other maps
HEAD_NAMES = Limit(
    f"a list of {', '.join(OF_NETS)}, centers and offsets together",
    lambda value: (
        isinstance(value, list | tuple)
        and set(value) <= set(OF_NETS)
        and len(set(value)) == len(value)
        and ("centers" in value) == ("offsets" in value)
    ),
)


class Heads(nn.ModuleDict):
    """Maps by the names of `rtpe.heads.HEADS`.

    Shape: (B, channels, h, w) -> {name: (B, C, h, w)}.
    """

    def __init__(self, channels: int, joints: int, names: Sequence[str]):
        super().__init__({name: nn.Conv2d(channels, HEADS[name].channels(joints), 1) for name in names})

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        return {name: (REACH if HEADS[name].of == "vectors" else 1.0) * layer(features) for name, layer in self.items()}

    def begin(self) -> None:
        """Maps start at nothing, as nearly all of their cells should end."""
        for layer in self.values():
            nn.init.normal_(layer.weight, std=0.001)
