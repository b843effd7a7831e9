"""Skeletons: which joints there are, which swap on a flip, how they are linked, how exactly they can be labelled."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rtpe.errors import UserError
from rtpe.plain import read_json
from rtpe.sides import counterparts, has_side, mirrored

Pairs = tuple[tuple[int, int], ...]
_HUGE = 1e9  # no sigma, and no whole number that is no float
_REMEDY = 'write sides as left_... and right_..., or list the pairs that a mirror swaps under "swap"'


@dataclass(frozen=True)
class Skeleton:
    """Names and order of K joints, and what geometry and scores need to know of them.

    Attributes:
        name: how messages, caches and checkpoints call it.
        joints: the K names, in channel order; a pair that swaps on a flip is named `left_...` and `right_...`.
        limbs: pairs of joint indices to draw.
        sigmas: K standard deviations of the labels, as a share of the person's scale (the OKS constants of COCO;
            https://cocodataset.org/#keypoints-eval).
        swap: pairs of joint indices that a mirror swaps; None takes those that the names give.

    Raises:
        UserError: if lengths, limbs or swaps disagree, a sigma is not above 0, or a name looks like one side of a pair
            that neither the names nor `swap` give.
    """

    name: str
    joints: tuple[str, ...]
    limbs: Pairs
    sigmas: tuple[float, ...]
    swap: Pairs | None = None

    def __post_init__(self):
        if len(set(self.joints)) != len(self.joints) or not self.joints:
            raise UserError(f"skeleton {self.name}: joint names must be unique and not empty, got {self.joints}")
        for name in (self.name, *self.joints):
            if not name or name != name.strip():
                raise UserError(f"skeleton {self.name}: expected names without blanks at their ends, got {name!r}")
        self._check_sigmas()
        self._check_pairs("limb", self.limbs)
        if self.swap is None:
            self._check_sides()
            swap = [(joint, self.joints.index(mirrored(name))) for joint, name in enumerate(self.joints)]
            object.__setattr__(self, "swap", tuple((a, b) for a, b in swap if a < b))
        else:
            object.__setattr__(self, "swap", tuple(sorted((min(pair), max(pair)) for pair in self.swap)))
            self._check_swap()

    def _check_sigmas(self) -> None:
        if len(self.sigmas) != len(self.joints):
            raise UserError(
                f"skeleton {self.name}: {len(self.joints)} joints need as many sigmas, got {len(self.sigmas)}"
            )
        for joint, sigma in zip(self.joints, self.sigmas):
            if not 0 < sigma <= sys.float_info.max:  # whole numbers may have more digits than a float holds
                raise UserError(f"skeleton {self.name}: sigma of {joint}: expected a number above 0, got {sigma}")

    def _check_pairs(self, what: str, pairs: Pairs) -> None:
        for a, b in pairs:
            if not (0 <= a < len(self) and 0 <= b < len(self)):
                raise UserError(f"skeleton {self.name}: {what} ({a}, {b}) names a joint outside 0..{len(self) - 1}")
            if a == b:
                raise UserError(f"skeleton {self.name}: {what} ({a}, {b}): expected two joints, got {self.joints[a]!r}")

    def _check_sides(self) -> None:
        for joint in self.joints:
            if mirrored(joint) not in self.joints:
                raise UserError(f"skeleton {self.name}: {joint!r} has no {mirrored(joint)!r}: {_REMEDY}")
            if mirrored(joint) == joint and has_side(joint):
                raise UserError(f"skeleton {self.name}: {joint!r} looks like one side of a pair: {_REMEDY}")
        for a, b in counterparts(self.joints):
            if mirrored(self.joints[a]) != self.joints[b]:
                one, other = self.joints[a], self.joints[b]
                raise UserError(f"skeleton {self.name}: {one!r} and {other!r} look like a pair: {_REMEDY}")

    def _check_swap(self) -> None:
        self._check_pairs("swap", self.swap)
        paired = [joint for pair in self.swap for joint in pair]
        for joint in paired:
            if paired.count(joint) > 1:
                raise UserError(f"skeleton {self.name}: swap: expected {self.joints[joint]!r} in one pair, got more")
        for a, b in counterparts(self.joints) if self.swap else ():  # [] states that a mirror swaps nothing
            if self.flip[a] != b and has_side(self.joints[a]):
                one, other = self.joints[a], self.joints[b]
                raise UserError(
                    f"skeleton {self.name}: swap: {one!r} and {other!r} look like a pair: add or correct it"
                )

    def __len__(self) -> int:
        return len(self.joints)

    @cached_property  # every example asks for it
    def flip(self) -> list[int]:
        """The joint whose channel each channel takes when the image is mirrored, (K,).

        >>> COCO17.flip[:5]
        [0, 2, 1, 4, 3]
        """
        other = dict(self.swap) | {b: a for a, b in self.swap}
        return [other.get(joint, joint) for joint in range(len(self))]

    def order_in(self, other: Skeleton) -> list[int]:
        """Where each joint of this skeleton stands in another one.

        Raises:
            UserError: if the other lacks one of the joints.
        """
        missing = [joint for joint in self.joints if joint not in other.joints]
        if missing:
            raise UserError(f"skeleton {other.name} lacks {', '.join(missing)} of {self.name}")
        return [other.joints.index(joint) for joint in self.joints]

    @classmethod
    def from_json(cls, path: str | Path) -> Skeleton:
        """Read a skeleton from a JSON object with the keys of this class; `swap` may hold names, or be left out.

        Raises:
            UserError: if the file is no such object.
        """
        try:
            raw = read_json(path, encoding="utf-8-sig")
        except (OSError, ValueError) as error:  # missing, no text, or no JSON
            reason = getattr(error, "strerror", None) or f"not JSON: {error}"
            raise UserError(f"skeleton file {path}: cannot be read ({reason}): check --data.skeleton") from error
        try:
            return cls(**_fields(raw))
        except UserError as error:
            raise UserError(f"skeleton file {path}: {error}") from error


def _fields(raw: Any) -> dict[str, Any]:
    """The arguments of `Skeleton` that a JSON object holds.

    Raises:
        UserError: if it is none, by the first key that is wrong.
    """
    if not isinstance(raw, dict):
        raise UserError(f"expected an object with {', '.join(_KEYS)}, got {type(raw).__name__}")
    for key in (key for key in _KEYS if key not in raw and key != "swap"):
        raise UserError(f"expected an object with {', '.join(_KEYS)}, got none with {key}: add it")
    for key in (key for key in raw if key not in _KEYS):
        raise UserError(f"{key}: unknown key: choose from {', '.join(_KEYS)}")
    for key, value in raw.items():
        want, holds = _KEYS[key]
        if not holds(value):
            raise UserError(f"{key}: expected {want}, got {json.dumps(value)[:60]}")
    fields = {**raw, "joints": tuple(raw["joints"]), "limbs": tuple(map(tuple, raw["limbs"]))}
    if "swap" in raw:
        fields["swap"] = tuple(tuple(_index(joint, raw["joints"]) for joint in pair) for pair in raw["swap"])
    return {**fields, "sigmas": tuple(map(float, raw["sigmas"]))}


def _index(joint: str | int, joints: list[str]) -> int:
    if isinstance(joint, int):
        return joint
    if joint not in joints:
        raise UserError(f"swap: {joint!r} is none of the joints: correct it")
    return joints.index(joint)


def _is_list(value: Any, *kinds: type, count: int | None = None) -> bool:
    """Of these types exactly: true is an int, but no number."""
    return (
        isinstance(value, list) and len(value) == (count or len(value)) and all(type(each) in kinds for each in value)
    )


def _are_pairs(value: Any, *kinds: type) -> bool:
    return isinstance(value, list) and all(_is_list(pair, *kinds, count=2) for pair in value)


_KEYS = {
    "name": ("text", lambda value: isinstance(value, str)),
    "joints": ("a list of names", lambda value: _is_list(value, str)),
    "limbs": ("a list of pairs of joint numbers", lambda value: _are_pairs(value, int)),
    "sigmas": (
        "a list of numbers",
        lambda value: _is_list(value, int, float) and all(abs(each) < _HUGE for each in value),
    ),
    "swap": ("a list of pairs of joints, names or numbers", lambda value: _are_pairs(value, str, int)),
}


COCO17 = Skeleton(
    name="coco17",
    joints=(
        "nose", "left_eye", "right_eye", "left_ear", "right_ear",
        "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
        "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
    ),
    limbs=(
        (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9), (8, 10),
        (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
    ),
    sigmas=(
        0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062,
        0.107, 0.107, 0.087, 0.087, 0.089, 0.089,
    ),
)  # fmt: skip

OPENPOSE18 = Skeleton(
    name="openpose18",
    joints=(
        "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
        "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
        "right_eye", "left_eye", "right_ear", "left_ear",
    ),
    limbs=(
        (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13),
        (1, 0), (0, 14), (14, 16), (0, 15), (15, 17), (2, 16), (5, 17),
    ),
    sigmas=(
        0.026, 0.079, 0.079, 0.072, 0.062, 0.079, 0.072, 0.062, 0.107, 0.087, 0.089, 0.107, 0.087, 0.089,
        0.025, 0.025, 0.035, 0.035,
    ),
)  # fmt: skip

MPII16 = Skeleton(
    name="mpii16",
    joints=(
        "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "pelvis", "thorax",
        "upper_neck", "head_top", "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow",
        "left_wrist",
    ),
    limbs=(
        (0, 1), (1, 2), (2, 6), (3, 6), (3, 4), (4, 5), (6, 7), (7, 8), (8, 9), (10, 11), (11, 12), (12, 7), (13, 7),
        (13, 14), (14, 15),
    ),
    sigmas=(
        0.089, 0.087, 0.107, 0.107, 0.087, 0.089, 0.107, 0.079, 0.079, 0.035, 0.062, 0.072, 0.079, 0.079, 0.072, 0.062,
    ),
)  # fmt: skip

LSP14 = Skeleton(
    name="lsp14",
    joints=(
        "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist", "right_elbow",
        "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "neck", "head_top",
    ),
    limbs=((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (6, 7), (7, 8), (8, 12), (9, 12), (9, 10), (10, 11), (12, 13)),
    sigmas=(0.089, 0.087, 0.107, 0.107, 0.087, 0.089, 0.062, 0.072, 0.079, 0.079, 0.072, 0.062, 0.079, 0.035),
)  # fmt: skip

CROWDPOSE14 = Skeleton(
    name="crowdpose14",
    joints=(
        "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
        "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "head_top", "neck",
    ),
    limbs=(
        (12, 13), (13, 0), (13, 1), (0, 2), (2, 4), (1, 3), (3, 5), (0, 6), (1, 7), (6, 7), (6, 8), (8, 10), (7, 9),
        (9, 11),
    ),
    # those of CrowdPose's own evaluation (Li et al., arXiv:1812.00324), where head and neck count like shoulders
    sigmas=(0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089, 0.079, 0.079),
)  # fmt: skip

SKELETONS = {skeleton.name: skeleton for skeleton in (COCO17, CROWDPOSE14, OPENPOSE18, MPII16, LSP14)}


def skeleton(name: str) -> Skeleton:
    """The built-in skeleton of that name, or the one in that JSON file.

    Raises:
        UserError: if there is neither.
    """
    if name in SKELETONS:
        return SKELETONS[name]
    if name.endswith(".json"):
        return Skeleton.from_json(name)
    raise UserError(f"unknown skeleton {name!r}: choose from {', '.join(SKELETONS)}, or name a .json file")
