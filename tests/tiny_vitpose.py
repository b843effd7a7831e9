"""ViTPose in small: nets of random weights, saved as the folders that published ones come in."""

import pytest
import torch


def save_vitpose(folder, joints=17, simple=True, experts=1, seed=0, **backbone):
    """A net of some thousand weights in that folder, of 64 x 48 crops and 16 x 12 cells, and as transformers has it."""
    transformers = pytest.importorskip("transformers", reason="a ViTPose needs pip install rtpe[vitpose]")
    torch.manual_seed(seed)
    numbers = {
        "image_size": [64, 48],
        "patch_size": [16, 16],
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "mlp_ratio": 2,
        "num_experts": experts,
        "part_features": 4,
        "out_indices": [2],
    }
    config = transformers.VitPoseConfig(
        backbone_config=transformers.VitPoseBackboneConfig(**{**numbers, **backbone}),
        use_simple_decoder=simple,
        num_labels=joints,
        initializer_range=0.2,  # the published .02 would show next to nothing after two layers
    )
    made = transformers.VitPoseForPoseEstimation(config).eval()
    made.save_pretrained(folder)
    return made
