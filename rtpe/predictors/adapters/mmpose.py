"""mmpose's models as predictors: its config builds the net; images, crops, cells and people are seen to here.

A config of mmpose is a Python program, which mmengine runs: give only one that is trusted. Of a checkpoint nothing but
tensors is read.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rtpe.errors import UserError
from rtpe.geometry import HALF
from rtpe.nets.weights import load_into, load_weights, sha256
from rtpe.predictors.adapters.mmpose_model import Model
from rtpe.predictors.adapters.mmpose_stubs import stand_ins
from rtpe.predictors.adapters.simcc import STRIDE, Distributions
from rtpe.skeleton import Skeleton

ALIASES = {"top_head": "head_top"}  # joints that mmpose calls otherwise
KINDS = (
    "HeatmapHead with MSRAHeatmap or UDPHeatmap, SimCC heads with Gaussian labels, AssociativeEmbeddingHead with a tag "
    "a joint, RTMOHead"
)


def read_model(config: str | Path, weights: str | Path, joints: Skeleton) -> Model:
    """Build the model of a config of mmpose, which is run, and give it its weights, of which only tensors are read.

    Args:
        joints: those that are asked of it; it may have more.

    Raises:
        UserError: if mmpose or a file is missing, the config or the weights are not what they should be, the model is
            of no kind that is known here, or it lacks a joint.
    """
    if not Path(config).is_file():
        raise UserError(f"network {config}: no such file: pass --teacher.network FILE.py, a config of mmpose")
    with warnings.catch_warnings(), stand_ins():
        warnings.simplefilter("ignore")  # of what it lacks and does not need here
        net, names = _built(config)
        said = _said(net, config)
    with torch.serialization.safe_globals(_plain_numpy()):
        load_into(net, load_weights(weights), weights)
    order = _order(config, names, said.pop("joints"), joints)
    return Model(net.eval(), **said, order=order, skeleton=joints, weights_sha256=sha256(weights))


def _built(config: str | Path) -> tuple[nn.Module, list[str] | None]:
    """The net, with random weights, and the names of its joints, if its config says them."""
    try:
        from mmengine import Config
        from mmengine.registry import init_default_scope
        from mmpose.apis.inference import dataset_meta_from_config
        from mmpose.models import build_pose_estimator
    except ImportError as error:
        raise UserError(
            f"network {config}: {error.name or 'mmpose'} is not installed: docs/teachers.md has the recipe for mmpose"
        ) from error
    try:
        read = Config.fromfile(config)
        init_default_scope(read.get("default_scope", "mmpose"))
        meta = dataset_meta_from_config(read, "test") or dataset_meta_from_config(read, "train")
        net = build_pose_estimator(read.model)
    except Exception as error:  # whatever the program that a config is may do
        raise UserError(
            f"network {config}: is no config of a pose estimator of mmpose 1 ({_first_line(error)}): choose another "
            "--teacher.network"
        ) from error
    return net, meta and [meta["keypoint_id2name"][i] for i in range(meta["num_keypoints"])]


def _said(net: nn.Module, config: str | Path) -> dict[str, Any]:
    """What `Model` wants to know, and the number of `joints`.

    Raises:
        UserError: if the net is of no known kind.
    """
    head = getattr(net, "head", None)
    codec = getattr(head, "decoder", None)
    said = next(filter(None, (kind(net, head, codec) for kind in (_poses, _tags, _simcc, _heatmaps))), None)
    if said is None:
        raise UserError(
            f"network {config}: {type(head).__name__} with {type(codec).__name__} is of no kind that can teach: choose "
            f"a model of {KINDS}"
        )
    plain = net.data_preprocessor
    normalised = {name: (none,) for name, none in (("mean", 0.0), ("std", 1.0))}
    if plain._enable_normalize:
        normalised = {name: tuple(getattr(plain, name).flatten().tolist()) for name in normalised}
    # mmpose reads images as BGR
    return {**said, **normalised, "color": "rgb" if plain._channel_conversion else "bgr"}


def _poses(net: nn.Module, head: nn.Module | None, codec: Any) -> dict[str, Any] | None:
    from mmpose.models.heads import RTMOHead

    if not isinstance(head, RTMOHead) or "input_size" not in net.test_cfg:
        return None
    w, h = net.test_cfg["input_size"]
    return {"kind": "poses", "size_hw": (h, w), "joints": head.num_keypoints}


def _tags(net: nn.Module, head: nn.Module | None, codec: Any) -> dict[str, Any] | None:
    from mmpose.models.heads import AssociativeEmbeddingHead

    if not isinstance(head, AssociativeEmbeddingHead) or not head.tag_per_keypoint or head.tag_dim != 1:
        return None
    fit = _fit(net, codec)
    return (
        {"kind": "tags", "size_hw": codec.input_size[::-1], "resize": fit, "joints": head.num_keypoints}
        if fit
        else None
    )


def _simcc(net: nn.Module, head: nn.Module | None, codec: Any) -> dict[str, Any] | None:
    from mmpose.codecs import SimCCLabel
    from mmpose.models.losses import KLDiscretLoss

    if not isinstance(codec, SimCCLabel) or codec.smoothing_type != "gaussian":
        return None
    loss = head.loss_module
    if not isinstance(loss, KLDiscretLoss) or (STRIDE * codec.simcc_split_ratio) % 1:
        return None
    meaning = Distributions(
        bins=codec.simcc_split_ratio,
        sigmas_xy=tuple(map(float, codec.sigma)),
        factor=loss.beta / loss.label_beta if loss.label_softmax else loss.beta,
        softmax=not loss.label_softmax,
        unit=codec.normalize,
    )
    said = {"kind": "simcc", "size_hw": codec.input_size[::-1], "stride": STRIDE, "joints": head.out_channels}
    return said | {"meaning": meaning}


def _heatmaps(net: nn.Module, head: nn.Module | None, codec: Any) -> dict[str, Any] | None:
    from mmpose.codecs import MSRAHeatmap, UDPHeatmap
    from mmpose.models.heads import AssociativeEmbeddingHead, HeatmapHead

    if not isinstance(head, HeatmapHead) or isinstance(head, AssociativeEmbeddingHead):
        return None
    if not isinstance(codec, MSRAHeatmap) and getattr(codec, "heatmap_type", "") != "gaussian":
        return None
    kind = "udp" if isinstance(codec, UDPHeatmap) else "heatmaps"
    stride = codec.input_size[0] // codec.heatmap_size[0]
    return {"kind": kind, "size_hw": codec.input_size[::-1], "stride": stride, "joints": head.out_channels}


def _fit(net: nn.Module, codec: Any) -> str:
    """Where the config's own decoder finds a cell of whole images: see `BottomUpPredictor.fit`; empty if elsewhere."""
    if codec is None or codec.use_udp:
        return ""
    if codec.decode_center_shift == HALF:  # as HigherHRNet's authors have it
        return "published"
    return "short_side" if net.test_cfg.get("restore_heatmap_size") and not codec.decode_center_shift else ""


def _order(config: str | Path, names: Sequence[str] | None, count: int, joints: Skeleton) -> tuple[int, ...]:
    """The channel of each joint, by names if the config's data set has one for each channel, else by their number.

    Raises:
        UserError: if there is none.
    """
    if names and len(names) == count:
        own = [ALIASES.get(name, name) for name in names]
        lacking = [name for name in joints.joints if name not in own]
        if not lacking:
            return tuple(own.index(name) for name in joints.joints)
        reason = f"no {lacking[0]} among its {count} joints"
    elif count == len(joints):
        return tuple(range(count))
    else:
        reason = f"its joints are {count}, not {len(joints)}"
    raise UserError(
        f"network {config}: does not predict {joints.name}, {reason}: pass --data.skeleton, or another model"
    )


def _plain_numpy() -> list:
    """What an array of numbers is made of: the notes in mmpose's checkpoints have some."""
    reconstruct, scalar = np.empty(0).__reduce__()[0], np.float32(0).__reduce__()[0]
    modules = ("numpy.core.multiarray", "numpy._core.multiarray")  # before numpy 2, and since
    made = [(each, f"{module}.{each.__name__}") for each in (reconstruct, scalar) for module in modules]
    return [*made, np.ndarray, np.dtype, *(type(np.dtype(code)) for code in "?bBhHiIlLqQefd")]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
