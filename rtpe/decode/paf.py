"""People from part-affinity fields, maps of unit vectors that point along each limb (Cao et al., arXiv:1611.08050).

Peaks of the heatmaps are joints. Two joints belong together as far as the field of their limb points, on the straight
way from one to the other, where the limb would. Limb by limb, joints are matched one to one, and what hangs together
is a person.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.optimize import linear_sum_assignment

from rtpe.decode.peaks import Peaks, local_maxima, refiner
from rtpe.decode.scoring import expected_similarity
from rtpe.errors import UserError
from rtpe.geometry import point_to_index
from rtpe.settings.limits import FINITE, KERNEL, at_least, limited, refuse_own
from rtpe.skeleton import Skeleton
from rtpe.structures import PoseMaps, Poses

_ERROR = 1.0  # cells: by about so much a joint is misplaced


@dataclass(frozen=True)
class PafSettings:
    """How people are read from heatmaps and part-affinity fields.

    Attributes:
        threshold: a joint needs more heat than this.
        limb_threshold: a limb needs more agreement with its field than this, on average along it; 1 is perfect.
        samples: places along a limb where its field is read, the ends included.
        kernel: two peaks of one joint are at least about half this many cells apart; odd.
        refine: sub-cell refinement of peaks: argmax, quarter or dark.
        max_people: at most so many peaks of one joint.
        min_joints: people with fewer joints are dropped.
        min_score: people with a lower person score are dropped.

    Raises:
        UserError: if one of them makes no sense.
    """

    threshold: float = limited(0.07, at_least(0))
    limb_threshold: float = limited(0.05, at_least(0))
    samples: int = limited(10, at_least(2))
    kernel: int = limited(3, KERNEL)
    refine: str = "dark"
    max_people: int = limited(30, at_least(1))
    min_joints: int = limited(3, at_least(1))
    min_score: float = limited(0.0, FINITE)

    def __post_init__(self):
        refiner(self.refine)
        refuse_own(self, "paf.")


@dataclass(frozen=True)
class _Parts:
    """What hangs together. Legend: P people, K joints.

    Attributes:
        peaks: (P, K) the peak of each joint, -1 where it is missing.
        agreement: (P,) mean agreement of the limbs with their fields, 0 without limbs.
    """

    peaks: np.ndarray
    agreement: np.ndarray


def assemble(maps: PoseMaps, settings: PafSettings) -> Poses:
    """Read the people from an image's heatmaps and part-affinity fields, best first, in original-image pixels.

    A person's score, 0 to about 1, is the share of its object keypoint similarity that can be hoped for: a joint counts
    its heat, and less where the error of a cell is much beside the person's size; times the agreement of its limbs.
    Cells that are not finite are ignored.

    Raises:
        UserError: if the maps have no fields, or not two for each limb of their skeleton.
    """
    fields = _fields(maps)
    peaks = local_maxima(maps.heatmaps, settings.max_people, settings.threshold, settings.kernel)
    points = refiner(settings.refine)(maps.heatmaps, peaks.joints, peaks.ys, peaks.xs)
    parts = _join(peaks, _links(peaks, points, fields, maps.skeleton, settings), len(maps.skeleton))
    many = (parts.peaks >= 0).sum(axis=1) >= settings.min_joints
    return _poses(_Parts(parts.peaks[many], parts.agreement[many]), peaks, points, maps, settings.min_score)


def limb_agreement(field: np.ndarray, starts: np.ndarray, ends: np.ndarray, samples: int = 10) -> np.ndarray:
    """How well a field points from each start to each end: the mean of its part along the segment, (A, B).

    Args:
        field: (2, h, w) float, x and y.
        starts, ends: (A, 2), (B, 2) points in cell coordinates.

    >>> right = np.stack([np.ones((8, 8)), np.zeros((8, 8))])
    >>> limb_agreement(right, np.array([[1.0, 1.0]]), np.array([[5.0, 1.0], [5.0, 5.0], [1.0, 5.0]]))
    array([[1.   , 0.7071, 0.   ]])
    """
    along = ends[None] - starts[:, None]
    places = starts[:, None] + np.linspace(0, 1, samples)[:, None, None, None] * along
    columns, rows = np.moveaxis(point_to_index(places), -1, 0)
    mean = [map_coordinates(axis, (rows, columns), order=1, mode="nearest").mean(axis=0) for axis in field]
    length = np.linalg.norm(along, axis=-1)
    return (np.stack(mean, axis=-1) * along).sum(axis=-1) / np.maximum(length, np.finfo(float).tiny)


def _fields(maps: PoseMaps) -> np.ndarray:
    """The fields as (L, 2, h, w) finite numbers."""
    limbs = len(maps.skeleton.limbs)
    pafs = maps.others.get("pafs")
    if pafs is None or len(pafs) != 2 * limbs:
        got = "none" if pafs is None else len(pafs)
        raise UserError(f"pafs: expected {2 * limbs}, x and y of {limbs} limbs of {maps.skeleton.name}, got {got}")
    return np.where(np.isfinite(pafs), pafs, 0).reshape(limbs, 2, *maps.size_hw)


def _links(
    peaks: Peaks, points: np.ndarray, fields: np.ndarray, skeleton: Skeleton, settings: PafSettings
) -> list[tuple[int, int, float]]:
    """Peaks that are matched, limb by limb: the two peaks, and how well the field agrees."""
    of_joint = [np.flatnonzero(peaks.joints == joint) for joint in range(len(skeleton))]
    links = []
    for (a, b), field in zip(skeleton.limbs, fields):
        starts, ends = of_joint[a], of_joint[b]
        agreement = limb_agreement(field, points[starts], points[ends], settings.samples)
        agreement = np.where(agreement > settings.limb_threshold, agreement, 0)
        for i, j in zip(*linear_sum_assignment(agreement, maximize=True)):
            if agreement[i, j]:
                links.append((starts[i], ends[j], agreement[i, j]))
    return links


def _join(peaks: Peaks, links: list[tuple[int, int, float]], joints: int) -> _Parts:
    """Every peak begins alone; a link joins what its two ends belong to, unless both have the same joint already."""
    count = len(peaks.joints)
    people = np.full((count, joints), -1)
    people[np.arange(count), peaks.joints] = owner = np.arange(count)
    agreement, limbs = np.zeros(count), np.zeros(count)
    for start, end, score in links:
        mine, other = owner[start], owner[end]
        if mine != other:
            if ((people[mine] >= 0) & (people[other] >= 0)).any():
                continue
            people[mine] = np.maximum(people[mine], people[other])
            owner = np.where(owner == other, mine, owner)
            agreement[mine] += agreement[other]
            limbs[mine] += limbs[other]
        agreement[mine] += score
        limbs[mine] += 1
    alive = np.unique(owner)
    return _Parts(people[alive], agreement[alive] / np.maximum(limbs[alive], 1))


def _poses(parts: _Parts, peaks: Peaks, points: np.ndarray, maps: PoseMaps, min_score: float) -> Poses:
    if not len(parts.peaks):
        return Poses.none(maps.skeleton)
    found = parts.peaks >= 0
    cells = np.where(found[..., None], points[parts.peaks], 0)
    scores = np.where(found, peaks.scores[parts.peaks], 0)
    person_scores = expected_similarity(cells, scores, maps.skeleton, _ERROR) * parts.agreement
    poses = Poses(np.where(found[..., None], maps.to_image(cells), 0), scores, person_scores, maps.skeleton)
    best = np.argsort(-person_scores, kind="stable")
    return poses.only(best[person_scores[best] >= min_score])
