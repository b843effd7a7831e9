"""Images and people of an annotation file as arrays: a tenth of the memory of objects, which are made when asked for.

Loader processes share arrays with the process that forked them. Of an object that is only looked at they need a copy,
for Python counts who looks at it, in the object.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rtpe.data.labels.people import Image, Person


@dataclass(frozen=True)
class Numbers:
    """float64 values that are kept as whole numbers of parts, where every one of them comes back exactly."""

    values: np.ndarray
    parts: int

    @classmethod
    def of(cls, values: np.ndarray) -> Numbers:
        for parts in (1, 2, 100):  # pixels, their centers, and what COCO rounds to
            scaled = np.rint(values * parts)
            for kind in (np.int16, np.int32):
                if (np.abs(scaled) <= np.iinfo(kind).max).all() and np.array_equal(scaled / parts, values):
                    return cls(scaled.astype(kind), parts)
        return cls(values, 1)

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray], name: str) -> Numbers:
        return cls(arrays[name], int(arrays[f"{name} parts"]))

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        return {name: self.values, f"{name} parts": np.array(self.parts)}

    def __getitem__(self, place) -> np.ndarray:
        return self.values[place] / self.parts


@dataclass(frozen=True)
class Texts:
    """Texts behind each other."""

    text: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, texts: Iterable[str]) -> Texts:
        parts = [text.encode("utf-8", "surrogatepass") for text in texts]
        return cls(np.frombuffer(b"".join(parts), np.uint8), np.cumsum([0, *map(len, parts)]))

    def __getitem__(self, place: int) -> str:
        return self.text[self.ends[place] : self.ends[place + 1]].tobytes().decode("utf-8", "surrogatepass")


class PackedImages(Mapping[int, Image]):
    """The images of a file by their ids, ascending."""

    def __init__(self, images: Mapping[int, Image]):
        self.ids = np.array(sorted(images), np.int64)
        ordered = [images[number] for number in self.ids.tolist()]
        self._names = Texts.of(image.file_name for image in ordered)
        self._sizes = np.array([image.size_hw or (0, 0) for image in ordered], np.int64).reshape(-1, 2)

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> PackedImages:
        """From what `arrays` gave."""
        made = cls({})
        made.ids, made._sizes = arrays["ids"], arrays["sizes"]
        made._names = Texts(arrays["names"], arrays["name ends"])
        return made

    def arrays(self) -> dict[str, np.ndarray]:
        """All that there is, by name."""
        return {"ids": self.ids, "sizes": self._sizes, "names": self._names.text, "name ends": self._names.ends}

    def nameless(self) -> int | None:
        """The first image that has no file name."""
        places = np.flatnonzero(np.diff(self._names.ends) == 0)
        return int(self.ids[places[0]]) if len(places) else None

    def place(self, number: int) -> int:
        """Where an image stands.

        Raises:
            KeyError: if there is none of that id.
        """
        place = int(np.searchsorted(self.ids, number))
        if place == len(self.ids) or self.ids[place] != number:
            raise KeyError(number)
        return place

    def name(self, place: int) -> str:
        return self._names[place]

    def __getitem__(self, number: int) -> Image:
        place = self.place(number)
        height, width = self._sizes[place].tolist()
        return Image(self._names[place], (height, width) if height else None)

    def __iter__(self) -> Iterator[int]:
        return iter(self.ids.tolist())

    def __len__(self) -> int:
        return len(self.ids)


class Records(Sequence):
    """(image id, file name) of some images, in the order of the ids."""

    def __init__(self, images: PackedImages, places: np.ndarray):
        self._images, self._places = images, places

    @property
    def ids(self) -> list[int]:
        return self._images.ids[self._places].tolist()

    def place(self, number: int) -> int:
        """Where the image of that id stands.

        Raises:
            KeyError: if it is none of these.
        """
        ids = self._images.ids[self._places]
        place = int(np.searchsorted(ids, number))
        if place == len(ids) or ids[place] != number:
            raise KeyError(number)
        return place

    def only(self, ids: Iterable[int]) -> Records:
        """Those of these images."""
        chosen = np.isin(self._images.ids[self._places], np.fromiter(ids, np.int64))
        return Records(self._images, self._places[chosen])

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> tuple[int, str]:
        place = self._places[index]
        return int(self._images.ids[place]), self._images.name(place)

    def __iter__(self) -> Iterator[tuple[int, str]]:
        return (self[index] for index in range(len(self)))


class PackedPeople(Mapping[int, list[Person]]):
    """People by the ids of their images; each look makes them anew."""

    _PLAIN = ("order", "first", "areas", "crowd", "corner_ends", "ring_ends")
    _NUMBERS = ("points", "boxes", "corners")

    def __init__(self, images: PackedImages, joints: int, rows: Rows, without: Iterable[int] = ()):
        self._images, count = images, len(rows.areas)
        places = np.searchsorted(images.ids, np.frombuffer(rows.images, np.int64))
        order = np.argsort(places, kind="stable")
        self._order = order[~np.isin(order, np.array([*without], np.int64))]
        self._first = np.searchsorted(places[self._order], np.arange(len(images) + 1))
        self._points = Numbers.of(np.frombuffer(rows.points).reshape(count, joints, 3))
        self._boxes, self._areas = Numbers.of(np.frombuffer(rows.boxes).reshape(-1, 4)), np.frombuffer(rows.areas)
        self._crowd, self._heads = np.frombuffer(rows.crowd, np.uint8), rows.heads
        self._corners, self._runs = Numbers.of(np.frombuffer(rows.corners)), rows.runs
        self._corner_ends, self._ring_ends = _ends(rows.corner_counts), _ends(rows.ring_counts)

    @classmethod
    def of_arrays(cls, images: PackedImages, arrays: Mapping[str, np.ndarray]) -> PackedPeople:
        """From what `arrays` gave, of these images."""
        made = cls(images, 1, Rows())
        for name in cls._PLAIN:
            setattr(made, f"_{name}", arrays[name])
        for name in cls._NUMBERS:
            setattr(made, f"_{name}", Numbers.of_arrays(arrays, name))
        made._heads = dict(zip(arrays["head rows"].tolist(), map(tuple, arrays["heads"].tolist())))
        runs = Texts(arrays["runs"], arrays["run ends"])
        made._runs = {row: runs[place].encode() for place, row in enumerate(arrays["run rows"].tolist())}
        return made

    def arrays(self) -> dict[str, np.ndarray]:
        """All that there is but the images, by name."""
        made = {name: getattr(self, f"_{name}") for name in self._PLAIN}
        for name in self._NUMBERS:
            made |= getattr(self, f"_{name}").arrays(name)
        runs = Texts.of(each.decode() for each in self._runs.values())
        made |= {
            "head rows": np.array([*self._heads], np.int64),
            "heads": np.array([*self._heads.values()], np.float64),
        }
        return made | {"run rows": np.array([*self._runs], np.int64), "runs": runs.text, "run ends": runs.ends}

    def __getitem__(self, number: int) -> list[Person]:
        place = self._images.place(number)
        return [self._person(row) for row in self._order[self._first[place] : self._first[place + 1]].tolist()]

    def __iter__(self) -> Iterator[int]:
        return iter(self._images)

    def __len__(self) -> int:
        return len(self._images)

    def labelled(self, ids: Iterable[int]) -> int:
        """How many people with labelled joints there are on these images."""
        seen = (self._points.values[..., 2] > 0).any(axis=1) & (self._crowd == 0)
        before = np.concatenate([[0], np.cumsum(seen[self._order])])
        places = np.searchsorted(self._images.ids, np.fromiter(ids, np.int64))
        return int((before[self._first[places + 1]] - before[self._first[places]]).sum())

    def labelled_joints(self) -> np.ndarray:
        """(N, 2) x, y of all labelled joints."""
        points = self._points[:].reshape(-1, 3)
        return points[points[:, 2] > 0, :2]

    def given(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(P, K, 3) points and (P, 4) boxes of these rows of the file."""
        return self._points[rows], self._boxes[rows]

    def _person(self, row: int) -> Person:
        return Person(
            points=self._points[row],
            box_xywh=self._boxes[row],
            area=float(self._areas[row]),
            outline=self._outline(row),
            crowd=bool(self._crowd[row]),
            head_box=self._heads.get(row),
        )

    def _outline(self, row: int) -> list | dict:
        if row in self._runs:
            return json.loads(self._runs[row])
        first, last = self._ring_ends[row : row + 2].tolist()
        ends = self._corner_ends[first : last + 1].tolist()
        return [self._corners[start:stop].tolist() for start, stop in pairwise(ends)]


class Rows:
    """People in the order of the file, their numbers behind each other."""

    def __init__(self):
        self.images, self.points, self.boxes, self.areas = array("q"), array("d"), array("d"), array("d")
        self.crowd, self.corners = bytearray(), array("d")
        self.ring_counts, self.corner_counts = array("I"), array("I")
        self.heads: dict[int, tuple[float, ...]] = {}
        self.runs: dict[int, bytes] = {}  # of crowds: few

    def add(self, image_id: int, person: Person) -> None:
        row, rings = len(self.areas), person.outline
        if isinstance(rings, dict):
            self.runs[row], rings = json.dumps(rings).encode(), []
        self.images.append(image_id)
        self.points.frombytes(person.points.astype(np.float64).tobytes())
        self.boxes.frombytes(person.box_xywh.astype(np.float64).tobytes())
        self.areas.append(person.area)
        self.crowd.append(person.crowd)
        self.ring_counts.append(len(rings))
        self.corner_counts.extend(map(len, rings))
        for ring in rings:
            self.corners.frombytes(np.array(ring, np.float64).tobytes())
        if person.head_box is not None:
            self.heads[row] = person.head_box

    def twins(self, alike: float) -> list[int]:
        """Rows without joints whose box is that of a person of the same image who has joints.

        Args:
            alike: intersection over union of two such boxes, at least.
        """
        count = len(self.areas)
        images, boxes = np.frombuffer(self.images, np.int64), np.frombuffer(self.boxes).reshape(-1, 4)
        seen = np.frombuffer(self.points).reshape(count, -1, 3)[..., 2].any(axis=1) if count else np.zeros(0, bool)
        real = (boxes[:, 2:] > 0).all(axis=1) & (np.frombuffer(self.crowd, np.uint8) == 0)
        bare, posed = np.flatnonzero(~seen & real), np.flatnonzero(seen & real)
        posed = posed[np.argsort(images[posed], kind="stable")]
        first, last = (np.searchsorted(images[posed], images[bare], side) for side in ("left", "right"))
        ones = np.repeat(bare, last - first)
        steps = np.arange(len(ones)) - np.repeat(np.cumsum(last - first) - (last - first), last - first)
        others = posed[np.repeat(first, last - first) + steps]
        return sorted(set(ones[_overlap(boxes[ones], boxes[others]) >= alike].tolist()))


def _overlap(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes, (N, 4) left, top, width, height."""
    low = np.maximum(one[:, :2], other[:, :2])
    high = np.minimum(one[:, :2] + one[:, 2:], other[:, :2] + other[:, 2:])
    common = np.clip(high - low, 0, None).prod(axis=1)
    return common / (one[:, 2:].prod(axis=1) + other[:, 2:].prod(axis=1) - common)


def _ends(counts: array) -> np.ndarray:
    """(N + 1,) where the parts of a whole begin and end, of so many numbers each."""
    return np.concatenate([[0], np.cumsum(np.frombuffer(counts, np.uint32), dtype=np.int64)])
