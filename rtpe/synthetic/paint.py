"""What surfaces look like: colours, fabrics, light."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

NOISE_SIZE = 512  # a power of two: wrapping is a bit mask
COLOUR = tuple[float, float, float]


@lru_cache(maxsize=1)
def smooth_noise() -> np.ndarray:
    """(512, 512) float32 in about [-1, 1], smooth over several octaves, wrapping at the borders."""
    rng = np.random.default_rng(1)
    total = np.zeros((NOISE_SIZE, NOISE_SIZE), np.float32)
    for cells, weight in ((8, 0.5), (16, 0.35), (32, 0.25), (128, 0.15)):
        coarse = np.pad(rng.standard_normal((cells, cells)).astype(np.float32), 2, mode="wrap")
        step = NOISE_SIZE // cells
        total += (
            weight
            * cv2.resize(coarse, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)[
                2 * step : -2 * step, 2 * step : -2 * step
            ]
        )
    return np.clip(total / (1.5 * total.std()), -1, 1)


def noise_at(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The smooth noise at coordinates of 1/512 of its period, any range."""
    wrap = NOISE_SIZE - 1
    return smooth_noise().take((v.astype(np.intp) & wrap) * NOISE_SIZE + (u.astype(np.intp) & wrap))


@dataclass(frozen=True)
class Light:
    """A lamp at infinity. `towards` is a unit vector in camera coordinates; ambient + diffuse is about 1."""

    towards: np.ndarray
    ambient: float
    diffuse: float

    def on(self, cosine):
        """How bright a surface is by the cosine of its normal and the lamp.

        Half-Lambert: shaded sides keep some shape.
        """
        return self.ambient + self.diffuse * (0.5 + 0.5 * cosine) ** 2


@dataclass(frozen=True)
class Paint:
    """What a surface looks like: two colours (RGB, 0..1) and how they alternate along and around a solid, in metres."""

    base: COLOUR
    second: COLOUR = (0.0, 0.0, 0.0)
    kind: str = "plain"  # plain, stripes (along), bands (around), checks, blots
    period: float = 0.1
    rough: float = 0.08  # how much the noise of folds and hair lightens and darkens it
    grain: float = 300.0  # noise cells a metre
    offset: float = 0.0  # keeps two garments from showing the same folds

    def albedo(self, along: np.ndarray, around: np.ndarray) -> np.ndarray:
        """(3, n) colours at (n,) places in metres."""
        if self.rough == 0 and self.kind == "plain":
            return np.full((len(along), 3), self.base, np.float32).T
        noise = noise_at(along * self.grain + self.offset, around * self.grain * 2 + self.offset)
        colours = np.multiply.outer(np.asarray(self.base, np.float32), 1 + np.float32(self.rough) * noise)
        if self.kind != "plain":
            towards = np.subtract(self.second, self.base).astype(np.float32)
            colours += np.multiply.outer(towards, self._mix(along, around, noise))
        return colours

    def _mix(self, along, around, noise):
        """(n,) float32: the share of the second colour."""
        if self.kind == "blots":
            return (noise > 0.25).astype(np.float32)
        turns = np.float32(2 * np.pi / self.period)
        if self.kind == "stripes":
            return (np.sin(around * turns) > 0.2).astype(np.float32)
        if self.kind == "bands":
            return (np.sin(along * turns) > 0.2).astype(np.float32)
        return np.float32(0.5) * ((np.sin(along * turns) > 0).astype(np.float32) + (np.sin(around * turns) > 0))


Cover = tuple[tuple[float, Paint], ...]  # (up to which t, what): a sleeve to 0.6, then skin
