"""Several data sets as one: nothing is lost or doubled, each image keeps its own labels or none."""

import json

import numpy as np
import pytest
from miniature import samples, teacher_cache

from rtpe.data.coco import CocoDataset
from rtpe.data.concat import Concat, ConcatCaches
from rtpe.data.folder import FolderDataset
from rtpe.images import write_image
from rtpe.skeleton import LSP14


def labelled(root, *ids):
    """A labelled data set of these images, each of one grey."""
    images = [{"id": image_id, "file_name": f"{image_id}.png"} for image_id in ids]
    people = [
        {"id": image_id, "image_id": image_id, "bbox": [1, 1, 5, 5], "area": 25.0, "keypoints": [3, 3, 2] * 17}
        for image_id in ids
    ]
    for image_id in ids:
        write(root / "images/train" / f"{image_id}.png", image_id)
    (root / "annotations").mkdir()
    (root / "annotations/person_keypoints_train.json").write_text(json.dumps({"images": images, "annotations": people}))
    return CocoDataset(root, "train")


def photographs(root, *greys):
    for grey in greys:
        write(root / f"{grey}.png", grey)
    return FolderDataset(root)


def write(path, grey):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.full((8, 12, 3), grey, np.uint8))


def test_nothing_to_join():
    with pytest.raises(ValueError, match="nothing to join: name at least one data set"):
        Concat([])


def test_one_is_itself(tmp_path):
    alone = labelled(tmp_path, 7, 9)
    made = Concat([alone])
    assert [made.own_id(image_id) for image_id in made.ids] == alone.ids
    assert all((one.image == other.image).all() for one, other in zip(made, alone, strict=True))


def test_all_are_there_in_order_with_labels_of_their_own(tmp_path):
    """Two parts number an image alike; they stay two."""
    parts = [labelled(tmp_path / "a", 7, 9), photographs(tmp_path / "b", 40, 50), labelled(tmp_path / "c", 8, 9)]
    made = Concat(parts)
    assert len(made) == 6 and made.ids == [0, 1, 2, 3, 4, 5] == [each.image_id for each in made]
    assert [made.own_id(image_id) for image_id in made.ids] == [image_id for part in parts for image_id in part.ids]
    assert [each.image[0, 0, 0] for each in made] == [7, 9, 40, 50, 8, 9]
    assert [each.labelled for each in made] == [True, True, False, False, True, True]
    assert [len(each.points) for each in made] == [1, 1, 0, 0, 1, 1]
    assert made.with_labels().ids == [0, 1, 4, 5]


def test_images_of_all_parts_can_be_chosen(tmp_path):
    """They keep their ids, and a choice of a choice is one."""
    made = Concat([labelled(tmp_path / "a", 7, 9), photographs(tmp_path / "b", 40, 50)])
    chosen = made.subset([3, 1])
    assert [(each.image_id, each.image[0, 0, 0]) for each in chosen] == [(1, 9), (3, 50)] and len(made) == 4
    assert [each.image[0, 0, 0] for each in chosen.subset([0, 3])] == [50] and len(made.subset([])) == 0
    assert chosen.with_labels().ids == [1]


def test_a_data_set_that_is_there_twice(tmp_path):
    """Its images would weigh double."""
    parts = [labelled(tmp_path / "a", 7), CocoDataset(tmp_path / "a" / ".." / "a", "train")]
    with pytest.raises(ValueError, match=r"data .*a: train would be learnt from twice: name it once"):
        Concat(parts)


def test_other_joints(tmp_path):
    parts = [labelled(tmp_path / "a", 7), FolderDataset(photographs(tmp_path / "b", 40).root, skeleton=LSP14)]
    with pytest.raises(ValueError, match=r"data .*b: has lsp14, .*a coco17"):
        Concat(parts)


def test_what_was_said_of_an_image_is_looked_up_in_its_own_cache(tmp_path):
    """Both data sets have an image 1, seen by two teachers; the second one never saw its image 2."""
    caches = [
        teacher_cache(tmp_path / "first", samples(3, seed=1)),
        teacher_cache(tmp_path / "second", samples(1, seed=2)),
    ]
    held = ConcatCaches(Concat([labelled(tmp_path / "a", 1, 2, 3), labelled(tmp_path / "b", 1, 2)]), caches)
    for place, (cache, own_id) in enumerate([(0, 1), (0, 2), (0, 3), (1, 1)]):
        told = caches[cache].load(own_id).maps.heatmaps
        assert place in held and told.any() and (held.load(place).maps.heatmaps == told).all()
    assert 4 not in held


def test_whom_a_teacher_doubts_is_nobody(tmp_path):
    """Each data set has a threshold of its own; the maps stay as they are."""
    caches = [teacher_cache(tmp_path / name, samples(1)) for name in ("first", "second")]
    images = Concat([labelled(tmp_path / "a", 1), labelled(tmp_path / "b", 1)])
    (score,) = caches[0].load(1).poses.person_scores
    for thresholds, people in [((), [1, 1]), ((score, score), [1, 1]), ((score * 1.01, 0), [0, 1]), ((0, 1), [1, 0])]:
        held = ConcatCaches(images, caches, thresholds)
        assert [len(held.load(place).poses) for place in range(2)] == people
        assert (held.load(0).maps.heatmaps == caches[0].load(1).maps.heatmaps).all()
