"""Nets that see one person a crop, as predictors: images and boxes in; people, and maps of the whole image, out.

A box is grown to the crop's aspect and padded, the crop seen, each joint taken where its map is highest. What the crops
showed is then laid over one grid of the whole image, so that it can teach a net that sees whole images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from rtpe.decode.nms import suppress
from rtpe.decode.peaks import Refiner, published_quarter, refiner
from rtpe.errors import UserError
from rtpe.geometry import Affine, cells, centered, crop, round_up, udp_cells, udp_crop
from rtpe.nets.blocks import normalise
from rtpe.predictors.finite import PRECISION, require_finite
from rtpe.predictors.pictures import OfPictures
from rtpe.raster import greatest, warp, warp_maps
from rtpe.skeleton import Skeleton
from rtpe.structures import Boxes, PoseMaps, Poses, Prediction

WIDENED = 0.75  # of a coarser cell, to each side, so that its mean is still high wherever it lies
CropModel = Callable[[np.ndarray], np.ndarray]  # crops (B, H, W, 3) uint8 RGB -> heatmaps (B, K, h, w) float32


@dataclass(frozen=True)
class TopDownSettings:
    """How a person is cropped, seen and read. `by_index`, `shift` and `vis_threshold` are those of published nets.

    With `by_index` a quarter's step and the comparison of people follow the published code, too: see
    `published_quarter` and `published_similarity`; with `udp` the latter.

    Attributes:
        size_hw: height and width of a crop.
        padding: the crop's sides over those of the box that has its aspect.
        flip: average with what the mirrored crop shows.
        by_index: the maps between image, crop and cells are between indices instead of between points: cell i stands
            for pixel stride * i of the crop, not for all the pixels that it covers.
        udp: they are those of unbiased data processing instead, see `udp_crop` and `udp_cells`; cells are mirrored onto
            cells.
        shift: with `by_index`, move the mirrored crop's maps by a whole cell instead of by the part of one that is due.
        refine: argmax, quarter or dark.
        threshold: a joint that is no higher is not found.
        vis_threshold: a person's score is the mean height of the joints that are higher than this.
        rescore: times the score of the person's box.
        nms_oks: whom a better person repeats by more than that goes, see `suppress`; 1 keeps all.
        map_size: long side in pixels of the frame that holds the whole image; its cells are as many pixels as a crop's.

    Raises:
        UserError: if a setting makes no sense.
    """

    size_hw: tuple[int, int] = (256, 192)
    padding: float = 1.25
    flip: bool = False
    by_index: bool = False
    udp: bool = False
    shift: bool = False
    refine: str = "quarter"
    threshold: float = 0.0
    vis_threshold: float = 0.0
    rescore: bool = False
    nms_oks: float = 0.9
    map_size: int = 640

    def __post_init__(self):
        if len(self.size_hw) != 2 or min(self.size_hw) < 1:
            raise UserError(f"crop.size: expected [height, width], got {list(self.size_hw)}")
        if self.padding <= 0 or self.map_size < 1:
            raise UserError(f"crop.padding, crop.map_size: expected above 0, got {self.padding} and {self.map_size}")
        if self.shift and not self.by_index:
            raise UserError("crop.shift: only of nets that were trained so: pass --teacher.crop.by_index as well")
        if self.udp and self.by_index:
            raise UserError("crop.by_index: not with crop.udp, as which every ViTPose is shown crops: leave it out")
        refiner(self.refine)

    @property
    def refiner(self) -> Refiner:
        return published_quarter if self.by_index and self.refine == "quarter" else refiner(self.refine)


@dataclass(frozen=True)
class TopDownPredictor(OfPictures):
    """A net, or a network in a file, that sees one person a crop.

    Legend: P people of an image, N of all images, K joints, h x w cells of a crop.

    Attributes:
        look: the net.
        stride: pixels of a crop per cell.
        boxes: those of every image, by its id.
        boxes_from: where they are from, in plain values.
        net: what `look` is, in plain values.
        batch: crops in one run.
        min_score: people of a lower score are doubtful; None if nobody has measured it.
    """

    look: CropModel
    skeleton: Skeleton
    settings: TopDownSettings
    stride: int
    name: str
    weights_sha256: str
    boxes: Mapping[int, Boxes]
    boxes_from: Mapping[str, Any]
    net: Mapping[str, Any]
    batch: int = 8
    min_score: float | None = None

    def __call__(self, images: Sequence[np.ndarray], boxes: Sequence[Boxes] | None = None) -> list[Prediction]:
        """Predict (H, W, 3) uint8 RGB images of any sizes, each with its boxes, in original-image pixels.

        An image without boxes has no people, and empty maps.

        Raises:
            UserError: if an image is none, there are no boxes, or the net gives other maps than expected.
        """
        if boxes is None:
            raise UserError(
                f"{self.name}: sees one person a crop and was given no boxes: call it with images and boxes"
            )
        for image in images:
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
                raise UserError(f"image: expected (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
        views = [[self._view(box) for box in each.xywh] for each in boxes]
        heatmaps = self._heatmaps([(image, view) for image, own in zip(images, views, strict=True) for view in own])
        ends = np.cumsum([len(own) for own in views])[:-1]
        by_image = np.split(heatmaps, ends) if len(views) else []
        return [self._prediction(*each) for each in zip(images, views, by_image, boxes)]

    def describe(self) -> dict:
        """Who speaks: plain values, equal for equal predictors."""
        settings = asdict(self.settings)
        size = list(settings.pop("size_hw"))
        if not self.settings.udp:
            del settings["udp"]  # caches made before there was a choice go on
        said = {"net": dict(self.net), "size": size, "stride": self.stride, **settings, "boxes": dict(self.boxes_from)}
        return {"name": self.name, "weights_sha256": self.weights_sha256, "settings": said}

    @property
    def _grid_hw(self) -> tuple[int, int]:
        """Cells of a crop's maps."""
        return tuple(side // self.stride for side in self.settings.size_hw)

    @property
    def _cells(self) -> Affine:
        """Cells of a crop to its pixels."""
        if self.settings.udp:
            return udp_cells(self._grid_hw, self.settings.size_hw)
        return self._meant(cells(self.stride))

    def _view(self, box_xywh: np.ndarray) -> Affine:
        """Image to the crop of a box."""
        if self.settings.udp:
            return udp_crop(box_xywh, self.settings.size_hw, self.settings.padding)
        return self._meant(crop(box_xywh, self.settings.size_hw, self.settings.padding))

    def _meant(self, affine: Affine) -> Affine:
        return Affine.from_index_matrix(affine.matrix) if self.settings.by_index else affine

    def _heatmaps(self, wanted: list[tuple[np.ndarray, Affine]]) -> np.ndarray:
        """What the net shows in these views of images, (N, K, h, w)."""
        size_hw, grid_hw = self.settings.size_hw, self._grid_hw
        seen = [np.zeros((0, len(self.skeleton), *grid_hw), np.float32)]
        for start in range(0, len(wanted), self.batch):
            crops = np.stack([warp(image, view, size_hw) for image, view in wanted[start : start + self.batch]])
            seen.append(self._seen(crops))
            require_finite(self.name, PRECISION, heatmaps=seen[-1])
            if seen[-1].shape[1:] != seen[0].shape[1:]:
                raise UserError(
                    f"{self.name}: expected {len(self.skeleton)} heatmaps of {grid_hw} cells for {self.skeleton.name} "
                    f"in crops of {size_hw}, got {seen[-1].shape[1:]}: choose the skeleton and size of these weights"
                )
        return np.concatenate(seen)

    def _seen(self, crops: np.ndarray) -> np.ndarray:
        heatmaps = self.look(crops)
        if not self.settings.flip:
            return heatmaps
        mirrored = self.look(np.ascontiguousarray(crops[:, :, ::-1]))[..., ::-1]
        if mirrored.shape[1] == len(self.skeleton):  # else it is refused for its shape
            mirrored = mirrored[:, self.skeleton.flip]
        return (heatmaps + self._shifted(mirrored)) / 2

    def _shifted(self, heatmaps: np.ndarray) -> np.ndarray:
        """Mirrored maps, laid over those of the crop: by index, cells are not mirrored onto cells."""
        if not self.settings.by_index:
            return heatmaps
        share = 1.0 if self.settings.shift else (self.stride - 1) / self.stride
        left = np.concatenate([heatmaps[..., :1], heatmaps[..., :-1]], axis=-1)
        return (1 - share) * heatmaps + share * left

    def _prediction(self, image: np.ndarray, views: list[Affine], heatmaps: np.ndarray, boxes: Boxes) -> Prediction:
        places = [view.inverse() @ self._cells for view in views]
        return Prediction(self._pasted(image.shape[:2], places, heatmaps), self._poses(places, heatmaps, boxes))

    def _pasted(self, image_hw: tuple[int, int], places: list[Affine], heatmaps: np.ndarray) -> PoseMaps:
        """The maps of all crops on one grid over the image; where people overlap, the highest."""
        scale = self.settings.map_size / max(image_hw)
        canvas_hw = tuple(round_up(side * scale, self.stride) for side in image_hw)
        to_image = centered(image_hw, canvas_hw, scale).inverse() @ cells(self.stride)
        whole = np.zeros((len(self.skeleton), *(side // self.stride for side in canvas_hw)), np.float32)
        for place, own in zip(places, heatmaps):
            np.maximum(whole, paste(own, to_image.inverse() @ place, whole.shape[1:]), out=whole)
        return PoseMaps(whole, to_image, image_hw, self.skeleton)

    def _poses(self, places: list[Affine], heatmaps: np.ndarray, boxes: Boxes) -> Poses:
        if not places:
            return Poses.none(self.skeleton)
        people, joints, h, w = heatmaps.shape
        heat = heatmaps.reshape(people * joints, h, w)
        cells_of = heat.reshape(len(heat), -1)
        highest = cells_of.argmax(axis=1) * (cells_of.max(axis=1) > 0)  # without any heat the first cell, as published
        ys, xs = np.divmod(highest, w)
        peaks = np.arange(len(heat)), ys, xs
        points = self.settings.refiner(heat, *peaks).reshape(people, joints, 2)
        scores = heat[peaks].reshape(people, joints)
        scores = np.where(scores > max(self.settings.threshold, 0), scores, 0)
        counts = scores > self.settings.vis_threshold
        person_scores = (scores * counts).sum(axis=1) / np.maximum(counts.sum(axis=1), 1)
        person_scores = person_scores * boxes.scores if self.settings.rescore else person_scores
        in_image = np.stack([place(own) for place, own in zip(places, points)])
        published = self.settings.by_index or self.settings.udp
        found = Poses(in_image, scores, person_scores, self.skeleton)
        return suppress(found, self.settings.nms_oks, self._areas(boxes) if published else None)

    def _areas(self, boxes: Boxes) -> np.ndarray:
        """Square pixels of the image that the crop of each box covers, (P,)."""
        size_hw, padding = self.settings.size_hw, self.settings.padding
        return np.array([np.prod(size_hw) / crop(box, size_hw, padding).scale ** 2 for box in boxes.xywh])


def paste(heatmaps: np.ndarray, affine: Affine, size_hw: tuple[int, int]) -> np.ndarray:
    """Carry a crop's maps, (K, h, w), into a grid of cells, (K, *size_hw); outside is 0.

    Peaks keep their places, to .15 of the larger one of both grids' cells, and .8 of their heights, however small or
    large the person: a cell of a much coarser grid takes the highest of what is around it.
    """
    reduction = 1 / affine.scale
    reach = int(reduction * WIDENED) if reduction >= 2 else 0  # below, `warp_maps` averages nothing away
    return warp_maps([greatest(each, reach) if reach else each for each in heatmaps], affine, size_hw, reduction < 1)


def crop_model(net: nn.Module, device: str = "cpu", color: str = "rgb", precision: str = "fp32") -> CropModel:
    """A net with `maps(images) -> {"heatmaps": ...}` for use on crops.

    Args:
        color: bgr gives it blue, green and red, normalised as if they were red, green and blue.
        precision: fp32, or bf16 for the net's own arithmetic.
    """
    net.to(device).eval()

    @torch.inference_mode()
    def look(crops: np.ndarray) -> np.ndarray:
        images = torch.from_numpy(crops).to(device).permute(0, 3, 1, 2)
        images = normalise(images.flip(1) if color == "bgr" else images)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
            heatmaps = net.maps(images)["heatmaps"]
        return heatmaps.float().cpu().numpy()

    return look
