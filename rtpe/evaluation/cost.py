"""What a predictor costs, measured where it runs: parameters, multiply-accumulates and time of one image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, median
from time import perf_counter

import numpy as np
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils.flop_counter import FlopCounterMode

from rtpe.data.load import Images
from rtpe.images import UnreadableImage, read_image
from rtpe.predictors.adapters.description import read_description
from rtpe.predictors.adapters.onnx_cost import onnx_cost
from rtpe.predictors.settings import TeacherSettings
from rtpe.protocols import Predictor
from rtpe.running import predict

SAMPLE = 10  # images that are measured, evenly from all
Pictures = list[tuple[int, np.ndarray]]


def cost(predictor: Predictor, images: Images, teacher: TeacherSettings, where: str) -> dict[str, object]:
    """`Mparams` and `GMACs` (mean an image) where they can be told, `ms` (median an image), and on what that was.

    An image is all of it: the flip test, several scales, or the crops of all its people.
    """
    pictures = _pictures(images)
    if not pictures:
        return {}
    counted = _counted(predictor, pictures) or _in_file(predictor, pictures, teacher)
    times = [_seconds(predictor, *picture) for picture in pictures]  # the counting has warmed up
    return {**counted, "ms": 1000 * median(times), "device": where, "threads": torch.get_num_threads()}


def _pictures(images: Images) -> Pictures:
    found: Pictures = []
    for image_id, _, path in images.sources()[:: max(1, len(images) // SAMPLE)][:SAMPLE]:
        try:
            found.append((image_id, read_image(path)))
        except UnreadableImage:
            continue
    return found


def _seconds(predictor: Predictor, image_id: int, image: np.ndarray) -> float:
    start = perf_counter()
    predict(predictor, [image_id], [image])
    return perf_counter() - start


def _counted(predictor: Predictor, pictures: Pictures) -> dict[str, float]:
    """Of what torch computes; nothing if it computes nothing."""
    with _modules() as used, FlopCounterMode(display=False) as counter:
        for image_id, image in pictures:
            predict(predictor, [image_id], [image])
    parameters = {id(each): each.numel() for module in used.values() for each in module.parameters()}
    if not parameters:
        return {}
    # a multiply-accumulate is counted as two
    return {"Mparams": sum(parameters.values()) / 1e6, "GMACs": counter.get_total_flops() / 2e9 / len(pictures)}


@contextmanager
def _modules() -> Iterator[dict[int, nn.Module]]:
    """Every module that is called meanwhile."""
    used: dict[int, nn.Module] = {}
    handle = register_module_forward_pre_hook(lambda module, _: used.update({id(module): module}))
    try:
        yield used
    finally:
        handle.remove()


def _in_file(predictor: Predictor, pictures: Pictures, teacher: TeacherSettings) -> dict[str, float]:
    """Of a network in an .onnx file; nothing if it cannot be told."""
    if Path(teacher.weights).suffix.lower() != ".onnx":
        return {}
    described = predictor.description if hasattr(predictor, "description") else read_description(teacher.network)
    sizes = [described.frame(image.shape[:2])[0] for _, image in pictures]
    known = {size: onnx_cost(teacher.weights, size) for size in set(sizes)}
    if None in known.values():
        return {}
    looks = [_looks(predictor, image_id) * (1 + teacher.flip) for image_id, _ in pictures]
    gmacs = fmean(times * known[size][1] for times, size in zip(looks, sizes))
    return {"Mparams": known[sizes[0]][0] / 1e6, "GMACs": gmacs}


def _looks(predictor: Predictor, image_id: int) -> int:
    """How often it runs: once an image, or once a person's box."""
    boxes = getattr(predictor, "boxes", None)
    return 1 if boxes is None else len(boxes[image_id])
