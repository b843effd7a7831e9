"""A canvas with depth: solids and boxes in camera coordinates become shaded, textured pixels."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from rtpe.geometry import index_to_point

from .paint import Light, Paint
from .solids import NEAREST_M, Camera, ScreenCones, Solids


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
        self._centres = index_to_point(np.arange(max(self.depth.shape)))

    def draw(self, solids: Solids, owner: int = -1) -> np.ndarray:
        """Paint the solids where they are in front.

        Returns:
            (h, w) bool, the outline: where they would be seen, were nothing before them.
        """
        outline, cones = np.zeros(self.depth.shape, bool), ScreenCones(self.camera, solids)
        for index in np.argsort(solids.ends[:, :, 2].min(1)):  # near ones first: what they hide need not be shaded
            if cones.drawable[index]:
                self._draw_cone(cones, solids, index, owner, outline)
        return outline

    def _window(self, low: np.ndarray, high: np.ndarray) -> tuple[int, int, int, int]:
        """The pixels x0 <= x < x1, y0 <= y < y1 between two corners."""
        height, width = self.depth.shape
        return max(int(low[0]), 0), max(int(low[1]), 0), min(int(high[0]) + 1, width), min(int(high[1]) + 1, height)

    def _draw_cone(self, cones, solids, index, owner, outline):
        x0, y0, x1, y1 = self._window(cones.low[index], cones.high[index])
        window = slice(y0, y1), slice(x0, x1)
        if x0 >= x1 or y0 >= y1 or ((self.depth[window] < cones.low[index, 2]).all() and outline[window].all()):
            return
        x = (self._centres[x0:x1] - cones.origin[index, 0]).astype(np.float32)
        y = (self._centres[y0:y1] - cones.origin[index, 1]).astype(np.float32)
        one, qx, qy, qxx, qxy, qyy = cones.quadric[index]
        reached = np.multiply.outer(qxy * y, x)
        reached += one + (qx + qxx * x) * x
        reached += ((qy + qyy * y) * y)[:, None]
        rows, columns = np.divmod(np.flatnonzero(reached > 0).astype(np.int32), np.int32(x1 - x0))
        hit, depth, t, normal = cones.meet(index, x[columns], y[rows])
        places = (rows + y0) * self.depth.shape[1] + (columns + x0)
        outline.reshape(-1)[places[hit]] = True
        depth += np.float32(cones.origin[index, 2])
        front = np.flatnonzero(hit & (depth < self.depth.reshape(-1)[places]))
        if len(front):
            places, t = places[front], t[front]
            colours = self._shade(cones.normals(index, normal[:, front]), t, solids, index)
            self._put(places, depth[front], owner, colours)

    def _put(self, places, depth, owner, colours):
        self.depth.reshape(-1)[places] = depth
        self.owner.reshape(-1)[places] = owner
        self.image.reshape(-1, 3)[places] = colours

    def _shade(self, normal, t, solids, index):
        """(n, 3) colours of the places at t with the given (3, n) normals."""
        r0, r1 = solids.radii[index]
        axis, cover = solids.ends[index, 1] - solids.ends[index, 0], solids.covers[index]
        along = t * np.float32(np.sqrt(axis @ axis))
        around = (np.float32(r0) + t * np.float32(r1 - r0)) * (solids.frames[index, 0].astype(np.float32) @ normal)
        colours = cover[-1][1].albedo(along, around)
        for until, paint in cover[-2::-1]:
            here = np.flatnonzero(t <= until)
            colours[here] = paint.albedo(along[here], around[here])
        # grazing surfaces are a little darker, as a painter would
        bright = self.light.on(self.light.towards.astype(np.float32) @ normal) * (0.72 - 0.28 * normal[2])
        colours *= bright[:, None]
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
        x0, y0, x1, y1 = self._window(points.min(0), points.max(0))
        if x0 >= x1 or y0 >= y1:
            return
        inside = np.zeros((y1 - y0, x1 - x0), np.uint8)
        indices = points - index_to_point(np.array([x0, y0]))
        cv2.fillConvexPoly(inside, np.round(indices * 16).astype(np.int32), 1, shift=4)
        rows, columns = np.divmod(np.flatnonzero(inside), x1 - x0)
        ray_x = ((index_to_point(columns + x0) - camera.centre_px[0]) / camera.focal).astype(np.float32)
        ray_y = ((index_to_point(rows + y0) - camera.centre_px[1]) / camera.focal).astype(np.float32)
        toward = (normal / (normal @ quad[0])).astype(np.float32)
        z = 1 / np.maximum(toward[0] * ray_x + toward[1] * ray_y + toward[2], np.float32(1e-3))
        places, depth = (rows + y0) * self.depth.shape[1] + columns + x0, np.float32(camera.focal) * np.log(z)
        front = np.flatnonzero(depth < self.depth.reshape(-1)[places])
        ray_x, ray_y, z = ray_x[front], ray_y[front], z[front]
        place = []
        for corner in (1, 3):
            edge = (quad[corner] - quad[0]) / np.linalg.norm(quad[corner] - quad[0])
            u, v, w = edge.astype(np.float32)
            place.append(z * (u * ray_x + v * ray_y + w) - np.float32(edge @ quad[0]))
        bright = self.light.on(normal @ self.light.towards / np.linalg.norm(normal))
        self._put(places[front], depth[front], -1, np.float32(bright) * paint.albedo(*place))
