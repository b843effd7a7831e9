"""3x3 convolutions that learn as three branches and are then one (RepVGG, Ding et al., arXiv:2101.03697)."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEW = 8  # channels


class RepConv(nn.Module):
    """ReLU of a 3x3 convolution that keeps the size, over the stride.

    It learns as the sum of a 3x3, a 1x1 and, where channels and size stay, the input itself, each with a batch norm. Of
    an image's few channels there is no 1x1.

    Shape: (B, inputs, h, w) -> (B, outputs, h/stride, w/stride).
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.wide = _normed(inputs, outputs, 3, stride)
        # in bf16 torch 2.13's gradient of a strided 1x1 convolution of 3 channels writes beyond its memory
        self.point = _normed(inputs, outputs, 1, stride) if inputs >= FEW else None
        self.same = nn.BatchNorm2d(inputs) if inputs == outputs and stride == 1 else None

    def forward(self, x: Tensor) -> Tensor:
        total = self.wide(x)
        for branch in filter(None, (self.point, self.same)):
            total = total + branch(x)
        return F.relu(total)

    @torch.no_grad()
    def merged(self) -> nn.Sequential:
        """The same as one convolution and a ReLU, with the statistics that the norms have now."""
        conv, norm = self.wide
        wide, bias = _folded(conv.weight, norm)
        if self.point is not None:
            point, more = _folded(self.point[0].weight, self.point[1])
            wide, bias = wide + F.pad(point, [1, 1, 1, 1]), bias + more
        if self.same is not None:
            channels = conv.in_channels
            identity = torch.eye(channels, device=conv.weight.device)[..., None, None]
            same, more = _folded(identity, self.same)
            wide, bias = wide + F.pad(same, [1, 1, 1, 1]), bias + more
        one = nn.Conv2d(conv.in_channels, conv.out_channels, 3, conv.stride, 1).to(conv.weight)
        one.weight.copy_(wide)
        one.bias.copy_(bias)
        return nn.Sequential(one, nn.ReLU(inplace=True))


def merged(net: nn.Module) -> nn.Module:
    """A copy of a net, all of whose `RepConv`s are single convolutions: for inference, not for training.

    The maps are the same but for rounding. A net without any is given back as it is.
    """
    if not any(isinstance(module, RepConv) for module in net.modules()):
        return net
    made = copy.deepcopy(net)
    for module in list(made.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, RepConv):
                setattr(module, name, child.merged())
    return made


def _normed(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


def _folded(weight: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """The convolution and the bias that a convolution and its norm amount to, float64."""
    gain = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return weight.double() * gain[:, None, None, None], norm.bias.double() - norm.running_mean.double() * gain
