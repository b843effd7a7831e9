"""Skeletons: which joints there are, which swap on a flip, how they are linked, how exactly they can be labelled."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rtpe.errors import UserError


@dataclass(frozen=True)
class Skeleton:
    """Names and order of K joints, and what geometry and scores need to know of them.

    Attributes:
        name: how messages, caches and checkpoints call it.
        joints: the K names, in channel order; a pair that swaps on a flip is named `left_...` and `right_...`.
        limbs: pairs of joint indices to draw.
        sigmas: K standard deviations of the labels, as a share of the person's scale (the OKS constants of COCO;
            https://cocodataset.org/#keypoints-eval).

    Raises:
        UserError: if lengths or limbs disagree, or a left joint has no right one.
    """

    name: str
    joints: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...]

    def __post_init__(self):
        if len(set(self.joints)) != len(self.joints) or not self.joints:
            raise UserError(f"skeleton {self.name}: joint names must be unique and not empty, got {self.joints}")
        if len(self.sigmas) != len(self.joints):
            raise UserError(
                f"skeleton {self.name}: {len(self.joints)} joints need as many sigmas, got {len(self.sigmas)}"
            )
        for a, b in self.limbs:
            if not (0 <= a < len(self) and 0 <= b < len(self)):
                raise UserError(f"skeleton {self.name}: limb ({a}, {b}) names a joint outside 0..{len(self) - 1}")
        for joint in self.joints:
            if _mirrored(joint) not in self.joints:
                raise UserError(f"skeleton {self.name}: {joint!r} has no {_mirrored(joint)!r}")

    def __len__(self) -> int:
        return len(self.joints)

    @cached_property  # every example asks for it
    def flip(self) -> list[int]:
        """The joint whose channel each channel takes when the image is mirrored, (K,).

        >>> COCO17.flip[:5]
        [0, 2, 1, 4, 3]
        """
        return [self.joints.index(_mirrored(joint)) for joint in self.joints]

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
        """Read a skeleton from a JSON object with the keys of this class.

        Raises:
            UserError: if the file is no such object.
        """
        try:
            raw = json.loads(Path(path).read_text())
            return cls(
                name=str(raw["name"]),
                joints=tuple(str(joint) for joint in raw["joints"]),
                limbs=tuple((int(a), int(b)) for a, b in raw["limbs"]),
                sigmas=tuple(float(sigma) for sigma in raw["sigmas"]),
            )
        except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise UserError(
                f"skeleton file {path}: expected an object with name, joints, limbs and sigmas ({error!r})"
            ) from error


def _mirrored(joint: str) -> str:
    for side, other in (("left_", "right_"), ("right_", "left_")):
        if joint.startswith(side):
            return other + joint.removeprefix(side)
    return joint


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
