"""Rounded cones before a camera, and where rays meet them.

Depth is kept as focal * ln(z): one unit then equals one pixel at any distance, so that a ball stays round in
(x, y, depth) and every solid can be met by parallel rays, whose intersection has a closed form.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .paint import Cover

NEAREST_M = 0.2  # solids that come closer to the lens are left out
SPECKLE_PX = 0.7  # and so are those of a lesser radius


@dataclass(frozen=True)
class Camera:
    """A pinhole over a floor. World: x right, y up, z towards the camera; camera: x right, y down, z forward; metres.

    Attributes:
        focal: in pixels.
        center_px: (x, y) principal point.
        rotation: (3, 3), world to camera.
        height: of the lens over the floor y = 0; it stands at x = z = 0.
    """

    focal: float
    center_px: tuple[float, float]
    rotation: np.ndarray
    height: float

    @property
    def view(self) -> tuple[np.ndarray, np.ndarray]:
        """Rotation and shift from world to camera, as `moved` takes them."""
        return self.rotation, -self.height * self.rotation[:, 1]

    def from_world(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) world to (..., 3) camera."""
        rotation, shift = self.view
        return points @ rotation.T + shift

    def project(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) camera to (..., 2) pixels, pixel centers at + 0.5."""
        return points[..., :2] * (self.focal / points[..., 2:]) + self.center_px

    def to_screen(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) camera to (..., 3): pixels and depth = focal * ln(z)."""
        return np.concatenate([self.project(points), self.focal * np.log(points[..., 2:])], -1)


@dataclass
class Solids:
    """P rounded cones: two balls and all between them, squashed along one axis.

    Attributes:
        ends: (P, 2, 3) centers of the balls. radii: (P, 2) metres.
        frames: (P, 3, 3) rows side, up, forward: unit vectors.
        squash: (P,) thickness along `forward` over that along `side`.
        covers: what is painted on them, by t = 0 at the first ball to 1 at the second.
    """

    ends: np.ndarray
    radii: np.ndarray
    frames: np.ndarray
    squash: np.ndarray
    covers: list[Cover]

    def moved(self, rotation: np.ndarray, shift: np.ndarray) -> Solids:
        """All of them under x -> rotation x + shift."""
        return Solids(self.ends @ rotation.T + shift, self.radii, self.frames @ rotation.T, self.squash, self.covers)


class Clay:
    """Collects solids one by one."""

    def __init__(self):
        self.rows = []

    def add(self, start, end, r0, r1, cover: Cover, frame: np.ndarray, squash: float = 1.0):
        """`frame`: columns side, up, forward of the bone it sits on."""
        self.rows.append((start, end, (r0, r1), frame.T, squash, cover))

    def solids(self) -> Solids:
        starts, ends, radii, frames, squash, covers = zip(*self.rows)
        both = np.stack([np.array(starts), np.array(ends)], 1)
        return Solids(both, np.array(radii), np.array(frames), np.array(squash), list(covers))


class ScreenCones:
    """Solids on the screen, met by rays along the depth axis.

    With centers c(t) and radii r(t), the ray through p meets ball t at depth z(t) - sqrt(S(t)), where
    S(t) = r(t)^2 - |p - c(t)|^2 = A t^2 + B t + C. The front of the solid is the least of these over t: it is convex in
    t, and the zero of its derivative solves a quadratic equation. A squashed solid is a round one in a stretched space,
    in which the rays are still parallel.

    Attributes:
        drawable: (P,) bool, not too near the lens, and not so small that it would only speckle.
        origin: (P, 3) screen position of the first ball; points handed in and given back are relative to it.
        low, high: (P, 3) corners of a box around the solid on the screen.
        quadric: (6, P) coefficients of 1, x, y, x^2, x y, y^2 of D = B^2 - 4 A C; where D < 0 the ray misses.
    """

    def __init__(self, camera: Camera, solids: Solids):
        ahead = solids.ends[:, :, 2].min(1) > NEAREST_M
        ends = np.where(ahead[:, None, None], solids.ends, (0, 0, 1))
        screen = camera.to_screen(ends)
        radii = solids.radii * (camera.focal / ends[:, :, 2])
        self.drawable = ahead & (radii.max(1) > SPECKLE_PX)
        forward, squash = solids.frames[:, 2], solids.squash
        stretch = np.eye(3) + (1 / squash - 1)[:, None, None] * forward[:, :, None] * forward[:, None, :]
        self._round = squash == 1
        self.rows = _turned_to(stretch[:, :, 2]) @ stretch  # the ray becomes the third axis
        self.rows[self._round] = np.eye(3)
        axis = np.einsum("pij,pj->pi", self.rows, screen[:, 1] - screen[:, 0])
        first, grow = radii[:, 0], radii[:, 1] - radii[:, 0]
        # A >= 0: one ball hides the other; a tiny negative A lets t run to the nearer end
        a = np.minimum(grow**2 - axis[:, 0] ** 2 - axis[:, 1] ** 2, -1e-2)
        self.origin = screen[:, 0]
        self.quadric = _quadric(self.rows, axis, first, grow, a).astype(np.float32)
        reach = radii[:, :, None] * np.maximum(squash, 1)[:, None, None]
        self.low, self.high = (screen - reach).min(1), (screen + reach).max(1)
        slope = axis[:, 2] / np.sqrt(axis[:, 2] ** 2 - a)
        rays = [*self.rows.reshape(-1, 9).T, *axis.T, first, grow, a, slope]
        self._rays = np.array(rays).astype(np.float32)
        self._unstretch = np.swapaxes(self.rows, 1, 2).astype(np.float32)

    def meet(self, index: int | np.ndarray, x: np.ndarray, y: np.ndarray, counts: np.ndarray | None = None):
        """Rays through (n,) float32 points at solid `index`; or at several, the first counts[0] at index[0], and so on.

        Returns:
            hit (n,) bool; depth (n,); t (n,) in 0..1; normal (3, n), of unit length, in the stretched space: see
            `normals`.
        """
        rays = self._rays[:, index] if counts is None else np.repeat(self._rays[:, index], counts, axis=1)
        c00, c01, _, c10, c11, _, c20, c21, c22, a1, a2, a3, first, grow, a, slope = rays
        p1, p2 = c00 * x + c01 * y, c10 * x + c11 * y
        b = a1 * p1 + a2 * p2  # half of B, as in the schoolbook
        b += first * grow
        inside = first * first - p1 * p1
        inside -= p2 * p2
        t = np.sqrt(np.maximum(b * b - a * inside, 0))
        t *= slope
        t -= b
        t *= 1 / a
        np.minimum(np.maximum(t, 0, out=t), 1, out=t)
        p1 -= t * a1
        p2 -= t * a2
        radius = first + t * grow
        inside = radius * radius - p1 * p1
        inside -= p2 * p2
        normal = np.empty((3, len(x)), np.float32)
        normal[0], normal[1] = p1, p2
        np.negative(np.sqrt(np.maximum(inside, 0)), out=normal[2])
        depth = t * a3
        depth += normal[2]
        depth = (depth - c20 * x - c21 * y) / c22
        normal /= radius
        return inside > 0, depth, t, normal

    def normals(self, index: np.ndarray, met: np.ndarray) -> np.ndarray:
        """(3, n) unit normals in camera coordinates from those that `meet` gives for (n,) solids, sorted into runs."""
        plain = met.copy()
        for each, here in runs(index):
            if not self._round[each]:
                plain[:, here] = self._unstretch[each] @ met[:, here]
        length = np.sqrt(np.einsum("in,in->n", plain, plain))
        length[self._round[index]] = 1
        return plain / length


def runs(values: np.ndarray) -> Iterator[tuple[int, slice]]:
    """Each run of a value, and where it stands."""
    edges = np.flatnonzero(values[1:] != values[:-1]) + 1
    for start, stop in pairwise([0, *edges.tolist(), len(values)]):
        if stop > start:
            yield int(values[start]), slice(start, stop)


def _turned_to(rays: np.ndarray) -> np.ndarray:
    """(P, 3, 3) rotations whose third row is along the (P, 3) rays."""
    a, b, c = (rays / np.linalg.norm(rays, axis=1, keepdims=True)).T
    flat, none = np.hypot(a, c), np.zeros(len(rays))
    return np.stack([c / flat, none, -a / flat, -a * b / flat, flat, -b * c / flat, a, b, c], 1).reshape(-1, 3, 3)


def _quadric(rows, axis, first, grow, a) -> np.ndarray:
    (p, q), (r, s) = rows[:, 0, :2].T, rows[:, 1, :2].T
    b0, bx, by = 2 * first * grow, 2 * (p * axis[:, 0] + r * axis[:, 1]), 2 * (q * axis[:, 0] + s * axis[:, 1])
    return np.stack(
        [
            b0 * b0 - 4 * a * first**2,
            2 * b0 * bx,
            2 * b0 * by,
            bx * bx + 4 * a * (p * p + r * r),
            2 * bx * by + 8 * a * (p * q + r * s),
            by * by + 4 * a * (q * q + s * s),
        ]
    )
