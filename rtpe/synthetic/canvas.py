"""A canvas with depth: solids and boxes in camera coordinates become shaded, textured pixels."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from rtpe.geometry import index_to_point

from .paint import Light, Paint
from .solids import NEAREST_M, Camera, ScreenCones, Solids, runs


@dataclass
class Canvas:
    """Pixels with their depth (focal * ln z, inf where there is only background) and owner (-1: no person)."""

    camera: Camera
    light: Light
    image: np.ndarray  # (h, w, 3) float32 RGB, 0..1
    depth: np.ndarray = field(init=False)
    owner: np.ndarray = field(init=False)

    def __post_init__(self):
        self.depth = np.full(self.image.shape[:2], np.inf, np.float32)
        self.owner = np.full(self.image.shape[:2], -1, np.int8)

    def draw(self, solids: Solids, owner: int = -1) -> np.ndarray:
        """Paint the solids where they are in front.

        Returns:
            (h, w) bool, the outline: where they would be seen, were nothing before them.
        """
        outline, cones = np.zeros(self.depth.shape, bool), ScreenCones(self.camera, solids)
        # far ones first: where two are equally deep, the nearer one is painted last
        order = np.argsort(solids.ends[:, :, 2].min(1))[::-1]
        order = order[cones.drawable[order]]
        counts, places, x, y = self._rays(cones, order)
        hit, depth, t, normal = cones.meet(order, x, y, counts)
        outline.reshape(-1)[places[hit]] = True
        depth += np.repeat(cones.origin[order, 2].astype(np.float32), counts)
        front = np.flatnonzero(hit & (depth < self.depth.take(places)))
        np.minimum.at(self.depth.reshape(-1), places.take(front), depth.take(front))
        # what is hidden in the end need not be shaded
        seen = front[depth.take(front) == self.depth.take(places.take(front))]
        solid, places, depth = np.repeat(order, counts).take(seen), places.take(seen), depth.take(seen)
        self._put(places, depth, owner, self._shade(cones, solids, solid, t.take(seen), normal.take(seen, 1)))
        return outline

    def _window(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The pixels first <= (x, y) < last between two corners, (..., 2 or more)."""
        first, last = low[..., :2].astype(int), high[..., :2].astype(int) + 1
        return np.maximum(first, 0), np.minimum(last, self.depth.shape[::-1])

    def _rays(self, cones: ScreenCones, order: np.ndarray) -> tuple[np.ndarray, ...]:
        """The rays that reach the solids, one solid after another in that order.

        Returns:
            counts (s,) of the rays of each; their places (n,), flat indices into the image; x (n,) and y (n,), relative
            to the origin of their solid.
        """
        first, last = self._window(cones.low[order], cones.high[order])
        wide, tall = np.maximum(last - first, 0).T
        # the columns of each solid, one solid after another, and the rows
        columns, rows = _spans(first[:, 0], wide), _spans(first[:, 1], tall)
        origin, quadric = cones.origin[order].T, cones.quadric[:, order]
        x = (index_to_point(columns) - np.repeat(origin[0], wide)).astype(np.float32)
        y = (index_to_point(rows) - np.repeat(origin[1], tall)).astype(np.float32)
        one, qx, _, qxx, _, _ = np.repeat(quadric, wide, 1)
        _, _, qy, _, qxy, qyy = np.repeat(quadric, tall, 1)
        across = np.repeat(wide, tall)  # each row meets all columns of its solid
        column = _spans(np.repeat(np.cumsum(wide) - wide, tall), across)
        reached = np.repeat(qxy * y, across) * x.take(column)
        reached += (one + (qx + qxx * x) * x).take(column)
        reached += np.repeat((qy + qyy * y) * y, across)
        rays = np.flatnonzero(reached > 0)
        row, column = np.repeat(np.arange(len(rows)), across).take(rays), column.take(rays)
        counts = np.bincount(np.repeat(np.arange(len(order)), tall).take(row), minlength=len(order))
        return counts, rows.take(row) * self.depth.shape[1] + columns.take(column), x.take(column), y.take(row)

    def _put(self, places, depth, owner, colours):
        self.depth.reshape(-1)[places] = depth
        self.owner.reshape(-1)[places] = owner
        for channel, colour in zip(self.image.reshape(-1, 3).T, colours):
            channel[places] = colour

    def _shade(self, cones, solids, solid, t, normal):
        """(3, n) colours of the places at (n,) t on each (n,) solid, with the given (3, n) normals."""
        normal, sides = cones.normals(solid, normal), solids.frames[:, 0].astype(np.float32)
        length = np.linalg.norm(solids.ends[:, 1] - solids.ends[:, 0], axis=1).astype(np.float32)
        first, grow = np.stack([solids.radii[:, 0], solids.radii[:, 1] - solids.radii[:, 0]]).astype(np.float32)
        along, around = t * length.take(solid), first.take(solid) + t * grow.take(solid)
        paints, number = {}, np.empty(len(t), np.int8)
        for index, here in runs(solid):
            around[here] *= sides[index] @ normal[:, here]
            cover = solids.covers[index]
            number[here] = paints.setdefault(cover[-1][1], len(paints))
            for until, paint in cover[-2::-1]:
                number[here][t[here] <= until] = paints.setdefault(paint, len(paints))
        colours = np.empty((3, len(t)), np.float32)
        for paint, its in paints.items():
            here = np.flatnonzero(number == its)
            colours[:, here] = paint.albedo(along.take(here), around.take(here))
        # grazing surfaces are a little darker, as a painter would
        bright = self.light.on(self.light.towards.astype(np.float32) @ normal) * (0.72 - 0.28 * normal[2])
        colours *= bright
        return colours

    def box(self, corners: np.ndarray, paint: Paint) -> None:
        """A cuboid; `corners` (8, 3) in camera coordinates, numbered by the bits 4: x, 2: y, 1: z."""
        if corners[:, 2].min() < NEAREST_M:
            return
        for bit, others in ((4, (2, 1)), (2, (4, 1)), (1, (4, 2))):
            for at, normal in ((0, corners[0] - corners[bit]), (bit, corners[bit] - corners[0])):
                if normal @ corners[at] < 0:  # turned to the lens
                    first, second = others
                    self._face(corners[[at, at + first, at + first + second, at + second]], normal, paint)

    def _face(self, quad, normal, paint):
        """A rectangle with a normal towards the lens."""
        points, camera = self.camera.project(quad), self.camera
        (x0, y0), (x1, y1) = self._window(points.min(0), points.max(0))
        if x0 >= x1 or y0 >= y1:
            return
        inside = np.zeros((y1 - y0, x1 - x0), np.uint8)
        indices = points - index_to_point(np.array([x0, y0]))
        cv2.fillConvexPoly(inside, np.round(indices * 16).astype(np.int32), 1, shift=4)
        rows, columns = np.nonzero(inside)
        (center_x, center_y), focal = camera.center_px, camera.focal
        ray_x = ((index_to_point(np.arange(x0, x1)) - center_x) / focal).astype(np.float32).take(columns)
        ray_y = ((index_to_point(np.arange(y0, y1)) - center_y) / focal).astype(np.float32).take(rows)
        toward = (normal / (normal @ quad[0])).astype(np.float32)
        z = 1 / np.maximum(toward[0] * ray_x + toward[1] * ray_y + toward[2], np.float32(1e-3))
        places, depth = (rows + y0) * self.depth.shape[1] + columns + x0, np.float32(focal) * np.log(z)
        front = np.flatnonzero(depth < self.depth.take(places))
        ray_x, ray_y, z = ray_x.take(front), ray_y.take(front), z.take(front)
        place = []
        for corner in (1, 3):
            edge = (quad[corner] - quad[0]) / np.linalg.norm(quad[corner] - quad[0])
            u, v, w = edge.astype(np.float32)
            place.append(z * (u * ray_x + v * ray_y + w) - np.float32(edge @ quad[0]))
        bright = self.light.on(normal @ self.light.towards / np.linalg.norm(normal))
        self._put(places[front], depth[front], -1, np.float32(bright) * paint.albedo(*place))


def _spans(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """start, start + 1, ... of that length, for one span after another."""
    return np.arange(lengths.sum()) + np.repeat(starts - np.cumsum(lengths) + lengths, lengths)
