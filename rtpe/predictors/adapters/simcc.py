"""Heatmaps of two distributions a joint, one along x and one along y (SimCC, Li et al., arXiv:2107.03332)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

STRIDE = 2  # input pixels a cell: these peaks are too narrow for coarser ones


@dataclass(frozen=True)
class Distributions:
    """What a net's numbers mean, by how it was trained; its labels are Gaussians.

    Attributes:
        bins: in a pixel of the input; bin i stands for pixel i / bins.
        sigmas_xy: the labels' spread in bins.
        factor: of the numbers.
        softmax: they are exponents; else they are the labels themselves, up to `factor`.
        unit: the labels' sum is 1; else their summit.
    """

    bins: float
    sigmas_xy: tuple[float, float]
    factor: float
    softmax: bool
    unit: bool

    def heights(self, values: Tensor, sigma: float) -> Tensor:
        """Numbers along one side, (B, K, n), as heights: 1 at the summit of a label, and nowhere more."""
        values = values * self.factor
        heights = values.softmax(-1) if self.softmax else values.clamp(min=0)
        if self.softmax or self.unit:
            heights = heights * (sigma * math.sqrt(2 * math.pi))
        return heights / heights.amax(-1, keepdim=True).clamp(min=1)


def rebuilt(x: Tensor, y: Tensor, meaning: Distributions) -> Tensor:
    """Heatmaps (B, K, H / STRIDE, W / STRIDE) of (B, K, W * bins) and (B, K, H * bins); cell i is at pixel STRIDE * i.

    A peak is as high as the lower one of its two.
    """
    with torch.autocast(x.device.type, enabled=False):  # places between cells want more than bf16's eight bits
        across, down = (
            _coarser(meaning.heights(values.float(), sigma), round(STRIDE * meaning.bins))
            for values, sigma in zip((x, y), meaning.sigmas_xy)
        )
        higher = across.amax(-1).maximum(down.amax(-1)).clamp(min=1e-6)
        return down[..., :, None] * across[..., None, :] / higher[..., None, None]


def _coarser(heights: Tensor, step: int) -> Tensor:
    """Means over as many bins as a cell has, around every step-th; of an even number both ends count half."""
    taps = heights.new_ones(1, 1, step + 1 - step % 2)
    if step % 2 == 0:
        taps[..., 0] = taps[..., -1] = 1 / 2
    reach = taps.shape[-1] // 2
    padded = F.pad(heights, (reach, reach), mode="replicate")
    return F.conv1d(padded.flatten(0, 1)[:, None], taps / step, stride=step).view(*heights.shape[:2], -1)
