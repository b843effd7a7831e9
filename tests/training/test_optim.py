"""Parameter groups, and the learning rate from its first step to its last."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from rtpe.training.optim import at_progress, ema_decay, optimizer, restarts, warm_cosine


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


@pytest.mark.parametrize(
    "cycles, starts", [(1, []), (2, [1 / 3]), (3, [1 / 7, 3 / 7]), (5, [1 / 31, 3 / 31, 7 / 31, 15 / 31])]
)
def test_the_rate_restarts_and_every_cycle_is_twice_as_long(cycles, starts):
    """It jumps to the full rate there and nowhere else; each cycle ends at a hundredth, the last with the run."""
    places = [step / 31000 for step in range(31001)]
    rates = [restarts(place, cycles) for place in places]
    jumps = [b for (a, b), (before, after) in zip(pairwise(places), pairwise(rates)) if after - before > 0.5]
    assert jumps == pytest.approx(starts, abs=1 / 31000)
    for place in starts:
        assert restarts(place - 1e-4, cycles) < 0.011 and restarts(place + 1e-4, cycles) > 0.99
    assert max(rates) == pytest.approx(1.0, abs=1e-4) and rates[0] == rates[-1] == restarts(1.3, cycles) == 0.01
    assert restarts(starts[0] / 2 if starts else 0.05, cycles) > 0.49  # warmed up by half of the first cycle


def test_one_cycle_is_a_cosine():
    assert [restarts(step / 100, 1) for step in range(101)] == [warm_cosine(step / 100) for step in range(101)]


@pytest.mark.parametrize(
    "value, at, want",
    [
        (2.0, 0.3, 2.0),
        (0, 1.0, 0.0),
        ([[0.5, 3.0]], 0.1, 3.0),
        ([[0.2, 1.0], [0.6, 3.0]], 0.1, 1.0),
        ([[0.2, 1.0], [0.6, 3.0]], 0.4, 2.0),
        ([[0.2, 1.0], [0.6, 3.0]], 1.0, 3.0),
        ([[0.0, 1.0], [0.5, 0.0], [1.0, 1.0]], 0.75, 0.5),
    ],
)
def test_a_value_at_a_progress(value, at, want):
    assert at_progress(value, at) == pytest.approx(want)


def test_the_average_is_short_at_first():
    decays = [ema_decay(0.998, step) for step in range(10000)]
    assert decays == sorted(decays) and decays[0] == 0.1 and decays[-1] == 0.998
