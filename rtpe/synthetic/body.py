"""A body: proportions, bones by forward kinematics, and the solids that clothe them.

Body frame, in metres: x to the person's own left, y up, z where the person faces.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .head import add_head
from .outfit import Outfit
from .pose import Pose, turn
from .solids import Clay, Solids

# what one sees of a joint lies this far before its center (metres at a height of 1.7 m), in COCO order
JOINT_DEPTH_M = np.array(
    [0.03, 0.025, 0.025, 0.035, 0.035, 0.08, 0.08, 0.06, 0.06, 0.055, 0.055, 0.14, 0.14, 0.085, 0.085, 0.07, 0.07]
)


@dataclass(frozen=True)
class Build:
    """Proportions. `height` in metres; the others are factors on those of an average adult."""

    height: float
    girth: float
    head: float
    legs: float
    shoulders: float


def random_build(rng: np.random.Generator) -> Build:
    """A child (one in four) or an adult, slim to heavy."""
    height = rng.uniform(1.05, 1.5) if rng.random() < 0.25 else rng.uniform(1.52, 1.95)
    # a head grows far less than the body does
    return Build(
        height,
        girth=float(np.exp(rng.normal(0.02, 0.14))),
        head=rng.uniform(0.97, 1.1) * (0.72 + 0.28 * height / 1.7),
        legs=rng.uniform(0.94, 1.06),
        shoulders=rng.uniform(0.9, 1.1),
    )


@dataclass
class Figure:
    """A posed and clothed person.

    Attributes:
        joints: (17, 3) in COCO order. solids: the first `head_count` of them are the skull and its hair.
        pelvis: (3,), a seat goes below it.
    """

    joints: np.ndarray
    solids: Solids
    head_count: int
    pelvis: np.ndarray

    def moved(self, rotation: np.ndarray, shift: np.ndarray) -> Figure:
        """The figure under x -> rotation x + shift."""
        return Figure(
            self.joints @ rotation.T + shift,
            self.solids.moved(rotation, shift),
            self.head_count,
            rotation @ self.pelvis + shift,
        )


def make_figure(build: Build, pose: Pose, outfit: Outfit) -> Figure:
    """Bones from the pelvis outwards, then flesh; the lowest point of the figure touches y = 0."""
    clay, joints = Clay(), np.zeros((17, 3))
    pelvis = turn(*pose.root)
    chest = pelvis @ turn(*pose.spine)
    unit = build.height / 1.7
    waist = pelvis @ np.array([0, 0.16 * unit, 0])
    neck = waist + chest @ np.array([0, 0.34 * unit, 0])
    head_count = add_head(clay, joints, build.head, build.girth, outfit, neck, chest, chest @ turn(*pose.head))
    _torso(clay, build, outfit, pelvis, chest, waist, neck)
    for side, sign in enumerate((1, -1)):
        _arm(clay, joints, build, outfit, pose, chest, neck, side, sign)
        _leg(clay, joints, build, outfit, pose, pelvis, side, sign)
    if outfit.skirt is not None and pose.name in ("stand", "walk"):
        hem = (1 - outfit.skirt) * joints[11:13].mean(0) + outfit.skirt * joints[13:15].mean(0)
        clay.add(
            np.zeros(3),
            hem,
            0.12 * unit * build.girth,
            (0.12 + 0.09 * outfit.skirt) * unit,
            ((1, outfit.legwear),),
            pelvis,
            0.8,
        )
    figure = Figure(joints, clay.solids(), head_count, np.zeros(3))
    lowest = (figure.solids.ends[:, :, 1] - figure.solids.radii).min()
    return figure.moved(np.eye(3), np.array([0, -lowest, 0]))


def _torso(clay, build, outfit, pelvis, chest, waist, neck):
    unit, girth = build.height / 1.7, build.girth
    shirt, below = ((1, outfit.shirt),), ((1, outfit.legwear),)
    wide = unit * build.shoulders
    rib = waist + chest @ np.array([0, 0.17 * unit, 0])
    clay.add(
        pelvis @ np.array([0, 0.0, 0]),
        pelvis @ np.array([0, 0.06 * unit, 0]),
        0.145 * unit * girth,
        0.14 * unit * girth,
        below,
        pelvis,
        0.74,
    )
    clay.add(
        pelvis @ np.array([0, 0.07 * unit, 0]),
        waist + chest @ np.array([0, 0.06 * unit, 0]),
        0.146 * unit * girth,
        0.14 * unit * girth,
        shirt,
        pelvis,
        0.72,
    )
    clay.add(waist, rib, 0.14 * unit * girth, 0.158 * wide * (0.4 + 0.6 * girth), shirt, chest, 0.7)
    shoulder = np.array([0.155 * wide, 0.258 * unit, -0.005])
    clay.add(
        waist + chest @ shoulder, waist + chest @ (shoulder * (-1, 1, 1)), 0.062 * unit, 0.062 * unit, shirt, chest, 1.1
    )
    clay.add(rib, neck - chest @ np.array([0, 0.035 * unit, 0]), 0.14 * wide, 0.06 * unit, shirt, chest, 0.72)


def _arm(clay, joints, build, outfit, pose, chest, neck, side, sign):
    unit, girth = build.height / 1.7, 0.5 + 0.5 * build.girth
    mirror = np.array([1, sign, sign])
    upper = chest @ turn(*(pose.shoulder[side] * (-1, 1, 1) * mirror))
    fore = upper @ turn(x=-pose.elbow[side, 0])
    down = np.array([0, -1, 0])
    shoulder = neck + chest @ np.array([sign * 0.185 * build.shoulders, -0.085, 0]) * unit
    elbow = shoulder + upper @ down * 0.29 * unit
    wrist = elbow + fore @ down * 0.25 * unit
    joints[5 + side], joints[7 + side], joints[9 + side] = shoulder, elbow, wrist
    loose = 1.14 if outfit.sleeve > 0 else 1.0
    clay.add(
        shoulder,
        elbow,
        0.056 * unit * girth * loose,
        0.042 * unit * girth * (loose if outfit.sleeve >= 1 else 1),
        outfit.covered(outfit.shirt, outfit.sleeve),
        upper,
    )
    loose = 1.12 if outfit.sleeve > 1.5 else 1.0
    clay.add(
        elbow,
        wrist,
        0.041 * unit * girth * loose,
        0.029 * unit * girth * loose,
        outfit.covered(outfit.shirt, outfit.sleeve - 1),
        fore,
    )
    skin = ((1, outfit.skin),)
    clay.add(
        wrist + fore @ down * 0.03 * unit,
        wrist + fore @ (down * 0.11 + np.array([0, 0, 0.02])) * unit,
        0.036 * unit,
        0.03 * unit,
        skin,
        fore @ turn(y=90),
        0.5,
    )
    clay.add(
        wrist + fore @ down * 0.03 * unit,
        wrist + fore @ np.array([-sign * 0.015, -0.075, 0.05]) * unit,
        0.014 * unit,
        0.011 * unit,
        skin,
        fore,
    )


def _leg(clay, joints, build, outfit, pose, pelvis, side, sign):
    unit, girth, long = build.height / 1.7, build.girth, build.legs
    mirror = np.array([1, sign, sign])
    thigh = pelvis @ turn(*(pose.hip[side] * (-1, 1, 1) * mirror))
    shin = thigh @ turn(x=pose.knee[side, 0])
    foot = shin @ turn(x=-pose.ankle[side, 0], y=sign * 8)
    down = np.array([0, -1, 0])
    hip = pelvis @ np.array([sign * 0.1, -0.02, 0]) * unit
    knee = hip + thigh @ down * 0.42 * unit * long
    ankle = knee + shin @ down * 0.41 * unit * long
    joints[11 + side], joints[13 + side], joints[15 + side] = hip, knee, ankle
    loose = 1.1 if outfit.trouser > 0 else 1.0
    clay.add(
        hip,
        knee,
        0.094 * unit * girth * loose,
        0.06 * unit * (0.5 + 0.5 * girth) * loose,
        outfit.covered(outfit.legwear, outfit.trouser),
        thigh,
    )
    loose = 1.2 if outfit.trouser > 1.5 else 1.0
    clay.add(
        knee,
        ankle,
        0.059 * unit * (0.5 + 0.5 * girth) * loose,
        0.04 * unit * loose,
        outfit.covered(outfit.legwear, outfit.trouser - 1),
        shin,
    )
    shoe = ((1, outfit.shoes),)
    clay.add(
        ankle + foot @ np.array([0, -0.035, -0.035]) * unit,
        ankle + foot @ np.array([0, -0.05, 0.15]) * unit,
        0.046 * unit,
        0.036 * unit,
        shoe,
        foot,
    )
