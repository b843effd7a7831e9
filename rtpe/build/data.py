"""From settings to images, and to what a teacher said of them."""

from __future__ import annotations

from rtpe.cache import Cache
from rtpe.config import DataSettings
from rtpe.data.coco import CocoDataset, annotation_file
from rtpe.data.folder import FolderDataset
from rtpe.data.mpii import MpiiDataset, mpii_file
from rtpe.data.person_crops import PersonCrops
from rtpe.errors import UserError
from rtpe.skeleton import COCO17, MPII16, skeleton

Images = CocoDataset | FolderDataset | PersonCrops


def dataset(settings: DataSettings) -> Images:
    """The images that the settings name: labelled ones if the file of their labels is there, else all that are."""
    joints = skeleton(settings.skeleton)
    if annotation_file(settings.root, settings.split).exists():
        whole = CocoDataset(settings.root, settings.split, joints)
    elif mpii_file(settings.root, settings.split).exists():
        if joints not in (COCO17, MPII16):  # the first is what the settings say if nobody says anything
            raise UserError(f"data {settings.root}: MPII's people have mpii16: leave out --data.skeleton {joints.name}")
        whole = MpiiDataset(settings.root, settings.split)
    else:
        whole = FolderDataset(settings.root, settings.split, joints, settings.every)
        for note in whole.notes:
            print(note)
    if settings.crops:
        if whole.annotations is None:
            raise UserError(f"data {settings.root}: nobody labelled the people to crop: leave out --data.crops")
        whole = PersonCrops(whole, settings.crops)
    return whole.only(whole.ids[: settings.limit]) if settings.limit else whole


def cache(path: str, of: Images) -> Cache:
    """An existing cache of these images.

    Raises:
        UserError: if it is of another skeleton or split, whose images may be numbered alike.
    """
    opened = Cache.open(path)
    opened.require(skeleton=of.skeleton)
    source = opened.manifest.source
    if source and source.rpartition("/")[2] != of.split:
        raise UserError(
            f"cache {path}: was made of {source}, not of {of.root.name}/{of.split}: pass another --cache.path or "
            "--data.split"
        )
    return opened
