"""Six labelled images and people found on them: what tests of label files change, and must not change."""

import numpy as np

from rtpe.data.labels import read_labels
from rtpe.evaluation.oks import score_keypoints
from rtpe.skeleton import COCO17

HW = (120, 160)


def people_of(image_id, rng):
    """One person of an image, two of the last."""
    for number in range(1 + (image_id == 6)):
        points = rng.integers(20, 60, (17, 2)) + number * np.array([40, 10])
        low, sides = points.min(axis=0), np.ptp(points, axis=0)
        seen = np.where(rng.random(17) < 0.2, 0, 2)
        yield {
            "id": 10 * image_id + number,
            "image_id": image_id,
            "category_id": 1,
            "iscrowd": 0,
            "area": float(0.6 * sides.prod()),
            "bbox": [*low.tolist(), *sides.tolist()],
            "keypoints": np.where(seen[:, None] > 0, np.column_stack([points, seen]), 0).ravel().tolist(),
            "num_keypoints": int((seen > 0).sum()),
            "segmentation": [],
        }


def a_file():
    """Six images, seven people with labelled joints."""
    rng = np.random.default_rng(3)
    return {
        "images": [{"id": i, "file_name": f"{i}.jpg", "height": HW[0], "width": HW[1]} for i in range(1, 7)],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO17.joints)}],
        "annotations": [person for i in range(1, 7) for person in people_of(i, rng)],
    }


def detections(category=1):
    """People found beside the labelled ones, the worse the further on in the file."""
    rng, rows = np.random.default_rng(4), []
    for place, person in enumerate(a_file()["annotations"]):
        points = np.array(person["keypoints"], float).reshape(17, 3)
        points[:, :2] += rng.normal(0, 0.4 * place, (17, 2))
        points[:, 2] = 1
        row = {"image_id": person["image_id"], "category_id": category, "score": 1 - place / 10}
        rows.append(row | {"keypoints": points.ravel().tolist()})
    return rows


def scores(raw, category=1):
    labels = read_labels(raw, COCO17, "labels.json")
    return score_keypoints(labels, detections(category), None, COCO17), labels.notes


REFERENCE = scores(a_file())[0]


def each(raw, what, **changes):
    """The file with these changes to every image, category or annotation; None removes a field."""
    for row in raw[what]:
        row.update(changes)
        for name in [name for name, value in row.items() if value is ...]:
            del row[name]
    return raw
