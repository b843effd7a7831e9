"""What a net costs: parameters, and multiply-accumulates of one image."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@torch.no_grad()
def gmacs(net: nn.Module, size_hw: tuple[int, int], channels: int = 3) -> float:
    """Billions of multiply-accumulates of convolutions and products for one (channels, H, W) image."""
    training = net.training
    device = next(net.parameters()).device
    with FlopCounterMode(display=False) as counter:
        net.eval()(torch.zeros(1, channels, *size_hw, device=device))
    net.train(training)
    return counter.get_total_flops() / 2e9  # it counts a multiply-accumulate as two
