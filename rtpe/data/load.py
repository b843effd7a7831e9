"""From settings to images, and to what a teacher said of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from rtpe.cache import Cache, refuse_other_images
from rtpe.data.coco import CocoDataset, annotation_file
from rtpe.data.crops import PersonCrops
from rtpe.data.folder import FolderDataset
from rtpe.data.mpii import MpiiDataset, mpii_file
from rtpe.data.settings import DataSettings
from rtpe.errors import UserError
from rtpe.images import is_turned
from rtpe.skeleton import COCO17, MPII16, skeleton

Images = CocoDataset | FolderDataset | PersonCrops
LOOKED_AT = 500  # images of a split, all over it: their first bytes are read in a twentieth of a second
MANY_TURNED = 0.02  # of them
_told: set[str] = set()  # notes that were printed: a file is read anew for each split and part


def dataset(root: str | Path, split: str = "train2017", **settings: Any) -> Images:
    """A data set: labelled images if the file of their labels is there, else all photographs and videos that are.

    `len(data)`, `data.ids`, `data[image_id]` (a `Sample`) and `data.subset(ids)` are what it has.

    Args:
        root, split: see `DataSettings`.
        settings: others of `DataSettings` by their names, such as `skeleton` and `limit`.

    Raises:
        UserError: if there are no images, or the labels are wrong.
    """
    return open_dataset(DataSettings(str(root), split, **settings))


def open_dataset(settings: DataSettings) -> Images:
    """The images that the settings name: labelled ones if the file of their labels is there, else all that are."""
    joints = skeleton(settings.skeleton)
    if annotation_file(settings.root, settings.split).exists():
        whole = CocoDataset(settings.root, settings.split, joints)
    elif mpii_file(settings.root, settings.split).exists():
        if joints not in (COCO17, MPII16):  # the first is what the settings say if nobody says anything
            raise UserError(f"data {settings.root}: MPII's people have mpii16: leave out --data.skeleton {joints.name}")
        whole = MpiiDataset(settings.root, settings.split)
    else:
        whole = FolderDataset(settings.root, settings.split, joints, settings.frame_stride)
    tell(whole)
    if settings.crops:
        if whole.annotations is None:
            raise UserError(f"data {settings.root}: nobody labelled the people to crop: leave out --data.crops")
        whole = PersonCrops(whole, settings.crops)
    return whole.subset(whole.ids[: settings.limit]) if settings.limit else whole


def tell(images: Images) -> None:
    """Print on stderr, once and in the first process alone, what reading the data left out, estimated or changed."""
    notes = images.notes if images.labels is None else (*images.labels.notes, *_turned(images))
    if int(os.environ.get("LOCAL_RANK", 0)) == 0:
        for note in notes:
            if note not in _told:
                print(note, file=sys.stderr, flush=True)
    _told.update(notes)


def _turned(images: CocoDataset) -> list[str]:
    """What to say if labelled photographs are to be turned by their EXIF: which way up they were labelled, none tells.

    Sizes tell it of those that lie on their side, and these are refused when they are read.
    """
    records = images.sources()[:: max(1, len(images) // LOOKED_AT)]
    turned = sum(is_turned(photograph.path) for _, _, photograph in records)
    if not turned or turned < MANY_TURNED * len(records):
        return []
    return [
        f"data {images.root}: {turned} of {len(records)} images looked at are turned or mirrored by their EXIF: labels "
        "are taken to be of the pixels as they are stored, `exiftran -ai` turns the pixels themselves"
    ]


def open_cache(path: str, of: Images) -> Cache:
    """An existing cache of these images, or of some of them.

    Raises:
        UserError: if it is of another skeleton, has none of these images, or other images under their numbers.
    """
    opened = Cache.open(path)
    opened.require(skeleton=of.skeleton)
    refuse_other_images(opened, of.sources())
    if len(of) and not any(image_id in opened for image_id in of.ids):
        source = opened.manifest.source
        made = f": it was made of {source}" if source else ""
        remedy = "pass another --cache.path or --data.split, or build it for them"
        raise UserError(f"cache {path}: has no image of {of.root.name}/{of.split}{made}: {remedy}")
    return opened
