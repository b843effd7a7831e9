"""From settings to top-down predictors: nets that see one person a crop, and the boxes that tell them where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from rtpe.data.boxes import read_boxes, truth_boxes
from rtpe.data.load import Images
from rtpe.data.mpii import MpiiDataset
from rtpe.decode.settings import DecodeSettings
from rtpe.errors import UserError
from rtpe.nets.weights import sha256
from rtpe.predictors.adapters.mmpose_model import Model, mmpose_crop_model
from rtpe.predictors.adapters.vitpose import from_transformers
from rtpe.predictors.settings import TeacherSettings
from rtpe.predictors.top_down import CropModel, TopDownPredictor, TopDownSettings, crop_model
from rtpe.settings.limits import whole
from rtpe.skeleton import Skeleton
from rtpe.structures import Boxes

TRUTH = "labels"


def of_net(
    net: nn.Module,
    settings: TeacherSettings,
    decode: DecodeSettings,
    joints: Skeleton,
    where: str,
    images: Images | None,
    name: str,
) -> TopDownPredictor:
    """A net of ours, with its weights, on crops; `settings.color` is rgb or bgr.

    Raises:
        UserError: if there are no boxes, or a setting has no effect.
    """
    refuse(settings, ("size", "resize", "scales", "project_to_image"), "a net that sees one person a crop")
    said = {
        "net": type(net).__name__,
        "numbers": dict(getattr(net, "identity", net.numbers)),
        "precision": settings.precision,
    }
    boxes, source = _boxes(settings, images, published=settings.crop.by_index or settings.crop.udp)
    look, how = crop_model(net, where, settings.color, settings.precision), _how(settings, decode)
    return TopDownPredictor(
        look=look,
        skeleton=joints,
        settings=how,
        stride=_stride(look, how.size_hw),
        name=_named(name, settings),
        weights_sha256=sha256(settings.weights),
        boxes=boxes,
        boxes_from=source,
        net=said | {"color": settings.color},
        batch=settings.batch,
    )


def of_network(
    settings: TeacherSettings, decode: DecodeSettings, images: Images | None, threads: int | None
) -> TopDownPredictor:
    """A network in a file, on crops.

    Raises:
        UserError: if there are no boxes, a setting has no effect, or the files are wrong.
    """
    from rtpe.predictors.adapters.onnx import top_down_from_onnx  # needs an extra: only who asks for it must have it

    if settings.crop.size:
        raise UserError(f"weights {settings.weights}: its description says the size: leave out --teacher.crop.size")
    boxes, source = _boxes(settings, images, published=settings.crop.by_index or settings.crop.udp)
    files = settings.weights, settings.network
    made = top_down_from_onnx(*files, _how(settings, decode), boxes, source, threads, settings.batch)
    return replace(made, name=_named(made.name, settings))


def of_vitpose(
    settings: TeacherSettings, decode: DecodeSettings, joints: Skeleton, where: str, images: Images | None
) -> TopDownPredictor:
    """A ViTPose of transformers, on crops.

    Raises:
        UserError: if there are no boxes, a setting has no effect, or it cannot be loaded.
    """
    refuse(settings, ("network", "size", "resize", "scales", "project_to_image", "color"), "a ViTPose")
    if settings.crop.size:
        raise UserError(f"weights {settings.weights}: its config.json says the size: leave out --teacher.crop.size")
    unknown = sorted(settings.numbers.keys() - {"dataset_index"})
    if unknown:
        raise UserError(f"weights {settings.weights}: a ViTPose takes no --teacher.numbers.{unknown[0]}: leave it out")
    for name, value in settings.numbers.items():
        if not whole(0).holds(value):
            raise UserError(whole(0).refusal(f"teacher.numbers.{name}", value))
    boxes, source = _boxes(settings, images, published=True)
    loading = {"device": where, "precision": settings.precision, "batch": settings.batch, **settings.numbers}
    made = from_transformers(settings.weights, joints, _how(settings, decode), boxes, source, **loading)
    return replace(made, name=_named(made.name, settings))


def of_mmpose(
    model: Model,
    settings: TeacherSettings,
    decode: DecodeSettings,
    where: str,
    images: Images | None,
    name: str,
) -> TopDownPredictor:
    """A top-down model of mmpose, on crops.

    Raises:
        UserError: if there are no boxes, or a setting has no effect.
    """
    refuse(settings, ("size", "resize", "scales", "project_to_image"), "a model that sees one person a crop")
    asked = settings.crop
    if asked.size or asked.by_index or asked.udp or (asked.shift and model.kind != "heatmaps"):
        raise UserError(
            f"network {settings.network}: says itself how a crop and its cells lie: leave out --teacher.crop.size, "
            ".by_index, .udp" + (" and .shift" if model.kind != "heatmaps" else "")
        )
    laid = {"by_index": model.by_index, "udp": model.udp}
    told = replace(settings, crop=replace(asked, size=list(model.size_hw), **laid))
    boxes, source = _boxes(settings, images, published=False)  # mmpose leaves the last pixel in
    return TopDownPredictor(
        look=mmpose_crop_model(model, where, settings.precision),
        skeleton=model.skeleton,
        settings=_how(told, decode),
        stride=model.stride,
        name=_named(name, settings),
        weights_sha256=model.weights_sha256,
        boxes=boxes,
        boxes_from=source,
        net=model.describe() | {"precision": settings.precision},
        batch=settings.batch,
    )


def refuse(settings: TeacherSettings, names: Sequence[str], whom: str) -> None:
    """Raise UserError for the first of these settings that is set, as it would have no effect."""
    plain = TeacherSettings()
    for name in names:
        if getattr(settings, name) != getattr(plain, name):
            raise UserError(f"weights {settings.weights}: {whom} takes no --teacher.{name}: leave it out")


def _stride(look: CropModel, size_hw: tuple[int, int]) -> int:
    """Pixels a cell, by what it shows of a black crop."""
    try:
        return size_hw[1] // look(np.zeros((1, *size_hw, 3), np.uint8)).shape[-1]
    except ValueError as error:
        raise UserError(f"teacher.crop.size {list(size_hw)}: {error}") from error


def _how(settings: TeacherSettings, decode: DecodeSettings) -> TopDownSettings:
    crop = asdict(settings.crop)
    size, _ = crop.pop("size"), crop.pop("min_box_score")
    size_hw = {"size_hw": tuple(size)} if size else {}
    return TopDownSettings(**size_hw, **crop, flip=settings.flip, refine=decode.refine, threshold=decode.threshold)


def _boxes(
    settings: TeacherSettings, images: Images | None, published: bool
) -> tuple[dict[int, Boxes], dict[str, Any]]:
    """The boxes of everyone in these images, by image id, and where they are from.

    Args:
        published: those of the labels as published top-down code takes them; MPII's are so already.

    Raises:
        UserError: if none are named, or there are none.
    """
    if images is None and not settings.boxes:
        return {}, {"from": "the caller"}
    if not settings.boxes:
        raise UserError(
            f"weights {settings.weights}: this net sees one person a crop: pass --teacher.boxes labels (the labels' "
            "boxes) or a JSON file of COCO detections"
        )
    if images is None:
        raise UserError(f"weights {settings.weights}: this net sees one person a crop: choose one for whole images")
    if settings.boxes != TRUTH:
        labels = getattr(images, "labels", None)
        category = {} if labels is None else {"category": labels.category}
        boxes = read_boxes(settings.boxes, images.ids, settings.crop.min_box_score, **category)
        digest = sha256(settings.boxes)
        return boxes, {"from": Path(settings.boxes).name, "sha256": digest, "min_score": settings.crop.min_box_score}
    if images.annotations is None:
        raise UserError(
            f"boxes labels: nobody labelled the images of {images.root}: pass --teacher.boxes FILE, COCO detections"
        )
    cleaned = published and not isinstance(getattr(images, "whole", images), MpiiDataset)
    source = {"from": TRUTH, "boxes": getattr(images, "whole", images).labels.boxes_digest}
    return truth_boxes(images, cleaned), {**source, **({"cleaned": True} if cleaned else {})}


def _named(name: str, settings: TeacherSettings) -> str:
    """Who is told by the labels where people are is called so, in every table."""
    return f"{name}@label_boxes" if settings.boxes == TRUTH else name
