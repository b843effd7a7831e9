"""The pixel convention, and every affine map between an image, a network's input and its cells.

A pixel covers [x, x + 1) and its center is x + 0.5; so does a cell of a map. A resize is a pure factor: cell coordinate
times stride is input coordinate, with nothing added. Points are (x, y), sizes are (height, width).
This is the only file that knows about halves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rtpe.errors import UserError

HALF = 0.5  # from the index of a pixel or cell to its center


def index_to_point(index):
    """The center of the pixel or cell with that index."""
    return index + HALF


def point_to_index(point):
    """The fractional index whose pixel or cell has its center at the point."""
    return point - HALF


@dataclass(frozen=True)
class Affine:
    """A map of points (x, y) to points, as a 2 x 3 float64 matrix in the center-at-a-half convention.

    >>> half = Affine.scaling(0.5)
    >>> half(np.array([8.0, 4.0])).tolist()
    [4.0, 2.0]
    >>> (half.inverse() @ half)(np.array([3.0, 1.0])).tolist()
    [3.0, 1.0]
    """

    matrix: np.ndarray

    def __post_init__(self):
        matrix = np.asarray(self.matrix, np.float64)
        if matrix.shape != (2, 3) or not all(map(math.isfinite, matrix.ravel().tolist())):
            raise UserError(f"affine: expected a finite (2, 3) matrix, got {matrix.tolist()}")
        object.__setattr__(self, "matrix", matrix)
        if abs(self._determinant()) < 1e-12:
            raise UserError(f"affine: expected an invertible matrix, got {matrix.tolist()}")

    def __eq__(self, other) -> bool:
        return isinstance(other, Affine) and np.array_equal(self.matrix, other.matrix)

    def __hash__(self) -> int:
        return hash(self.matrix.tobytes())

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Map points, (..., 2) -> (..., 2) of the same float type."""
        mapped = points @ self.matrix[:, :2].T + self.matrix[:, 2]
        return mapped.astype(points.dtype, copy=False) if np.issubdtype(points.dtype, np.floating) else mapped

    def __matmul__(self, first: Affine) -> Affine:
        """The map that applies `first`, then this one."""
        # plain numbers: for six of them every call of numpy costs more than all the arithmetic
        (a, b, x), (c, d, y) = self.matrix.tolist()
        (e, f, u), (g, h, v) = first.matrix.tolist()
        return Affine(
            np.array(
                [[a * e + b * g, a * f + b * h, a * u + b * v + x], [c * e + d * g, c * f + d * h, c * u + d * v + y]]
            )
        )

    def inverse(self) -> Affine:
        """The map back."""
        (a, b, x), (c, d, y) = self.matrix.tolist()
        det = self._determinant()
        return Affine(
            np.array([[d / det, -b / det, (b * y - d * x) / det], [-c / det, a / det, (c * x - a * y) / det]])
        )

    def _determinant(self) -> float:
        (a, b, _), (c, d, _) = self.matrix.tolist()
        return a * d - b * c

    @property
    def scale(self) -> float:
        """By what factor lengths grow (the square root of the area's growth)."""
        return math.sqrt(abs(self._determinant()))

    @property
    def mirrors(self) -> bool:
        """Whether left and right change sides."""
        return self._determinant() < 0

    def index_matrix(self) -> np.ndarray:
        """The same map between integer pixel indices, as warping routines want it, (2, 3)."""
        (a, b, x), (c, d, y) = self.matrix.tolist()
        return np.array([[a, b, x + HALF * (a + b - 1)], [c, d, y + HALF * (c + d - 1)]])

    @classmethod
    def from_index_matrix(cls, matrix) -> Affine:
        """The map that a (2, 3) matrix between integer pixel indices stands for.

        >>> Affine.from_index_matrix(Affine.scaling(2).index_matrix()).matrix.tolist()
        [[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]
        """
        center = Affine.translation(HALF, HALF)
        return center @ cls(np.array(matrix)) @ center.inverse()

    @classmethod
    def identity(cls) -> Affine:
        return cls.scaling(1.0)

    @classmethod
    def scaling(cls, x: float, y: float | None = None) -> Affine:
        return cls(np.array([[x, 0, 0], [0, x if y is None else y, 0]]))

    @classmethod
    def translation(cls, x: float, y: float) -> Affine:
        return cls(np.array([[1, 0, x], [0, 1, y]]))

    @classmethod
    def rotation(cls, degrees: float) -> Affine:
        """About the origin, clockwise as seen on the screen (y points down)."""
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        return cls(np.array([[c, -s, 0], [s, c, 0]]))

    @classmethod
    def mirror(cls, width: float) -> Affine:
        """Left and right exchanged in an image of that width."""
        return cls(np.array([[-1, 0, width], [0, 1, 0]]))


INDEX_TO_POINT = Affine.translation(HALF, HALF)  # `index_to_point` as an affine


def centered(from_hw: tuple[int, int], to_hw: tuple[int, int], scale: float) -> Affine:
    """The uniform resize that puts the center of one frame onto the center of another."""
    (h, w), (to_h, to_w) = from_hw, to_hw
    return Affine(np.array([[scale, 0, (to_w - scale * w) / 2], [0, scale, (to_h - scale * h) / 2]]))


def letterbox(image_hw: tuple[int, int], input_hw: tuple[int, int]) -> Affine:
    """Image to network input: the largest uniform resize that fits, centered; the rest is border.

    >>> letterbox((100, 200), (64, 64)).matrix.tolist()
    [[0.32, 0.0, 0.0], [0.0, 0.32, 16.0]]
    """
    return centered(image_hw, input_hw, min(input_hw[0] / image_hw[0], input_hw[1] / image_hw[1]))


def short_side(image_hw: tuple[int, int], size: int, multiple: int = 64) -> tuple[tuple[int, int], Affine]:
    """A network input whose short side is `size`, and the map from the image to it.

    The long side keeps the aspect and is rounded up to a multiple; what that adds is border, part of the affine
    (HigherHRNet's test-time preprocessing, Cheng et al., arXiv:1908.10357).

    Returns:
        the input's (height, width), and the affine image -> input.

    >>> short_side((480, 640), 640)[0], short_side((427, 640), 640)[0]
    ((640, 896), (640, 960))
    """
    h, w = image_hw
    short = round_up(size, multiple)
    scale = short / min(h, w)
    long = round_up(max(h, w) * scale, multiple)
    input_hw = (long, short) if w < h else (short, long)
    return input_hw, centered(image_hw, input_hw, scale)


def published_side(image_hw: tuple[int, int], size: int, multiple: int = 64) -> tuple[tuple[int, int], Affine]:
    """As `short_side`, exactly as the published HigherHRNet weights were trained and tested.

    A pixel's center has its index for a coordinate, half a pixel before where it is elsewhere, and so it was in the
    targets that these nets learnt: cell times stride is such a coordinate, with nothing added. The input's middle is a
    whole pixel of the image, and a long side that is less than a pixel too long is cut, not rounded up.

    Args:
        multiple: 64, or 64 over the smallest scale, whose pixels then are what the long side may be too long by.

    Returns:
        the input's (height, width), and the map from the image to those coordinates; `INDEX_TO_POINT` leads from them
        to the input as everything else here has it.

    >>> published_side((480, 640), 640)[0], published_side((333, 500), 640)[0]
    ((640, 896), (640, 960))
    """
    h, w = image_hw
    scale = size / min(h, w)
    long = math.floor((scale * max(h, w) + multiple - multiple / 64) / multiple) * multiple
    input_hw = (long, size) if w < h else (size, long)
    middle = (w + 1) // 2, (h + 1) // 2
    shift = [side / 2 - scale * at for side, at in zip(input_hw[::-1], middle)]
    by_index = Affine(np.array([[scale, 0, shift[0]], [0, scale, shift[1]]]))
    return input_hw, by_index @ INDEX_TO_POINT.inverse()


def round_up(length: float, multiple: int) -> int:
    """The smallest multiple that is not less (up to rounding errors of the factor)."""
    return max(multiple, math.ceil(length / multiple - 1e-6) * multiple)


def crop(box_xywh: np.ndarray, input_hw: tuple[int, int], padding: float = 1.25) -> Affine:
    """Image to a person's crop: the box, grown to the input's aspect and padded by the factor, fills the input."""
    x, y, w, h = (float(v) for v in box_xywh)
    scale = min(input_hw[1] / max(w, 1e-6), input_hw[0] / max(h, 1e-6)) / padding
    return Affine(
        np.array([[scale, 0, input_hw[1] / 2 - scale * (x + w / 2)], [0, scale, input_hw[0] / 2 - scale * (y + h / 2)]])
    )


def udp_crop(box_xywh: np.ndarray, input_hw: tuple[int, int], padding: float = 1.25) -> Affine:
    """As `crop`, in unbiased data processing (UDP, Huang et al., arXiv:1911.07524).

    The box is one of pixels' indices, and its edges, grown and padded, become the input's first and last indices.
    """
    h, w = input_hw
    by_index = Affine.scaling((w - 1) / w, (h - 1) / h) @ crop(box_xywh, input_hw, padding)
    return Affine.from_index_matrix(by_index.matrix)


def udp_cells(cells_hw: tuple[int, int], input_hw: tuple[int, int]) -> Affine:
    """As `cells`, in UDP: the first and last cells have their centers on those of the input's first and last pixels.

    >>> udp_cells((64, 48), (256, 192))(np.array([[0.5, 0.5], [47.5, 63.5]])).tolist()
    [[0.5, 0.5], [191.5, 255.5]]
    """
    factors = [(side - 1) / max(count - 1, 1) for count, side in zip(cells_hw[::-1], input_hw[::-1])]
    return Affine.from_index_matrix(Affine.scaling(*factors).matrix)


def cells(stride: float) -> Affine:
    """Cell coordinates of a map to coordinates of the network's input."""
    return Affine.scaling(stride)
