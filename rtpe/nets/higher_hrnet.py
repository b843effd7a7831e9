"""HigherHRNet: HRNet with heatmaps and tags at two resolutions (Cheng et al., arXiv:1908.10357).

Module names follow the published weights, so that they load without renaming.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtpe.nets.blocks import Outputs
from rtpe.nets.hrnet import HRNet, initialise
from rtpe.nets.residual import BasicBlock
from rtpe.settings.limits import refuse_others, whole

LIMITS = {"deconvs": whole(0), "head_blocks": whole(0)}


class HigherHRNet(HRNet):
    """A bottom-up pose net; its defaults are the published HigherHRNet-w32.

    Level 0 has stride 4 and the tags; each deconvolution adds a level of heatmaps at twice the resolution.

    Args:
        joints: heatmaps, and tags.
        width: channels of the finest branch; 32 and 48 are published.
        stem: channels of the first convolutions; the bottlenecks that follow have as many inner channels.
        bottlenecks: how many follow the first convolutions.
        modules: exchange modules in the stages of 2, 3 and 4 branches.
        blocks: basic blocks in each branch of each module.
        deconvs: levels after the first.
        head_blocks: basic blocks after each deconvolution.

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
        deconvs: int = 1,
        head_blocks: int = 4,
    ):
        refuse_others({"deconvs": deconvs, "head_blocks": head_blocks}, LIMITS)
        super().__init__(width, stem, bottlenecks, modules, blocks, outputs=1)
        self.numbers = {
            "joints": joints, "width": width, "stem": stem, "bottlenecks": bottlenecks, "modules": list(modules),
            "blocks": blocks, "deconvs": deconvs, "head_blocks": head_blocks,
        }  # fmt: skip
        heads = [2 * joints] + [joints] * deconvs
        self.final_layers = nn.ModuleList(nn.Conv2d(width, channels, 1) for channels in heads)
        self.deconv_layers = nn.ModuleList(_deconv(width + channels, width, head_blocks) for channels in heads[:-1])
        initialise(self)
        for head in self.final_layers:  # maps start at nothing, as nearly all of their cells should end
            nn.init.normal_(head.weight, std=0.001)

    def forward(self, images: Tensor) -> Outputs:
        """Normalised images, (B, 3, H, W), sides multiples of 32.

        Returns:
            heatmaps (B, K, H/4, W/4), (B, K, H/2, W/2)... and tags (B, K, H/4, W/4).
        """
        x = self.features(images)[0]
        joints = self.numbers["joints"]
        outputs = [self.final_layers[0](x)]
        for deconv, head in zip(self.deconv_layers, self.final_layers[1:]):
            x = deconv(torch.cat([x, outputs[-1]], dim=1))
            outputs.append(head(x))
        return Outputs({"heatmaps": [output[:, :joints] for output in outputs], "tags": [outputs[0][:, joints:]]})

    def maps(self, images: Tensor) -> dict[str, Tensor]:
        """The levels made one: heatmaps, their mean, and tags, (B, K, h, w) each, as fine as the last level."""
        out = self(images).maps
        size = out["heatmaps"][-1].shape[-2:]
        levels = [_resized(level, size) for level in out["heatmaps"]]
        return {"heatmaps": sum(levels) / len(levels), "tags": _resized(out["tags"][0], size)}


def _deconv(inputs: int, width: int, blocks: int) -> nn.Sequential:
    """Twice the resolution, then basic blocks."""
    upsample = nn.Sequential(
        nn.ConvTranspose2d(inputs, width, kernel_size=4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    )
    return nn.Sequential(upsample, *(nn.Sequential(BasicBlock(width)) for _ in range(blocks)))


def _resized(maps: Tensor, size_hw: Sequence[int]) -> Tensor:
    if maps.shape[-2:] == size_hw:
        return maps
    return F.interpolate(maps, size=size_hw, mode="bilinear", align_corners=False)
