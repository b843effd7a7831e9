"""Whose joint is it: people from heatmaps and tags, by associative embedding (Newell et al., arXiv:1611.05424).

Joints of one person carry like tags. Joint by joint, from head to ankles, the peaks of a heatmap are matched to the
people seen so far; a peak that matches nobody begins a person (as in HigherHRNet, Cheng et al., arXiv:1908.10357).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from rtpe.decode.nms import suppress
from rtpe.decode.peaks import Peaks, local_maxima, refiner, tagged
from rtpe.decode.scoring import expected_similarity
from rtpe.geometry import index_to_point
from rtpe.settings.limits import FINITE, KERNEL, NULL, OVERLAP, above, at_least, limited, refuse_own
from rtpe.skeleton import Skeleton
from rtpe.structures import PoseMaps, Poses

# from the joints that are found most surely to those that are found least
_BODY = (
    "nose", "head", "head_top", "eye", "ear", "upper_neck", "neck", "thorax",
    "shoulder", "pelvis", "hip", "elbow", "wrist", "knee", "ankle",
)  # fmt: skip

SURE = 2.0  # what two sure ones gain over equal tags
_ERROR = 0.7  # cells: by about so much a joint is misplaced
_BESIDE = 3  # cells: a missing joint's weak peak may stand close beside another's strong one


@dataclass(frozen=True)
class GroupingSettings:
    """How people are read from maps.

    Attributes:
        threshold: a joint needs more heat than this.
        tag_threshold: a joint needs a tag nearer than this to its person's mean tag.
        max_people: at most so many people, and so many peaks of one joint.
        kernel: two peaks of one joint are at least about half this many cells apart; odd.
        refine: sub-pixel refinement: argmax, quarter or dark.
        fill_threshold: a missing joint is sought again near its person among the peaks above this; null seeks none.
        min_score: people with a lower person score are dropped.
        nms: a person is dropped if a better one repeats more than this share of it (`pose_similarity`); 1 drops none.

    Raises:
        UserError: if one of them makes no sense.
    """

    threshold: float = limited(0.1, at_least(0))
    tag_threshold: float = limited(1.0, above(0))
    max_people: int = limited(30, at_least(1))
    kernel: int = limited(5, KERNEL)
    refine: str = "dark"
    fill_threshold: float | None = limited(None, at_least(0) | NULL)
    min_score: float = limited(0.0, FINITE)
    nms: float = limited(0.8, OVERLAP)

    def __post_init__(self):
        refiner(self.refine)
        refuse_own(self, "grouping.")


@dataclass(frozen=True)
class _People:
    """People on the grid of the maps. Legend: P people, K joints, T tags.

    Attributes:
        ys, xs: (P, K) integers, the cell of each joint.
        scores: (P, K) heat there, 0 where it is missing.
        tags: (P, T) mean tag.
    """

    ys: np.ndarray
    xs: np.ndarray
    scores: np.ndarray
    tags: np.ndarray

    def only(self, index) -> _People:
        return _People(self.ys[index], self.xs[index], self.scores[index], self.tags[index])


def group(maps: PoseMaps, settings: GroupingSettings) -> Poses:
    """Read the people from an image's heatmaps and tags, best first, in original-image pixels.

    A person's score is the share of its object keypoint similarity that can be hoped for: the mean over all K joints of
    their heat, less where the error of a cell is much beside the person's size; joints that `fill` adds do not count.
    Without tags there is no telling people apart: one person, the highest peak of each joint.
    Cells that are not finite are ignored.
    """
    tags = np.empty((0, *maps.heatmaps.shape)) if maps.tags is None else maps.tags
    count = 1 if maps.tags is None else settings.max_people
    peaks = tagged(local_maxima(maps.heatmaps, count, settings.threshold, settings.kernel), tags)
    people = _match(peaks, tags[:, peaks.joints, peaks.ys, peaks.xs].T, maps.skeleton, settings.tag_threshold)
    cells = index_to_point(np.stack([people.xs, people.ys], axis=-1))
    person_scores = expected_similarity(cells, people.scores, maps.skeleton, _ERROR)
    best = np.argsort(-person_scores, kind="stable")[: settings.max_people]
    best = best[person_scores[best] >= settings.min_score]
    people = people.only(best)
    if settings.fill_threshold is not None:
        people = _fill(people, maps.heatmaps, tags, settings)
    return suppress(_poses(people, person_scores[best], maps, settings.refine), settings.nms)


def body_order(skeleton: Skeleton) -> list[int]:
    """The joints from head to ankles, (K,); those with an unknown name come last, in the skeleton's own order."""
    parts = [joint.removeprefix("left_").removeprefix("right_") for joint in skeleton.joints]
    ranks = [_BODY.index(part) if part in _BODY else len(_BODY) for part in parts]
    return sorted(range(len(skeleton)), key=ranks.__getitem__)


def _match(peaks: Peaks, tags: np.ndarray, skeleton: Skeleton, tag_threshold: float) -> _People:
    """Give every peak, with its (N, T) tags, to a person."""
    owners, count = np.zeros(len(tags), int), 0
    sums, sizes, heat = np.zeros(tags.shape), np.zeros((len(tags), 1)), np.zeros(len(tags))
    for joint in body_order(skeleton):
        mine = slice(*np.searchsorted(peaks.joints, [joint, joint + 1]))
        means, sureness = sums[:count] / sizes[:count], heat[:count] / sizes[:count, 0]
        owner = _owners(tags[mine], peaks.scores[mine], means, sureness, tag_threshold)
        count = max(count, owner.max(initial=-1) + 1)
        sums[owner] += tags[mine]
        sizes[owner] += 1
        heat[owner] += peaks.scores[mine]
        owners[mine] = owner
    shape = count, len(skeleton)
    ys, xs, scores = np.zeros(shape, int), np.zeros(shape, int), np.zeros(shape)
    for table, column in ((ys, peaks.ys), (xs, peaks.xs), (scores, peaks.scores)):
        table[owners, peaks.joints] = column
    return _People(ys, xs, scores, sums[:count] / sizes[:count])


def _owners(
    tags: np.ndarray, scores: np.ndarray, people_tags: np.ndarray, sureness: np.ndarray, tag_threshold: float
) -> np.ndarray:
    """The person of each of C candidates for one joint, (C,); numbers from P on begin a person.

    The matching gains most in sum, where a pair gains its nearness in tags and the product of the candidate's score
    and the person's mean score. A net in doubt sees a joint twice, and both have the person's tag: only the product,
    which gains most when sure goes with sure, keeps the doubtful ones together, in a person of low score.
    """
    near = _nearness(tags[:, None] - people_tags[None], tag_threshold, axis=-1)
    gain = np.where(near > 0, near + SURE * scores[:, None] * sureness, 0)
    candidates, people = linear_sum_assignment(gain, maximize=True)
    matched = gain[candidates, people] > 0
    owner = np.full(len(tags), -1)
    owner[candidates[matched]] = people[matched]
    alone = owner < 0
    owner[alone] = len(people_tags) + np.arange(np.count_nonzero(alone))
    return owner


def _nearness(difference: np.ndarray, tag_threshold: float, axis: int) -> np.ndarray:
    """1 for equal tags, falling to 0 at the threshold and below 0 beyond it."""
    # squared: with the plain distance of single numbers, two people and two candidates often match equally well
    # either way round
    return 1 - (difference**2).sum(axis=axis) / tag_threshold**2


def _fill(people: _People, heatmaps: np.ndarray, tags: np.ndarray, settings: GroupingSettings) -> _People:
    """Seek each missing joint among the peaks around its person: most heat, less for every bit of distance in tags."""
    peaks = tagged(local_maxima(heatmaps, settings.max_people, settings.fill_threshold, _BESIDE), tags)
    peak_tags = tags[:, peaks.joints, peaks.ys, peaks.xs].T
    ys, xs, scores = people.ys.copy(), people.xs.copy(), people.scores.copy()
    for person, tag in enumerate(people.tags):
        found = people.scores[person] > 0
        near = _nearness(peak_tags - tag, settings.tag_threshold, axis=-1)
        within = _around(people.ys[person], people.xs[person], found, peaks, settings.kernel)
        worth = np.where(within & ~found[peaks.joints], peaks.scores * near, 0)
        rising = np.argsort(worth, kind="stable")  # of several peaks for one joint the last written stays
        chosen = peaks.only(rising[worth[rising] > 0])
        for table, column in ((ys, chosen.ys), (xs, chosen.xs), (scores, chosen.scores)):
            table[person, chosen.joints] = column
    return replace(people, ys=ys, xs=xs, scores=scores)


def _around(ys: np.ndarray, xs: np.ndarray, found: np.ndarray, peaks: Peaks, margin: int) -> np.ndarray:
    """Which peaks lie in the box around the joints found, grown by its larger side: bodies rarely reach further."""
    ys, xs = ys[found], xs[found]
    margin = max(margin, int(np.ptp(ys)), int(np.ptp(xs)))
    inside = np.ones(len(peaks.joints), bool)
    for places, line in ((peaks.ys, ys), (peaks.xs, xs)):
        inside &= (places >= line.min() - margin) & (places <= line.max() + margin)
    return inside


def _poses(people: _People, person_scores: np.ndarray, maps: PoseMaps, refine: str) -> Poses:
    """Refine the joints found and carry them into the image."""
    points = np.zeros((*people.scores.shape, 2))
    person, joint = np.nonzero(people.scores)
    cells = people.ys[person, joint], people.xs[person, joint]
    points[person, joint] = maps.to_image(refiner(refine)(maps.heatmaps, joint, *cells))
    return Poses(points, people.scores, person_scores, maps.skeleton)
