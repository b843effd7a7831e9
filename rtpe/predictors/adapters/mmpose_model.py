"""A model of mmpose at work: what it is given, what it gives; `from_mmpose` makes it of files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rtpe.errors import UserError
from rtpe.geometry import INDEX_TO_POINT, Affine, cells, index_to_point, letterbox
from rtpe.nets.blocks import denormalise
from rtpe.predictors.adapters.simcc import Distributions, rebuilt
from rtpe.predictors.finite import PRECISION, require_finite
from rtpe.predictors.pictures import OfPictures
from rtpe.predictors.top_down import CropModel
from rtpe.raster import warp
from rtpe.skeleton import Skeleton
from rtpe.structures import PoseMaps, Poses, Prediction

GREY = 114  # beside the image, for nets that give people and no maps
DRAWN_STRIDE, DRAWN_SPREAD = 4, 2.0  # of maps drawn of the people: pixels a cell, cells


@dataclass(frozen=True)
class Model:
    """A model of mmpose, with its weights, and what its config says of what it takes and gives.

    Attributes:
        kind: of its maps: heatmaps or udp (two ways to lay cells over a crop), simcc (two distributions a joint), tags
            (heatmaps and tags of whole images), poses (people, no maps).
        size_hw: of its input.
        mean, std: of its input's channels, 0 to 255, in the order of `color`, rgb or bgr.
        order: its channel for each joint of `skeleton`.
        stride: of a top-down one: pixels of a crop a cell.
        meaning: of simcc's numbers.
        resize: of whole images, see `BottomUpPredictor`.
    """

    net: nn.Module
    kind: str
    size_hw: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    color: str
    order: tuple[int, ...]
    skeleton: Skeleton
    weights_sha256: str
    stride: int = 0
    meaning: Distributions | None = None
    resize: str = "short_side"

    @property
    def top_down(self) -> bool:
        return self.kind in ("heatmaps", "udp", "simcc")

    @property
    def by_index(self) -> bool:
        """Whether cell i of a crop stands for its pixel stride * i; see `TopDownSettings`."""
        return self.kind in ("heatmaps", "simcc")

    @property
    def udp(self) -> bool:
        """Whether crops and cells lie as in unbiased data processing; see `TopDownSettings`."""
        return self.kind == "udp"

    def describe(self) -> dict[str, Any]:
        """In plain values."""
        said = {"net": type(self.net).__name__, "head": type(self.net.head).__name__, "kind": self.kind}
        seen = {"mean": list(self.mean), "std": list(self.std), "color": self.color}
        meant = {"meaning": json.loads(json.dumps(asdict(self.meaning)))} if self.meaning else {}
        return {**said, **seen, **meant, "channels": list(self.order)}

    def inputs(self, images: Tensor) -> Tensor:
        """Images, (B, 3, H, W) RGB of 0 to 255, as the net wants them."""
        images = images.float() if self.color == "rgb" else images.float().flip(1)
        mean, std = (images.new_tensor(values).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return (images - mean) / std

    def maps(self, images: Tensor) -> dict[str, Tensor]:
        """What it shows of such images: heatmaps (B, K, h, w), and tags of the same shape if it has them."""
        said = self.net(self.inputs(images), None, mode="tensor")
        given = said if self.kind == "tags" else (rebuilt(*said, self.meaning) if self.kind == "simcc" else said,)
        order = list(self.order)
        return {name: maps[:, order] for name, maps in zip(("heatmaps", "tags"), given)}


class TagNet(nn.Module):
    """A model of tags, as `BottomUpPredictor` wants a net."""

    def __init__(self, model: Model):
        super().__init__()
        self.model, self.net, self.numbers = model, model.net, model.describe()

    def maps(self, images: Tensor) -> dict[str, Tensor]:
        """Heatmaps and tags of normalised images, (B, 3, H, W)."""
        return self.model.maps(denormalise(images) * 255)


def mmpose_crop_model(model: Model, device: str = "cpu", precision: str = "fp32") -> CropModel:
    """A top-down model for use on crops; `precision` is that of its own arithmetic, fp32 or bf16."""
    model.net.to(device)

    @torch.inference_mode()
    def look(crops: np.ndarray) -> np.ndarray:
        images = torch.from_numpy(crops).to(device).permute(0, 3, 1, 2)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
            heatmaps = model.maps(images)["heatmaps"]
        return heatmaps.float().cpu().numpy()

    return look


@dataclass
class PosePredictor(OfPictures):
    """A model that finds people in whole images and has no maps: each joint is drawn as high as its score.

    Attributes:
        threshold: a joint whose score is no higher is not found.
        max_people: at most so many an image.
        batch: images in one run.
    """

    model: Model
    name: str
    threshold: float = 0.0
    max_people: int = 30
    device: str = "cpu"
    batch: int = 8

    def __post_init__(self):
        self.model.net.to(self.device)

    @property
    def skeleton(self) -> Skeleton:
        return self.model.skeleton

    def __call__(self, images: Sequence[np.ndarray]) -> list[Prediction]:
        """Predict (H, W, 3) uint8 RGB images of any sizes; one prediction each, in original-image pixels.

        Raises:
            UserError: if an image is none.
        """
        for image in images:
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
                raise UserError(f"image: expected (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
        views = [letterbox(image.shape[:2], self.model.size_hw) for image in images]
        found = []
        for start in range(0, len(images), self.batch):
            some = zip(images[start : start + self.batch], views[start:])
            found += self._found([warp(image, view, self.model.size_hw, GREY) for image, view in some])
        return [self._prediction(*each) for each in zip(images, views, found)]

    def describe(self) -> dict:
        """Who speaks: plain values, equal for equal predictors."""
        own = {name: value for name, value in self.model.net.test_cfg.items() if isinstance(value, int | float)}
        how = {"size": list(self.model.size_hw), "threshold": self.threshold, "max_people": self.max_people, "own": own}
        return {"name": self.name, "weights_sha256": self.model.weights_sha256, "settings": self.model.describe() | how}

    @torch.inference_mode()
    def _found(self, inputs: list[np.ndarray]) -> list[Poses]:
        """The people in these, (H, W, 3) each, in their pixels."""
        from mmpose.structures import PoseDataSample

        net, (h, w) = self.model.net, self.model.size_hw
        images = torch.from_numpy(np.stack(inputs)).to(self.device).permute(0, 3, 1, 2)
        asked = [PoseDataSample(metainfo={"input_size": (w, h)}) for _ in inputs]
        said = net.head.predict(net.extract_feat(self.model.inputs(images)), asked, test_cfg=net.test_cfg)
        return [self._people(each.keypoints, each.keypoint_scores, each.bbox_scores) for each in said]

    def _people(self, by_index: np.ndarray, scores: np.ndarray, person_scores: np.ndarray) -> Poses:
        said = np.isfinite(by_index).all(axis=(1, 2)) & np.isfinite(scores).all(axis=1) & np.isfinite(person_scores)
        if not said.any():  # one without numbers is nobody, but not all that there are
            require_finite(self.name, PRECISION, joints=by_index, scores=scores, **{"people's scores": person_scores})
        best = [i for i in np.argsort(-person_scores, kind="stable") if said[i]][: self.max_people]
        points, scores = (each[best][:, list(self.model.order)] for each in (INDEX_TO_POINT(by_index), scores))
        return Poses(points, np.where(scores > self.threshold, scores, 0), person_scores[best], self.skeleton)

    def _prediction(self, image: np.ndarray, view: Affine, people: Poses) -> Prediction:
        to_input = cells(DRAWN_STRIDE)
        grid_hw = tuple(side // DRAWN_STRIDE for side in self.model.size_hw)
        heatmaps = _drawn(people.moved(to_input.inverse()), grid_hw, DRAWN_SPREAD)
        maps = PoseMaps(heatmaps, view.inverse() @ to_input, image.shape[:2], self.skeleton)
        return Prediction(maps, people.moved(view.inverse()))


def _drawn(people: Poses, size_hw: tuple[int, int], spread: float) -> np.ndarray:
    """A Gaussian as high as its score at each joint, where people overlap the highest; (K, h, w)."""
    heatmaps = np.zeros((len(people.skeleton), *size_hw), np.float32)
    ys, xs = (index_to_point(np.arange(side)) for side in size_hw)
    for points, scores in zip(people.points, people.scores):
        across = np.exp(-((xs - points[:, :1]) ** 2) / (2 * spread**2))
        down = np.exp(-((ys - points[:, 1:]) ** 2) / (2 * spread**2))
        np.maximum(heatmaps, scores[:, None, None] * down[:, :, None] * across[:, None], out=heatmaps)
    return heatmaps
