"""HRNet with batch norms and ReLUs left out: what is missing where, and that what passes neither grows nor fades."""

from functools import cache

import pytest
import torch
from torch import nn

from rtpe.nets.hrnet import PoseHRNet

SMALL = {"width": 4, "stem": 4, "bottlenecks": 1, "modules": (1, 1, 1), "blocks": 1}
DEEP = {"width": 8, "stem": 8, "bottlenecks": 4, "modules": (1, 4, 3), "blocks": 4}  # as deep as the published nets
STEM_CHANNELS, ALL_CHANNELS = 2 * 64, 27_168  # of pose_hrnet_w32's norms, in its stem and altogether
VARIANTS = [
    {},
    {"no_norm": "stem"},
    {"no_act": "stem"},
    {"no_norm": "stem", "no_act": "stem"},
    {"no_act": "all"},
    {"no_norm": "all"},
    {"no_norm": "all", "no_act": "stem"},
    {"no_norm": "all", "no_act": "all"},
]


@cache
def published(**variant):
    """pose_hrnet_w32 for MPII's joints, names and shapes without the memory."""
    with torch.device("meta"):
        return PoseHRNet(joints=16, **variant)


def small(numbers=None, seed=0, **variant):
    torch.manual_seed(seed)
    return PoseHRNet(**(numbers or SMALL), **variant)


def of_kind(net, kind):
    return {name for name, module in net.named_modules() if isinstance(module, kind)}


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_norms_are_left_out_where_it_is_said(variant):
    whole, missing = of_kind(published(), nn.BatchNorm2d), of_kind(published(**variant), nn.BatchNorm2d)
    assert len(whole) == 292
    left = {"": whole, "stem": whole - {"bn1", "bn2"}, "all": set()}
    assert missing == left[variant.get("no_norm", "")]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_activations_are_left_out_where_it_is_said(variant):
    whole = of_kind(published(), nn.ReLU)
    left = {"": whole, "stem": whole - {"relu"}, "all": set()}
    assert of_kind(published(**variant), nn.ReLU) == left[variant.get("no_act", "")]
    assert "relu" in whole and "stage4.2.relu" in whole


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_a_convolution_has_a_norm_or_a_bias(variant):
    """The counts are those of the published net (28,536,080 with 16 joints), less a weight for each channel's norm."""
    lost = {"": 0, "stem": STEM_CHANNELS, "all": ALL_CHANNELS}[variant.get("no_norm", "")]
    net = published(**variant)
    assert sum(parameter.numel() for parameter in net.parameters()) == 28_536_080 - lost
    biased = [name for name, module in net.named_modules() if isinstance(module, nn.Conv2d) and module.bias is not None]
    count = {"": 1, "stem": 3, "all": 293}[variant.get("no_norm", "")]
    assert len(biased) == count and "final_layer" in biased


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_names_of_what_is_left_are_those_of_the_published_net(variant):
    """So that its weights can still be a start."""
    names = published().state_dict().keys()
    assert {name for name in published(**variant).state_dict() if not name.endswith(".bias")} <= names


def test_the_default_says_nothing_of_it():
    """Caches that the published net made know its numbers, and go on only with the same ones."""
    assert small().numbers.keys() == {"joints", "width", "stem", "bottlenecks", "modules", "blocks"}
    left_out = small(no_norm="all", no_act="stem")
    assert (left_out.numbers["no_norm"], left_out.numbers["no_act"]) == ("all", "stem")
    assert PoseHRNet(**left_out.numbers).state_dict().keys() == left_out.state_dict().keys()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_features_neither_explode_nor_die(variant, seed):
    """44 sums deep. With norms a sum adds its own; without, the initial weights keep the images' mean square of 1.

    Measured over 3 seeds and all variants: 1.1 to 14 without any norm, 41 to 54 with; Kaiming's weights alone and no
    norm give 4e13 to 1e30.
    """
    net = small(DEEP, seed, **variant).train()
    with torch.no_grad():
        features = net.features(torch.randn(2, 3, 64, 64))[0]
    low, high = (0.05, 50) if variant.get("no_norm") == "all" else (5, 200)
    assert low < features.square().mean() < high and features.std(dim=(0, 2, 3)).median() > 0.1


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_parameter_gets_a_gradient(variant):
    """No weight of a branch begins at 0, or those before it would wait for it."""
    net = small(DEEP, **variant)
    net(torch.randn(2, 3, 64, 64)).heatmaps[0].sub(1).square().mean().backward()
    silent = [name for name, each in net.named_parameters() if each.grad is None or not each.grad.any()]
    assert not silent
    norms = torch.stack([each.grad.norm() for each in net.parameters() if each.ndim > 1])
    assert torch.isfinite(norms).all() and norms.max() < 100  # a step of Adam needs no more


@pytest.mark.parametrize("no_norm", ["stem", "all"])
def test_without_activations_or_norms_the_net_is_affine(no_norm):
    """With norms that do not learn their statistics it is so as well; with one ReLU left it would not be."""
    net = small(no_norm=no_norm, no_act="all").double().eval()
    one, other = torch.randn(2, 1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        nothing, sides = net(torch.zeros_like(one)).heatmaps[0], (net(one).heatmaps[0], net(other).heatmaps[0])
        torch.testing.assert_close(net(one + other).heatmaps[0], sum(sides) - nothing)


@pytest.mark.parametrize("name", ["no_norm", "no_act"])
def test_another_place_is_refused(name):
    with pytest.raises(ValueError, match=f"{name}: expected stem, all or nothing, got 'head'"):
        small(**{name: "head"})
