"""Views of images in training, in plain numbers: a setting to those who ask, a limit to those who draw."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class ViewSettings:
    """How far a training view strays from the plain one.

    Attributes:
        rotate: degrees to either side.
        scale: smallest and largest factor on the plain view's scale.
        shift: share of the input's size to either side.
        flip: probability of mirroring.
        light: strength of brightness, contrast and colour changes, 0 to 1.
        noise: standard deviation of sensor noise at most, in grey levels.
        grey: probability of losing all colour.
        mosaic: probability of sharing the input with three other images, each in a quadrant of its own.
        paste: probability of people of another image over this one.
    """

    rotate: float = 25.0
    scale: list[float] = field(default_factory=lambda: [0.7, 1.35])
    shift: float = 0.12
    flip: float = 0.5
    light: float = 0.25
    noise: float = 6.0
    grey: float = 0.05
    mosaic: float = 0.0
    paste: float = 0.0
