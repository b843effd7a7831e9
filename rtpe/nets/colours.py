"""Colour spaces as a net's input, computed from the normalised RGB that all nets take.

HSV is Smith's hexcone (1978), hue as a share of the circle; LAB is CIE L*a*b* of sRGB under D65 (IEC 61966-2-1).
Both are then brought to about mean 0 and deviation 1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rtpe.nets.blocks import IMAGENET_MEAN, IMAGENET_STD

# mean and deviation of each channel over 342 photographs of people (COCO), 128 x 128 pixels of each
HSV_MEAN, HSV_STD = (0.29, 0.32, 0.51), (0.27, 0.26, 0.26)
LAB_MEAN, LAB_STD = (46.8, 2.1, 8.6), (25.7, 11.0, 17.2)
SRGB_TO_XYZ = (  # each row over the white point's X, Y and Z: white is 1, 1, 1
    (0.412453 / 0.950456, 0.357580 / 0.950456, 0.180423 / 0.950456),
    (0.212671, 0.715160, 0.072169),
    (0.019334 / 1.088754, 0.119193 / 1.088754, 0.950227 / 1.088754),
)
TINY = 1e-6  # divides greys, which have neither hue nor saturation


def rgb_to_hsv(rgb: Tensor) -> Tensor:
    """(B, 3, h, w) of 0..1 to hue, saturation and value, 0..1 each; a grey has hue 0."""
    red, green, blue = rgb[:, 0], rgb[:, 1], rgb[:, 2]
    value, least = rgb.amax(1), rgb.amin(1)
    chroma = value - least
    step = chroma.clamp(min=TINY)
    of_green, of_blue = 2 + (blue - red) / step, 4 + (red - green) / step
    hue = torch.where(value == red, (green - blue) / step, torch.where(value == green, of_green, of_blue)) / 6
    hue = torch.where(hue < 0, hue + 1, hue)
    return torch.stack([hue, chroma / value.clamp(min=TINY), value], dim=1)


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """(B, 3, h, w) of 0..1 to lightness, 0..100, and the red-green and yellow-blue axes, about -110..110."""
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    x, y, z = (_root(sum(share * linear[:, i] for i, share in enumerate(row))) for row in SRGB_TO_XYZ)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def _root(share: Tensor) -> Tensor:
    """The cube root, and near black a straight line."""
    return torch.where(share > 0.008856, share.clamp(min=TINY) ** (1 / 3), 7.787 * share + 16 / 116)


def _as(convert: Callable[[Tensor], Tensor], mean: tuple[float, ...], std: tuple[float, ...]):
    def colours(images: Tensor) -> Tensor:
        exact = images.float()  # a cube root in half precision is coarser than a grey level
        rgb = (exact * _channels(IMAGENET_STD, exact) + _channels(IMAGENET_MEAN, exact)).clamp(0, 1)
        return ((convert(rgb) - _channels(mean, exact)) / _channels(std, exact)).to(images)

    return colours


def _channels(numbers: tuple[float, ...], like: Tensor) -> Tensor:
    return like.new_tensor(numbers).view(1, 3, 1, 1)


COLOURS: dict[str, Callable[[Tensor], Tensor]] = {
    "rgb": lambda images: images,
    "hsv": _as(rgb_to_hsv, HSV_MEAN, HSV_STD),
    "lab": _as(rgb_to_lab, LAB_MEAN, LAB_STD),
}
