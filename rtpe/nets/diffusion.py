"""Frozen Stable Diffusion 1.5 or XL as the eyes of a readout head: what its net sees in a clean image.

The image becomes latents, the denoising net looks at them once, at the cleanest time and for an empty prompt, and what
the residual blocks of its upward path see on the way is the features (Luo et al., arXiv:2312.02150).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rtpe.errors import UserError
from rtpe.files import on_hub
from rtpe.nets.blocks import denormalise
from rtpe.nets.pretrained import quiet, read_net, reason
from rtpe.nets.readout import Features, Readout
from rtpe.settings.limits import FLAG, refuse_others, whole

CLEANEST = 1  # the last time of the published schedule: the image has all but no noise
LATENTS = ("mode", "sample")
UNSAID = 64  # latents a side, where a pipeline does not say it
TOLD = 1024  # values of each weight that tell one diffusion net from another
PARTS = ("unet", "vae", "text_encoder", "tokenizer")


@dataclass(eq=False)
class Diffusion:
    """The frozen nets; copies of whoever looks through them share them.

    Attributes:
        unet, vae: of diffusers.
        context: (1, 77, C) what the text encoders say of an empty prompt.
        pooled: (1, C') the same in one vector, which XL wants too; None for the others.
        embedded: the time whose embedding goes with the features.
        latents: "mode" of what the image may become, which is always the same, or a random "sample".
    """

    unet: nn.Module
    vae: nn.Module
    context: Tensor
    pooled: Tensor | None = None
    embedded: int = CLEANEST
    latents: str = "mode"

    def __post_init__(self):
        if self.latents not in LATENTS:
            raise UserError(f"latents: choose from {', '.join(LATENTS)}, got {self.latents!r}")
        for net in (self.unet, self.vae):
            net.eval().requires_grad_(False)

    def __deepcopy__(self, memo: dict) -> Diffusion:
        return self  # some thousand million weights that never change

    @cached_property
    def seen_by(self) -> list[nn.Module]:
        """The modules whose outputs are the features: the last convolution of each residual block on the way up."""
        return [resnet.conv2 for block in self.unet.up_blocks for resnet in block.resnets]

    @property
    def channels(self) -> list[int]:
        return [conv.out_channels for conv in self.seen_by]

    @property
    def embedding_length(self) -> int:
        return self.unet.time_embedding.linear_2.out_features

    @property
    def size(self) -> int:
        """The side of the square images that it was made for, in pixels."""
        return (self.unet.config.sample_size or UNSAID) * self.stride

    @property
    def stride(self) -> int:
        """Pixels a latent, and so a cell of the features' grid."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Features:
        """Look at normalised images, (B, 3, H, W).

        Raises:
            UserError: if their sides are no multiples of the stride.
        """
        if any(side % self.stride for side in images.shape[2:]):
            raise UserError(
                f"input: expected sides that are multiples of {self.stride}, got {tuple(images.shape[2:])}: choose "
                "another --net.size or --teacher.size"
            )
        self._follow(images.device)
        latents = self._encoded(images).to(self.unet.dtype)
        maps: list[Tensor] = []
        hooks = [conv.register_forward_hook(lambda _, __, output: maps.append(output)) for conv in self.seen_by]
        try:
            self._denoise(latents, images.shape[2:])
        finally:
            for hook in hooks:
                hook.remove()
        time = self.unet.time_proj(torch.tensor([float(self.embedded)], device=latents.device))
        embedding = self.unet.time_embedding(time.to(latents.dtype))
        return Features(maps, embedding, tuple(latents.shape[2:]))

    def _encoded(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, enabled=False):  # in float16 the encoder overflows
            become = self.vae.encode(denormalise(images.float()) * 2 - 1).latent_dist
            latents = become.mode() if self.latents == "mode" else become.sample()
        return latents * self.vae.config.scaling_factor

    def _denoise(self, latents: Tensor, size_hw: Sequence[int]) -> None:
        count = len(latents)
        also = {}
        if self.pooled is not None:
            sizes = [*size_hw, 0, 0, *size_hw]  # of the image, of the corner where it was cut, of what is asked for
            also = {"text_embeds": self.pooled.expand(count, -1), "time_ids": latents.new_tensor([sizes] * count)}
        times = torch.full((count,), float(CLEANEST), device=latents.device)
        self.unet(latents, times, self.context.expand(count, -1, -1), added_cond_kwargs=also)

    @torch.inference_mode(False)
    def _follow(self, device: torch.device) -> None:
        """Be where the images are: no net holds this one as a part that would move it along."""
        if self.context.device == device:
            return
        self.unet.to(device)
        self.vae.to(device)
        self.context = self.context.to(device)
        self.pooled = None if self.pooled is None else self.pooled.to(device)

    def fingerprint(self) -> str:
        """16 hexadecimal digits that other weights do not share, as far as float16 tells them apart."""
        digest = hashlib.sha256()
        for net in (self.unet, self.vae.encoder):
            for value in net.state_dict().values():
                flat = value.flatten()
                digest.update(flat[:: max(1, len(flat) // TOLD)].half().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]


def readout(
    joints: int,
    backbone: str = "",
    embedded: int = CLEANEST,
    latents: str = "mode",
    half: bool = False,
    width: int = 384,
    groups: int = 32,
    fingerprint: str = "",
) -> Readout:
    """A readout head with random weights that looks through a diffusion pipeline.

    Args:
        backbone: a pipeline's folder, or the name of one on the hub.
        embedded: the time whose embedding the head is given; the published heads were given that of 999.
        latents: "mode", or the random "sample" that the published heads were trained with.
        half: keep the denoising net in float16, as those were; on a GPU.
        width, groups: see `Readout`.
        fingerprint: of the pipeline that the head was trained with, or nothing.

    Raises:
        UserError: if diffusers is missing, the pipeline cannot be read, or it is another one.
    """
    refuse_others({"embedded": embedded, "half": half}, {"embedded": whole(0), "half": FLAG})
    nets = Diffusion(*load(backbone, half), embedded, latents)
    made = Readout(joints, nets.channels, nets.embedding_length, nets, width, groups)
    told = nets.fingerprint()
    if fingerprint not in ("", told):
        raise UserError(
            f"backbone {backbone}: expected the one that the head was trained with ({fingerprint}), got another "
            f"({told}): name that one as {{backbone: FOLDER}}"
        )
    made.input = {"size": nets.size, "fit": "letterbox"}
    made.identity = {**made.numbers, "embedded": embedded, "latents": latents, "half": half, "fingerprint": told}
    made.numbers = {**made.identity, "backbone": str(backbone)}  # where it lies makes no other net
    return made


def require_time(weights: str, held: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raise UserError unless it is known, and not in doubt, with which time a head was trained.

    Args:
        held, asked: the numbers that the weights say, and those of the settings.
    """
    if "embedded" not in {**held, **asked}:
        raise UserError(
            f"weights {weights}: do not say the time whose embedding they were given: pass --teacher.numbers "
            "'{backbone: FOLDER, embedded: 999}' for the published ones"
        )
    want = held.get("embedded", asked.get("embedded"))
    if asked.get("embedded", want) != want:
        raise UserError(
            f"weights {weights}: were given the embedding of time {want}, not of {asked['embedded']}: leave out "
            "--teacher.numbers.embedded"
        )


def load(backbone: str, half: bool = False) -> tuple[nn.Module, nn.Module, Tensor, Tensor | None]:
    """The denoising net, the autoencoder, and what an empty prompt means, of a pipeline.

    Each part is read by the class that is expected of it: code that a folder may bring along is never run.

    Raises:
        UserError: if diffusers is missing, or a part is missing or not what it should be.
    """
    source = _source(backbone)
    try:
        import diffusers
        import transformers
    except ImportError as error:
        missing = error.name or "diffusers"
        raise UserError(f"backbone {backbone}: {missing} is not installed: pip install rtpe[diffusion]") from error
    quiet(diffusers, transformers)
    unet = _read(source, "unet", diffusers.UNet2DConditionModel)
    vae = _read(source, "vae", diffusers.AutoencoderKL)
    context, pooled = _empty_prompt(source, xl=unet.config.addition_embed_type == "text_time")
    if half:
        unet, context = unet.half(), context.half()
        pooled = None if pooled is None else pooled.half()
    return unet, vae, context, pooled


@torch.no_grad()
def _empty_prompt(source: dict[str, Any], xl: bool) -> tuple[Tensor, Tensor | None]:
    """(1, 77, C) and, of XL, (1, C'): XL joins two encoders' last layers but one, and the second one's summary."""
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    said = []
    for number, kind in (("", CLIPTextModel), ("_2", CLIPTextModelWithProjection))[: 2 if xl else 1]:
        tokenizer = _read(source, f"tokenizer{number}", CLIPTokenizer)
        encoder = _read(source, f"text_encoder{number}", kind).eval()
        length = encoder.config.max_position_embeddings
        tokens = tokenizer("", padding="max_length", max_length=length, return_tensors="pt")
        said.append(encoder(tokens.input_ids, output_hidden_states=True))
    if not xl:
        return said[0].last_hidden_state, None
    return torch.cat([each.hidden_states[-2] for each in said], dim=-1), said[1].text_embeds


def _source(backbone: str) -> dict[str, Any]:
    """What is read from where; the network is asked only for a name that cannot be a folder's.

    Raises:
        UserError: if it is neither a pipeline's folder nor the form of a name.
    """
    want = f"a folder with {', '.join(PARTS)}, or OWNER/NAME on the hub"
    if not backbone:
        raise UserError(f"no backbone: pass {{backbone: FOLDER}} in --net.numbers or --teacher.numbers: {want}")
    if on_hub(backbone):
        return {"pretrained_model_name_or_path": backbone}
    folder = Path(backbone)
    lacking = [part for part in PARTS if not (folder / part).is_dir()]
    if lacking:
        what = f"no {lacking[0]} in it, so no diffusion pipeline" if folder.exists() else "no such folder"
        raise UserError(f"backbone {backbone}: {what}: give {want}")
    return {"pretrained_model_name_or_path": backbone, "local_files_only": True}


def _read(source: dict[str, Any], part: str, kind: type) -> Any:
    """A part of the pipeline, nets in float32."""
    try:
        if part.startswith("tokenizer"):
            return kind.from_pretrained(**source, subfolder=part)
        return read_net(kind, **source, subfolder=part, **_variant(source, part))
    except Exception as error:
        raise UserError(
            f"backbone {source['pretrained_model_name_or_path']}: {part} cannot be read ({reason(error)}): give a "
            "whole pipeline of Stable Diffusion 1.5 or XL with safetensors weights"
        ) from error


def _variant(source: dict[str, Any], part: str) -> dict[str, str]:
    """A local folder may hold the float16 files alone."""
    folder = Path(source["pretrained_model_name_or_path"], part)
    files = list(folder.glob("*.safetensors"))
    return {"variant": "fp16"} if files and all(".fp16." in file.name for file in files) else {}
