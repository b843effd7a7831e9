"""What a net is asked for: named loss terms from its outputs and a batch, and their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rtpe.data.distill import Batch
from rtpe.data.targets import cell_indices, gaussian_maps
from rtpe.losses import heatmap_loss, segmentation_loss, tag_losses
from rtpe.nets.blocks import Outputs

TERMS = ("teacher", "truth", "pull", "push", "person")


@dataclass(frozen=True)
class Criterion:
    """Named loss terms, and the sum that training minimises.

    Attributes:
        weights: of each of TERMS; a term of weight 0 is not computed.
        sigmas: spread in cells of the target Gaussians, one a level of heatmaps, coarse to fine; the last serves
            all further levels.
        foreground: see `losses.heatmap_loss`.
        hardest: see `losses.heatmap_loss`.
        confidence: a teacher's joint weighs its score to this power in the tag terms; a label always weighs 1.
    """

    weights: Mapping[str, float]
    sigmas: Sequence[float] = (2.0,)
    foreground: float = 0.0
    hardest: int | None = None
    confidence: float = 0.0

    def __call__(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """The unweighted terms by name, each a scalar."""
        terms = {**self._heatmap_terms(outputs, batch), **self._tag_terms(outputs, batch)}
        if self.weights["person"] and outputs.attention:
            levels = [self._person(level, batch) for level in outputs.attention]
            terms["person"] = torch.stack(levels).mean()
        return terms

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        return sum(self.weights[name] * value for name, value in terms.items())

    def _heatmap_terms(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        terms: dict[str, list[Tensor]] = {"truth": [], "teacher": []}
        drawn: dict[tuple, Tensor] = {}  # levels of one size and spread share their target
        for level, predicted in enumerate(outputs.heatmaps):
            valid = _resized(batch.valid, predicted)
            if self.weights["truth"]:
                sigma = self.sigmas[min(level, len(self.sigmas) - 1)]
                grid = predicted.shape[2:], sigma
                if grid not in drawn:
                    drawn[grid] = gaussian_maps(_in_cells(batch, predicted), *grid)
                known = valid * batch.labelled[:, None, None, None]
                terms["truth"].append(heatmap_loss(predicted, drawn[grid], known, self.foreground, self.hardest))
            if self.weights["teacher"] and batch.teacher is not None:
                target = _resized(batch.teacher.float(), predicted)
                terms["teacher"].append(heatmap_loss(predicted, target, valid, self.foreground, self.hardest))
        return {name: torch.stack(levels).mean() for name, levels in terms.items() if levels}

    def _tag_terms(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        if outputs.tags is None or not (self.weights["pull"] or self.weights["push"]):
            return {}
        indices, visible = cell_indices(_in_cells(batch, outputs.tags), outputs.tags.shape[2:])
        weights = visible * batch.points[..., 2].clamp(0, 1) ** self.confidence
        pull, push = tag_losses(outputs.tags, indices, weights)
        return {"pull": pull, "push": push}

    def _person(self, logits: Tensor, batch: Batch) -> Tensor:
        return segmentation_loss(logits, _resized(batch.person, logits), _resized(batch.valid, logits))


def _in_cells(batch: Batch, maps: Tensor) -> Tensor:
    """The batch's points in cells of these maps: a resize is a pure factor."""
    factor = maps.shape[3] / batch.images.shape[3]
    return batch.points * batch.points.new_tensor([factor, factor, 1.0])


def _resized(maps: Tensor, like: Tensor) -> Tensor:
    if maps.shape[2:] == like.shape[2:]:
        return maps
    return F.interpolate(maps, like.shape[2:], mode="bilinear", align_corners=False)
