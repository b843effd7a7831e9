"""Stems: shapes and strides of each kind, and what a student asks for."""

import pytest
import torch

from rtpe.nets.stems import Stem, Trunk, stem

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


def test_a_stem_that_imitates_may_give_negative_features():
    """Other networks' features may be of either sign; behind a ReLU half of them could not be had."""
    torch.manual_seed(0)
    images = torch.randn(2, 3, 32, 32)
    assert Stem(8)(images).min() == 0 and Stem(8, outputs=6)(images).min() < 0
