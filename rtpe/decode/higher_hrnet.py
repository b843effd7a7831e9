"""Whose joint is it, as the authors of HigherHRNet read it: for their figures; `grouping` is faster.

Joint by joint, peaks are matched to the people seen so far by their rounded distance in tags, and a peak that matches
nobody begins a person (HigherHRNet, Cheng et al., arXiv:1908.10357, after Newell et al., arXiv:1611.05424). In the end
every person is given the joints still missing, wherever in the image the best place is.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from rtpe.decode.peaks import Peaks, argmax, strongest, tagged, windows
from rtpe.errors import UserError
from rtpe.geometry import HALF
from rtpe.settings.limits import KERNEL, above, at_least, limited, refuse_own
from rtpe.structures import PoseMaps, Poses

# by channel: head, shoulders, hips, elbows, wrists, knees, ankles of COCO; with fewer joints those that there are
ORDER = (0, 1, 2, 3, 4, 5, 6, 11, 12, 7, 8, 9, 10, 13, 14, 15, 16)
ROUNDED = 100  # what a whole unit of distance in tags costs, where a candidate's heat gains 1


@dataclass(frozen=True)
class PublishedSettings:
    """How people are read from maps; the defaults are the published ones.

    Attributes:
        threshold: a joint needs more heat than this.
        tag_threshold: a joint needs a tag nearer than this to its person's mean tag.
        max_people: so many peaks of one joint, and the people to whom a joint can be matched; more can begin.
        kernel: no cell of so wide a window exceeds a peak; odd.
        complete: give every person the joints still missing.

    Raises:
        UserError: if one of them makes no sense.
    """

    threshold: float = limited(0.1, at_least(0))
    tag_threshold: float = limited(1.0, above(0))
    max_people: int = limited(30, at_least(1))
    kernel: int = limited(5, KERNEL)
    complete: bool = True

    def __post_init__(self):
        refuse_own(self, "published.")


@dataclass
class _Person:
    """The numbers of its peaks by joint, and the tags that its mean is of."""

    peaks: dict[int, int] = field(default_factory=dict)
    tags: list[np.ndarray] = field(default_factory=list)


def parse(maps: PoseMaps, settings: PublishedSettings) -> Poses:
    """Read the people from an image's heatmaps and tags, best first, in original-image pixels.

    A person's score is the mean heat of the joints found, over all K joints; joints that complete it do not count.
    Nobody is dropped, be it for a copy of another or for a low score. Of equal peaks the first in reading order come
    first, and of equally cheap ways to match whichever scipy finds. Cells that are not finite are ignored.

    Raises:
        UserError: if the maps have no tags.
    """
    if maps.tags is None:
        raise UserError("published: the maps have no tags: read them with --decode.grouping tags")
    peaks = tagged(_peaks(maps.heatmaps, settings), maps.tags)
    people = _match(peaks, maps.tags[:, peaks.joints, peaks.ys, peaks.xs].T, len(maps.skeleton), settings)
    ys, xs, scores = _cells(people, peaks, len(maps.skeleton))
    person_scores = scores.mean(axis=1)
    if settings.complete:
        for rows in zip(ys, xs, scores):
            _complete(*rows, maps)
    points = np.zeros((*scores.shape, 2))
    person, joint = np.nonzero(scores)
    points[person, joint] = maps.to_image(_adjusted(maps.heatmaps, joint, ys[person, joint], xs[person, joint]))
    best = np.argsort(-person_scores, kind="stable")
    return Poses(points, scores, person_scores, maps.skeleton).only(best)


def order(joints: int) -> list[int]:
    """The channels as they are matched, (K,); those that COCO has not come last.

    >>> order(14)
    [0, 1, 2, 3, 4, 5, 6, 11, 12, 7, 8, 9, 10, 13]
    """
    return [joint for joint in ORDER if joint < joints] + list(range(len(ORDER), joints))


def _adjusted(heatmaps: np.ndarray, joints: np.ndarray, ys: np.ndarray, xs: np.ndarray) -> np.ndarray:
    """A quarter of a cell from the center towards the higher neighbour, (N, 2); left and up of equal ones.

    Beyond the border the heat goes on as it is there.

    >>> _adjusted(np.array([[[0.1, 0.6, 1.0, 0.7, 0.1]]]), np.array([0]), np.array([0]), np.array([2])).tolist()
    [[2.75, 0.25]]
    """
    h, w = heatmaps.shape[1:]
    right = heatmaps[joints, ys, np.minimum(xs + 1, w - 1)] > heatmaps[joints, ys, np.maximum(xs - 1, 0)]
    down = heatmaps[joints, np.minimum(ys + 1, h - 1), xs] > heatmaps[joints, np.maximum(ys - 1, 0), xs]
    return argmax(heatmaps, joints, ys, xs) + np.where(np.column_stack([right, down]), HALF / 2, -HALF / 2)


def _peaks(heatmaps: np.ndarray, settings: PublishedSettings) -> Peaks:
    """The highest cells that no cell around them exceeds; of a plateau every cell is one."""
    heat = np.where(np.isfinite(heatmaps), heatmaps, -np.inf)
    cells = np.unravel_index(np.flatnonzero(heat > settings.threshold), heat.shape)
    peaks = Peaks(*cells, heat[cells])
    highest = windows(heat, *cells, settings.kernel).max(axis=1, initial=-np.inf) == peaks.scores
    return strongest(peaks.only(highest), settings.max_people)


def _match(peaks: Peaks, tags: np.ndarray, joints: int, settings: PublishedSettings) -> list[_Person]:
    """Give every peak, with its (N, T) tags, to a person."""
    people: dict[float, _Person] = {}  # by the first tag that each began with: who begins with it again goes on there
    for joint in order(joints):
        first, last = np.searchsorted(peaks.joints, [joint, joint + 1])
        known = list(people.values())[: settings.max_people]
        owners = _owners(tags[first:last], peaks.scores[first:last], known, settings.tag_threshold)
        for number, owner in enumerate(owners, first):
            if owner < 0:
                person = people.setdefault(float(tags[number, 0]), _Person())
                person.tags = [tags[number]]
            else:
                person = known[owner]
                person.tags.append(tags[number])
            person.peaks[joint] = number
    return list(people.values())


def _owners(tags: np.ndarray, scores: np.ndarray, people: list[_Person], tag_threshold: float) -> np.ndarray:
    """The person of each of C candidates for one joint, (C,); -1 for one who begins a person."""
    owner = np.full(len(tags), -1)
    if not people or not len(tags):
        return owner
    means = np.stack([np.mean(person.tags, axis=0) for person in people])
    distances = np.linalg.norm(tags[:, None] - means[None], axis=-1)
    candidates, chosen = linear_sum_assignment(np.round(distances) * ROUNDED - scores[:, None])
    near = distances[candidates, chosen] < tag_threshold
    owner[candidates[near]] = chosen[near]
    return owner


def _cells(people: list[_Person], peaks: Peaks, joints: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, column and heat of each person's joints, (P, K); heat 0 where one is missing."""
    shape = len(people), joints
    ys, xs, scores = np.zeros(shape, int), np.zeros(shape, int), np.zeros(shape, np.float32)
    for row, person in enumerate(people):
        found, numbers = list(person.peaks), list(person.peaks.values())
        ys[row, found], xs[row, found], scores[row, found] = (column[numbers] for column in peaks[1:])
    return ys, xs, scores


def _complete(ys: np.ndarray, xs: np.ndarray, scores: np.ndarray, maps: PoseMaps) -> None:
    """Write each missing joint into one person's (K,) rows: most heat, less for every unit of distance in tags."""
    found = np.flatnonzero(scores)
    mean = maps.tags[:, found, ys[found], xs[found]].mean(axis=1)[:, None, None]
    for joint in np.flatnonzero(scores == 0):
        heat = maps.heatmaps[joint]
        with np.errstate(invalid="ignore"):
            worth = heat - np.round(np.linalg.norm(maps.tags[:, joint] - mean, axis=0))
        y, x = np.unravel_index(np.where(np.isfinite(worth), worth, -np.inf).argmax(), worth.shape)
        if heat[y, x] > 0 and np.isfinite(worth[y, x]):
            ys[joint], xs[joint], scores[joint] = y, x, heat[y, x]
