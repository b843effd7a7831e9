"""Losses: functions of tensors that return one scalar each; whoever calls them names and weighs them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

TURN = 0.1  # of a person's size: errors beyond it count by their length, below it by its square
SMALLEST = 4.0  # cells: people of less are measured by this


def heatmap_loss(predicted: Tensor, target: Tensor, mask: Tensor, foreground: float = 0.0) -> Tensor:
    """Mean square error over the cells that the mask leaves.

    Args:
        predicted, target: (B, K, h, w).
        mask: (B, 1, h, w), 0 where the truth is unknown.
        foreground: additional weight of a cell where the target is 1 (0: none); empty cells, the vast majority,
            would otherwise drown the few that matter.
    """
    weight = mask * (1 + foreground * target.detach().clamp(0, 1))
    return (((predicted.float() - target) ** 2 * weight).sum((2, 3)) / mask.sum((2, 3)).clamp(min=1)).mean()


def feature_loss(predicted: Tensor, wanted: Tensor) -> Tensor:
    """Mean square error of features, (B, C, h, w), each channel in units of its own deviation in this batch.

    Features that are large, or one channel that is, would else be all that counts. A channel that hardly ever changes
    is measured by a tenth of the root mean square of all deviations.
    """
    variance = wanted.float().var((0, 2, 3), correction=0)
    variance = variance.clamp(min=variance.mean().clamp(min=1e-12) / 100)
    return ((predicted.float() - wanted) ** 2 / variance[:, None, None]).mean()


def segmentation_loss(logits: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Binary cross entropy of logits with a 0..1 target where the mask is 1; all (B, 1, h, w)."""
    error = F.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
    return (error * mask).sum() / mask.sum().clamp(min=1)


def pull_loss(tags: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
    """Pull the tags of a person together (Newell et al., arXiv:1611.05424).

    The weighed square distance of a person's tags to their weighed mean, over joints and people.

    Args:
        tags: (B, K, h, w).
        indices: (B, P, K) cell of each joint in the flattened h x w grid.
        weights: (B, P, K) 0..1 or bool, how much each joint counts; 0: absent.
    """
    if indices.shape[1] == 0:
        return tags.sum() * 0.0
    values, weights, counts, means = _tag_means(tags, indices, weights)
    spread = ((values - means[..., None]) ** 2 * weights).sum(2) / counts.clamp(min=1)
    present = counts > 0
    return (spread * present).sum() / present.sum().clamp(min=1)


def push_loss(tags: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
    """Push the tags of people apart; arguments as of `pull_loss`.

    The mean over pairs of people of exp(-(difference of means)^2), times the mean weights of both.
    """
    if indices.shape[1] == 0:
        return tags.sum() * 0.0
    _, weights, counts, means = _tag_means(tags, indices, weights)
    present, people = counts > 0, indices.shape[1]
    pairs = present[:, :, None] & present[:, None, :] & ~torch.eye(people, dtype=torch.bool, device=tags.device)
    sure = weights.sum(2) / counts.clamp(min=1)
    closeness = torch.exp(-((means[:, :, None] - means[:, None, :]) ** 2)) * sure[:, :, None] * sure[:, None, :]
    return (closeness * pairs).sum() / pairs.sum().clamp(min=1)


def _tag_means(tags: Tensor, indices: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The tag of each joint and its weight, (B, P, K); how many joints a person has, and its mean tag, (B, P)."""
    flat = tags.float().flatten(2)[:, None].expand(-1, indices.shape[1], -1, -1)
    values, weights = flat.gather(3, indices[..., None]).squeeze(3), weights.float()
    counts, total = (weights > 0).sum(2), weights.sum(2)
    return values, weights, counts, (values * weights).sum(2) / torch.where(counts > 0, total, 1.0)


def offset_loss(offsets: Tensor, indices: Tensor, targets: Tensor, counts: Tensor, sizes: Tensor) -> Tensor:
    """Smooth L1 of the offsets that the cells around centers give, in shares of the person's size.

    Args:
        offsets: (B, 2 K, h, w), x and y of each joint in turn.
        indices: (B, P, N) cells in the flattened h x w grid.
        targets: (B, P, N, K, 2) in cells.
        counts: (B, P, N, K) bool, which of them are judged.
        sizes: (B, P) in cells.
    """
    batch, people, cells = indices.shape
    if people == 0:
        return offsets.sum() * 0.0
    flat = offsets.float().flatten(2)
    told = flat.gather(2, indices.flatten(1)[:, None].expand(-1, flat.shape[1], -1))
    told = told.view(batch, -1, 2, people, cells).permute(0, 3, 4, 1, 2)
    size = sizes.clamp(min=SMALLEST)[:, :, None, None, None]
    error = F.smooth_l1_loss(told / size, targets / size, reduction="none", beta=TURN).sum(-1)
    return (error * counts).sum() / counts.sum().clamp(min=1)


def shift_loss(shifts: Tensor, indices: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
    """Smooth L1, in cells, of where joints are told to be in the cells around them.

    Args:
        shifts: (B, 2 K, h, w), x and y of each joint in turn.
        indices: (B, P, N, K) cells in the flattened h x w grid.
        targets: (B, P, N, K, 2) in cells.
        counts: (B, P, N, K) bool, which of them are judged.
    """
    batch, people, cells, joints = indices.shape
    if people == 0:
        return shifts.sum() * 0.0
    flat = shifts.float().view(batch, joints, 2, -1)
    places = indices.permute(0, 3, 1, 2).flatten(2)[:, :, None].expand(-1, -1, 2, -1)
    told = flat.gather(3, places).view(batch, joints, 2, people, cells).permute(0, 3, 4, 1, 2)
    error = F.smooth_l1_loss(told, targets, reduction="none", beta=TURN).sum(-1)
    return (error * counts).sum() / counts.sum().clamp(min=1)
