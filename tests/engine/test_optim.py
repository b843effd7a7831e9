"""Parameter groups, and the learning rate from its first step to its last."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from rtpe.engine.optim import ema_decay, optimizer, warm_cosine


def test_weights_decay_and_norms_and_biases_do_not():
    """A norm that decays shrinks the features that it scales; a parameter in two groups is stepped twice."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1, bias=False))
    made = optimizer(net, lr=0.1, weight_decay=0.02)
    decaying, plain = made.param_groups
    assert (decaying["weight_decay"], plain["weight_decay"], made.defaults["lr"]) == (0.02, 0.0, 0.1)
    assert {id(p) for p in decaying["params"]} == {id(net[0].weight), id(net[2].weight)}
    assert {id(p) for p in plain["params"]} == {id(net[0].bias), id(net[1].weight), id(net[1].bias)}


def test_frozen_weights_are_not_stepped():
    """AdamW would decay them even without a gradient."""
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1))
    net[0].requires_grad_(False)
    made = optimizer(net, lr=0.1, weight_decay=0.5)
    assert {id(p) for group in made.param_groups for p in group["params"]} == {id(p) for p in net[1].parameters()}
    before = net[0].weight.clone()
    net(torch.ones(1, 3, 2, 2)).sum().backward()
    made.step()
    assert torch.equal(net[0].weight, before)


def test_the_rate_rises_and_falls_to_its_end():
    """Warmed up within the first 20th; at its last hundredth when the run ends, by steps or by time."""
    rates = [warm_cosine(step / 1000) for step in range(1001)]
    assert rates[0] == 0.01 and rates[50] == 1.0 == max(rates) and rates[-1] == pytest.approx(0.01)
    assert rates[:51] == sorted(rates[:51]) and rates[50:] == sorted(rates[50:], reverse=True)
    assert warm_cosine(1.7) == pytest.approx(0.01)  # a step that began within the time and ended beyond it


def test_the_rate_never_jumps():
    """Neither where the warm-up ends nor anywhere else."""
    rates = [warm_cosine(step / 10000) for step in range(10001)]
    assert max(abs(a - b) for a, b in pairwise(rates)) < 0.0021  # the warm-up's slope: 1 / .05 / 10000


def test_the_average_is_short_at_first():
    decays = [ema_decay(0.998, step) for step in range(10000)]
    assert decays == sorted(decays) and decays[0] == 0.1 and decays[-1] == 0.998
