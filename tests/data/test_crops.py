"""Crops of people: labels move with them, nobody else is labelled in them, and they are scored as images are."""

import json

import numpy as np
import pytest

from rtpe.data.coco import CocoDataset
from rtpe.data.crops import PersonCrops
from rtpe.data.load import open_dataset
from rtpe.data.settings import DataSettings
from rtpe.evaluation.score import score
from rtpe.geometry import index_to_point
from rtpe.images import UnreadableImage, read_image, write_image
from rtpe.skeleton import COCO17, OPENPOSE18
from rtpe.structures import Poses

SIZE_HW = (40, 60)


def a_person(number=1, box=(10, 5, 20, 30), points=((12, 7), (25.0, 30.0)), **changes):
    keypoints = np.zeros((17, 3))
    for joint, point in enumerate(points):
        keypoints[joint] = (*point, 2)
    row = {"id": number, "image_id": 7, "category_id": 1, "iscrowd": 0, "area": 300.0, "bbox": list(box)}
    return {**row, "num_keypoints": len(points), "keypoints": keypoints.ravel().tolist(), "segmentation": [], **changes}


@pytest.fixture
def whole(tmp_path):
    def make(*people, **options):
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / "images" / "val").mkdir(parents=True, exist_ok=True)
        ramp = np.add.outer(np.arange(SIZE_HW[0]), np.arange(SIZE_HW[1]))
        write_image(tmp_path / "images/val/7.png", np.repeat(ramp[..., None], 3, -1).astype(np.uint8))
        file = {"images": [{"id": 7, "file_name": "7.png"}], "annotations": list(people)}
        (tmp_path / "annotations/person_keypoints_val.json").write_text(json.dumps(file))
        return CocoDataset(tmp_path, "val", **options)

    return make


def test_nobody_no_crops(whole):
    assert list(PersonCrops(whole())) == []
    nobody = a_person(points=()), a_person(2, iscrowd=1), a_person(3, points=(), box=(10, 5, 0, 30))
    assert len(PersonCrops(whole(*nobody))) == 0


@pytest.mark.parametrize(
    "box, padding, corners",
    [
        ((10, 5, 20, 30), 1.0, (10, 5, 30, 35)),
        ((10.5, 5.2, 19, 29), 1.0, (10, 5, 30, 35)),
        ((10, 6, 20, 20), 1.5, (5, 1, 35, 31)),
        ((2, 1, 20, 30), 1.5, (0, 0, 27, 39)),
        ((50, 30, 30, 30), 1.0, (50, 30, 60, 40)),
    ],
)
def test_a_crop_is_the_box_grown_to_whole_pixels_and_cut_at_the_border(whole, box, padding, corners):
    (sample,) = PersonCrops(whole(a_person(box=box)), padding)
    left, top, right, bottom = corners
    assert sample.size_hw == (bottom - top, right - left)
    assert sample.image[0, 0, 0] == left + top and sample.image[-1, -1, 0] == right + bottom - 2
    want = index_to_point(np.array([[12, 7], [25, 30]])) - [left, top]
    np.testing.assert_array_equal(sample.points[0, :2], np.concatenate([want, [[2], [2]]], 1))
    assert not sample.points[0, 2:].any()
    ((person,),) = PersonCrops(whole(a_person(box=box)), padding).people.values()
    assert person.box_xywh.tolist() == pytest.approx([box[0] - left, box[1] - top, *box[2:]], abs=1e-5)  # float32


def test_each_person_is_alone_in_its_crop(whole):
    """Others may be seen in it; masks of crowds are cut out with it."""
    crowd = a_person(3, box=(20, 0, 40, 10), iscrowd=1)
    crops = PersonCrops(whole(a_person(), a_person(2, box=(0, 0, 60, 40), points=((1, 1),)), crowd))
    assert len(crops) == 2 and len(set(crops.ids)) == 2
    assert [len(sample.points) for sample in crops] == [1, 1]
    np.testing.assert_array_equal(crops.at(0).valid[:5, 10:], 0)
    assert crops.at(0).valid[5:].all() and crops.at(0).valid[:, :10].all()
    assert crops.subset(crops.ids[1:]).at(0).points[0, 0].tolist() == [1.5, 1.5, 2]
    assert [name for _, name in crops.records] == ["7.png#0:10,5,30,35", "7.png#1:0,0,60,40"]


def test_a_share_of_the_people_may_count_as_unlabelled(whole):
    crops = PersonCrops(
        whole(*(a_person(number, (10, 5, 20 + number, 30)) for number in range(1, 5)))
    ).with_share_of_labels(0.5)
    labelled = [sample for sample in crops if sample.labelled]
    assert len(crops) == 4 and len(labelled) == 2 and {each.image_id for each in labelled}.isdisjoint(crops.bare)
    assert [each.image_id for each in labelled] == crops.with_labels().ids
    bare = crops.subset(crops.bare).at(0)
    assert bare.points.shape == (0, 17, 3) and bare.valid.all() and bare.person is None
    with pytest.raises(ValueError, match=r"data\.labels: expected a share from 0 to 1, got 2"):
        crops.with_share_of_labels(2)


def test_what_a_cache_reads_is_what_training_sees(whole):
    crops = PersonCrops(whole(a_person()), 1.3)
    ((crop_id, _, source),) = crops.sources()
    np.testing.assert_array_equal(read_image(source), crops.at(0).image)
    assert crop_id == crops.at(0).image_id == crops.ids[0]


@pytest.mark.parametrize("skeleton", [COCO17, OPENPOSE18])
def test_a_perfect_pose_in_each_crop_scores_one(whole, skeleton):
    """And one that is moved by the corner of its crop, as if it were in the whole image, does not."""
    people = [a_person(), a_person(2, box=(15, 10, 40, 25), points=[(20 + k, 15 + k) for k in range(17)])]
    crops = PersonCrops(whole(*people, skeleton=skeleton))

    def scored(shift):
        found = []
        for sample in crops:
            scores = (sample.points[..., 2] > 0).astype(np.float32)
            found.append((sample.image_id, Poses(sample.points[..., :2] + shift, scores, [1.0], skeleton)))
        return score(found, crops)[0]

    assert scored(0)["AP"] == pytest.approx(1) and scored(10)["AP"] < 0.1


def test_a_box_outside_of_its_image_is_an_image_that_cannot_be_read(whole):
    crops = PersonCrops(whole(a_person(box=(70, 5, 20, 30))))
    for read in (lambda: crops.at(0), crops.sources()[0][2].read):
        with pytest.raises(UnreadableImage, match=r"7.png: a person's box, \(70, 5, 90, 35\), lies outside of it"):
            read()


def test_the_setting_chooses_crops(whole):
    root = whole(a_person(), a_person(2, (10, 5, 25, 30))).root
    settings = DataSettings(root=str(root), split="val", crops=1.25)
    assert len(open_dataset(settings)) == 2 and open_dataset(settings).split == "val, people times 1.25"
    assert isinstance(open_dataset(DataSettings(root=str(root), split="val")), CocoDataset)
    with pytest.raises(ValueError, match=r"nobody labelled the people to crop: leave out --data\.crops"):
        open_dataset(DataSettings(root=str(root / "images" / "val"), crops=1.0))
    with pytest.raises(ValueError, match=r"crops: expected 0, or 0\.1 or more, got -1\.0"):
        open_dataset(DataSettings(root=str(root), split="val", crops=-1.0))
