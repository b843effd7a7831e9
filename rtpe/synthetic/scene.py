"""Scenes: people placed before a camera, painted, and annotated by what can be seen of them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .body import JOINT_DEPTH_M, Figure, make_figure, random_build
from .canvas import Canvas
from .outfit import random_outfit
from .pose import random_pose, turn
from .solids import NEAREST_M, Camera, ScreenCones
from .stage import background, draw_box, draw_clutter, draw_shadow, photograph, random_light

PEOPLE_ODDS = (0.05, 0.58, 0.24, 0.08, 0.03, 0.01, 0.01)  # of 0, 1, ... 6 people
CROWD_ODDS = 0.04
LEAST_SHARE, LEAST_JOINTS = 0.4, 5  # seen less than that, a person is left unlabelled
GUESSABLE = 0.08  # of a person's height: how far from what is seen of it a hidden joint can still be told
FACE = 5  # the first joints: nose, eyes, ears
# the joints of arms and legs, and those next to each along its limb
ALONG = {7: (5, 9), 8: (6, 10), 9: (7,), 10: (8,), 13: (11, 15), 14: (12, 16), 15: (13,), 16: (14,)}


@dataclass
class Person:
    """One annotated person, or a crowd as one.

    Attributes:
        keypoints: (17, 3) float32: x, y in pixels (centers at + 0.5) and v: 2 seen, 1 hidden, 0 (x = y = 0) outside the
            image, or a face point behind the own head. All zero if too little of the person is seen.
        box_xywh: the tight box of the mask, its edges on pixel borders.
        mask: (h, w) bool, what is seen of the person. area: its pixels.
        joints_3d: (17, 3) float32 camera coordinates in metres; zeros for a crowd.
    """

    keypoints: np.ndarray
    box_xywh: tuple[float, float, float, float]
    area: int
    mask: np.ndarray
    joints_3d: np.ndarray
    crowd: bool = False


@dataclass
class Scene:
    """A picture, (h, w, 3) uint8 RGB, the people in it, and the camera that saw them."""

    image: np.ndarray
    people: list[Person]
    camera: Camera


@dataclass
class Actor:
    """A figure in camera coordinates, and the size of its owner."""

    figure: Figure
    height: float
    outline: np.ndarray | None = None


def draw_scene(rng: np.random.Generator, size_hw: tuple[int, int] = (320, 320)) -> Scene:
    """A random scene, the same for the same generator state."""
    count = int(rng.choice(len(PEOPLE_ODDS), p=PEOPLE_ODDS))
    builds = [random_build(rng) for _ in range(count)]
    camera, places = _arrange(rng, [build.height for build in builds], size_hw)
    distances = [-place[2] for place in places]
    painting = background(rng, camera, size_hw, far_m=max(distances, default=4.0) * rng.uniform(1.15, 2.0) + 0.8)
    canvas = Canvas(camera, random_light(rng), painting)
    actors = [_enter(rng, canvas, build, place) for build, place in zip(builds, places)]
    for actor_id, actor in enumerate(actors):
        actor.outline = canvas.draw(actor.figure.solids, actor_id)
    draw_clutter(canvas, rng, distances)
    crowd = _draw_crowd(rng, canvas, len(actors), max(distances, default=0.0)) if rng.random() < CROWD_ODDS else None
    people = [annotate(canvas, actor, actor_id) for actor_id, actor in enumerate(actors)] + [crowd]
    return Scene(photograph(rng, canvas.image), [person for person in people if person is not None], camera)


def _arrange(rng, heights, size_hw) -> tuple[Camera, list[np.ndarray]]:
    """A camera, and a place on the floor for each person, such that the first one is well in the picture."""
    height, width = size_hw
    focal = height * rng.uniform(1.0, 2.2)
    center = (width / 2, height / 2)
    scale = _random_scale(rng) * (0.9 if len(heights) > 2 else 1.0)
    first = heights[0] if heights else 1.7
    away = max(focal * first / (scale * height), 0.9)
    lens = rng.uniform(0.5, 1.8) if rng.random() < 0.85 else rng.uniform(1.8, 3.2)
    # of somebody who does not fit, the upper part is in the picture
    aim = first * (0.5 if scale < 1 else rng.uniform(0.55, 0.85))
    down = np.degrees(np.arctan2(lens - aim, away) - np.arctan2(height * rng.normal(0, 0.06), focal))
    rotation = turn(z=np.clip(rng.normal(0, 3), -10, 10)) @ turn(x=np.clip(down, -35, 50)) @ np.diag([1.0, -1.0, -1.0])
    camera = Camera(focal, center, rotation, lens)
    places: list[np.ndarray] = []
    for index, tall in enumerate(heights):
        for _ in range(8):
            z = away if index == 0 else max(away * np.exp(rng.normal(0.08, 0.2)), 0.9)
            spread = 0.22 if index == 0 else 0.5
            x_px = width * rng.uniform(0.5 - spread, 0.5 + spread)
            place = np.array([(x_px - center[0]) * z / focal, 0, -z])
            apart = [np.hypot(*(place - other)[[0, 2]]) for other in places]
            beside = [abs(place[0] / place[2] - other[0] / other[2]) * away for other in places]
            if min(apart, default=9) > 0.75 and min(beside, default=9) > 0.2 * tall:
                break
        places.append(place)
    return camera, places


def _random_scale(rng) -> float:
    """Height of an upright person over that of the image."""
    kind = rng.random()
    if kind < 0.07:
        return rng.uniform(0.35, 0.65)
    return rng.uniform(0.65, 1.05) if kind < 0.88 else rng.uniform(1.05, 1.4)


def _random_facing(rng) -> float:
    """Degrees from facing the camera: frontal and three-quarter views are the most frequent, as in photographs."""
    kind = rng.random()
    if kind < 0.5:
        return rng.normal(0, 28)
    return rng.choice((-1, 1)) * rng.uniform(25, 110) if kind < 0.78 else rng.uniform(-180, 180)


def _enter(rng, canvas, build, place) -> Actor:
    """Pose, dress and put a person there; a sitting one gets a seat."""
    pose = random_pose(rng)
    facing = _random_facing(rng) + np.degrees(np.arctan2(-place[0], -place[2]))
    figure = make_figure(build, pose, random_outfit(rng)).moved(turn(y=facing), place)
    draw_shadow(canvas.image, canvas.camera, place, 0.28 * build.height)
    if pose.name == "sit":
        under = figure.pelvis[1] - 0.1 * build.height / 1.7
        if under > 0.1:
            size = (rng.uniform(0.35, 0.6), under, rng.uniform(0.3, 0.42))
            draw_box(canvas, rng, size, figure.pelvis * (1, 0, 1) - turn(y=facing) @ (0, 0, 0.04), facing)
    return Actor(figure.moved(*canvas.camera.view), build.height)


def annotate(canvas: Canvas, actor: Actor, actor_id: int) -> Person | None:
    """What an honest annotator would write down; None for somebody of whom nothing is seen."""
    mask = canvas.owner == actor_id
    area = int(np.count_nonzero(mask))
    if not area:
        return None
    joints, keypoints = actor.figure.joints, np.zeros((17, 3), np.float32)
    keypoints[:, 2] = visibility(canvas, actor, mask)
    labelled = keypoints[:, 2] > 0
    keypoints[labelled, :2] = canvas.camera.project(joints[labelled])
    share = area / max(np.count_nonzero(actor.outline), 1) * _share_in_image(canvas, actor)
    if share < LEAST_SHARE or (keypoints[:, 2] == 2).sum() < LEAST_JOINTS:
        keypoints[:] = 0
    return Person(keypoints, _tight_box(mask), area, mask, joints.astype(np.float32))


def visibility(canvas: Canvas, actor: Actor, mask: np.ndarray) -> np.ndarray:
    """(17,) COCO's v of each joint, given what is seen of the person, (h, w) bool.

    2 if its own surface is what one sees in its pixel, 1 if hidden, 0 if nobody could tell where it is: outside the
    image, of the face and behind the own head, of an arm or a leg with no joint seen beside it, or behind something
    else and far from all that is seen of the person.
    """
    joints, camera, (height, width) = actor.figure.joints, canvas.camera, canvas.depth.shape
    if joints[:, 2].min() < 0.3:  # somebody stands around the lens
        return np.zeros(17)
    screen = camera.to_screen(joints)
    x, y = np.floor(screen[:, 0]), np.floor(screen[:, 1])
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    row, column = y.clip(0, height - 1).astype(int), x.clip(0, width - 1).astype(int)
    seen = canvas.depth[row, column]
    reach = 1 + JOINT_DEPTH_M * actor.height / 1.7 * camera.focal / joints[:, 2]
    v = np.where(seen >= screen[:, 2] - reach, 2, 1) * inside
    if (v[:FACE] == 1).any():
        v[:FACE][_behind_own_head(camera, actor.figure, screen[:FACE], reach[:FACE])] = 0
    v[[joint for joint, beside in ALONG.items() if v[joint] == 1 and not (v[list(beside)] == 2).any()]] = 0
    hidden = np.flatnonzero(v == 1)
    if len(hidden):
        tall = actor.height * camera.focal / joints[hidden, 2]
        v[hidden[_distance(mask, row[hidden], column[hidden]) > GUESSABLE * tall]] = 0
    return v


def _distance(mask, row, column) -> np.ndarray:
    """(n,) pixels from those places to the mask."""
    rows, columns = np.append(np.flatnonzero(mask.any(1)), row), np.append(np.flatnonzero(mask.any(0)), column)
    top, left = rows.min(), columns.min()
    # no way between two places leaves the box around them: outside it nothing need be known
    near = mask[top : rows.max() + 1, left : columns.max() + 1]
    return cv2.distanceTransform((~near).astype(np.uint8), cv2.DIST_L2, 3)[row - top, column - left]


def _behind_own_head(camera, figure, screen, reach) -> np.ndarray:
    """(5,) bool: the skull or the hair lies before the face point."""
    hidden, cones = np.zeros(len(screen), bool), ScreenCones(camera, figure.solids)
    for index in range(figure.head_count):
        relative = (screen - cones.origin[index]).astype(np.float32)
        hit, depth, _, _ = cones.meet(index, relative[:, 0], relative[:, 1])
        hidden |= hit & (depth < relative[:, 2] - reach)
    return hidden


def _share_in_image(canvas, actor) -> float:
    """How much of the whole silhouette lies inside the image, from thick lines on a coarse grid."""
    height, width = canvas.depth.shape
    solids, camera = actor.figure.solids, canvas.camera
    ahead = solids.ends[:, :, 2].min(1) > NEAREST_M
    ends, radii = solids.ends[ahead], solids.radii[ahead]
    points, thick = camera.project(ends), (radii * camera.focal / ends[:, :, 2]).mean(1)
    low, high = (points - thick[:, None, None]).min((0, 1)), (points + thick[:, None, None]).max((0, 1))
    if low.min() >= 0 and high[0] <= width and high[1] <= height:
        return 1.0
    low, high = np.maximum(low, -4.0 * width), np.minimum(high, 5.0 * width)
    step = max((high - low).max() / 64, 1e-3)
    grid = np.zeros(np.ceil((high - low)[::-1] / step).astype(int) + 1, np.uint8)
    for (start, end), radius in zip(np.round((points - low) / step).astype(int), thick / step):
        cv2.line(grid, start.tolist(), end.tolist(), 1, max(1, round(2 * radius)))
    (x0, y0), (x1, y1) = np.round((0 - low) / step).astype(int), np.round(((width, height) - low) / step).astype(int)
    return float(grid[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)].sum()) / max(int(grid.sum()), 1)


def _draw_crowd(rng, canvas, owner, farthest) -> Person | None:
    """A group of small, blurred people far behind all others."""
    camera, (height, width) = canvas.camera, canvas.depth.shape
    away = max(camera.focal * 1.7 / (height * rng.uniform(0.1, 0.2)), 1.5 * farthest)
    middle = rng.uniform(0.15, 0.85) * width
    for _ in range(rng.integers(5, 10)):
        x_px, z = middle + rng.normal(0, 0.13) * width, away * rng.uniform(0.95, 1.2)
        place = np.array([(x_px - camera.center_px[0]) * z / camera.focal, 0, -z])
        build = random_build(rng)
        figure = make_figure(build, random_pose(rng, "stand"), random_outfit(rng))
        canvas.draw(figure.solids.moved(turn(y=rng.uniform(-180, 180)), place).moved(*camera.view), owner)
    mask = canvas.owner == owner
    if not mask.any():
        return None
    blurred = cv2.GaussianBlur(canvas.image, (0, 0), rng.uniform(0.8, 1.6))
    canvas.image[mask] = blurred[mask]
    nothing = np.zeros((17, 3), np.float32)
    return Person(nothing, _tight_box(mask), int(mask.sum()), mask, nothing.copy(), crowd=True)


def _tight_box(mask) -> tuple[float, float, float, float]:
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1 - columns[0]), float(rows[-1] + 1 - rows[0])
