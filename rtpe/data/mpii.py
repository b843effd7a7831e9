"""MPII Human Pose in the JSON files of HRNet: one record a person, read as the COCO file that says the same.

http://human-pose.mpi-inf.mpg.de (Andriluka et al., CVPR 2014); https://github.com/leoxiaobin/deep-high-resolution-net.pytorch
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtpe.data.coco import CocoDataset
from rtpe.data.labels import read_json, read_labels
from rtpe.errors import UserError
from rtpe.geometry import index_to_point
from rtpe.skeleton import MPII16

PERSON_HEIGHT = 200  # pixels of a person of scale 1
LOWERED = 15  # pixels, of a person of scale 1, from the labelled center down to that of the box, as HRNet has it
BODY_SHARE = 0.16  # of that box: COCO's people fill .53 of theirs, which around MPII's joints is .3 of this one


class MpiiDataset(CocoDataset):
    """The images of one split of MPII and their people, in the order of the image ids.

    MPII numbers pixels from 1: they are read into the one pixel convention. A person's box is the square that HRNet
    crops, before it is padded: of 200 pixels times scale, 15 pixels times scale below the labelled center. The area,
    the scale of OKS, is an estimate from it, for MPII has no masks. People of an image who have no record are unknown:
    what a net sees there counts as wrong.

    People have the `head_box` of the head boxes if there are any.

    Args:
        root: holds `images/`, `annot/<split>.json` and, for scores in head sizes, `annot/gt_<split>.mat`.
        ids: keep only these images; all by default.

    Raises:
        UserError: if a file is missing or not of this kind, or the two do not describe the same people.
    """

    def __init__(self, root: str | Path, split: str, ids: Sequence[int] | None = None):
        self.root, self.split, self.skeleton = Path(root), split, MPII16
        file = mpii_file(root, split)
        self.annotations = file
        raw = as_coco(_read_records(file), file)
        heads = file.with_name(f"gt_{split}.mat")
        if heads.exists():
            _add_heads(raw["annotations"], heads)
        self._index(read_labels(raw, MPII16, file), ids)

    def path(self, index: int) -> Path:
        return self.root / "images" / self.records[index][1]


def mpii_file(root: str | Path, split: str) -> Path:
    return Path(root) / "annot" / f"{split}.json"


def as_coco(records: Sequence[dict[str, Any]], file: str | Path = "records") -> dict[str, Any]:
    """What a COCO keypoint file would hold, people in the order of the records.

    An image has the number that is its name, or if some name is none, its place in the order of the names.

    Raises:
        UserError: if a record lacks something, by its number.
    """
    people = [_person(place, record, file) for place, record in enumerate(records)]
    names = sorted({str(record["image"]) for record in records})
    numbers = [int(Path(name).stem) if Path(name).stem.isdecimal() else 0 for name in names]
    if len(set(numbers)) != len(names) or 0 in numbers or max(numbers, default=0) >= 1 << 63:
        numbers = list(range(1, len(names) + 1))
    number_of = dict(zip(names, numbers))
    return {
        "images": [{"id": number, "file_name": name} for name, number in number_of.items()],
        "categories": [{"id": 1, "name": "person", "keypoints": list(MPII16.joints)}],
        "annotations": [
            {**person, "image_id": number_of[str(record["image"])]} for person, record in zip(people, records)
        ],
    }


def box_of(center: Sequence[float], scale: float) -> list[float]:
    """The square x, y, width, height in pixels around a person of that center, from 1 on, and scale."""
    x, y = index_to_point(np.array(center, np.float64) - 1)
    side = PERSON_HEIGHT * scale
    return [float(x - side / 2), float(y + LOWERED * scale - side / 2), float(side), float(side)]


def _person(place: int, record: dict[str, Any], file: str | Path) -> dict[str, Any]:
    joints = len(MPII16)
    try:
        # the test split has no joints
        points = np.array(record.get("joints", np.zeros((joints, 2))), np.float64)
        seen = np.array(record.get("joints_vis", np.zeros(joints))) > 0
        center, scale = np.array(record["center"], np.float64), float(record["scale"])
        if not (np.isfinite(center).all() and np.isfinite(points).all() and 0 < scale < np.inf):
            raise ValueError
        box = box_of(center, scale)
        if not record["image"] or points.shape != (joints, 2) or seen.shape != (joints,):
            raise ValueError
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise UserError(
            f"{file}: record {place}: expected image, center [x, y], scale above 0, joints of {joints} x 2 and "
            f"joints_vis of {joints} numbers, as in HRNet's files of MPII: correct or remove it"
        ) from error
    keypoints = np.where(seen[:, None], np.column_stack([points - 1, np.full(joints, 2)]), 0)
    return {
        "id": place + 1,
        "category_id": 1,
        "iscrowd": 0,
        "keypoints": keypoints.ravel().tolist(),
        "num_keypoints": int(seen.sum()),
        "bbox": box,
        "area": BODY_SHARE * box[2] * box[3],
        "area_estimated": True,
    }


def _read_records(path: Path) -> list[dict[str, Any]]:
    raw = read_json(path)
    if not isinstance(raw, list):
        raise UserError(
            f"annotations {path}: expected a list of people, one record each, got {type(raw).__name__}: take HRNet's "
            "files of MPII"
        )
    return raw


def _add_heads(people: list[dict[str, Any]], path: Path) -> None:
    """Give every person the `head_box`, x, y, x, y, of that row.

    Raises:
        UserError: if the file is none of MPII's, or does not have these people in this order.
    """
    from scipy.io import loadmat  # slow to import, and only MPII's head boxes need it

    try:
        raw = loadmat(path, variable_names=["headboxes_src", "pos_gt_src"])
        heads, points = (np.moveaxis(raw[name], -1, 0).astype(float) for name in ("headboxes_src", "pos_gt_src"))
    except Exception as error:  # scipy has several kinds
        raise UserError(
            f"head boxes {path}: expected MPII's headboxes_src and pos_gt_src ({error}): put it right, or remove it to "
            "score without head sizes"
        ) from error
    rows = np.array([person["keypoints"] for person in people]).reshape(-1, len(MPII16), 3)
    seen = rows[..., 2] > 0
    if heads.shape != (len(people), 2, 2) or points.shape != rows[..., :2].shape:
        raise UserError(
            f"head boxes {path}: of {len(heads)} people, the annotations beside it have {len(people)}: take both from "
            "one place"
        )
    if np.abs(points[seen] - 1 - rows[seen][:, :2]).max(initial=0) > 0.01:  # the JSON is rounded
        raise UserError(
            f"head boxes {path}: not the people of the annotations beside it, or in another order: take both from one "
            "place"
        )
    for person, box in zip(people, heads):
        person["head_box"] = box.ravel().tolist()
