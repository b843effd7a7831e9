"""Everything around the people: backgrounds, clutter, and what a cheap camera does to the picture."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from rtpe.geometry import index_to_point

from .canvas import Canvas
from .chance import pick
from .outfit import random_cloth, random_colour
from .paint import NOISE_SIZE, Light, Paint, smooth_noise
from .pose import turn
from .solids import Camera, Solids

MUTED = 0.6  # how much of their saturation large surfaces keep
BACKGROUNDS = {"room": 0.45, "field": 0.2, "gradient": 0.12, "noise": 0.15, "cloth": 0.08}


def random_light(rng: np.random.Generator) -> Light:
    """A lamp above, in front and aside of the scene."""
    towards = np.array([rng.normal(0, 0.7), -rng.uniform(0.2, 1.2), -rng.uniform(0.2, 1.0)])
    diffuse = rng.uniform(0.35, 0.75)
    return Light(towards / np.linalg.norm(towards), 1.05 - diffuse, diffuse * 1.15)


def _patch(rng, shape, zoom) -> np.ndarray:
    """A random piece of the smooth noise, enlarged `zoom` times to `shape`."""
    height, width = (int(np.ceil(size / zoom)) + 1 for size in shape)
    y, x = (rng.integers(0, max(NOISE_SIZE - size, 1)) for size in (height, width))
    piece = smooth_noise()[y : y + height, x : x + width]
    return cv2.resize(piece, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)


def _muted_colour(rng) -> np.ndarray:
    colour = np.array(random_colour(rng))
    return colour.mean() + MUTED * (colour - colour.mean())


def _surface(rng, contrast: float, period: float, rough: float, grain: float) -> Paint:
    """A wall or a floor: two muted colours that differ by up to `contrast`, a pattern of that period in metres."""
    base, kind = _muted_colour(rng), random_cloth(rng).kind
    second = np.clip(base + rng.uniform(-contrast, contrast, 3), 0, 1)
    return Paint(tuple(base), tuple(second), kind, period, rough, grain)


def _between(weight: np.ndarray, first, second) -> np.ndarray:
    """(3, ...): first where the weight is 0, second where it is 1."""
    first, second = np.asarray(first, np.float32), np.asarray(second, np.float32)
    return np.stack([weight * (after - before) + before for before, after in zip(first, second)])


def _fill(image: np.ndarray, where: np.ndarray, colours) -> None:
    """Put (3,) or (3, n) colours where it says so into a (3, h, w) image."""
    for channel, colour in zip(image, colours):
        channel[where] = colour


def background(rng: np.random.Generator, camera: Camera, size_hw: tuple[int, int], far_m: float) -> np.ndarray:
    """(h, w, 3) float32: a room with a wall at `far_m`, open ground under a sky, or no place at all."""
    half = tuple(max(2, size // 2) for size in size_hw)  # drawn at half size: backgrounds are out of focus
    kind = pick(rng, BACKGROUNDS)
    if kind in ("room", "field"):
        image = _place(rng, camera, size_hw, half, far_m, kind == "room")
    elif kind == "gradient":
        x, y = np.meshgrid(np.linspace(0, 1, half[1], dtype=np.float32), np.linspace(0, 1, half[0], dtype=np.float32))
        tilt = rng.uniform(-1, 1)
        image = _between(np.clip(y * (1 - abs(tilt)) + x * tilt, 0, 1), _muted_colour(rng), _muted_colour(rng))
        image *= 1 + 0.05 * _patch(rng, half, rng.uniform(1, 4))
    elif kind == "noise":
        image = _between(0.5 + 0.5 * _patch(rng, half, rng.uniform(0.6, 6)), _muted_colour(rng), _muted_colour(rng))
        image = image + 0.35 * _between(
            np.abs(_patch(rng, half, rng.uniform(0.6, 2))), (0, 0, 0), np.subtract(_muted_colour(rng), 0.5)
        )
    else:
        along, around = np.meshgrid(
            np.arange(half[0], dtype=np.float32), np.arange(half[1], dtype=np.float32), indexing="ij"
        )
        image = random_cloth(rng).albedo(along.ravel() / rng.uniform(80, 400), around.ravel() / 200).reshape(3, *half)
    return cv2.resize(cv2.merge(np.clip(image, 0.02, 1)), size_hw[::-1], interpolation=cv2.INTER_LINEAR)


def _place(rng, camera, size_hw, half, far_m, walled) -> np.ndarray:
    """(3, h, w): a textured floor, and behind it a wall or the sky, where the camera sees them."""
    columns = (index_to_point(np.arange(half[1])) * (size_hw[1] / half[1]) - camera.center_px[0]) / camera.focal
    rows = (index_to_point(np.arange(half[0])) * (size_hw[0] / half[0]) - camera.center_px[1]) / camera.focal
    right, up, back = (
        (r[0] * columns + r[2])[None].astype(np.float32) + (r[1] * rows)[:, None].astype(np.float32)
        for r in camera.rotation.T
    )
    far = max(far_m, 1.0) if walled else 60.0
    # lengths of the rays to the floor and to the wall
    floor_at = np.where(up < -1e-4, camera.height / np.maximum(-up, 1e-4), np.inf)
    wall_at = far / np.maximum(-back, 1e-3)
    on_floor = floor_at < wall_at
    ray = np.minimum(floor_at, wall_at).clip(0, 200)
    across, away, high = right * ray, back * ray, up * ray + camera.height
    floor = _surface(rng, 0.25, rng.uniform(0.3, 1.2), rng.uniform(0.05, 0.25), rng.uniform(15, 90))
    image = np.empty((3, *half), np.float32)
    _fill(image, on_floor, floor.albedo(away[on_floor], across[on_floor]))
    above = ~on_floor
    if walled:
        wall = _surface(rng, 0.2, rng.uniform(0.15, 0.8), rng.uniform(0, 0.12), rng.uniform(10, 120))
        _fill(image, above, wall.albedo(high[above], across[above]))
        for _ in range(rng.integers(0, 4)):  # windows, doors, pictures
            x, y, w, h = rng.uniform(-3, 3), rng.uniform(0, 2.2), rng.uniform(0.2, 1.5), rng.uniform(0.3, 1.6)
            inside = (np.abs(across - x) < w / 2) & (np.abs(high - y - h / 2) < h / 2)
            _fill(image, above & inside, _muted_colour(rng))
    else:
        sky, hills = _muted_colour(rng) * 0.5 + 0.5, _patch(rng, half, 3)
        _fill(image, above, _between(np.clip(high[above] / 40, 0, 1), sky, sky * 0.8 + 0.1))
        trees = above & (high < 8 + 7 * _patch(rng, half, rng.uniform(0.5, 2)))
        _fill(image, trees, _between(0.5 + 0.5 * hills[trees], _muted_colour(rng) * 0.8, _muted_colour(rng) * 0.5))
    return image


def _cuboid(size, place, yaw) -> np.ndarray:
    """(8, 3) corners of a box of size (x, y, z) standing on `place`, turned by `yaw` degrees."""
    corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (0, 1) for z in (-0.5, 0.5)]) * size
    return corners @ turn(y=yaw).T + place


def draw_box(canvas: Canvas, rng: np.random.Generator, size, place, yaw: float, paint: Paint | None = None) -> None:
    """A box of size (x, y, z) metres, the middle of its underside at `place` in the world."""
    canvas.box(canvas.camera.from_world(_cuboid(size, place, yaw)), paint or random_cloth(rng))


def _rod(start, end, radius, paint) -> Solids:
    return Solids(
        np.array([[start, end]], float), np.full((1, 2), radius), np.eye(3)[None], np.ones(1), [((1, paint),)]
    )


def _pole(canvas, rng, place):
    rod = _rod(
        place, np.add(place, (rng.normal(0, 0.1), rng.uniform(1, 3.5), 0)), rng.uniform(0.02, 0.09), random_cloth(rng)
    )
    canvas.draw(rod.moved(*canvas.camera.view))


def _ball(canvas, rng, place):
    radius = rng.uniform(0.07, 0.35)
    lift = np.array([0, radius + (rng.uniform(0, 2) if rng.random() < 0.4 else 0), 0])
    canvas.draw(_rod(place + lift, place + lift, radius, random_cloth(rng)).moved(*canvas.camera.view))


def _crate(canvas, rng, place):
    draw_box(canvas, rng, rng.uniform((0.2, 0.2, 0.2), (1, 0.9, 0.8)), place, rng.uniform(0, 90))


def _shelf(canvas, rng, place):
    draw_box(canvas, rng, rng.uniform((0.5, 1, 0.2), (1.4, 2.2, 0.5)), place, rng.normal(0, 20))


def _table(canvas, rng, place):
    size, yaw, paint = rng.uniform((0.6, 0.5, 0.5), (1.6, 0.85, 0.9)), rng.normal(0, 30), random_cloth(rng)
    draw_box(canvas, rng, (size[0], 0.05, size[2]), np.add(place, (0, size[1], 0)), yaw, paint)
    for x in (-0.45, 0.45):
        for z in (-0.45, 0.45):
            foot = place + turn(y=yaw) @ (x * size[0], 0, z * size[2])
            draw_box(canvas, rng, (0.05, size[1], 0.05), foot, yaw, paint)


def _stick_bush(canvas, rng, place):
    """Rods every way: limbs that belong to nobody."""
    paint = random_cloth(rng)
    for _ in range(rng.integers(2, 6)):
        end = np.add(place, (rng.normal(0, 0.4), rng.uniform(0.3, 1.6), rng.normal(0, 0.4)))
        canvas.draw(
            _rod(np.add(place, (0, rng.uniform(0, 0.6), 0)), end, rng.uniform(0.02, 0.07), paint).moved(
                *canvas.camera.view
            )
        )


CLUTTER = (_pole, _ball, _crate, _crate, _shelf, _table, _stick_bush)
OCCLUDERS = (_pole, _ball, _crate, _table)


def draw_clutter(canvas: Canvas, rng: np.random.Generator, distances: list[float]) -> None:
    """Some things around and behind the people; one time in twelve one before the nearest of them."""
    nearest, farthest = min(distances, default=4.0), max(distances, default=6.0)
    for _ in range(rng.poisson(1.6)):
        away = rng.uniform(0.9 * nearest + 0.3, 1.7 * farthest + 1)
        CLUTTER[rng.integers(len(CLUTTER))](canvas, rng, _somewhere(canvas, rng, away))
    if distances and rng.random() < 1 / 12:
        OCCLUDERS[rng.integers(len(OCCLUDERS))](canvas, rng, _somewhere(canvas, rng, nearest * rng.uniform(0.55, 0.85)))


def _somewhere(canvas, rng, away) -> np.ndarray:
    """A place on the floor in view, about `away` metres off."""
    width = canvas.image.shape[1]
    return np.array([(rng.uniform(0, width) - canvas.camera.center_px[0]) * away / canvas.camera.focal, 0, -away])


def draw_shadow(image: np.ndarray, camera: Camera, foot: np.ndarray, radius: float) -> None:
    """Darken the floor below a person who stands at `foot` in the world."""
    around = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    ring = camera.from_world(foot + radius * np.stack([np.cos(around), 0 * around, 0.7 * np.sin(around)], -1))
    if ring[:, 2].min() < 0.3:
        return
    points = camera.project(ring)
    low, high = np.floor(points.min(0)).astype(int) - 4, np.ceil(points.max(0)).astype(int) + 4
    low, high = np.maximum(low, 0), np.minimum(high, image.shape[1::-1])
    if (low >= high).any():
        return
    shade = np.zeros(tuple((high - low)[::-1]), np.float32)
    cv2.fillConvexPoly(shade, np.round(points - low).astype(np.int32), 0.45)
    image[low[1] : high[1], low[0] : high[0]] *= cv2.merge([1 - cv2.blur(shade, (7, 5))] * 3)


def photograph(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """The painting (h, w, 3) float32, seen by a poor camera: (h, w, 3) uint8."""
    dark = rng.random() < 0.06
    gain = rng.uniform(0.25, 0.5) if dark else rng.uniform(0.75, 1.15)
    gains, lift = gain * (1 + rng.normal(0, 0.05, 3)), 0.02 if dark else rng.uniform(-0.03, 0.1)
    lit = image.reshape(len(image), -1) * np.tile(gains.astype(np.float32), image.shape[1])
    lit += np.float32(lift)
    seen = cv2.convertScaleAbs(np.maximum(lit, 0, out=lit), alpha=255).reshape(image.shape)
    # an edge of the painting is hard as a saw: a lens always softens it a little
    seen = cv2.GaussianBlur(seen, (0, 0), rng.uniform(1.0, 1.8) if rng.random() < 0.1 else rng.uniform(0.45, 0.9))
    strength = rng.uniform(0.0, 0.25)
    start = rng.integers(0, GRAIN_PERIOD)
    grain = sensor_grain(image.size)[start : start + image.size].reshape(image.shape)
    return cv2.addWeighted(seen, 1, grain, strength, -128 * strength)


GRAIN_PERIOD = 1 << 16


@lru_cache(maxsize=2)
def sensor_grain(size: int) -> np.ndarray:
    """White noise around 128 (deviation 40), uint8, drawn once: drawing it anew would cost as much as a person."""
    noise = np.random.default_rng(2).standard_normal(size + GRAIN_PERIOD, np.float32)
    return np.clip(128 + 40 * noise, 0, 255).astype(np.uint8)
