"""Views of images in training, in plain numbers: a setting to those who ask, a limit to those who draw."""

from __future__ import annotations

from dataclasses import dataclass

from rtpe.limits import RANGE, SHARE, Checked, between, limited


@dataclass(frozen=True)
class ViewSettings(Checked):
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

    rotate: float = limited(25.0, between(0, 180))
    scale: list[float] = limited([0.7, 1.35], RANGE)
    shift: float = limited(0.12, SHARE)
    flip: float = limited(0.5, SHARE)
    light: float = limited(0.25, SHARE)
    noise: float = limited(6.0, between(0, 255))
    grey: float = limited(0.05, SHARE)
    mosaic: float = limited(0.0, SHARE)
    paste: float = limited(0.0, SHARE)
