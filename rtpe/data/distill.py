"""Training examples: a random view of an image, its labels and what the teacher said of it, handed over small."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np
import torch
from torch.utils.data import Dataset

from rtpe.cache import Cache
from rtpe.data.mix import FILL, Example, mosaic, paste, quadrants
from rtpe.data.peak_width import widen
from rtpe.data.settings import AugmentSettings
from rtpe.data.transforms import (
    photometric,
    plain_view,
    poses_as_points,
    random_view,
    refuse_other_size,
    warp_mask,
    warp_points,
    warp_teacher_maps,
)
from rtpe.errors import UserError
from rtpe.geometry import Affine
from rtpe.images import UnreadableImage
from rtpe.raster import capsules, filled, warp
from rtpe.structures import Prediction, Sample

BODY_WIDTH = 0.14  # of a person's scale: the thickness of the limbs that stand in for a body nobody outlined
CUT_WIDTH = 0.2  # the same where it is cut out: better some surroundings than half a head


class TrainingExamples(Dataset):
    """Views of a data set's images by (pass, index); the same key always gives the same view.

    In the place of an image that cannot be read stands the next one that can, under the same view.

    Attributes:
        unreadable: of the last example, the indices of images that cannot be read, and why.

    Args:
        samples: a sequence of `Sample`; one that has `reduced` is asked for images no larger than they are seen.
        input_hw: the network's input; the grid is its size over the stride.
        cache: what the teacher said, or None.
        labels: whether labels may be used at all; without, the teacher's people stand in for them.
        augment: how far views stray; None gives the plain view.
        spread: a teacher's peaks are made so wide, a deviation in cells, where they are narrower; 0 leaves them.
        joint_threshold: a teacher's joint below this score is not taken for a label.
        person: whether person masks are made; they take a seventh of the time.

    Raises:
        UserError: if there is neither a label nor a teacher to learn from, or the teacher never saw an image.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        input_hw: tuple[int, int],
        stride: int,
        cache: Cache | None,
        labels: bool = True,
        augment: AugmentSettings | None = None,
        seed: int = 0,
        spread: float = 0.0,
        joint_threshold: float = 0.2,
        person: bool = True,
    ):
        if cache is None and not labels:
            raise UserError("nothing to learn from: give --cache.path, or --loss.labels above 0")
        self.samples, self.input_hw, self.stride = samples, input_hw, stride
        self.cache, self.labels, self.augment, self.seed = cache, labels, augment, seed
        self.spread, self.joint_threshold, self.person = spread, joint_threshold, person
        self.unreadable: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: tuple[int, int]) -> Example:
        number, index = key
        self.unreadable = {}
        rng = np.random.default_rng([self.seed, number, index])
        if self.augment is None:
            return self._seen(index, self.input_hw, rng)
        example = self._mixed(index, self.augment, rng)
        return {**example, "images": photometric(example["images"], self.augment, rng)}

    def _mixed(self, index: int, settings: AugmentSettings, rng: np.random.Generator) -> Example:
        """The image alone or in a mosaic with three others, and people of yet another one over it, as the dice fall."""
        if settings.mosaic and rng.random() < settings.mosaic:
            frames = quadrants(self.input_hw, self.stride, rng)
            indices = [index, *rng.integers(len(self), size=3).tolist()]
            example = mosaic([self._seen(one, frame, rng, FILL) for one, frame in zip(indices, frames)])
        else:
            example = self._seen(index, self.input_hw, rng)
        if settings.paste and rng.random() < settings.paste:
            other = int(rng.integers(len(self)))
            example = paste(example, self._seen(other, self.input_hw, rng, cut=True))
        return example

    def _seen(
        self, index: int, frame_hw: tuple[int, int], rng: np.random.Generator, fill: float = 0.0, cut: bool = False
    ) -> Example:
        """One image in a frame under a view of its own, its colours as they are; with its people cut out if asked."""
        sample, view = self._viewed(index, frame_hw, fill, rng)
        prediction = None if self.cache is None else self.cache.load(sample.image_id)
        labelled = self.labels and sample.labelled
        people = sample.points if labelled else self._teachers_people(prediction, sample)
        example = {
            "images": warp(sample.image, view, frame_hw),
            "points": warp_points(people, view, frame_hw, sample.skeleton.flip),
            "labelled": np.array(labelled),
            "valid": self._mask(sample.valid if self.labels else None, view, frame_hw, outside=1),
        }
        if self.person:
            example["person"] = self._mask(self._person(sample, people), view, frame_hw, outside=0)
        if prediction is not None:
            refuse_other_size(prediction.maps, sample)
            maps = warp_teacher_maps(
                prediction.maps, view @ sample.to_image.inverse(), self._grid(frame_hw), self.stride
            )
            heatmaps = widen(maps.heatmaps, self.spread, maps.peak_sigma) if self.spread else maps.heatmaps
            example["teacher"] = torch.from_numpy(heatmaps).half().numpy()  # 20 times as fast as numpy
        if cut:
            example["body"] = warp_mask(self._bodies(sample, people), view, frame_hw, stride=1, outside=0)
        return example

    def _viewed(
        self, index: int, frame_hw: tuple[int, int], fill: float, rng: np.random.Generator
    ) -> tuple[Sample, Affine]:
        """A sample, halved while it is larger than it will be seen, and the view from its pixels to the frame."""
        stray = random_view(frame_hw, frame_hw, self.augment, rng) if self.augment else Affine.identity()
        reduced = getattr(self.samples, "reduced", None)
        shown = max(frame_hw) * stray.scale * 2**fill  # beyond a border for aspects of up to 1 to 2
        sample = self._readable(index, lambda place: reduced(place, shown) if reduced else self.samples[place])
        return sample, stray @ plain_view(sample.size_hw, frame_hw, fill)

    def _readable(self, index: int, read: Callable[[int], Sample]) -> Sample:
        """The sample at this index, or the next one that can be read.

        Raises:
            UserError: if there is none.
        """
        for place in chain(range(index, len(self)), range(index)):  # a tuple of them costs as long as an image
            try:
                return read(place)
            except UnreadableImage as error:
                self.unreadable[place] = str(error)
        raise UserError(f"none of {len(self)} images can be read ({self.unreadable[index]}): check --data.root")

    def _teachers_people(self, prediction: Prediction | None, sample: Sample) -> np.ndarray:
        if prediction is None:
            raise UserError("an image has neither labels nor a teacher: give --cache.path")
        return poses_as_points(prediction.poses.moved(sample.to_image.inverse()), self.joint_threshold)

    def _grid(self, frame_hw: tuple[int, int]) -> tuple[int, int]:
        return frame_hw[0] // self.stride, frame_hw[1] // self.stride

    def _mask(self, mask: np.ndarray | None, view: Affine, frame_hw: tuple[int, int], outside: int) -> np.ndarray:
        if mask is None:
            return np.full(self._grid(frame_hw), 255, np.uint8)
        return warp_mask(mask, view, self._grid(frame_hw), self.stride, outside)

    def _person(self, sample: Sample, people: np.ndarray) -> np.ndarray:
        """The outlined bodies; where there are no outlines, thick limbs between the people's joints."""
        return sample.person if self._outlined(sample) else limb_mask(sample, people)

    def _bodies(self, sample: Sample, people: np.ndarray) -> np.ndarray:
        """What is cut out of an image, (H, W) uint8 of 0 and 1; not the crowds, for nobody labelled their joints."""
        bodies = sample.person if self._outlined(sample) else filled(limb_mask(sample, people, CUT_WIDTH))
        return bodies * sample.valid if self.labels else bodies

    def _outlined(self, sample: Sample) -> bool:
        return self.labels and sample.person is not None


def limb_mask(sample: Sample, people: np.ndarray, width: float = BODY_WIDTH) -> np.ndarray:
    """Limbs between visible joints, as thick as that share of the person, for a body: (H, W) uint8 of 0 and 1."""
    first, second = np.array(sample.skeleton.limbs, int).reshape(-1, 2).T
    segments, widths = [], []
    for person in people:
        both = (person[first, 2] > 0) & (person[second, 2] > 0)
        if not both.any():
            continue
        seen = person[person[:, 2] > 0, :2]
        segments.append(np.stack([person[first[both], :2], person[second[both], :2]], 1))
        widths.append(np.full(both.sum(), width * np.ptp(seen, axis=0).max()))
    if not segments:
        return np.zeros(sample.size_hw, np.uint8)
    return capsules(sample.size_hw, np.concatenate(segments), np.concatenate(widths))
