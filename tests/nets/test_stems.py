"""Stems: shapes and strides of each kind, and what a student asks for."""

import pytest
import torch

from rtpe.nets.stems import GraphTrunk, Stem, Trunk, stem

EVERY_EIGHTH = {  # a network of stride 8
    "nodes": [{"op": "Conv", "inputs": [0, -1], "strides": [8, 8]}],
    "shapes": [[2, 3, 8, 8]], "channels": 2, "order": [0, 1, 2], "gain": [1, 1, 1], "offset": [0, 0, 0],
}  # fmt: skip
HRNET = {"width": 8, "stem": 8, "bottlenecks": 1, "modules": [1], "blocks": 1}


@pytest.mark.parametrize(
    "own, trunk, kind, channels",
    [
        (None, None, Stem, 32),
        ({}, {}, Stem, 32),
        ({"channels": 16}, None, Stem, 16),
        ({"channels": 16, "blocks": 2, "outputs": 24}, None, Stem, 24),
        (None, HRNET, Trunk, 8 + 16),
        (None, {**HRNET, "modules": [], "blocks": 0}, Trunk, 32),
    ],
    ids=str,
)
def test_features_at_stride_4(own, trunk, kind, channels):
    made = stem(32, own, trunk).eval()
    assert isinstance(made, kind) and made.channels == channels
    assert made(torch.zeros(2, 3, 32, 64)).shape == (2, channels, 8, 16)


@pytest.mark.parametrize("stride", [4, 8])
@pytest.mark.parametrize("trunk, kind, channels", [(EVERY_EIGHTH, GraphTrunk, 2), (None, Stem, 32)])
def test_features_at_the_stride_asked_for(trunk, kind, channels, stride):
    made = stem(32, None, trunk, stride).eval()
    assert isinstance(made, kind) and made.stride == stride
    assert made(torch.zeros(2, 3, 32, 64)).shape == (2, channels, 32 // stride, 64 // stride)


def test_an_hrnets_features_stay_at_stride_4():
    assert stem(32, None, HRNET, 8).stride == 4


def test_a_stem_that_imitates_may_give_negative_features():
    """Other networks' features may be of either sign; behind a ReLU half of them could not be had."""
    torch.manual_seed(0)
    images = torch.randn(2, 3, 32, 32)
    assert Stem(8)(images).min() == 0 and Stem(8, outputs=6)(images).min() < 0
