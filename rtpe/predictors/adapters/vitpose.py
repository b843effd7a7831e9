"""ViTPose (Xu et al., arXiv:2204.12484) in transformers as a top-down predictor.

A folder holds config.json and the weights in safetensors files. Crops and maps are placed as in unbiased data
processing (UDP), with which all of them were trained. A ViTPose+ (arXiv:2212.04246) has experts for several data sets:
those of one are asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rtpe.errors import UserError
from rtpe.files import on_hub
from rtpe.nets.file_kind import failed_download
from rtpe.nets.pretrained import quiet, read_net, reason
from rtpe.plain import read_json
from rtpe.predictors.adapters.checksum import of_files
from rtpe.predictors.top_down import TopDownPredictor, TopDownSettings, crop_model
from rtpe.skeleton import Skeleton
from rtpe.structures import Boxes

WEIGHTS = "model*.safetensors"
WANTED = "give a folder with a ViTPose's config.json and model.safetensors, or OWNER/NAME on the hub"
KINDS = {"model_type": "vitpose", "backbone_config.model_type": "vitpose_backbone"}
SAID = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_experts")


class ViTPose(nn.Module):
    """A VitPoseForPoseEstimation with the `maps` of our nets.

    Attributes:
        size_hw: of the images that it takes.
        numbers: what it is, in plain values.
        dataset_index: the experts that are asked; None if it has none.

    Shape: (B, 3, *size_hw) -> (B, joints, h, w).
    """

    def __init__(self, net: nn.Module, dataset_index: int | None):
        super().__init__()
        self.net, self.dataset_index = net, dataset_index
        backbone = net.config.backbone_config
        height, width = np.broadcast_to(backbone.image_size, 2).tolist()
        self.size_hw = (height, width)
        also = {"simple": net.config.use_simple_decoder, "dataset_index": dataset_index}
        self.numbers = {**{name: getattr(backbone, name) for name in SAID}, **also}

    def maps(self, images: Tensor) -> dict[str, Tensor]:
        """Heatmaps alone."""
        also = {}
        if self.dataset_index is not None:
            also["dataset_index"] = torch.full((len(images),), self.dataset_index, device=images.device)
        return {"heatmaps": self.net(pixel_values=images, **also).heatmaps}


def from_transformers(
    weights: str,
    joints: Skeleton,
    settings: TopDownSettings,
    boxes: Mapping[int, Boxes],
    boxes_from: Mapping[str, Any],
    dataset_index: int | None = None,
    device: str = "cpu",
    precision: str = "fp32",
    batch: int = 8,
) -> TopDownPredictor:
    """Load a ViTPose.

    Args:
        weights: its folder, or OWNER/NAME on the hub, where no folder can be meant.
        joints: of its heatmaps, in their order.
        settings, boxes, boxes_from: as of `TopDownPredictor`; the net says the size, and is shown crops as in UDP.
        dataset_index: of a ViTPose+: whose experts are asked; None asks the first ones, COCO's.
        precision: fp32, or bf16 for the net's own arithmetic.

    Raises:
        UserError: if transformers or the weights are missing, or they are no ViTPose's, or of other joints or experts.
    """
    folder = _folder(weights)
    net = _net(weights, folder, dataset_index)
    look = crop_model(net, device, precision=precision)
    _, count, _, width = look(np.zeros((1, *net.size_hw, 3), np.uint8)).shape
    if count != len(joints):
        raise UserError(
            f"weights {weights}: a net of {count} joints, {joints.name} has {len(joints)}: pass --data.skeleton, or "
            "choose other weights"
        )
    return TopDownPredictor(
        look=look,
        skeleton=joints,
        settings=replace(settings, size_hw=net.size_hw, udp=True),
        stride=net.size_hw[1] // width,
        name=Path(weights).resolve().name,
        weights_sha256=of_files(sorted(folder.glob(WEIGHTS))),
        boxes=boxes,
        boxes_from=boxes_from,
        net={"net": type(net).__name__, "numbers": net.numbers, "precision": precision},
        batch=batch,
    )


def _folder(weights: str) -> Path:
    """Where the files lie.

    Raises:
        UserError: if they are no ViTPose's, or its weights are not safetensors.
    """
    folder = _fetched(weights) if on_hub(weights) else Path(weights)
    if not folder.is_dir():
        what = "a file, not a ViTPose's folder" if folder.exists() else "no such folder"
        raise UserError(f"weights {weights}: {what}: {WANTED}")
    _require_vitpose(weights, folder)
    if not any(folder.glob(WEIGHTS)):
        raise UserError(f"weights {weights}: no model.safetensors in it, and nothing else is read: {WANTED}")
    for path in folder.glob(WEIGHTS):
        if what := failed_download(path):
            raise UserError(f"weights {path}: {what}")
    return folder


def _fetched(name: str) -> Path:
    """The hub's files of that name, in the hub's cache on this machine."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise _missing(name, error) from error
    try:
        return Path(snapshot_download(name, allow_patterns=["config.json", WEIGHTS, f"{WEIGHTS}.index.json"]))
    except Exception as error:
        raise UserError(
            f"weights {name}: no such folder, and cannot be fetched from the hub ({reason(error)}): {WANTED}"
        ) from error


def _require_vitpose(weights: str, folder: Path) -> None:
    """Raise UserError if config.json is missing, or says that this is another net."""
    try:
        config = read_json(folder / "config.json", "utf-8")
        told = {
            "model_type": config.get("model_type"),
            "backbone_config.model_type": (config.get("backbone_config") or {}).get("model_type", "vitpose_backbone"),
        }
    except FileNotFoundError as error:
        raise UserError(f"weights {weights}: no config.json in it, so no ViTPose: {WANTED}") from error
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"weights {weights}: config.json cannot be read ({reason(error)}): {WANTED}") from error
    for name, want in KINDS.items():
        if told[name] != want:
            raise UserError(f"weights {weights}: {name}: expected {want}, got {told[name]}: {WANTED}")


def _net(weights: str, folder: Path, dataset_index: int | None) -> ViTPose:
    try:
        import transformers
    except ImportError as error:
        raise _missing(weights, error) from error
    quiet(transformers)
    try:
        # "eager": config.json may name an implementation of attention that would be fetched and run
        how = {"local_files_only": True, "attn_implementation": "eager"}
        net = read_net(transformers.VitPoseForPoseEstimation, pretrained_model_name_or_path=folder, **how)
    except Exception as error:
        raise UserError(f"weights {weights}: cannot be read ({reason(error)}): {WANTED}") from error
    return ViTPose(net, _experts(weights, net.config.backbone_config.num_experts, dataset_index))


def _missing(weights: str, error: ImportError) -> UserError:
    return UserError(f"weights {weights}: {error.name} is not installed: pip install rtpe[vitpose]")


def _experts(weights: str, count: int, asked: int | None) -> int | None:
    """Which of the experts are asked; transformers would ask none for a number that there is not."""
    if count <= 1 and asked is not None:
        raise UserError(f"weights {weights}: has no experts: leave out --teacher.numbers.dataset_index")
    if count > 1 and asked not in (None, *range(count)):
        raise UserError(
            f"weights {weights}: has experts for {count} data sets, got {asked!r}: pass "
            f"--teacher.numbers.dataset_index from 0 (COCO) to {count - 1}"
        )
    return (asked or 0) if count > 1 else None
