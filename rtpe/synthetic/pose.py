"""Poses: joint angles in degrees, within the limits of a body, drawn at random by kind.

Body frame: x to the person's own left, y up, z where the person faces.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .chance import pick


def turn(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> np.ndarray:
    """The rotation that turns by y, then z, then x degrees, each about a fixed axis."""
    angles = np.radians((x, y, z))
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles).tolist(), np.sin(angles).tolist()
    by_z_then_x = np.array([[cz, -sz, 0], [cx * sz, cx * cz, -sx], [sx * sz, sx * cz, cx]])
    return by_z_then_x @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])


# (lowest, highest) of each angle; arms and legs are the same on both sides, outwards and inwards mirrored
LIMITS = {
    "root": ((-100, 100), (-180, 180), (-95, 95)),
    "spine": ((-20, 70), (-35, 35), (-25, 25)),
    "head": ((-35, 45), (-70, 70), (-25, 25)),
    "shoulder": ((-50, 180), (-70, 70), (-10, 150)),
    "elbow": ((0, 145),),
    "hip": ((-25, 125), (-35, 35), (-8, 55)),
    "knee": ((0, 150),),
    "ankle": ((-40, 25),),
}
_BOUNDS = {name: np.array(limits, float).T for name, limits in LIMITS.items()}


@dataclass
class Pose:
    """Angles by name: root, spine, head as (x forwards, y turn, z aside); limbs as a row for left and one for right.

    Attributes:
        shoulder, hip: (2, 3): x raised to the front, y rolled outwards, z raised outwards.
        elbow, knee, ankle: (2, 1): bent.
    """

    root: np.ndarray
    spine: np.ndarray
    head: np.ndarray
    shoulder: np.ndarray
    elbow: np.ndarray
    hip: np.ndarray
    knee: np.ndarray
    ankle: np.ndarray
    name: str = "stand"

    def __post_init__(self):
        for name, (lowest, highest) in _BOUNDS.items():
            setattr(self, name, np.asarray(getattr(self, name), float).clip(lowest, highest))


# (front, roll, outwards, elbow) ranges of one arm
ARMS = {
    "hang": ((-15, 15), (-30, 30), (4, 16), (3, 35)),
    "bent": ((0, 50), (-50, 10), (6, 30), (50, 130)),
    "up": ((120, 175), (-30, 30), (0, 45), (0, 100)),
    "aside": ((-20, 70), (-40, 40), (50, 105), (0, 110)),
    "front": ((50, 110), (-40, 20), (0, 30), (0, 80)),
    "akimbo": ((-30, -10), (-75, -55), (32, 48), (85, 110)),
    "back": ((-45, -15), (-40, 20), (5, 25), (5, 60)),
    "any": ((-40, 170), (-60, 60), (0, 120), (0, 140)),
}
ARM_ODDS = {
    "hang": 0.32,
    "bent": 0.2,
    "up": 0.1,
    "aside": 0.12,
    "front": 0.1,
    "akimbo": 0.06,
    "back": 0.04,
    "any": 0.06,
}


def _arms(rng) -> tuple[np.ndarray, np.ndarray]:
    """(2, 3) shoulder and (2, 1) elbow angles; often both arms do alike."""
    names = [pick(rng, ARM_ODDS), pick(rng, ARM_ODDS)]
    if rng.random() < 0.45:
        names[1] = names[0]
    drawn = np.array([[rng.uniform(*span) for span in ARMS[name]] for name in names])
    return drawn[:, :3], drawn[:, 3:]


def _stand(rng):
    hip = np.stack([rng.normal(3, 7, 2), rng.normal(5, 10, 2), rng.uniform(0, 14, 2)], -1)
    return {
        "root": rng.normal(0, (3, 0, 3)),
        "spine": rng.normal((4, 0, 0), (7, 10, 6)),
        "hip": hip,
        "knee": rng.gamma(1.5, 5, (2, 1)),
        "ankle": rng.normal(0, 4, (2, 1)),
    }


def _walk(rng):
    """A moment of a stride; a run is a longer one, leaning."""
    run = rng.random() < 0.4
    phase, amplitude = rng.uniform(0, 2 * np.pi), rng.uniform(38, 60) if run else rng.uniform(14, 32)
    swing = np.sin([phase, phase + np.pi])
    lifted = np.clip(np.cos([phase, phase + np.pi]), 0, 1)  # the leg that comes forward is bent
    hip = np.stack([8 + amplitude * swing, rng.normal(0, 6, 2), rng.uniform(0, 6, 2)], -1)
    knee = 8 + lifted * (rng.uniform(70, 110) if run else rng.uniform(30, 60)) + rng.uniform(0, 10, 2)
    drawn = {
        "root": (rng.uniform(8, 20) if run else rng.normal(3, 3), 0, 0),
        "spine": (rng.normal(4, 4), -8 * swing[0], 0),
        "hip": hip,
        "knee": knee[:, None],
        "ankle": rng.normal(-5, 10, (2, 1)),
    }
    if run or rng.random() < 0.6:
        drawn["shoulder"] = np.stack([-0.9 * amplitude * swing, rng.normal(-20, 10, 2), rng.uniform(5, 18, 2)], -1)
        drawn["elbow"] = rng.uniform(70, 110, (2, 1)) if run else rng.uniform(10, 45, (2, 1))
    return drawn


def _sit(rng):
    hip = np.stack([rng.uniform(72, 100, 2), rng.normal(0, 8, 2), rng.uniform(0, 28, 2)], -1)
    return {
        "root": (rng.normal(-4, 7), 0, rng.normal(0, 3)),
        "spine": rng.normal((8, 0, 0), (9, 10, 6)),
        "hip": hip,
        "knee": rng.uniform(60, 105, (2, 1)),
        "ankle": rng.normal(0, 6, (2, 1)),
    }


def _crouch(rng):
    hip = np.stack([rng.uniform(80, 120, 2), rng.normal(5, 10, 2), rng.uniform(5, 40, 2)], -1)
    return {
        "root": (rng.uniform(5, 30), 0, rng.normal(0, 5)),
        "spine": rng.normal((18, 0, 0), (12, 12, 8)),
        "hip": hip,
        "knee": rng.uniform(100, 140, (2, 1)),
        "ankle": rng.uniform(5, 25, (2, 1)),
    }


def _lunge(rng):
    """Legs anywhere: dancing, climbing, kicking, bowing."""
    hip = np.stack([rng.uniform(-20, 85, 2), rng.normal(5, 12, 2), rng.uniform(0, 45, 2)], -1)
    return {
        "root": rng.normal(0, (10, 0, 12)),
        "spine": rng.normal((15, 0, 0), (20, 15, 10)),
        "hip": hip,
        "knee": rng.uniform(0, 90, (2, 1)),
        "ankle": rng.normal(-5, 12, (2, 1)),
    }


def _lie(rng):
    """On the back, the belly or a side; legs loose."""
    flat = [(-90, 0, 0), (90, 0, 0), (0, 0, 90), (0, 0, -90)][rng.integers(4)]
    hip = np.stack([rng.gamma(1.5, 15, 2), rng.normal(0, 8, 2), rng.uniform(0, 15, 2)], -1)
    return {
        "root": np.add(flat, rng.normal(0, 5, 3)),
        "spine": rng.normal(0, (10, 10, 8)),
        "hip": hip,
        "knee": rng.gamma(1.5, 20, (2, 1)),
        "ankle": rng.uniform(-40, -10, (2, 1)),
    }


POSES = {"stand": _stand, "walk": _walk, "sit": _sit, "crouch": _crouch, "lunge": _lunge, "lie": _lie}
POSE_ODDS = {"stand": 0.45, "walk": 0.3, "sit": 0.13, "crouch": 0.03, "lunge": 0.07, "lie": 0.02}


def random_pose(rng: np.random.Generator, name: str | None = None) -> Pose:
    """A pose of the given name (see POSES), or of a random one."""
    name = name or pick(rng, POSE_ODDS)
    shoulder, elbow = _arms(rng)
    drawn = {"shoulder": shoulder, "elbow": elbow, "head": rng.normal((3, 0, 0), (9, 18, 6)), **POSES[name](rng)}
    return Pose(name=name, **drawn)
