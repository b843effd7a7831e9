"""Photographs and videos that nobody labelled, as samples: a folder of them, or one file."""

from __future__ import annotations

import copy
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np

from rtpe.data import video
from rtpe.errors import UserError, printable
from rtpe.images import SUFFIXES, UnreadableImage, read_image, read_reduced
from rtpe.skeleton import COCO17, Skeleton
from rtpe.structures import Sample

FRAMES = 1 << 22  # of one video have room in its numbers: 38 hours at 30 a second
LABELS = re.compile(
    r"(_annotations|.*)\.coco\.json|(person_keypoints|instances|annotations)(_.*)?\.json", re.IGNORECASE
)
SHOWN = 5  # suffixes in a line
KINDS = f"photograph ({', '.join(SUFFIXES)}) or video ({', '.join(video.SUFFIXES)})"


@dataclass(frozen=True)
class Still:
    """A photograph, or a frame of a video, which is read upright: no labels lie in its raw rows.

    Attributes:
        path: of the file.
        frame: number in the video, from 0; None for a photograph.
        frame_stride: distance of the frames that are wanted of this video.
    """

    path: Path
    frame: int | None = None
    frame_stride: int = 1

    def read(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB; raises UnreadableImage."""
        if self.frame is None:
            return read_image(self.path, upright=True)
        return video.read_frame(self.path, self.frame, self.frame_stride)

    def reduced(self, least: float) -> tuple[np.ndarray, int]:
        """See `images.read_reduced`."""
        return read_reduced(self.path, least, upright=True) if self.frame is None else read_reduced(self, least)


class FolderDataset:
    """Photographs and frames of videos without labels, with the surface of `CocoDataset`, in the order of their names.

    The files lie in `<root>/images/<split>`, else in `<root>/<split>`, else in `root` itself, sub-folders included;
    hidden ones and other kinds are passed over. Ids are hashes of the path below `root` (and number of the frame): they
    stay when other files come and go. A video that cannot be opened counts as one image, which cannot be read.

    Attributes:
        annotations, labels: None, where a labelled data set has its file and what it holds.
        notes: what a user should know of the files that were passed over, one line each.

    Args:
        root: a folder, a photograph or a video.
        frame_stride: of a video, every so many frames.

    Raises:
        UserError: if there is nothing, or two files have the same id.
    """

    annotations = None
    labels = None

    def __init__(self, root: str | Path, split: str = "", skeleton: Skeleton = COCO17, frame_stride: int = 1):
        if frame_stride < 1:
            raise UserError(
                f"every so many frames: expected 1 or more, got {frame_stride}: pass another --data.frame_stride"
            )
        self.root, self.skeleton = Path(os.path.abspath(root)), skeleton
        folder, self.split = _folder(self.root, split)
        base = folder.parent if folder == self.root and folder.is_file() else self.root
        self.records: list[tuple[int, str]] = []
        self._places: dict[int, int] | None = None  # by id, made when it is asked for
        self.stills: dict[int, Still] = {}
        found, others = _files(folder)
        self.notes = tuple(_notes(self.root, self.split if self.split != "all" else split, others))
        for path in found:
            for image_id, name, still in _stills(path, path.relative_to(base).as_posix(), frame_stride):
                self._add(image_id, name, still)
        if not self.records:
            there = f"no {KINDS} there" if folder.exists() else "no such folder or file"
            wanted = f"annotations/person_keypoints_{split}.json, photographs or videos"
            raise UserError(f"data {root}: {there}, want {wanted}: check --data.root and --data.split")

    def _add(self, image_id: int, name: str, still: Still) -> None:
        if image_id in self.stills:
            other = self.stills[image_id].path
            raise UserError(f"data {self.root}: {other} and {still.path} get the same id {image_id}: rename one")
        self.records.append((image_id, name))
        self.stills[image_id] = still

    def __len__(self) -> int:
        return len(self.records)

    @property
    def ids(self) -> list[int]:
        return [image_id for image_id, _ in self.records]

    @property
    def bare(self) -> frozenset[int]:
        """Ids of the images without labels: all."""
        return frozenset(self.ids)

    def sources(self) -> list[tuple[int, str, Still]]:
        """Image id, file name and what `read_image` reads, as a cache is built from."""
        return [(image_id, name, self.stills[image_id]) for image_id, name in self.records]

    def subset(self, ids: Sequence[int]) -> FolderDataset:
        """The same data set with these images alone."""
        wanted, other = set(ids), copy.copy(self)
        other._places = None
        other.records = [record for record in self.records if record[0] in wanted]
        return other

    def with_labels(self) -> FolderDataset:
        """The same data set without the images on which nobody is labelled: none is left."""
        return self.subset([])

    def with_share_of_labels(self, share: float) -> FolderDataset:
        """The same: there are no labels to share out."""
        return self

    def __getitem__(self, image_id: int) -> Sample:
        """The sample of an image.

        Raises:
            KeyError: if it is none of these.
        """
        return self.at(self._place(image_id))

    def __iter__(self) -> Iterator[Sample]:
        return (self.at(index) for index in range(len(self)))

    def at(self, index: int) -> Sample:
        """The sample at a place in the order of the ids."""
        return self.reduced(index, math.inf)

    def _place(self, image_id: int) -> int:
        if self._places is None:
            self._places = {number: place for place, (number, _) in enumerate(self.records)}
        return self._places[image_id]

    def reduced(self, index: int, least: float) -> Sample:
        """The sample halved as often, thrice at most, as its long side keeps `least` pixels."""
        image_id, name = self.records[index]
        image, reduction = self.stills[image_id].reduced(least)
        return Sample(
            image_id=image_id,
            file_name=name,
            image=image,
            points=np.zeros((0, len(self.skeleton), 3), np.float32),
            valid=np.ones(image.shape[:2], np.uint8),
            skeleton=self.skeleton,
            labelled=False,
            reduction=reduction,
        )


def number(name: str) -> int:
    """The id of a photograph of that name, 0 to 2^53 - 1: readers of JSON may hold numbers as float64."""
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big") >> 11


def _folder(root: Path, split: str) -> tuple[Path, str]:
    """Where the files of a split lie, and how it is called.

    Raises:
        UserError: if this is a labelled data set, which lacks the split.
    """
    for folder in (root / "images" / split, root / split):
        if split and folder.is_dir():
            return folder, split
    if (root / "annotations").is_dir():
        raise UserError(
            f"data {root}: neither annotations/person_keypoints_{split}.json nor a folder images/{split} or {split}: "
            "check --data.root and --data.split"
        )
    return root, "all"


def _files(folder: Path) -> tuple[list[Path], list[Path]]:
    """The photographs and videos below a folder in the order of their names, or the one that it is itself; others."""
    if folder.is_file():
        found = [folder]
    else:
        found = []
        for place, below, names in os.walk(folder):
            below[:] = [name for name in below if not name.startswith(".")]
            found += [Path(place, name) for name in names if not name.startswith(".")]
    kinds = (*SUFFIXES, *video.SUFFIXES)
    found.sort()
    return [path for path in found if _suffix(path) in kinds], [path for path in found if _suffix(path) not in kinds]


def _suffix(path: Path) -> str:
    return path.suffix.lower()


def _notes(root: Path, split: str, others: list[Path]) -> Iterator[str]:
    """What was passed over, by suffix, and labels that were not read."""
    labels = [path for path in others if LABELS.fullmatch(path.name)]
    kinds = Counter(_suffix(path) or "without a suffix" for path in others if path not in labels)
    counts = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    labels += [path for path in (root / "annotations").glob(f"*_{split}.json") if LABELS.fullmatch(path.name)]
    if counts:
        each = ", ".join(f"{count} {suffix}" for suffix, count in counts[:SHOWN])
        more = f", {len(counts) - SHOWN} more kinds" if len(counts) > SHOWN else ""
        yield printable(f"data {root}: passed over {sum(count for _, count in counts)} files: {each}{more}")
    if labels:
        more = f" and {len(labels) - 1} more" if len(labels) > 1 else ""
        yield printable(
            f"data {root}: labels in {labels[0].relative_to(root)}{more} are not used: people with keypoints are read "
            f"from annotations/person_keypoints_{split}.json, their images from images/{split}"
        )


def _stills(path: Path, name: str, every: int) -> Iterator[tuple[int, str, Still]]:
    """Id, name and source of a photograph, or of the frames of a video, whose ids are consecutive."""
    image_id = number(name)
    if path.suffix.lower() not in video.SUFFIXES:
        yield image_id, name, Still(path)
        return
    first = image_id // FRAMES * FRAMES
    for frame in range(0, _count(path, every), every):
        yield first + frame, f"{name}#{frame:06d}", Still(path, frame, every)


def _count(path: Path, every: int) -> int:
    """How many frames there are, and up to the next one that is wanted and missing, if there should be more."""
    try:
        count, ends_early = video.count_frames(path)
    except UnreadableImage:
        return 1  # so that it is not passed over: reading it gives the reason
    return min(FRAMES, -(-count // every) * every + 1 if ends_early or not count else count)
