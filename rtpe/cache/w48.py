"""The first rtpe's files, `<image>_w48_predictions.npz`: maps of HigherHRNet-w48 that do not say where they lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rtpe.errors import UserError
from rtpe.geometry import Affine, cells, published_side
from rtpe.raster import resize
from rtpe.skeleton import COCO17
from rtpe.structures import PoseMaps

SUFFIX = "_w48_predictions.npz"
SHORT_SIDE, STRIDE = 640, 2
PREDICTOR = {"name": "w48_predictions", "weights_sha256": "", "settings": {"size": SHORT_SIDE}}


def read_w48(path: str | Path, image_hw: tuple[int, int]) -> PoseMaps:
    """The maps of one image, both levels made one at half the size of the network's input, and where they lie.

    Args:
        image_hw: of the original image, which the file does not tell.

    Raises:
        UserError: if the file is damaged, or was made from an image of another shape.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            coarse, tags, fine = (file[name] for name in ("pred_heatmaps", "embeddings", "heatmaps_refined"))
            if not all(isinstance(maps, np.ndarray) and maps.dtype.kind == "f" for maps in (coarse, tags, fine)):
                raise ValueError("expected arrays of floats")
    except Exception as error:  # a changed byte of a zip file can surface as nearly any error
        raise UserError(f"{path}: not a whole {SUFFIX} file ({error})") from error
    input_hw, to_input = w48_input(image_hw)
    size_hw = (input_hw[0] // STRIDE, input_hw[1] // STRIDE)
    if fine.shape != (len(COCO17), *size_hw) or coarse.shape != tags.shape or len(coarse) != len(COCO17):
        raise UserError(
            f"{path}: holds maps of {fine.shape}, an image of {image_hw} gives {(len(COCO17), *size_hw)}: "
            "choose the --data.root and --data.split that it was made from"
        )
    coarse, tags = (_resized(maps, size_hw) for maps in (coarse, tags))
    heatmaps = ((coarse + fine) / 2).astype(np.float32)
    return PoseMaps(
        heatmaps, to_input.inverse() @ cells(STRIDE), image_hw, COCO17, {"tags": tags[None].astype(np.float32)}
    )


def w48_input(image_hw: tuple[int, int]) -> tuple[tuple[int, int], Affine]:
    """The network input's (height, width), and the affine image -> the network's coordinates, as files were made."""
    return published_side(image_hw, SHORT_SIDE)


def _resized(maps: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    return np.stack([resize(channel.astype(np.float32), size_hw) for channel in maps])
