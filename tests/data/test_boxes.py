"""People's boxes: of the labels, and of files of detections."""

import json

import numpy as np
import pytest
from reference import top_down as published

from rtpe.data.boxes import THIN, cleaned_box, read_boxes, truth_boxes
from rtpe.data.coco import CocoDataset
from rtpe.images import write_image
from rtpe.structures import Boxes


def detection(image_id, box, score=0.5, **more):
    return {"image_id": image_id, "category_id": 1, "bbox": box, "score": score, **more}


def write(path, rows):
    path.write_text(rows if isinstance(rows, str) else json.dumps(rows))
    return path


@pytest.fixture
def labels(tmp_path):
    """One image of somebody, a crowd, somebody without a labelled joint and somebody without area; one of nobody."""
    seen, unseen = [5, 5, 2] + [0] * 48, [0] * 51
    people = [
        {"bbox": [1, 2, 3, 4], "keypoints": seen},
        {"bbox": [5, 6, 7, 8], "keypoints": seen, "iscrowd": 1},
        {"bbox": [5, 6, 7, 8], "keypoints": unseen},
        {"bbox": [5, 6, 0, 8], "keypoints": seen},
        {"bbox": [2, 2, 9, 9], "keypoints": seen},
    ]
    raw = {
        "images": [{"id": 7, "file_name": "7.jpg"}, {"id": 9, "file_name": "9.jpg"}],
        "annotations": [{"id": i, "image_id": 7, "category_id": 1, **each} for i, each in enumerate(people, 1)],
    }
    (tmp_path / "annotations").mkdir()
    write(tmp_path / "annotations/person_keypoints_val.json", raw)
    return CocoDataset(tmp_path, "val")


def test_the_labels_boxes_are_those_of_people_with_joints(labels):
    found = truth_boxes(labels)
    assert sorted(found) == [7, 9] and len(found[9]) == 0
    assert found[7].xywh.tolist() == [[1, 2, 3, 4], [2, 2, 9, 9]] and found[7].scores.tolist() == [1, 1]
    assert sorted(truth_boxes(labels.subset([9]))) == [9]


@pytest.mark.parametrize(
    "box, area, want",
    [
        ((10, 5, 20, 12), 100, [10, 5, 19, 11]),  # one pixel less
        ((0, 0, 40, 30), 100, [0, 0, 39, 29]),  # the whole image
        ((-5, -6, 20, 12), 100, [0, 0, 19, 11]),  # moved, not cut, at the left and the top, as published
        ((30, 20, 40, 40), 100, [30, 20, 9, 9]),
        ((10.5, 5.25, 20.25, 12.5), 0.5, [10.5, 5.25, 19.25, 11.5]),
        ((10, 5, 1, 12), 100, [10, 5, THIN, 11]),
        ((10, 5, 20, 0.5), 100, [10, 5, 19, THIN]),
        ((10, 5, 1, 1), 100, None),
        ((10, 5, 20, 12), 0, None),
        ((10, 5, 20, 12), -3, None),
        ((50, 5, 20, 12), 100, None),  # beside the image
        ((10, 30, 20, 12), 100, None),
    ],
)
def test_a_labelled_box_is_cleaned_as_published(box, area, want):
    assert cleaned_box(box, area, (30, 40)) == want


def test_cleaned_boxes_are_those_of_the_published_loader():
    rng = np.random.default_rng(0)
    for _ in range(2000):
        box = np.round(rng.uniform((-10, -10, 0, 0), (50, 50, 40, 40)), rng.integers(2))  # often whole pixels
        area = rng.choice([0, 1])
        want = published.cleaned(box.tolist(), area, 40, 30)
        if want is not None:  # of a box without extent the published crop has none either
            want = [*want[:2], *(max(side, THIN) for side in want[2:])] if max(want[2:]) > 0 else None
        assert cleaned_box(box, area, (30, 40)) == (None if want is None else pytest.approx(want, abs=1e-12))


@pytest.mark.parametrize("sized", [True, False])
def test_the_size_is_the_files_or_else_the_images(tmp_path, sized):
    """Without a height and a width in the file the image is opened; one that cannot be has nobody in it."""
    size = {"height": 30, "width": 40} if sized else {}
    numbers = (7, 8) if not sized else (7,)
    person = {"bbox": [30, 20, 40, 40], "keypoints": [35, 25, 2] + [0] * 48, "area": 50, "category_id": 1}
    raw = {
        "images": [{"id": number, "file_name": f"{number}.png", **size} for number in numbers],
        "annotations": [{"id": number, "image_id": number, **person} for number in numbers],
    }
    (tmp_path / "annotations").mkdir()
    (tmp_path / "images/val").mkdir(parents=True)
    write(tmp_path / "annotations/person_keypoints_val.json", raw)
    if not sized:
        write_image(tmp_path / "images/val/7.png", np.zeros((30, 40, 3), np.uint8))
    images = CocoDataset(tmp_path, "val")
    assert truth_boxes(images)[7].xywh.tolist() == [[30, 20, 40, 40]]
    found = truth_boxes(images, cleaned=True)
    assert found[7].xywh.tolist() == [[30, 20, 9, 9]] and sorted(found) == list(numbers)
    assert sized or len(found[8]) == 0


def test_detections_are_read_by_image(tmp_path):
    rows = [
        detection(7, [1, 2, 3, 4], 0.9),
        detection(8, [1, 2, 3, 4]),
        detection(7, [1, 2, 3, 4], 0.2),
        detection(7, [1, 2, 0, 4]),
        detection(7, [1, 2, 3, 4], category_id=3),
        detection(7, [5, 5, 5, 5], 0.5, keypoints=[0] * 51),
    ]
    found = read_boxes(write(tmp_path / "found.json", rows), [7, 9], least=0.3)
    assert found[7].scores.tolist() == pytest.approx([0.9, 0.5]) and found[7].xywh[1].tolist() == [5, 5, 5, 5]
    assert len(found[9]) == 0
    assert read_boxes(tmp_path / "found.json", []) == {}


@pytest.mark.parametrize(
    "rows, message",
    [
        ("[", "cannot be read \\(not JSON\\): pass --teacher.boxes labels, or a file"),
        ({"images": []}, "expected a list of COCO detections, got dict"),
        ([], "none of its 0 boxes is of these 2 images \\(the first of them is 7\\)"),
        (
            [detection(8, [1, 2, 3, 4])],
            "none of its 1 boxes is of these 2 images .*: pass the --teacher.boxes of this split",
        ),
        ([[1, 2, 3, 4]], "row 0: expected image_id, bbox of 4 numbers and score"),
        ([detection(7, [1, 2, 3])], "row 0: expected image_id, bbox of 4 numbers and score"),
        ([detection("seven", [1, 2, 3, 4])], "row 0: expected image_id, bbox of 4 numbers and score"),
        ([detection(7, [1, 2, 3, 4], None)], "row 0: expected image_id, bbox of 4 numbers and score"),
        ([detection(7, [0.1, 0.2, 0.5, 0.9])] * 3, r"expected pixels, got \[0.1, 0.2, 0.5, 0.9\] and the like, shares"),
        ([detection(7, [1, 2, 3, float("nan")])], "row 0: expected image_id, bbox of 4 numbers and score"),
    ],
)
def test_files_that_are_no_detections_of_these_images(tmp_path, rows, message):
    with pytest.raises(ValueError, match=f"^boxes .*found.json: {message}") as caught:
        read_boxes(write(tmp_path / "found.json", rows), [7, 9])
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(
        ValueError, match=r"^boxes .*: cannot be read \(No such file or directory\): pass --teacher.boxes"
    ):
        read_boxes(tmp_path / "gone.json", [7])


@pytest.mark.parametrize(
    "xywh, scores, message",
    [
        (np.zeros((2, 4)), np.zeros(1), r"boxes: expected \(P, 4\) and scores \(P,\), got \(2, 4\) and \(1,\)"),
        (np.zeros((1, 4)), np.zeros(1), "boxes: expected finite left, top, width and height, the last two above 0"),
        (np.full((1, 4), np.nan), np.zeros(1), "boxes: expected finite"),
    ],
)
def test_boxes_are_checked(xywh, scores, message):
    with pytest.raises(ValueError, match=message):
        Boxes(xywh, scores)
    assert len(Boxes.none()) == 0
