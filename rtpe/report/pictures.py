"""What people look at: the same image with its truth, the teacher's word, the student's word and its attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np
import torch
from torch import nn

from rtpe.cache import Cache
from rtpe.data.load import Images
from rtpe.data.transforms import plain_view
from rtpe.draw import draw_truth, grid, overlay_heatmaps, overlay_mask
from rtpe.geometry import cells
from rtpe.images import UnreadableImage
from rtpe.nets.blocks import normalise
from rtpe.protocols import Predictor
from rtpe.raster import warp
from rtpe.structures import Poses, Sample

SHOWN = 0.2  # least person score: the doubtful ones, which cost AP nothing, would cover everything else
TITLES = ("image", "labels", "teacher", "teacher maps", "student", "student maps", "attention")


def gallery(images: Images, cache: Cache | None, student: Predictor, net: nn.Module, size: int) -> np.ndarray | None:
    """A contact sheet, (H, W, 3) uint8 RGB, of all that is drawn of some images; None if none of them can be read."""
    rows = drawings(images, cache, student, net, size)
    return contact_sheet(rows, TITLES) if rows else None


def drawings(
    images: Images, cache: Cache | None, student: Predictor, net: nn.Module, size: int
) -> list[dict[str, np.ndarray | None]]:
    """Each image that can be read, and drawn over it what is known and said of it, by titles; without what is not."""
    samples = _readable(images)
    predictions = student([sample.image for sample in samples])
    rows = []
    for sample, prediction in zip(samples, predictions):
        row: dict[str, np.ndarray | None] = {"image": sample.image}
        if sample.labelled:
            row["labels"] = draw_truth(sample.image, sample.points, sample.skeleton)
        if cache is not None and sample.image_id in cache:
            teacher = cache.load(sample.image_id)
            row["teacher"] = _drawn(sample, teacher.poses)
            row["teacher maps"] = overlay_heatmaps(sample.image, teacher.maps.heatmaps, teacher.maps.to_image)
        row["student"] = _drawn(sample, prediction.poses)
        row["student maps"] = overlay_heatmaps(sample.image, prediction.maps.heatmaps, prediction.maps.to_image)
        row["attention"] = attention(sample, net, size)
        rows.append(row)
    return rows


def found_people(images: Images, predictor: Predictor) -> list[np.ndarray]:
    """The people that it finds, drawn over each image that can be read."""
    samples = _readable(images)
    predictions = predictor([sample.image for sample in samples])
    return [_drawn(sample, prediction.poses) for sample, prediction in zip(samples, predictions)]


def _readable(images: Images) -> list[Sample]:
    samples = []
    for index in range(len(images)):
        with suppress(UnreadableImage):
            samples.append(images.at(index))
    return samples


def contact_sheet(rows: Sequence[Mapping[str, np.ndarray | None]], titles: Sequence[str]) -> np.ndarray:
    """Drawings as (H, W, 3) uint8 RGB: a line for each row, a column for each of the titles that any row has."""
    titles = [title for title in titles if any(row.get(title) is not None for row in rows)]
    cell_hw = (224, 224) if len(titles) > 4 else (288, 288)
    return grid([_line(row, titles) for row in rows], titles, cell_hw=cell_hw)


def attention(sample: Sample, net: nn.Module, size: int) -> np.ndarray | None:
    """Where the net sees a person, over the image; None if it has no such head."""
    view = plain_view(sample.size_hw, (size, size))
    pixels = torch.from_numpy(warp(sample.image, view, (size, size))).permute(2, 0, 1)[None]
    device = next(net.parameters()).device
    with torch.inference_mode():
        out = net.eval()(normalise(pixels.to(device)))
    if "attention" not in out.maps:
        return None
    mask = torch.sigmoid(out.maps["attention"][-1].float())[0, 0].cpu().numpy()
    return overlay_mask(sample.image, mask, view.inverse() @ cells(size / mask.shape[1]))


def spread_out(images: Images, count: int) -> Images:
    """A fixed few of the images, evenly from all, those with people first."""
    seen = images.with_labels() if len(images.with_labels()) else images
    places: Sequence[int] = np.linspace(0, len(seen) - 1, min(count, len(seen))).astype(int).tolist()
    return seen.subset([seen.ids[place] for place in places])


def _drawn(sample: Sample, poses: Poses) -> np.ndarray:
    return poses.only(poses.person_scores >= SHOWN).draw(sample.image)


def _line(row: Mapping[str, np.ndarray | None], titles: Sequence[str]) -> list[np.ndarray]:
    blank = np.full_like(row["image"], 255)
    return [blank if row.get(title) is None else row[title] for title in titles]
