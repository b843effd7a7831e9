"""What is frozen keeps its weights and its norms' statistics, whatever the rest does."""

import copy

import pytest
import torch
from torch import nn

from rtpe.nets.frozen import Freezable


class Two(Freezable):
    def __init__(self):
        super().__init__()
        self.first, self.second = (nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU()) for _ in range(2))

    def forward(self, x):
        return self.second(self.first(x))


def step(net):
    """Which parts a training step changes."""
    before = copy.deepcopy(net.state_dict())
    net.train()
    net(torch.randn(4, 3, 5, 5)).square().sum().backward()
    torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 0.1).step()
    return {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("parts", [["first"], ["second"], ["first", "second"], ["second.0"], ["first.1"]], ids=str)
def test_only_what_learns_changes(parts):
    torch.manual_seed(0)
    net = Two()
    net.learn_only(parts)
    changed = step(net)
    assert changed and all(name.startswith(tuple(f"{part}." for part in parts)) for name in changed)
    assert any(name.endswith("running_mean") for name in changed) == (parts != ["second.0"])


def test_all_of_it_learns_unless_told_otherwise():
    torch.manual_seed(0)
    net = Two()
    assert step(net) == set(net.state_dict())
    assert not any(module.training for module in net.eval().modules())


def test_what_was_frozen_stays_frozen():
    net = Two()
    net.first.requires_grad_(False)
    net.learn_only(["second"])
    assert not any(p.requires_grad for p in net.first.parameters())
    with pytest.raises(ValueError, match=r"^first cannot learn: choose from second$"):
        net.learn_only(["first"])


@pytest.mark.parametrize("part", ["third", "fir", "first.2", "first.3"])
def test_a_part_that_is_not_there_is_refused(part):
    """`first.2` is there, but has nothing to learn."""
    with pytest.raises(ValueError, match=f"^{part} cannot learn: choose from first, second$"):
        Two().learn_only([part])
