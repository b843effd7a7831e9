"""Bottom-up nets as predictors: images of any size in, one map per joint over the whole image out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtpe import geometry
from rtpe.errors import UserError
from rtpe.geometry import Affine
from rtpe.heads import HEADS
from rtpe.nets.blocks import normalise
from rtpe.predictors.finite import PRECISION, require_finite
from rtpe.predictors.pictures import OfPictures
from rtpe.raster import warp
from rtpe.skeleton import Skeleton
from rtpe.structures import PoseMaps, Poses, Prediction

RESIZES = ("short_side", "letterbox", "published")
PRECISIONS = ("fp32", "bf16")
MULTIPLE = 64  # of the input's sides, at every scale
LONGEST = 8  # long side over short side; a longer image gets a border instead of an endless input


@dataclass
class BottomUpPredictor(OfPictures):
    """A net with `maps(images) -> {"heatmaps": ...}` and what stands before and behind it.

    Legend: B images, K joints, T runs that number people, h x w cells.

    Attributes:
        net: takes (B, 3, H, W) normalised images, gives maps (B, C, h, w) by the names of `rtpe.heads.HEADS`.
        decode: reads the people from the maps of one image.
        name, weights_sha256: who speaks.
        size: of the input: its short side, or (height, width) or the one number for both if letterboxed.
        resize: "short_side" keeps the aspect and lets the input grow; "letterbox" gives all images one input size;
            "published" is the short side as published HigherHRNet weights know it (`geometry.published_side`).
        flip: average with what the mirrored image shows; its tags are a second run (T = 2).
        scales: average heatmaps over inputs of several sizes; all other maps are those of scale 1.
        project_to_image: enlarge all maps to the size of the input before the scales are averaged, as published figures
            need.
        batch: images in one run; only images of equal input size can share one.
        precision: "fp32", or "bf16" for the net's own arithmetic.
        reading: the settings of `decode`, for `describe`: people read in another way are another word.
        min_score: people of a lower score are doubtful; None if nobody has measured it.

    Raises:
        UserError: if a setting is none of its choices, or the size cannot be had at all scales.
    """

    net: nn.Module
    skeleton: Skeleton
    decode: Callable[[PoseMaps], Poses]
    name: str
    weights_sha256: str
    size: int | tuple[int, int]
    resize: str = "short_side"
    flip: bool = False
    scales: Sequence[float] = (1.0,)
    project_to_image: bool = False
    device: str = "cpu"
    batch: int = 8
    precision: str = "fp32"
    reading: Mapping[str, Any] = field(default_factory=dict)
    min_score: float | None = None

    def __post_init__(self):
        for setting, choices in (("resize", RESIZES), ("precision", PRECISIONS)):
            if getattr(self, setting) not in choices:
                raise UserError(f"{setting}: choose from {', '.join(choices)}, got {getattr(self, setting)!r}")
        if 1 not in self.scales or min(self.scales) <= 0:
            raise UserError(f"scales: expected positive numbers and 1 among them, got {tuple(self.scales)}")
        if self.resize != "letterbox" and (not isinstance(self.size, int) or self.size % self.multiple):
            raise UserError(
                f"size: expected a multiple of {self.multiple} for the scales {tuple(self.scales)}, got {self.size}: "
                f"choose one, or fit letterbox"
            )
        self.net.to(self.device)

    @property
    def multiple(self) -> int:
        """Of the input's sides, so that they are multiples of 64 at all scales."""
        return MULTIPLE * math.lcm(*(Fraction(scale).limit_denominator(100).denominator for scale in self.scales))

    def __call__(self, images: Sequence[np.ndarray]) -> list[Prediction]:
        """Predict (H, W, 3) uint8 RGB or (H, W) grey images of any sizes; one prediction each, in the same order.

        Raises:
            UserError: if an image is none, the net has another number of joints than the skeleton, or its maps are not
                finite.
        """
        self.net.eval()
        images = [_checked(image) for image in images]
        views = [self._view(image.shape[:2]) for image in images]
        predictions = {}
        for chosen in self._batches([input_hw for input_hw, _ in views]):
            chosen_images, chosen_views = [images[i] for i in chosen], [views[i] for i in chosen]
            for i, maps in zip(chosen, self._maps(chosen_images, chosen_views)):
                predictions[i] = Prediction(maps, self.decode(maps))
        return [predictions[i] for i in range(len(images))]

    def describe(self) -> dict:
        """Who speaks: plain values, equal for equal predictors."""
        seldom = {"project_to_image": True} if self.project_to_image else {}  # old caches say nothing of it, and go on
        return {
            "name": self.name,
            "weights_sha256": self.weights_sha256,
            "settings": {
                "net": type(self.net).__name__,
                "numbers": dict(getattr(self.net, "identity", getattr(self.net, "numbers", {}))),
                "size": self.size if isinstance(self.size, int) else list(self.size),
                "resize": self.resize,
                "flip": self.flip,
                "scales": [float(scale) for scale in self.scales],
                **seldom,
                "precision": self.precision,
                "decode": dict(self.reading),
            },
        }

    def _view(self, image_hw: tuple[int, int]) -> tuple[tuple[int, int], Affine]:
        """The input's size at scale 1, and the affine from the image to the net's coordinates in it."""
        if self.resize != "letterbox" and max(image_hw) <= LONGEST * min(image_hw):
            side = geometry.published_side if self.resize == "published" else geometry.short_side
            return side(image_hw, self.size, self.multiple)
        input_hw = (self.size, self.size) if isinstance(self.size, int) else tuple(self.size)
        if self.resize != "letterbox":
            longest = LONGEST * self.size
            input_hw = (longest, self.size) if image_hw[1] < image_hw[0] else (self.size, longest)
        return input_hw, self._to_pixels.inverse() @ geometry.letterbox(image_hw, input_hw)

    @property
    def _to_pixels(self) -> Affine:
        """From the net's coordinates in the input to the input's pixels."""
        return geometry.INDEX_TO_POINT if self.resize == "published" else Affine.identity()

    def _batches(self, sizes_hw: Sequence[tuple[int, int]]) -> Iterator[list[int]]:
        """Indices of images that have the same input size, a batch at a time."""
        by_size: dict[tuple[int, int], list[int]] = {}
        for i, size_hw in enumerate(sizes_hw):
            by_size.setdefault(size_hw, []).append(i)
        for indices in by_size.values():
            yield from (indices[i : i + self.batch] for i in range(0, len(indices), self.batch))

    def _maps(self, images: list[np.ndarray], views: list[tuple[tuple[int, int], Affine]]) -> Iterator[PoseMaps]:
        """The maps of images that have one input size."""
        input_hw = views[0][0]
        maps = self._all_scales(images, [affine for _, affine in views], input_hw)
        require_finite(self.name, PRECISION, **maps)
        stride = self._stride(maps["heatmaps"], input_hw)
        for i, (image, (_, affine)) in enumerate(zip(images, views)):
            to_image = affine.inverse() @ geometry.cells(stride)
            heatmaps, *others = ((name, each[i]) for name, each in maps.items())
            yield PoseMaps(heatmaps[1], to_image, image.shape[:2], self.skeleton, dict(others))

    @torch.inference_mode()
    def _all_scales(self, images, affines, input_hw) -> dict[str, np.ndarray]:
        """As `_run`, as arrays, heatmaps the mean of all scales, all in the cells of scale 1; heatmaps first."""
        maps = self._run(self._inputs(images, affines, input_hw, 1))
        maps = _projected(maps, input_hw) if self.project_to_image else maps
        total = maps["heatmaps"]
        for scale in self.scales:
            if scale != 1:
                scaled = self._run(self._inputs(images, affines, input_hw, scale))["heatmaps"]
                total = total + _resized(scaled, total.shape[-2:])
        maps = {"heatmaps": total / len(self.scales)} | {
            name: each for name, each in maps.items() if name != "heatmaps"
        }
        return {name: each.cpu().numpy() for name, each in maps.items()}

    def _inputs(self, images, affines, input_hw: tuple[int, int], scale: float) -> np.ndarray:
        """The images as one batch, (B, H, W, 3) uint8, at some scale of the input; black where no image is.

        Raises:
            UserError: if the scaled sides are no whole numbers.
        """
        scaled_hw = tuple(round(side * scale) for side in input_hw)
        if any(abs(scaled - side * scale) > 1e-6 for scaled, side in zip(scaled_hw, input_hw)):
            raise UserError(f"size: {input_hw} times scale {scale} is no whole number of pixels: choose another")
        resize = self._to_pixels @ Affine.scaling(scale)
        return np.stack([warp(image, resize @ affine, scaled_hw) for image, affine in zip(images, affines)])

    def _run(self, inputs: np.ndarray) -> dict[str, Tensor]:
        """Inputs, (B, H, W, 3) uint8, to the net's maps; of those that are not averaged, (B, T, C, h, w)."""
        images = normalise(torch.from_numpy(inputs).to(self.device).permute(0, 3, 1, 2))
        runs = [self._net(images)]
        if self.flip:
            runs.append(self._unflipped(self._net(images.flip(-1))))
        # averaging tags would mix two arbitrary numberings of the people: they stay apart
        return {
            name: sum(run[name] for run in runs) / len(runs)
            if HEADS[name].averaged
            else torch.stack([run[name] for run in runs], dim=1)
            for name in runs[0]
        }

    def _net(self, images: Tensor) -> dict[str, Tensor]:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            maps = self.net.maps(images)
        if maps["heatmaps"].shape[1] != len(self.skeleton):
            raise UserError(
                f"{self.name}: expected {len(self.skeleton)} heatmaps for {self.skeleton.name}, got "
                f"{maps['heatmaps'].shape[1]}: choose the skeleton that the net was trained with"
            )
        return {name: each.float() for name, each in maps.items()}

    def _unflipped(self, maps: dict[str, Tensor]) -> dict[str, Tensor]:
        """Maps of the mirrored image, laid over those of the image: left joints become right ones again."""
        return {name: _mirrored(each.flip(-1), HEADS[name].of, self.skeleton.flip) for name, each in maps.items()}

    def _stride(self, heatmaps: np.ndarray, input_hw: tuple[int, int]) -> float:
        stride = input_hw[1] / heatmaps.shape[-1]
        if heatmaps.shape[-2] * stride != input_hw[0]:
            raise UserError(
                f"{self.name}: {heatmaps.shape[-2:]} cells do not divide an input of {input_hw}: choose another size"
            )
        return stride


def _mirrored(maps: Tensor, of: str, order: Sequence[int]) -> Tensor:
    """The channels of flipped maps, (B, C, h, w): each is another joint's, and x points the other way."""
    if of == "joints":
        return maps[:, order]
    if of == "vectors":
        x_y = maps.unflatten(1, (-1, 2))[:, order]
        return (x_y * maps.new_tensor([-1, 1])[:, None, None]).flatten(1, 2)
    return maps


def _projected(maps: dict[str, Tensor], input_hw: tuple[int, int]) -> dict[str, Tensor]:
    """Maps with a cell for each pixel of the input; what is told in cells grows with the number of them."""
    stride = input_hw[1] / maps["heatmaps"].shape[-1]
    factors = {name: stride if HEADS[name].of == "vectors" else 1.0 for name in maps}
    return {name: factors[name] * _resized(each, input_hw) for name, each in maps.items()}


def _resized(maps: Tensor, size_hw: Sequence[int]) -> Tensor:
    """Maps, (B, ..., h, w), on another number of cells, bilinear."""
    flat = maps.flatten(1, -3) if maps.ndim > 4 else maps
    flat = F.interpolate(flat, tuple(size_hw), mode="bilinear", align_corners=False)
    return flat.view(*maps.shape[:-2], *size_hw)


def _checked(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint8 and image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=-1)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise UserError(f"image: expected (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
    return image
