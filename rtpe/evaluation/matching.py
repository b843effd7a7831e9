"""The people found beside the people labelled, and every score by distance that the labels allow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rtpe.data.labels import Person
from rtpe.errors import UserError
from rtpe.evaluation.distance import (
    THRESHOLDS,
    box_lengths,
    epe,
    head_lengths,
    labelled_extents,
    neck_lengths,
    pck,
    pckh,
    readout_pck,
    torso_lengths,
)
from rtpe.evaluation.oks import (
    Annotations,
    as_labels,
    chosen_images,
    chosen_results,
    object_keypoint_similarity,
)
from rtpe.skeleton import COCO17, MPII16, Skeleton

# of the head size, as MPII's tables give; .11 is what HRNet's code, and tables after it, call Mean@0.1
PCKH_THRESHOLDS = (0.5, 0.1, 0.11)


@dataclass(frozen=True)
class MatchedPeople:
    """Labelled people, and of each the one found person who is most like them.

    Legend: P people, K joints. All points are in COCO's pixel indices.

    Attributes:
        points: (P, K, 2), NaN for a joint that was not found, and all joints of a person whom nobody matches.
        truth: (P, K, 2).
        visible: (P, K) bool, which joints are labelled.
        boxes_xywh: (P, 4).
        head_boxes: (P, 2, 2) corners as MPII labels them; NaN for who has none.
    """

    points: np.ndarray
    truth: np.ndarray
    visible: np.ndarray
    boxes_xywh: np.ndarray
    head_boxes: np.ndarray
    skeleton: Skeleton

    @cached_property
    def lengths(self) -> dict[str, np.ndarray]:
        """What PCK is measured in, (P,) pixels by name: box, torso, head, neck; those that anybody's labels allow."""
        measured = {
            "box": box_lengths(self.boxes_xywh),
            "torso": torso_lengths(self.truth, self.visible, self.skeleton),
            "head": head_lengths(self.head_boxes),
            "neck": neck_lengths(self.truth, self.visible, self.skeleton),
        }
        return {name: each for name, each in measured.items() if name == "box" or (each > 0).any()}

    @property
    def has_pckh(self) -> bool:
        """PCKh is of MPII's joints and head boxes alone."""
        return "head" in self.lengths and self.skeleton.joints == MPII16.joints


def match_people(
    annotations: Annotations, results: list[dict], image_ids: Iterable[int] | None, skeleton: Skeleton
) -> MatchedPeople:
    """The labelled people of these images beside COCO results, one to one; for arguments see `score_keypoints`.

    Crowds and people without labelled joints do not count; people found beside the labelled ones cost nothing. An
    annotation may have a `head_box`: the corners x, y, x, y.
    """
    labels = as_labels(annotations, skeleton)
    found: dict[int, list] = {number: [] for number in chosen_images(labels, image_ids)}
    for row in chosen_results(results, labels, list(found)):
        found[row["image_id"]].append(row["keypoints"])
    joints = len(skeleton)
    points, people = [np.zeros((0, joints, 2))], []
    for number, rows in found.items():
        labelled = [person for person in labels.people[number] if person.labelled]
        points.append(
            matched_points(_points(rows, joints), _truth(labelled, joints), _boxes(labelled), skeleton.sigmas)
        )
        people += labelled
    truth = _truth(people, joints)
    heads = np.array([person.head_box or [np.nan] * 4 for person in people], np.float64).reshape(-1, 2, 2)
    return MatchedPeople(np.concatenate(points), truth[..., :2], truth[..., 2] > 0, _boxes(people), heads, skeleton)


def matched_points(
    points: np.ndarray, truth: np.ndarray, boxes_xywh: np.ndarray, sigmas: Sequence[float]
) -> np.ndarray:
    """The found person of each labelled one, (P, K, 2); NaN for a person whom nobody matches.

    The most alike pair, by object keypoint similarity on the area of the box, goes first, then the next of the rest.

    Args:
        points: (D, K, 2), NaN for a joint that was not found.
        truth: (P, K, 3) x, y and visibility.
        boxes_xywh: (P, 4).
    """
    boxes_xywh = np.asarray(boxes_xywh, np.float64).reshape(-1, 4)
    alike = object_keypoint_similarity(points, truth, boxes_xywh[:, 2:].prod(axis=1), sigmas)
    matched = np.full((len(truth), truth.shape[1], 2), np.nan)
    while alike.size and alike.max() > 0:
        found, person = np.unravel_index(alike.argmax(), alike.shape)
        matched[person] = points[found]
        alike[found], alike[:, person] = 0, 0
    return matched


def distance_scores(people: MatchedPeople) -> dict[str, float]:
    """`PCK@0.05 box` and so on for every length there is, `PCKh@0.5`, `EPE px`; -1 where there is nothing to score."""
    matched = people.points, people.truth, people.visible
    found = {f"PCK@{t} {name}": pck(*matched, by, t)[1] for name, by in people.lengths.items() for t in THRESHOLDS}
    if people.skeleton.joints == COCO17.joints:
        found |= {
            f"PCK@{t} {name}": readout_pck(*matched, t, by) for name, by in _extents(people).items() for t in THRESHOLDS
        }
    if people.has_pckh:
        found |= {f"PCKh@{t}": pckh(*matched, people.head_boxes, t)[1] for t in PCKH_THRESHOLDS}
    return _numbers({**found, "EPE px": epe(*matched)[1]})


def joint_scores(people: MatchedPeople, length: str = "box") -> list[dict]:
    """One row a joint: how often it is labelled and found, PCK in one of `lengths`, PCKh, EPE; -1 where none counts.

    Raises:
        UserError: if the labels allow no such length.
    """
    if length not in people.lengths:
        raise UserError(f"no {length} in these labels: choose from {', '.join(people.lengths)}")
    matched = people.points, people.truth, people.visible
    found = people.visible & np.isfinite(people.points).all(axis=-1)
    columns = {"labelled": people.visible.sum(axis=0), "found": found.sum(axis=0)}
    columns |= {f"PCK@{t} {length}": pck(*matched, people.lengths[length], t)[0] for t in THRESHOLDS}
    if people.has_pckh:
        columns |= {"PCKh@0.5": pckh(*matched, people.head_boxes)[0]}
    columns["EPE px"] = epe(*matched)[0]
    return [
        {"joint": joint, **_numbers({name: column[k].item() for name, column in columns.items()})}
        for k, joint in enumerate(people.skeleton.joints)
    ]


def _extents(people: MatchedPeople) -> dict[str, np.ndarray | None]:
    """What the PCK of the readout head is measured in: as its code has it, and what its table may have been."""
    labelled = labelled_extents(people.truth, people.visible)
    return {"readout": None, "readout-extent": labelled, "readout-box": people.boxes_xywh[:, 2:]}


def _numbers(values: dict[str, float]) -> dict[str, float]:
    """COCO says -1, not NaN, where there is nothing to score; JSON knows no NaN."""
    return {name: -1.0 if np.isnan(value) else value for name, value in values.items()}


def _points(keypoints: list, joints: int) -> np.ndarray:
    """COCO rows as (D, K, 2), NaN where the joint was not found."""
    rows = np.array(keypoints, np.float64).reshape(-1, joints, 3)
    return np.where(rows[..., 2:] > 0, rows[..., :2], np.nan)


def _truth(people: list[Person], joints: int) -> np.ndarray:
    return np.array([person.keypoints for person in people], np.float64).reshape(-1, joints, 3)


def _boxes(people: list[Person]) -> np.ndarray:
    return np.array([person.box_xywh for person in people], np.float64).reshape(-1, 4)
