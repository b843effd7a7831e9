"""What each loss term computes: a function of its name, from the outputs of a net and what they are compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rtpe.data.loader import Batch
from rtpe.data.targets import cell_indices, gaussian_maps, offset_targets, person_centers, shift_targets
from rtpe.nets.blocks import Outputs, normalise
from rtpe.training.losses import (
    feature_loss,
    heatmap_loss,
    offset_loss,
    pull_loss,
    push_loss,
    segmentation_loss,
    shift_loss,
)

Stem = Callable[[Tensor], Tensor]


@dataclass
class Context:
    """What a term may ask for besides the outputs of the net.

    Attributes:
        batch: what the outputs are of.
        sigmas: spread in cells of the target Gaussians, one a level of heatmaps, coarse to fine; the last one serves
            all further levels, and the centers.
        foreground: see `losses.heatmap_loss`.
        confidence: a teacher's joint weighs its score to this power in the tag terms; a label always weighs 1.
        stem: another stem, whose features of normalised images the net's own stem is to have.
    """

    batch: Batch
    sigmas: Sequence[float] = (2.0,)
    foreground: float = 0.0
    confidence: float = 0.0
    stem: Stem | None = None

    def points(self, maps: Tensor) -> Tensor:
        """The people, (B, P, K, 3), in cells of these maps: a resize is a pure factor."""
        factor = maps.shape[3] / self.batch.images.shape[3]
        return self.batch.points * self.batch.points.new_tensor([factor, factor, 1.0])

    def valid(self, maps: Tensor) -> Tensor:
        """(B, 1, h, w), 0 where people are that nobody labelled."""
        return _resized(self.batch.valid, maps)

    def tagged(self, tags: Tensor) -> tuple[Tensor, Tensor]:
        """The cell of each joint, (B, P, K), and how much it counts."""
        points = self.points(tags)
        indices, visible = cell_indices(points, tags.shape[2:])
        return indices, visible * points[..., 2].clamp(0, 1) ** self.confidence


def teacher(outputs: Outputs, context: Context) -> Tensor | None:
    if context.batch.teacher is None:
        return None
    wanted = context.batch.teacher.float()
    levels = outputs.maps["heatmaps"]
    each = [heatmap_loss(maps, _resized(wanted, maps), context.valid(maps), context.foreground) for maps in levels]
    return torch.stack(each).mean()


def labels(outputs: Outputs, context: Context) -> Tensor:
    targets: dict[tuple, Tensor] = {}  # levels of one size and spread share their target
    each = []
    for level, maps in enumerate(outputs.maps["heatmaps"]):
        grid = maps.shape[2:], context.sigmas[min(level, len(context.sigmas) - 1)]
        if grid not in targets:
            targets[grid] = gaussian_maps(context.points(maps), *grid)
        known = context.valid(maps) * context.batch.labelled[:, None, None, None]
        each.append(heatmap_loss(maps, targets[grid], known, context.foreground))
    return torch.stack(each).mean()


def pull(outputs: Outputs, context: Context) -> Tensor:
    (tags,) = outputs.maps["tags"]
    return pull_loss(tags, *context.tagged(tags))


def push(outputs: Outputs, context: Context) -> Tensor:
    (tags,) = outputs.maps["tags"]
    return push_loss(tags, *context.tagged(tags))


def person(outputs: Outputs, context: Context) -> Tensor:
    # the share of a coarse cell is the mean of all that it covers, not a sample between two of them
    masks = context.batch.person, context.batch.valid
    each = [
        segmentation_loss(logits, *(F.adaptive_avg_pool2d(mask, logits.shape[2:]) for mask in masks))
        for logits in outputs.maps["attention"]
    ]
    return torch.stack(each).mean()


def center(outputs: Outputs, context: Context) -> Tensor:
    (maps,) = outputs.maps["centers"]
    centers, _ = person_centers(context.points(maps))
    target = gaussian_maps(centers, maps.shape[2:], context.sigmas[-1])
    return heatmap_loss(maps, target, context.valid(maps), context.foreground)


def offset(outputs: Outputs, context: Context) -> Tensor:
    (maps,) = outputs.maps["offsets"]
    points = context.points(maps)
    centers, sizes = person_centers(points)
    return offset_loss(maps, *offset_targets(points, centers, maps.shape[2:]), sizes)


def shift(outputs: Outputs, context: Context) -> Tensor:
    (maps,) = outputs.maps["shifts"]
    return shift_loss(maps, *shift_targets(context.points(maps), maps.shape[2:]))


def stem(outputs: Outputs, context: Context) -> Tensor | None:
    if context.stem is None:
        return None
    return feature_loss(outputs.stem, context.stem(normalise(context.batch.images)))


def _resized(maps: Tensor, like: Tensor) -> Tensor:
    if maps.shape[2:] == like.shape[2:]:
        return maps
    return F.interpolate(maps, like.shape[2:], mode="bilinear", align_corners=False)
