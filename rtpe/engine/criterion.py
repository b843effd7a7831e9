"""What a net is asked for: named loss terms from its outputs and a batch, and their weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from rtpe.data.distill import Batch
from rtpe.data.targets import cell_indices, gaussian_maps
from rtpe.engine.optim import at_progress
from rtpe.losses import feature_loss, heatmap_loss, segmentation_loss, tag_losses
from rtpe.nets.blocks import Outputs, normalise

TERMS = ("teacher", "truth", "pull", "push", "person", "stem")


@dataclass(frozen=True)
class Criterion:
    """Named loss terms, and the sum that training minimises.

    Attributes:
        weights: of each of TERMS: a number, or knots [progress, weight] with lines between them; a term whose weight is
            the number 0 is not computed.
        sigmas: spread in cells of the target Gaussians, one a level of heatmaps, coarse to fine; the last serves
            all further levels.
        foreground: see `losses.heatmap_loss`.
        hardest: see `losses.heatmap_loss`.
        imitated: another stem, whose features of the same normalised images the net's own stem is to have.
        progress: of the training, 0 to 1, at which the terms are weighed.

    Raises:
        ValueError: if a weight is neither a number nor knots of rising progress.
    """

    weights: Mapping[str, float | Sequence[Sequence[float]]]
    sigmas: Sequence[float] = (2.0,)
    foreground: float = 0.0
    hardest: int | None = None
    imitated: Callable[[Tensor], Tensor] | None = None
    progress: float = 0.0

    def __post_init__(self):
        for name, weight in self.weights.items():
            if not (isinstance(weight, int | float) or _are_knots(weight)):
                raise ValueError(
                    f"loss.{name}: expected a number or [[progress, weight], ...], progress rising from 0 to 1, "
                    f"got {weight}"
                )

    def at(self, progress: float) -> Criterion:
        """The same, as it weighs the terms at that progress."""
        return replace(self, progress=progress)

    def __call__(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """The unweighted terms by name, each a scalar."""
        terms = {**self._heatmap_terms(outputs, batch), **self._tag_terms(outputs, batch)}
        if self.weights["person"] and outputs.attention:
            levels = [self._person(level, batch) for level in outputs.attention]
            terms["person"] = torch.stack(levels).mean()
        if self.imitated is not None and self.weights["stem"]:
            terms["stem"] = feature_loss(outputs.stem, self.imitated(normalise(batch.images)))
        return terms

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        return sum(at_progress(self.weights[name], self.progress) * value for name, value in terms.items())

    def _heatmap_terms(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        terms: dict[str, list[Tensor]] = {"truth": [], "teacher": []}
        for level, predicted in enumerate(outputs.heatmaps):
            valid = _resized(batch.valid, predicted)
            if self.weights["truth"]:
                sigma = self.sigmas[min(level, len(self.sigmas) - 1)]
                target = gaussian_maps(_in_cells(batch, predicted), predicted.shape[2:], sigma)
                known = valid * batch.labelled[:, None, None, None]
                terms["truth"].append(heatmap_loss(predicted, target, known, self.foreground, self.hardest))
            if self.weights["teacher"] and batch.teacher is not None:
                target = _resized(batch.teacher.float(), predicted)
                terms["teacher"].append(heatmap_loss(predicted, target, valid, self.foreground, self.hardest))
        return {name: torch.stack(levels).mean() for name, levels in terms.items() if levels}

    def _tag_terms(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        if outputs.tags is None or not (self.weights["pull"] or self.weights["push"]):
            return {}
        indices, visible = cell_indices(_in_cells(batch, outputs.tags), outputs.tags.shape[2:])
        pull, push = tag_losses(outputs.tags, indices, visible)
        return {"pull": pull, "push": push}

    def _person(self, logits: Tensor, batch: Batch) -> Tensor:
        return segmentation_loss(logits, _resized(batch.person, logits), _resized(batch.valid, logits))


def _are_knots(weight: Sequence[Sequence[float]]) -> bool:
    places = [knot[0] for knot in weight if len(knot) == 2]
    return 0 < len(weight) == len(places) and places == sorted(set(places)) and 0 <= places[0] <= places[-1] <= 1


def _in_cells(batch: Batch, maps: Tensor) -> Tensor:
    """The batch's points in cells of these maps: a resize is a pure factor."""
    factor = maps.shape[3] / batch.images.shape[3]
    return batch.points * batch.points.new_tensor([factor, factor, 1.0])


def _resized(maps: Tensor, like: Tensor) -> Tensor:
    if maps.shape[2:] == like.shape[2:]:
        return maps
    return F.interpolate(maps, like.shape[2:], mode="bilinear", align_corners=False)
