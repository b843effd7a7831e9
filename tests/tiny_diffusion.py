"""Stable Diffusion in small: pipelines of random weights, saved as the folders that real ones come in."""

import pytest
import torch


def save_pipeline(folder, xl=False, seed=0):
    """A pipeline of some ten thousand weights in that folder, and as diffusers has it.

    SD: 8 x 8 latents of 64 pixels; XL: 8 x 8 latents of 32 pixels, and two text encoders.
    """
    diffusers = pytest.importorskip("diffusers", reason="the readout head needs pip install rtpe[diffusion]")
    pytest.importorskip("transformers", reason="the readout head needs pip install rtpe[diffusion]")
    torch.manual_seed(seed)
    noise = diffusers.DDIMScheduler(steps_offset=1, clip_sample=False)  # nothing here is noised, but it belongs to it
    parts = {"unet": _unet(diffusers, xl), "vae": _vae(diffusers, 3 if xl else 4), "scheduler": noise, **_text("", 32)}
    if xl:
        made = diffusers.StableDiffusionXLPipeline(**parts, **_text("_2", 16), add_watermarker=False)
    else:
        also = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        made = diffusers.StableDiffusionPipeline(**parts, **also)
    made.save_pretrained(folder)
    return made


def _unet(diffusers, xl):
    also = {}
    if xl:
        also = {"addition_embed_type": "text_time", "addition_time_embed_dim": 4}
        also |= {"projection_class_embeddings_input_dim": 16 + 6 * 4}
    return diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=48 if xl else 32,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        **also,
    )


def _vae(diffusers, blocks):
    return diffusers.AutoencoderKL(
        block_out_channels=[8] * blocks,
        down_block_types=["DownEncoderBlock2D"] * blocks,
        up_block_types=["UpDecoderBlock2D"] * blocks,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
    )


def _text(number, width):
    import transformers

    config = transformers.CLIPTextConfig(
        vocab_size=3,
        hidden_size=width,
        projection_dim=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    kind = transformers.CLIPTextModelWithProjection if number else transformers.CLIPTextModel
    words = {"<|startoftext|>": 0, "<|endoftext|>": 1, "!": 2}
    pad = {"pad_token": "!"} if number else {}  # as XL's second one has it
    tokenizer = transformers.CLIPTokenizer(vocab=words, merges=[], model_max_length=77, **pad)
    return {f"text_encoder{number}": kind(config), f"tokenizer{number}": tokenizer}
