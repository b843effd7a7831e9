"""What a large label file says comes back from the derived file as it was, and never of other bytes, joints or code."""

import json
import os

import numpy as np
import pytest

from rtpe.data.labels import derived, read_labels
from rtpe.skeleton import COCO17, OPENPOSE18, Skeleton

RUNS = {"size": [60, 80], "counts": [10, 5, 4785]}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(derived, "LEAST_BYTES", 1)
    return tmp_path / "cache" / "rtpe" / "labels"


@pytest.fixture
def file(tmp_path):
    rng = np.random.default_rng(0)
    images = [{"id": number, "file_name": f"ä{number}.jpg", "height": 60, "width": 80} for number in (7, 3, 5)]
    images[1] = {"id": 3, "file_name": "3.jpg"}  # of no size
    people = []
    for number in range(12):
        points = np.column_stack([rng.integers(2, 30, (17, 2)) + 1 / 3, rng.integers(1, 3, 17)])
        each = {
            "id": number,
            "image_id": (7, 3, 3, 9)[number % 4],
            "category_id": 1,
            "keypoints": points.ravel().tolist(),
        }
        each |= {"bbox": [1, 2, 30.25, 40], "area": 500.5, "iscrowd": 0}
        each |= {
            "segmentation": [[[1, 2, 3, 4.5, 5, 6], [9, 8, 7, 6, 5, 4]], RUNS, [], [[1, 1, 2, 2, 3, 1]]][number // 3]
        }
        people.append(each | ({"area": 0} if number == 5 else {}) | ({"iscrowd": 1} if number == 4 else {}))
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({"images": images, "annotations": people, "categories": [{"id": 1, "name": "person"}]}))
    return path


def facts(labels):
    people = {
        number: [(p.points.tolist(), p.box_xywh.tolist(), p.area, p.outline, p.crowd, p.head_box) for p in own]
        for number, own in labels.people.items()
    }
    held = labels.skeleton, dict(labels.images), people, labels.category, labels.notes, labels.file
    return (*held, labels.labelled([3, 7]), labels.people.labelled_joints().tolist())


def test_everything_comes_back(folder, file):
    read = facts(read_labels(file, COCO17))
    (kept,) = folder.iterdir()
    before = kept.stat().st_ino
    assert facts(read_labels(file, COCO17)) == read
    assert facts(derived.load(kept.stem, str(file), COCO17)) == read and kept.stat().st_ino == before
    assert len(read[2][3]) == 6
    assert len(read[4]) == 2  # people of images that are not listed, and an estimated area


def test_a_file_elsewhere_is_named_where_it_is(folder, file, tmp_path):
    read_labels(file, COCO17)
    other = tmp_path / "moved.json"
    file.rename(other)
    labels = read_labels(other, COCO17)
    assert len(list(folder.iterdir())) == 1
    assert labels.file == str(other) and all(f"annotations {other}: " in note for note in labels.notes)


def test_another_byte_skeleton_or_code_is_read_anew(folder, file, monkeypatch):
    first = read_labels(file, COCO17)
    text = file.read_text()
    stat = file.stat()
    file.write_text(text.replace("500.5", "600.5"))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as large and as old as before
    assert {person.area for person in read_labels(file, COCO17).people[7]} == {600.5}
    assert {person.area for person in first.people[7]} == {500.5}
    assert len(list(folder.iterdir())) == 2
    swapped = Skeleton("swapped", (*COCO17.joints[1:], COCO17.joints[0]), COCO17.limbs, COCO17.sigmas)
    assert read_labels(file, swapped).skeleton == swapped
    assert read_labels(file, OPENPOSE18).skeleton == COCO17  # COCO's joints serve where OpenPose's are asked for
    assert len(list(folder.iterdir())) == 4
    monkeypatch.setattr(derived, "_code", lambda: b"another reader")
    read_labels(file, COCO17)
    assert len(list(folder.iterdir())) == 5


@pytest.mark.parametrize("harm", ["empty", "cut", "a bit", "another file", "a pickle"])
def test_a_harmed_derived_file_is_read_anew(harm, folder, file):
    read = facts(read_labels(file, COCO17))
    (kept,) = folder.iterdir()
    content = bytearray(kept.read_bytes())
    if harm == "empty":
        kept.write_bytes(b"")
    elif harm == "cut":
        kept.write_bytes(content[: len(content) // 2])
    elif harm == "a bit":
        content[len(content) // 2] ^= 8
        kept.write_bytes(content)
    elif harm == "another file":
        np.savez(kept, said=np.frombuffer(b"[]", np.uint8))
    else:
        np.savez(kept, said=np.array([{}], object))
    assert facts(read_labels(file, COCO17)) == read
    assert derived.load(kept.stem, str(file), COCO17) is not None  # written again


def test_nothing_is_kept_where_nothing_can_be_written(file, tmp_path, monkeypatch):
    monkeypatch.setattr(derived, "LEAST_BYTES", 1)
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a file"))
    assert len(read_labels(file, COCO17).people) == 3


def test_small_files_leave_nothing(file, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    read_labels(file, COCO17)
    assert not (tmp_path / "cache").exists()


def test_only_the_last_few_are_kept(folder, file):
    text = file.read_text()
    for number in range(derived.KEPT + 3):
        file.write_text(text + " " * number)
        read_labels(file, COCO17)
    assert len(list(folder.iterdir())) == derived.KEPT
