"""Images and people as arrays come back as they were, and cost loader processes nothing."""

import gc
import json

import numpy as np
import pytest

from rtpe.data.labels import read_labels
from rtpe.data.labels.packed import Numbers, PackedImages, PackedPeople, Rows
from rtpe.data.labels.people import Image, Person
from rtpe.skeleton import COCO17


@pytest.mark.parametrize(
    "values, kind",
    [
        ([], np.int16),
        ([0.0, 3.0, -32767.0], np.int16),
        ([0.5, 16000.5], np.int16),
        ([0.5, 16384.5], np.int32),
        ([0.01, 639.99, 1e7], np.int32),
        ([0.01, 3e7], np.float64),
        ([1 / 3], np.float64),
        ([0.1 + 0.2], np.float64),
        ([np.nextafter(2.5, 3)], np.float64),
        ([1e300, -1e-300], np.float64),
    ],
    ids=str,
)
def test_numbers_come_back_exactly(values, kind):
    """Short, where they are whole numbers of parts; else as they are."""
    held = Numbers.of(np.array(values))
    assert held.values.dtype == kind and held[:].dtype == np.float64 and held[:].tolist() == values


def test_every_two_decimals_come_back():
    """Which no float32 holds: all that COCO may write for an image of 2,000 pixels."""
    values = np.array([float(f"{number // 100}.{number % 100:02}") for number in range(200_001)])
    held = Numbers.of(values)
    assert held.values.dtype == np.int32 and np.array_equal(held[:], values)


OUTLINES = {
    "none": [],
    "a polygon": [[1, 2, 3.5, 4, 5.25, 1 / 3]],
    "two": [[1, 2, 3, 4, 5, 6], [0.1, 2, 3, 4, 5, 6, 7, 8]],
    "runs": {"size": [2, 3], "counts": [1, 5]},
    "compressed runs": {"size": [2, 3], "counts": "15"},
}


def a_person(rng, outline, crowd=False, head=None):
    points = np.column_stack([rng.normal(100, 50, (17, 2)), rng.integers(0, 3, 17)])
    return Person(points, rng.normal(size=4), float(rng.random()), outline, crowd, head)


def same(one, other):
    arrays = np.array_equal(one.points, other.points) and np.array_equal(one.box_xywh, other.box_xywh)
    plain = [(p.area, p.outline, p.crowd, p.head_box, p.labelled) for p in (one, other)]
    return arrays and plain[0] == plain[1]


def test_people_come_back_in_the_order_of_the_file():
    """Of images in any order, some without people, ids from both ends; with outlines of all kinds, crowds and heads."""
    rng, ids = np.random.default_rng(0), [7, -(2**62), 2**62, 0, 5]
    images = PackedImages({number: Image(f"{number}.jpg", (4, 5)) for number in ids})
    want, rows = {number: [] for number in sorted(ids)}, Rows()
    for place, outline in enumerate([*OUTLINES.values()] * 8):
        number = ids[int(rng.integers(4))]  # nobody on the last one
        person = a_person(rng, outline, place % 5 == 0, (1.0, 2.0, 3.0, 4.5) if place % 3 == 0 else None)
        want[number].append(person)
        rows.add(number, person)
    people = PackedPeople(images, 17, rows)
    assert list(people) == list(want) and people[5] == []
    for number, each in want.items():
        assert len(people[number]) == len(each) and all(map(same, people[number], each))
    for chosen in ([], [0], [5], list(want)):
        assert people.labelled(chosen) == sum(person.labelled for number in chosen for person in want[number])
    with pytest.raises(KeyError):
        people[6]


@pytest.mark.parametrize("names", [[], [""], ["a.jpg", "ä/ü.png", "\udcff.jpg", "x" * 999, ""]], ids=len)
def test_images_come_back(names):
    images = {9 - place: Image(name, None if place % 2 else (place + 1, 70000)) for place, name in enumerate(names)}
    packed = PackedImages(images)
    assert dict(packed) == images and list(packed) == sorted(images)
    assert packed.nameless() == min((number for number, image in images.items() if not image.file_name), default=None)


def test_a_file_costs_few_objects(tmp_path):
    """Loader processes copy every object that they look at: there are as few for 2,000 people as for 20."""
    counts = []
    for count in (20, 2000):
        images = [{"id": number, "file_name": f"{number}.jpg", "height": 90, "width": 90} for number in range(count)]
        people = [
            {"id": n + 1, "image_id": n, "category_id": 1, "bbox": [1, 1, 50, 50], "area": 900.5, "iscrowd": 0}
            | {"keypoints": [9, 9, 2] * 17, "num_keypoints": 17, "segmentation": [[1, 1, 50, 1, 50, 50]]}
            for n in range(count)
        ]
        path = tmp_path / f"{count}.json"
        path.write_text(json.dumps({"images": images, "annotations": people, "categories": []}))
        del images, people
        gc.collect()
        before = len(gc.get_objects())
        labels = read_labels(path, COCO17)
        gc.collect()
        counts.append(len(gc.get_objects()) - before)
        assert labels.labelled(labels.images) == count and len(labels.people[count - 1]) == 1
    assert counts[1] <= max(counts[0], 0) + 100
