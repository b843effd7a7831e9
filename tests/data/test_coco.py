"""COCO files: half a pixel for integer keypoints, regions nobody labelled, person masks, and what a bad file says."""

import json
import re

import numpy as np
import pytest
from pycocotools import mask as rle

from rtpe.data.coco import CocoDataset, fixed_choice
from rtpe.data.labels import openpose_points
from rtpe.images import UnreadableImage, encode_jpeg, write_image
from rtpe.skeleton import COCO17, LSP14, OPENPOSE18

SIZE_HW = (40, 60)
SQUARE = np.s_[10:20, 30:50]  # rows and columns


def a_person(image_id=1, **changes):
    """A labelled person without an outline."""
    keypoints = [0] * 51
    keypoints[:6] = [12, 7, 2, 1, 0, 1]
    row = {"id": 1, "image_id": image_id, "category_id": 1, "iscrowd": 0, "area": 99.0, "bbox": [5, 5, 10, 10]}
    return {**row, "num_keypoints": 2, "keypoints": keypoints, "segmentation": [], **changes}


def nobody_labelled(**changes):
    return a_person(**{"keypoints": [0] * 51, "bbox": [30, 10, 20, 10], **changes})


def square_mask():
    mask = np.zeros(SIZE_HW, np.uint8)
    mask[SQUARE] = 1
    return mask


def compressed():
    made = rle.encode(np.asfortranarray(square_mask()))
    return {"size": made["size"], "counts": made["counts"].decode()}


def uncompressed():
    """Run lengths down the columns, zeros first."""
    flat = square_mask().T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    return {"size": list(SIZE_HW), "counts": np.diff([0, *edges, flat.size]).tolist()}


OUTLINES = {
    "compressed": compressed(),
    "uncompressed": uncompressed(),
    "polygon": [[30, 10, 50, 10, 50, 20, 30, 20]],
    "box": [],
}


@pytest.fixture
def dataset(tmp_path):
    """Writes images 3, 1, 2, in this order, and the annotations; opens them."""

    def make(annotations=(), ids=(3, 1, 2), text=None, sizes=True, **options):
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / "images" / "val").mkdir(parents=True, exist_ok=True)
        size = {"height": SIZE_HW[0], "width": SIZE_HW[1]} if sizes else {}
        images = [{"id": i, "file_name": f"{i}.png", **size} for i in ids]
        for i in ids:
            write_image(tmp_path / "images" / "val" / f"{i}.png", np.full((*SIZE_HW, 3), i, np.uint8))
        written = json.dumps({"images": images, "annotations": list(annotations)}) if text is None else text
        (tmp_path / "annotations" / "person_keypoints_val.json").write_text(written)
        return CocoDataset(tmp_path, "val", **options)

    return make


def test_an_image_without_people(dataset):
    """Half of the images of a split are of this kind, and the first to break a batch."""
    sample = dataset().at(0)
    assert sample.points.shape == (0, 17, 3) and sample.points.dtype == np.float32
    assert sample.valid.all() and sample.valid.dtype == np.uint8
    assert sample.person is not None and not sample.person.any() and sample.labelled


def test_no_images(dataset):
    assert list(dataset(ids=())) == []


def test_images_come_by_id(dataset):
    """The order of the file is an accident; results, caches and epochs go by id."""
    made = dataset()
    assert made.ids == [1, 2, 3]
    assert [sample.image_id for sample in made] == [1, 2, 3]
    assert [sample.image[0, 0, 0] for sample in made] == [1, 2, 3]
    assert [(i, name, source.path.name) for i, name, source in made.sources()] == [
        (i, f"{i}.png", f"{i}.png") for i in (1, 2, 3)
    ]


def test_integer_keypoints_are_pixel_centers(dataset):
    """Pixel 12 is labelled, so the joint is taken to be at its center; joint 1 at pixel (1, 0) is labelled, too."""
    (person,) = dataset([a_person()]).at(0).points
    assert person[0].tolist() == [12.5, 7.5, 2.0]
    assert person[1].tolist() == [1.5, 0.5, 1.0]
    assert not person[2:].any()  # what is not labelled is nowhere, not at half a pixel


@pytest.mark.parametrize("kind", sorted(OUTLINES))
@pytest.mark.parametrize("why", ["crowd", "unlabelled"])
def test_unlabelled_people_make_a_region_invalid(dataset, why, kind):
    """Joints there are unknown: counted as background, they would teach the student not to see people."""
    row = a_person(iscrowd=1, bbox=[30, 10, 20, 10]) if why == "crowd" else nobody_labelled()
    sample = dataset([{**row, "segmentation": OUTLINES[kind]}]).at(0)
    assert len(sample.points) == 0
    assert not sample.valid[SQUARE].any()
    assert (sample.valid == 0).sum() <= 11 * 21  # a polygon's own edge pixels belong to it


def test_a_person_without_keypoints_is_unlabelled(dataset):
    """Some files leave the list out, or empty."""
    for missing in ([], None):
        assert not dataset([nobody_labelled(keypoints=missing)]).at(0).valid[SQUARE].any()
    row = nobody_labelled()
    del row["keypoints"]
    assert not dataset([row]).at(0).valid[SQUARE].any()


def test_a_box_that_leaves_the_image_covers_what_is_inside(dataset):
    """Negative indices would count from the other end."""
    valid = dataset([nobody_labelled(bbox=[-5, -5, 10, 10]), nobody_labelled(bbox=[-20, -20, 10, 10])]).at(0).valid
    assert not valid[:5, :5].any() and valid.sum() == valid.size - 25


def test_labelled_people_leave_the_image_valid(dataset):
    assert dataset([a_person(segmentation=OUTLINES["polygon"])]).at(0).valid.all()


def test_the_person_mask_is_the_union_of_outlines(dataset):
    """Labelled or not, a body is a body."""
    rows = [a_person(segmentation=[[0, 0, 8, 0, 8, 8, 0, 8]]), nobody_labelled(segmentation=OUTLINES["compressed"])]
    person = dataset(rows).at(0).person
    assert person[SQUARE].all() and person[:8, :8].all() and person.sum() <= 10 * 20 + 9 * 9


def test_no_person_mask_if_somebody_has_no_outline(dataset):
    """A box is no body, and a mask that lacks somebody would teach the attention to look away."""
    assert dataset([a_person(segmentation=OUTLINES["polygon"]), a_person(bbox=[9, 8, 7, 6])]).at(0).person is None


def test_only_some_images(dataset):
    made = dataset([a_person(2)])
    assert made.subset([3, 2]).ids == [2, 3] and made.subset([]).ids == [] and made.ids == [1, 2, 3]
    assert made.with_labels().ids == [2]
    assert dataset([a_person(2)], ids=(2, 3)).ids == [2, 3]
    assert len(made.subset([2])[2].points) == 1


@pytest.mark.parametrize("share, kept", [(0, 0), (1 / 3, 1), (0.5, 2), (1, 3)], ids=str)
def test_images_without_their_share_of_labels_are_bare_photographs(dataset, share, kept):
    whole = dataset([a_person(image_id, segmentation=OUTLINES["polygon"]) for image_id in (1, 2, 3)])
    made = whole.with_share_of_labels(share)
    samples = list(made)
    assert made.ids == whole.ids and sum(each.labelled for each in samples) == kept == 3 - len(made.bare)
    assert {each.image_id for each in samples if not each.labelled} == made.bare
    for each in samples:
        assert len(each.points) == each.labelled and (each.person is not None) == each.labelled and each.valid.all()
    assert set(made.with_labels().ids) == set(made.ids) - made.bare
    assert made.with_share_of_labels(1).bare == whole.bare == frozenset()


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none(dataset, share):
    with pytest.raises(ValueError, match=r"data.labels: expected a share from 0 to 1, got"):
        dataset().with_share_of_labels(share)


@pytest.mark.parametrize("count", [0, 1, 7, 50, 99])
def test_a_choice_is_fixed(count):
    """Chosen anew on each start, a resumed run would train on what it is judged by."""
    ids = list(range(100, 150))
    chosen = fixed_choice(ids, count)
    assert chosen == sorted(set(chosen)) and len(chosen) == min(count, 50) and set(chosen) <= set(ids)
    assert fixed_choice(ids[::-1], count) == chosen


def test_a_choice_grows_with_their_number():
    """A larger holdout holds the smaller one; and it is no mere beginning of the list."""
    ids = list(range(1000))
    assert set(fixed_choice(ids, 10)) < set(fixed_choice(ids, 50))
    assert np.mean(fixed_choice(ids, 50)) > 300


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"images": []}'])
def test_a_file_that_is_no_keypoint_file(dataset, text):
    with pytest.raises(ValueError, match=r"annotations .*person_keypoints_val.json: (not JSON|expected a COCO file)"):
        dataset(text=text)


def test_a_missing_file_names_the_settings(tmp_path):
    want = f"annotations {tmp_path}/annotations/person_keypoints_val.json: No such file or directory: check --data.root"
    with pytest.raises(ValueError, match=re.escape(want)):
        CocoDataset(tmp_path, "val")


def test_another_number_of_keypoints_names_the_setting(dataset):
    """Read as 17, 14 joints would be the joints of somebody else."""
    row = a_person(id=1047, keypoints=[1, 1, 2] * 14)
    want = "annotation 1047 has 14 keypoints, skeleton coco17 has 17: pass --data.skeleton"
    with pytest.raises(ValueError, match=want):
        dataset([row])
    assert dataset([row], skeleton=LSP14).at(0).points.shape == (1, 14, 3)


OTHER_HW = [20, 60]
EMPTY_RUNS = {"compressed": rle.encode(np.zeros(OTHER_HW, np.uint8, order="F"))["counts"].decode(), "plain": [1200]}


@pytest.mark.parametrize("counts", EMPTY_RUNS.values(), ids=EMPTY_RUNS)
@pytest.mark.parametrize("iscrowd", [0, 1])
def test_a_mask_of_another_size_than_its_image_is_named(dataset, counts, iscrowd):
    """Taken for an empty one, it would make background of the people in it."""
    row = a_person(2, id=1047, iscrowd=iscrowd, segmentation={"size": OTHER_HW, "counts": counts})
    want = "annotation 1047 has a mask of height 20, width 60, its image 2 is of height 40, width 60: correct or remove"
    with pytest.raises(ValueError, match=want):
        dataset([row])
    made = dataset([row], sizes=False)  # then the image itself tells
    assert made.at(0).valid.all()
    for least in (60, 30):
        with pytest.raises(
            ValueError, match=r"image .*2\.png: has masks of height 20, width 60, which is not its size"
        ):
            made.reduced(1, least)


@pytest.mark.parametrize("damage", ["missing", "torn"])
def test_an_unreadable_image_is_the_error_that_can_be_skipped(dataset, damage):
    made = dataset([a_person()])
    path = made.path(0)
    path.unlink()
    if damage == "torn":
        path.write_bytes(encode_jpeg(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))[:900])
    with pytest.raises(UnreadableImage, match=rf"image {re.escape(str(path))}: (No such file|truncated)"):
        made.at(0)
    assert made.at(1).image_id == 2


def test_the_default_skeleton_is_cocos(dataset):
    assert dataset().skeleton == COCO17


@pytest.mark.parametrize("kind", sorted(OUTLINES))
def test_a_halved_sample_has_all_of_it_halved(dataset, kind):
    """The square from (30, 10) to (50, 20) is that from (15, 5) to (25, 10), whatever it was drawn with."""
    made = dataset([a_person(segmentation=OUTLINES[kind]), nobody_labelled(segmentation=OUTLINES[kind])])
    whole, half = made.at(0), made.reduced(0, 30)
    assert (whole.reduction, half.reduction, half.size_hw) == (1, 2, (20, 30))
    assert half.image_id == 1 and half.to_image(half.points[..., :2]).tolist() == whole.points[..., :2].tolist()
    assert half.points[..., 2].tolist() == whole.points[..., 2].tolist()
    square = np.s_[5:10, 15:25]
    assert not half.valid[square].any() and (half.valid == 0).sum() <= 6 * 11  # a polygon's own edge belongs to it
    if kind == "box":
        assert half.person is None
    else:
        assert half.person[square].all() and half.person.sum() <= 6 * 11


def test_a_halved_crowd_counts_where_half_of_a_pixel_is_covered(dataset):
    """Sampled at one corner of each block instead, the crowd would be moved by half a pixel."""
    mask = np.zeros(SIZE_HW, np.uint8)
    mask[10:21, 31:50] = 1  # half of row 10, half of column 15
    runs = rle.encode(np.asfortranarray(mask))
    crowd = a_person(iscrowd=1, segmentation={"size": runs["size"], "counts": runs["counts"].decode()})
    want = np.ones((20, 30), np.uint8)
    want[5:11, 15:25] = 0
    want[10, 15] = 1  # a quarter
    np.testing.assert_array_equal(dataset([crowd]).reduced(0, 30).valid, want)


def test_cocos_joints_as_openposes():
    """The order that ControlNet's annotator has, by hand; the neck is between the shoulders."""
    points = np.array([[10 * i + 1, 20 * i + 2, 2] for i in range(17)], np.float32)
    want = [
        (1, 2), (56, 112), (61, 122), (81, 162), (101, 202), (51, 102), (71, 142), (91, 182), (121, 242), (141, 282),
        (161, 322), (111, 222), (131, 262), (151, 302), (21, 42), (11, 22), (41, 82), (31, 62),
    ]  # fmt: skip
    made = openpose_points(points)
    assert made.dtype == np.float32 and (made[:, 2] == 2).all()
    assert made[:, :2].tolist() == [list(xy) for xy in want]
    points[6] = 0
    made = openpose_points(points)
    assert np.flatnonzero(made[:, 2] == 0).tolist() == [1, 2] and (made[[1, 2]] == 0).all()


@pytest.mark.parametrize("count, labelled_as", [(17, COCO17), (18, OPENPOSE18)])
def test_openposes_joints_are_made_of_cocos_or_read_as_they_are(dataset, count, labelled_as):
    keypoints = [7, 3, 2] * count
    made = dataset([a_person(keypoints=keypoints)], skeleton=OPENPOSE18)
    assert made.labelled_as == labelled_as and made.skeleton == OPENPOSE18
    assert made.at(0).points.tolist() == [[[7.5, 3.5, 2]] * 18]
    assert dataset([a_person(keypoints=[])], skeleton=OPENPOSE18).labelled_as == OPENPOSE18
