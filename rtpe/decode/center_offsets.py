"""Whose joint is it: people by their centers, and offsets from there to each joint (Zhou et al., arXiv:1904.07850).

A peak of the center heatmap is a person; the offsets in its cell say about where the joints are, and the peaks of the
joints' heatmaps where exactly. A center is the mean of a person's visible joints.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from rtpe.decode.nms import suppress
from rtpe.decode.peaks import SHIFTS, Peaks, Refiner, argmax, local_maxima, refiner
from rtpe.decode.scoring import expected_similarity
from rtpe.errors import UserError
from rtpe.settings.limits import FINITE, KERNEL, NULL, OVERLAP, at_least, limited, refuse_own
from rtpe.structures import PoseMaps, Poses

_ERROR = 0.7  # cells: by about so much a joint is misplaced


@dataclass(frozen=True)
class CenterSettings:
    """How people are read from heatmaps, centers and offsets.

    Attributes:
        threshold: a center and a joint need more heat than this.
        max_people: at most so many people, those with the hottest centers.
        kernel: two peaks of one map are at least about half this many cells apart; odd.
        refine: sub-pixel refinement: argmax, quarter or dark; or shifts, as the net says it.
        reach: a peak is a person's joint within this share of the person's size of where the offset points; the size
            is the diagonal of the box around all those places. Half the kernel at least.
        fill_threshold: a joint without a peak is put where its offset points if the heatmap there exceeds this; null
            leaves it out.
        min_score: people with a lower person score are dropped.
        nms: a person is dropped if a better one repeats more than this share of it (`pose_similarity`); 1 drops none.

    Raises:
        UserError: if one of them makes no sense.
    """

    threshold: float = limited(0.1, at_least(0))
    max_people: int = limited(30, at_least(1))
    kernel: int = limited(5, KERNEL)
    refine: str = "dark"
    reach: float = limited(0.5, at_least(0))
    fill_threshold: float | None = limited(None, at_least(0) | NULL)
    min_score: float = limited(0.0, FINITE)
    nms: float = limited(0.8, OVERLAP)

    def __post_init__(self):
        if self.refine != SHIFTS:
            refiner(self.refine)
        refuse_own(self, "centers.")


def from_centers(maps: PoseMaps, settings: CenterSettings) -> Poses:
    """Read the people from an image's heatmaps, centers and offsets, best first, in original-image pixels.

    A person's score is the share of its object keypoint similarity that can be hoped for: the mean over all K joints of
    their peaks' heat, less where the error of a cell is much beside the person's size. People of whom no joint has a
    peak are dropped. Cells that are not finite are ignored.

    Raises:
        UserError: if the maps have no centers and offsets.
    """
    if not {"centers", "offsets"} <= maps.others.keys():
        raise UserError(
            "centers: the maps have none: read them with --decode.grouping tags, or take a net with centers"
        )
    guesses = _guesses(maps, settings)
    # all peaks: those of people beyond `max_people` are not to hide those of the ones within
    peaks = local_maxima(maps.heatmaps, maps.heatmaps.size, settings.threshold, settings.kernel)
    sizes = np.linalg.norm(np.ptp(guesses, axis=1), axis=-1)
    reaches = np.maximum(settings.reach * sizes, settings.kernel // 2)
    owned = _owned(guesses, reaches, peaks)
    points, scores = _placed(guesses, owned, peaks, maps.heatmaps, refiner(settings.refine, maps.others.get("shifts")))
    person_scores = expected_similarity(points, scores, maps.skeleton, _ERROR)
    kept = (scores > 0).any(axis=1) & (person_scores >= settings.min_score)
    if settings.fill_threshold is not None:
        scores = _filled(guesses, scores, maps.heatmaps, settings.fill_threshold)
    points = np.where(scores[..., None] > 0, maps.to_image(points), 0)
    return suppress(Poses(points, scores, person_scores, maps.skeleton).only(kept), settings.nms)


def _guesses(maps: PoseMaps, settings: CenterSettings) -> np.ndarray:
    """Where the offsets of each center put its joints, (P, K, 2) in cells."""
    heat, vectors = maps.others["centers"], maps.others["offsets"]
    centers = local_maxima(heat, settings.max_people, settings.threshold, settings.kernel)
    offsets = vectors[:, centers.ys, centers.xs].T.reshape(len(centers.ys), len(maps.skeleton), 2)
    # an offset is told from the center of the cell that tells it, wherever in the cell the person's center is
    guesses = argmax(heat, *centers[:3])[:, None] + offsets.astype(np.float64)
    return guesses[np.isfinite(guesses).all(axis=(1, 2))]


def _owned(guesses: np.ndarray, reaches: np.ndarray, peaks: Peaks) -> np.ndarray:
    """The index of each person's peak of each joint, (P, K), or -1: no peak is two people's.

    The matching gains most in sum, where a pair gains the peak's heat, less for every bit of distance, nothing from
    the person's reach on.
    """
    owned = np.full(guesses.shape[:2], -1)
    places = argmax(guesses, *peaks[:3])
    for joint in range(guesses.shape[1]):
        mine = np.arange(*np.searchsorted(peaks.joints, [joint, joint + 1]))
        squared = ((guesses[:, joint, None] - places[mine]) ** 2).sum(axis=-1)
        gain = np.maximum(1 - squared / reaches[:, None] ** 2, 0) * peaks.scores[mine]
        people, candidates = linear_sum_assignment(gain, maximize=True)
        matched = gain[people, candidates] > 0
        owned[people[matched], joint] = mine[candidates[matched]]
    return owned


def _placed(
    guesses: np.ndarray, owned: np.ndarray, peaks: Peaks, heatmaps: np.ndarray, refine: Refiner
) -> tuple[np.ndarray, np.ndarray]:
    """Joints where their peaks are, else where they were guessed, (P, K, 2) cells; the peaks' heat, else 0, (P, K)."""
    points, scores = guesses.copy(), np.zeros(owned.shape)
    found = owned >= 0
    chosen = peaks.only(owned[found])
    points[found] = refine(heatmaps, *chosen[:3])
    scores[found] = chosen.scores
    return points, scores


def _filled(guesses: np.ndarray, scores: np.ndarray, heatmaps: np.ndarray, fill: float) -> np.ndarray:
    """The scores, and for joints that have none the heat in the cell of the guess, if it exceeds `fill`."""
    size_wh = np.array(heatmaps.shape[:0:-1])
    inside = ((guesses >= 0) & (guesses < size_wh)).all(axis=-1)
    x, y = np.moveaxis(np.where(inside[..., None], guesses, 0).astype(int), -1, 0)
    heat = heatmaps[np.arange(heatmaps.shape[0]), y, x]
    allowed = (scores == 0) & inside & np.isfinite(heat) & (heat > fill)
    return np.where(allowed, heat, scores)
