"""Losses: functions of tensors that return one scalar each; whoever calls them names and weighs them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def heatmap_loss(
    predicted: Tensor, target: Tensor, mask: Tensor, foreground: float = 0.0, hardest: int | None = None
) -> Tensor:
    """Mean square error over the cells that the mask leaves, optionally of the hardest joints alone.

    Args:
        predicted, target: (B, K, h, w).
        mask: (B, 1, h, w), 0 where the truth is unknown.
        foreground: additional weight of a cell where the target is 1 (0: none); empty cells, the vast majority,
            would otherwise drown the few that matter.
        hardest: average only that many joints an image, those with the largest error: online hard keypoint mining
            (Chen et al., arXiv:1711.07319); None averages all.
    """
    weight = mask * (1 + foreground * target.detach().clamp(0, 1))
    error = ((predicted.float() - target) ** 2 * weight).sum((2, 3)) / mask.sum((2, 3)).clamp(min=1)
    if hardest is not None and hardest < error.shape[1]:
        error = error.topk(hardest, dim=1).values
    return error.mean()


def segmentation_loss(logits: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Binary cross entropy of logits with a 0..1 target where the mask is 1; all (B, 1, h, w)."""
    error = F.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
    return (error * mask).sum() / mask.sum().clamp(min=1)


def tag_losses(tags: Tensor, indices: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Pull the tags of a person together and push people apart (Newell et al., arXiv:1611.05424).

    Args:
        tags: (B, K, h, w).
        indices: (B, P, K) cell of each joint in the flattened h x w grid.
        weights: (B, P, K) 0..1 or bool, how much each joint counts; 0: absent.

    Returns:
        pull: weighed square distance of a person's tags to their weighed mean, over joints and people.
        push: mean over pairs of people of exp(-(difference of means)^2), times the mean weights of both.
    """
    people = indices.shape[1]
    if people == 0:
        return tags.sum() * 0.0, tags.sum() * 0.0
    flat = tags.float().flatten(2)[:, None].expand(-1, people, -1, -1)
    values = flat.gather(3, indices[..., None]).squeeze(3)
    weights = weights.float()
    counts, total = (weights > 0).sum(2), weights.sum(2)
    present = counts > 0
    means = (values * weights).sum(2) / torch.where(present, total, 1.0)
    spread = ((values - means[..., None]) ** 2 * weights).sum(2) / counts.clamp(min=1)
    pull = (spread * present).sum() / present.sum().clamp(min=1)
    pairs = present[:, :, None] & present[:, None, :] & ~torch.eye(people, dtype=torch.bool, device=tags.device)
    sure = total / counts.clamp(min=1)
    closeness = torch.exp(-((means[:, :, None] - means[:, None, :]) ** 2)) * sure[:, :, None] * sure[:, None, :]
    push = (closeness * pairs).sum() / pairs.sum().clamp(min=1)
    return pull, push
