"""A head: skull, hair and face, and the joints that lie on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .outfit import Outfit
from .paint import Cover
from .pose import turn
from .solids import Clay

# where the face's joints lie in the frame of a head of size 1, by their place in that order
FACE_JOINTS = {
    0: (0, 0.066, 0.105),
    1: (0.031, 0.098, 0.079),
    2: (-0.031, 0.098, 0.079),
    3: (0.079, 0.085, -0.004),
    4: (-0.079, 0.085, -0.004),
}


@dataclass(frozen=True)
class Head:
    """Shapes a head: places are given in its frame, from where it turns on the neck, and sizes of one of size 1."""

    clay: Clay
    top: np.ndarray
    frame: np.ndarray
    size: float

    def at(self, *place) -> np.ndarray:
        return self.top + self.frame @ (np.array(place) * self.size)

    def add(self, start, end, r0, r1, cover: Cover, squash=1.0, turned=None):
        frame = self.frame if turned is None else self.frame @ turned
        self.clay.add(self.at(*start), self.at(*end), r0 * self.size, r1 * self.size, cover, frame, squash)

    def dot(self, place, radius, cover: Cover, squash=1.0, end=None):
        self.add(place, end or place, radius, radius, cover, squash)


def add_head(clay: Clay, joints: np.ndarray, size: float, girth: float, outfit: Outfit, neck, chest, frame) -> int:
    """Skull, hair and face, and the neck below, which has the chest's frame; the head has its own.

    Returns:
        how many solids are skull and hair.
    """
    head = Head(clay, neck + chest @ np.array([0, 0.045, 0.014]) * size, frame, size)
    skin = ((1, outfit.skin),)
    head.add((0, 0.035, 0.03), (0, 0.125, 0.0), 0.056, 0.077, skin, 1.14)
    _hair(head, outfit)
    count = len(clay.rows)
    _face(head, joints, outfit, skin)
    throat = neck - chest @ np.array([0, 0.05, 0]) * size
    clay.add(throat, head.at(0, 0.03, -0.01), 0.058 * size * min(girth, 1.2), 0.052 * size, skin, chest)
    return count


def _hair(head: Head, outfit: Outfit):
    hair, hat, style = ((1, outfit.hair),), ((1, outfit.hat),), outfit.hair_style
    if style != "bald":
        head.add((0, 0.085, -0.02), (0, 0.135, -0.008), 0.076, 0.084, hair, 1.1)
    if style == "long":
        head.add((0, 0.08, -0.035), (0, -0.08, -0.05), 0.078, 0.07, hair, 0.7)
    if style == "bun":
        head.dot((0, 0.16, -0.1), 0.04, hair)
    if style == "cap":
        head.add((0, 0.14, -0.005), (0, 0.16, -0.005), 0.086, 0.072, hat, 1.15)
        head.add((0, 0.15, 0.075), (0, 0.14, 0.13), 0.05, 0.045, hat, 0.2, turn(x=90))


def _face(head: Head, joints: np.ndarray, outfit: Outfit, skin: Cover):
    """Nose, eyes, brows, ears and mouth; the joints lie on the skull's surface."""
    for joint, place in FACE_JOINTS.items():
        joints[joint] = head.at(*place)
    lips = ((1, outfit.lips),)
    brow = ((1, outfit.hair),) if outfit.hair_style != "bald" else lips
    head.add((0, 0.1, 0.082), (0, 0.068, 0.098), 0.007, 0.0145, skin)
    for sign in (1, -1):
        head.dot((sign * 0.031, 0.098, 0.0755), 0.0135, ((1, outfit.eye_white),), 0.7)
        head.dot((sign * 0.031, 0.098, 0.084), 0.0075, ((1, outfit.iris),), 0.6)
        head.dot((sign * 0.02, 0.12, 0.081), 0.0055, brow, end=(sign * 0.042, 0.12, 0.073))
        head.add((sign * 0.076, 0.1, -0.006), (sign * 0.074, 0.07, 0.0), 0.016, 0.011, skin, 0.6, turn(y=90))
    head.dot((-0.02, 0.03, 0.0885), 0.0065, lips, end=(0.02, 0.03, 0.0885))
