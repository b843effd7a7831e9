"""What a net is asked for: named loss terms from its outputs and a batch, and their weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from rtpe.data.loader import Batch
from rtpe.data.targets import cell_indices, gaussian_maps, offset_targets, person_centres, shift_targets
from rtpe.errors import UserError
from rtpe.nets.blocks import Outputs, normalise
from rtpe.settings.limits import WEIGHT
from rtpe.training.losses import feature_loss, heatmap_loss, offset_loss, segmentation_loss, shift_loss, tag_losses
from rtpe.training.optim import at_progress

TERMS = ("teacher", "truth", "pull", "push", "person", "centre", "offset", "shift", "stem")


@dataclass(frozen=True)
class Criterion:
    """Named loss terms, and the sum that training minimises.

    Attributes:
        weights: of TERMS: a number, or knots [progress, weight] with lines between them; a term whose weight is the
            number 0, or that has none, is not computed.
        sigmas: spread in cells of the target Gaussians, one a level of heatmaps, coarse to fine; the last serves
            all further levels, and the centres.
        foreground: see `losses.heatmap_loss`.
        confidence: a teacher's joint weighs its score to this power in the tag terms; a label always weighs 1.
        imitated: another stem, whose features of the same normalised images the net's own stem is to have.
        progress: of the training, 0 to 1, at which the terms are weighed.

    Raises:
        UserError: if a weight is neither a number of 0 or more nor knots of rising progress.
    """

    weights: Mapping[str, float | Sequence[Sequence[float]]]
    sigmas: Sequence[float] = (2.0,)
    foreground: float = 0.0
    confidence: float = 0.0
    imitated: Callable[[Tensor], Tensor] | None = None
    progress: float = 0.0

    def __post_init__(self):
        for name, weight in self.weights.items():
            if not WEIGHT.holds(weight):
                raise UserError(WEIGHT.refusal(f"loss.{name}", weight))

    def at(self, progress: float) -> Criterion:
        """The same, as it weighs the terms at that progress."""
        return replace(self, progress=progress)

    def __call__(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """The unweighted terms by name, each a scalar."""
        parts = (self._heatmap_terms, self._tag_terms, self._centre_terms)
        terms = {name: value for part in parts for name, value in part(outputs, batch).items()}
        if self._asked("person") and outputs.attention:
            levels = [self._person(level, batch) for level in outputs.attention]
            terms["person"] = torch.stack(levels).mean()
        if self._asked("shift") and outputs.shifts is not None:
            points, grid_hw = _in_cells(batch, outputs.shifts), outputs.shifts.shape[2:]
            terms["shift"] = shift_loss(outputs.shifts, *shift_targets(points, grid_hw))
        if self.imitated is not None and self.weights["stem"]:
            terms["stem"] = feature_loss(outputs.stem, self.imitated(normalise(batch.images)))
        return terms

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        return sum(at_progress(self.weights.get(name, 0.0), self.progress) * value for name, value in terms.items())

    def _asked(self, *names: str) -> bool:
        return any(self.weights.get(name) for name in names)

    def _heatmap_terms(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        terms: dict[str, list[Tensor]] = {"truth": [], "teacher": []}
        idle = self._idle(outputs)
        drawn: dict[tuple, Tensor] = {}  # levels of one size and spread share their target
        for level, predicted in enumerate(outputs.heatmaps):
            valid = _resized(batch.valid, predicted)
            if self._asked("truth"):
                sigma = self.sigmas[min(level, len(self.sigmas) - 1)]
                grid = predicted.shape[2:], sigma
                if grid not in drawn:
                    drawn[grid] = gaussian_maps(_in_cells(batch, predicted), *grid)
                known = valid * batch.labelled[:, None, None, None]
                terms["truth"].append(heatmap_loss(predicted, drawn[grid], known, self.foreground))
            if self._asked("teacher") and batch.teacher is not None:
                target = _resized(batch.teacher.float(), predicted)
                terms["teacher"].append(heatmap_loss(predicted, target, valid, self.foreground))
        return {name: torch.stack(levels).mean() + idle for name, levels in terms.items() if levels}

    def _idle(self, outputs: Outputs) -> Tensor | float:
        """Nothing, of tags that no term asks for: they get a gradient of 0, for several processes wait for it."""
        idle = outputs.tags is not None and not self._asked("pull", "push")
        return outputs.tags.float().sum() * 0.0 if idle else 0.0

    def _tag_terms(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        if outputs.tags is None or not self._asked("pull", "push"):
            return {}
        indices, visible = cell_indices(_in_cells(batch, outputs.tags), outputs.tags.shape[2:])
        weights = visible * batch.points[..., 2].clamp(0, 1) ** self.confidence
        pull, push = tag_losses(outputs.tags, indices, weights)
        return {"pull": pull, "push": push}

    def _centre_terms(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        if outputs.centres is None or not self._asked("centre", "offset"):
            return {}
        points, grid_hw = _in_cells(batch, outputs.centres), outputs.centres.shape[2:]
        centres, sizes = person_centres(points)
        target, valid = gaussian_maps(centres, grid_hw, self.sigmas[-1]), _resized(batch.valid, outputs.centres)
        return {
            "centre": heatmap_loss(outputs.centres, target, valid, self.foreground),
            "offset": offset_loss(outputs.offsets, *offset_targets(points, centres, grid_hw), sizes),
        }

    def _person(self, logits: Tensor, batch: Batch) -> Tensor:
        # the share of a coarse cell is the mean of all that it covers, not a sample between two of them
        person, valid = (F.adaptive_avg_pool2d(mask, logits.shape[2:]) for mask in (batch.person, batch.valid))
        return segmentation_loss(logits, person, valid)


def _in_cells(batch: Batch, maps: Tensor) -> Tensor:
    """The batch's points in cells of these maps: a resize is a pure factor."""
    factor = maps.shape[3] / batch.images.shape[3]
    return batch.points * batch.points.new_tensor([factor, factor, 1.0])


def _resized(maps: Tensor, like: Tensor) -> Tensor:
    if maps.shape[2:] == like.shape[2:]:
        return maps
    return F.interpolate(maps, like.shape[2:], mode="bilinear", align_corners=False)
