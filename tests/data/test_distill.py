"""Training examples: what a view shows, labels say and the teacher said lie on each other; batches come as asked."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from miniature import FACE, STRIDE, cache_of, sample, samples, teach, teacher_cache

from rtpe.data.coco import CocoDataset
from rtpe.data.distill import TrainingExamples, limb_mask
from rtpe.data.loader import as_batch, batches, collate, epoch_order
from rtpe.data.settings import AugmentSettings
from rtpe.decode.grouping import GroupingSettings, group
from rtpe.geometry import cells, point_to_index
from rtpe.images import write_image
from rtpe.skeleton import Skeleton
from rtpe.structures import PoseMaps, Poses, Prediction

INPUT_HW, GRID_HW = (64, 96), (16, 24)
WILD = AugmentSettings(rotate=40.0, scale=(0.8, 1.3), shift=0.1, flip=0.5, light=0.2, noise=6.0, grey=0.1)


@pytest.fixture
def cache(tmp_path):
    return teacher_cache(tmp_path / "cache", samples(4))


def examples(photographs=None, cache=None, **options):
    return TrainingExamples(samples(4) if photographs is None else photographs, INPUT_HW, STRIDE, cache, **options)


def unlabelled(photograph):
    return replace(photograph, points=np.zeros((0, 3, 3), np.float32), person=None, labelled=False)


def poisoned(photograph):
    """Labels that would be noticed: the wrong people at the wrong places, and masks to match."""
    return replace(
        photograph,
        points=np.full((5, 3, 3), 13, np.float32),
        valid=np.zeros_like(photograph.valid),
        person=np.ones_like(photograph.valid),
    )


def assert_equal_examples(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def assert_equal_batches(one, other):
    for field in fields(one):
        assert torch.equal(getattr(one, field.name), getattr(other, field.name)), field.name


def test_an_example_is_small_and_complete(cache):
    """Dense targets are made where they are used: workers hand over points, masks of bytes, a map of halves."""
    example = examples(cache=cache)[0, 0]
    kinds = {name: (array.shape, array.dtype.name) for name, array in example.items()}
    assert kinds == {
        "images": ((*INPUT_HW, 3), "uint8"),
        "points": ((1, 3, 3), "float32"),
        "labelled": ((), "bool"),
        "valid": (GRID_HW, "uint8"),
        "person": (GRID_HW, "uint8"),
        "teacher": ((3, *GRID_HW), "float16"),
    }
    assert "teacher" not in examples()[0, 0]


def test_an_example_costs_the_same_whatever_the_data_sets_size():
    """A list of all indices for each example was as slow as the image; this one would take all memory."""

    class Endless:
        skeleton = FACE

        def __len__(self):
            return 10**12

        def __getitem__(self, index):
            return samples(4)[index % 4]

    one, other = examples(Endless())[0, 10**11 + 1], examples(samples(4), augment=None)[0, 1]
    assert_equal_examples(one, other)


def test_the_same_key_gives_the_same_view(cache):
    """A resumed run sees what it would have seen; another epoch, image or seed, something else."""
    made, again = (examples(cache=cache, augment=WILD, seed=3) for _ in range(2))
    assert_equal_examples(made[1, 2], again[1, 2])
    other = examples(cache=cache, augment=WILD, seed=4)
    for example in (made[0, 2], made[1, 1], other[1, 2]):
        assert not np.array_equal(example["images"], made[1, 2]["images"])


def test_labels_and_teacher_meet_in_every_view(cache):
    """Seen from the outside: the map of each joint peaks where the label of that joint is, mirrored or not.

    The teacher looked at stride 4 of the same size: enlarged at most 1.3 times, its peaks are exact to .3 cell.
    """
    made, compared = examples(cache=cache, augment=WILD), 0
    for key in [(epoch, index) for epoch in range(8) for index in range(4)]:
        example = made[key]
        maps = PoseMaps(example["teacher"].astype(np.float32), cells(STRIDE), INPUT_HW, FACE)
        found = group(maps, GroupingSettings()).points
        for joint, (x, y, visible) in enumerate(example["points"][0]):
            if visible and 10 < x < INPUT_HW[1] - 10 and 10 < y < INPUT_HW[0] - 10:
                assert np.abs(found[0, joint] - (x, y)).max() < 0.3 * STRIDE, (key, joint)
                compared += 1
    assert compared > 40


@pytest.fixture(params=[(256, 384), (255, 381)], ids=str)
def photographs(request, tmp_path):
    """Large JPEG files of a labelled data set, with an outline about each person's joints."""
    (tmp_path / "images/all").mkdir(parents=True)
    (tmp_path / "annotations").mkdir()
    people = []
    for one in samples(4, request.param, sigma=20.0):
        write_image(tmp_path / "images/all" / f"{one.image_id}.jpg", one.image, quality=98)
        places = one.points[0, :, :2]
        (left, top), (right, bottom) = places.min(0).tolist(), places.max(0).tolist()
        numbers = np.column_stack([point_to_index(places), [2, 2, 2]]).ravel().tolist()
        outline = [[left, top, right, top, right, bottom, left, bottom]]
        people.append({"image_id": one.image_id, "keypoints": numbers, "segmentation": outline})
    images = [{"id": row["image_id"], "file_name": f"{row['image_id']}.jpg"} for row in people]
    written = json.dumps({"images": images, "annotations": people})
    (tmp_path / "annotations/person_keypoints_all.json").write_text(written)
    return CocoDataset(tmp_path, "all", FACE)


@pytest.mark.parametrize("labels", [True, False])
def test_images_read_smaller_give_the_same_examples(photographs, tmp_path, labels):
    """The slow way reads every image whole. A side that is odd moves the center of the view by half a pixel at most."""
    cache = teacher_cache(tmp_path / "cache", list(photographs))
    calm = replace(WILD, noise=0.0)
    fast, slow = (examples(given, cache, labels=labels, augment=calm) for given in (photographs, list(photographs)))
    for key in [(epoch, index) for epoch in range(3) for index in range(4)]:
        one, other = fast[key], slow[key]
        seen = (one["points"][..., 2] > 0) & (other["points"][..., 2] > 0)
        assert np.abs(one["points"] - other["points"])[seen].max(initial=0) <= 0.5
        difference = one["images"].astype(int) - other["images"]
        assert np.abs(difference).mean() < 2 and np.abs(difference.mean()) < 0.5  # a spot falls by 6 levels a pixel
        assert np.abs(one["teacher"] - other["teacher"]).max() < 0.1
        assert np.abs(one["person"].astype(int) - other["person"]).mean() < 6  # edges alone, by a tenth of a cell
    assert photographs.reduced(0, 128).reduction == 2


def test_an_image_without_people():
    """Labelled as empty: it teaches that nobody is there."""
    empty = replace(samples(1)[0], points=np.zeros((0, 3, 3), np.float32), person=np.zeros((64, 64), np.uint8))
    example = examples([empty], augment=WILD)[0, 0]
    assert example["points"].shape == (0, 3, 3) and example["labelled"] and not example["person"].any()
    assert (example["valid"] == 255).all()


def test_unlabelled_images_take_the_teachers_people(cache):
    """A bare photograph among labelled ones."""
    photographs = [unlabelled(photograph) for photograph in samples(2)] + samples(4)[2:]
    made, labelled = examples(photographs, cache), examples(cache=cache)
    for index in range(2):
        taught, known = made[0, index], labelled[0, index]
        assert not taught["labelled"] and known["labelled"]
        np.testing.assert_allclose(taught["points"][..., :2], known["points"][..., :2], atol=0.3)  # pixels
        assert (taught["points"][..., 2] <= 1).all() and (known["points"][..., 2] == 2).all()  # scores, and labels
        assert taught["person"].any()
    assert made[0, 2]["labelled"]


def test_a_teachers_doubtful_joints_are_no_labels(tmp_path):
    photograph = samples(1)[0]
    told = teach(photograph.image)
    doubtful = replace(told.poses, scores=np.array([[0.9, 0.19, 0.5]]))
    cache = cache_of(tmp_path / "cache", {1: replace(told, poses=doubtful)})
    points = examples([unlabelled(photograph)], cache, joint_threshold=0.2)[0, 0]["points"]
    assert (points[0, :, 2] > 0).tolist() == [True, False, True]


def test_a_teachers_narrow_peaks_are_widened_if_asked(cache):
    """Of a perfect teacher's, whose peaks are one cell wide; twice as wide they have four times the heat."""
    narrow, same, wide = (examples(cache=cache, spread=spread)[0, 0]["teacher"] for spread in (0.0, 0.9, 2.0))
    assert (narrow == same).all()
    assert wide.astype(float).sum() / narrow.astype(float).sum() == pytest.approx(4, rel=0.1)


def test_a_teacher_who_saw_nobody(tmp_path):
    photograph = samples(1)[0]
    told = teach(photograph.image)
    cache = cache_of(tmp_path / "cache", {1: Prediction(told.maps, Poses.none(FACE))})
    example = examples([photograph], cache, labels=False)[0, 0]
    assert example["points"].shape == (0, 3, 3) and not example["person"].any()


def test_without_labels_none_are_looked_at(cache):
    """`--loss.labels 0` means it: wrong labels, and masks drawn by hand, change not one bit."""
    clean = examples(cache=cache, labels=False, augment=WILD)
    wrong = examples([poisoned(photograph) for photograph in samples(4)], cache, labels=False, augment=WILD)
    for key in [(0, 0), (1, 3)]:
        assert_equal_examples(clean[key], wrong[key])
        assert not clean[key]["labelled"] and (clean[key]["valid"] == 255).all()


def test_with_labels_the_masks_are_the_labels(cache):
    """The counterpart: the poison of the test before is noticed when labels are used."""
    example = examples([poisoned(photograph) for photograph in samples(4)], cache)[0, 0]
    inside = np.s_[2:14, 6:18]
    assert not example["valid"][inside].any() and example["person"][inside].all() and len(example["points"]) == 5


def test_nothing_to_learn_from():
    with pytest.raises(ValueError, match=r"nothing to learn from: give --cache.path, or --loss.labels above 0"):
        examples(labels=False)
    with pytest.raises(ValueError, match=r"no image to learn from: .* --train.holdout"):
        epoch_order(0, 4, seed=0, epoch=0)
    with pytest.raises(ValueError, match=r"an image has neither labels nor a teacher: give --cache.path"):
        examples([unlabelled(samples(1)[0])])[0, 0]


def test_an_image_the_teacher_never_saw(cache):
    with pytest.raises(ValueError, match="holds no image 99: build it for these images"):
        examples([replace(samples(1)[0], image_id=99)], cache)[0, 0]


def test_limbs_stand_in_for_a_body():
    """From the nose to either eye, as thick as a share of the person; nothing for what is not seen."""
    photograph = sample(1, [(32, 50), (12, 10), (52, 10)])
    people = photograph.points
    mask = limb_mask(photograph, people)
    assert mask[30, 22] and mask[30, 42] and not mask[10, 32] and 100 < mask.sum() < 1000
    hidden = people.copy()
    hidden[0, 1] = 0
    assert not limb_mask(photograph, hidden)[30, 22] and limb_mask(photograph, hidden)[30, 42]


def test_no_limbs_no_body():
    """Nobody, nobody visible, one joint, a skeleton without limbs: empty masks, no crash."""
    photograph = samples(1)[0]
    one_joint = photograph.points * np.array([1, 0, 0])[None, :, None]
    for people in (np.zeros((0, 3, 3)), np.zeros((2, 3, 3)), one_joint):
        assert not limb_mask(photograph, people).any()
    bare = replace(photograph, skeleton=Skeleton("dots", FACE.joints, (), FACE.sigmas))
    assert not limb_mask(bare, bare.points).any()


def test_a_batch_pads_with_people_who_are_absent(cache):
    crowd = replace(samples(2)[1], points=np.repeat(samples(2)[1].points, 3, 0))
    made = examples([samples(1)[0], crowd], cache)
    batch = as_batch(collate([made[0, 0], made[0, 1]]))
    assert batch.points.shape == (2, 3, 3, 3) and not batch.points[0, 1:].any() and batch.points[1, 2].any()
    assert batch.images.shape == (2, 3, *INPUT_HW) and batch.images.dtype == torch.uint8
    assert batch.valid.shape == batch.person.shape == (2, 1, *GRID_HW)
    assert batch.teacher.shape == (2, 3, *GRID_HW) and batch.teacher.dtype == torch.float16
    assert batch.labelled.tolist() == [True, True]


def test_colours_keep_their_channels():
    """Red is the first channel in every batch, as the nets' normalisation expects."""
    red = replace(samples(1)[0], image=np.full((64, 64, 3), (200, 10, 0), np.uint8))
    batch = as_batch(collate([examples([red])[0, 0]]))
    assert batch.images[0, :, 32, 48].tolist() == [200, 10, 0]


def test_masks_become_shares_and_validity_a_choice():
    """A cell half covered is half a person; whether its joints count is yes or no."""
    raw = collate([examples()[0, 0]])
    raw["valid"][0, 0, :3] = torch.tensor([0, 127, 128])
    raw["person"][0, 0, :3] = torch.tensor([0, 51, 255])
    batch = as_batch(raw)
    assert batch.valid[0, 0, 0, :3].tolist() == [0, 0, 1]
    torch.testing.assert_close(batch.person[0, 0, 0, :3], torch.tensor([0, 0.2, 1]))
    assert batch.teacher is None and batch.to(torch.device("cpu")).teacher is None


@pytest.mark.parametrize("count, batch, sizes", [(1, 4, [1]), (4, 4, [4]), (7, 3, [3, 3]), (9, 3, [3] * 3)])
def test_an_epoch_takes_each_image_once(count, batch, sizes):
    """In full batches; a short one would upset the batch norms."""
    order = epoch_order(count, batch, seed=5, epoch=2)
    keys = [key for keys in order for key in keys]
    assert [len(keys) for keys in order] == sizes
    assert len(set(keys)) == len(keys) and {epoch for epoch, _ in keys} <= {2}
    assert {index for _, index in keys} <= set(range(count))


def test_an_epochs_order_is_its_own():
    assert epoch_order(50, 5, 1, 0) == epoch_order(50, 5, 1, 0)
    shuffled = [[index for keys in epoch_order(50, 5, seed, epoch) for _, index in keys] for seed, epoch in
                [(1, 0), (1, 1), (2, 0)]]  # fmt: skip
    assert len({tuple(order) for order in shuffled}) == 3 and all(order != sorted(order) for order in shuffled)


def test_an_epoch_of_several_passes():
    """Each pass is one that would else be an epoch, with its views; full batches run across their ends."""
    order = epoch_order(7, 4, seed=5, epoch=2, passes=3)
    alone = [key for number in (6, 7, 8) for keys in epoch_order(7, 1, 5, number) for key in keys]
    assert [key for keys in order for key in keys] == alone[:20] and {len(keys) for keys in order} == {4}
    assert [len(keys) for keys in epoch_order(2, 32, 0, 0, passes=40)] == [32, 32]
    with pytest.raises(ValueError, match=r"train.passes_per_epoch: expected 1 or more, got 0"):
        epoch_order(7, 4, 0, 0, passes=0)


def test_batches_go_on_in_the_middle_of_an_epoch(cache):
    """What is left of an epoch is what would have followed."""
    made = examples(cache=cache, augment=WILD)
    whole = list(batches(made, 1, epoch=1))
    rest = list(batches(made, 1, epoch=1, start=2))
    assert len(whole) == 4 and len(rest) == 2
    for one, other in zip(whole[2:], rest):
        assert_equal_batches(one, other)
    assert list(batches(made, 1, epoch=1, start=4)) == []
    passes = list(batches(made, 1, epoch=0, passes=2))
    for one, other in zip(passes[4:], whole, strict=True):
        assert_equal_batches(one, other)


def test_processes_share_each_batch(cache):
    """Together they see what one would have seen, each image once."""
    made = examples(cache=cache)
    (whole,) = batches(made, 4, epoch=0)
    parts = [next(batches(made, 4, epoch=0, share=(rank, 2))) for rank in range(2)]
    assert torch.equal(parts[0].images, whole.images[0::2]) and torch.equal(parts[1].images, whole.images[1::2])


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(cache, workers):
    """Neither the order nor a random number may depend on who reads."""
    made = examples(cache=cache, augment=WILD)
    alone, helped = (list(batches(made, 2, epoch=0, workers=number)) for number in (0, workers))
    assert len(alone) == len(helped) == 2
    for one, other in zip(alone, helped):
        assert_equal_batches(one, other)
