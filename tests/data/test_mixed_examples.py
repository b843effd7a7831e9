"""Mixed examples: joints stay with what their image showed, whichever the views, mirrors, partners and labels were."""

from dataclasses import replace

import numpy as np
import pytest
from miniature import FACE, STRIDE, sample, samples, teacher_cache

from rtpe.data.distill import TrainingExamples
from rtpe.data.loader import as_batch, collate
from rtpe.data.mix import quadrants
from rtpe.data.settings import AugmentSettings
from rtpe.data.transforms import photometric, random_view, warp_points
from rtpe.decode.peaks import dark
from rtpe.raster import warp

INPUT_HW, GRID_HW = (128, 160), (32, 40)
PLAIN = AugmentSettings(light=0, noise=0, grey=0)
ABSENT = np.zeros((0, 3, 3), np.float32)


def rng(seed=0):
    return np.random.default_rng(seed)


def examples(photographs, cache=None, augment=PLAIN, **options):
    return TrainingExamples(photographs, INPUT_HW, STRIDE, cache, augment=augment, **options)


@pytest.fixture
def cache(tmp_path):
    return teacher_cache(tmp_path / "cache", samples(5))


def cross(made, key):
    """Where the cross of an example's mosaic is: its generator drawn from once more."""
    again = rng([made.seed, *key])
    again.random()
    return quadrants(INPUT_HW, STRIDE, again)[0]


@pytest.mark.parametrize("flip", [0.0, 1.0], ids=["plain", "mirrored"])
def test_joints_stay_with_their_spots_and_blobs(tmp_path, flip):
    """In every quadrant the label of a joint lies on the spot of its colour, in a mirror on that of the other side, and
    the teacher's map, enlarged at most 1.3 times in the largest quadrant, peaks within .3 cell of it.
    """
    photographs, settings = samples(5, sigma=8.0), replace(PLAIN, scale=(0.6, 0.95), mosaic=1.0, flip=flip)
    made = examples(photographs, teacher_cache(tmp_path / "cache", photographs), settings)
    compared = np.zeros(4, int)
    for key in [(epoch, index) for epoch in range(5) for index in range(5)]:
        example, (top, left) = made[key], cross(made, key)
        for joint, (x, y, visible) in [(k, at) for person in example["points"] for k, at in enumerate(person)]:
            below, right = y >= top, x >= left
            near_y = min(y - top if below else y, (INPUT_HW[0] if below else top) - y)
            near_x = min(x - left if right else x, (INPUT_HW[1] if right else left) - x)
            if not visible or min(near_x, near_y) < 10:
                continue
            rows = slice(top // STRIDE, None) if below else slice(0, top // STRIDE)
            columns = slice(left // STRIDE, None) if right else slice(0, left // STRIDE)
            heat = example["teacher"][joint, rows, columns].astype(np.float32)
            peak = np.unravel_index(heat.argmax(), heat.shape)
            found = dark(heat[None], [0], *([at] for at in peak))[0] * STRIDE + (left * right, top * below)
            assert np.abs(found - (x, y)).max() < 0.3 * STRIDE, (key, joint)
            colour = FACE.flip[joint] if flip else joint
            assert example["images"][int(y), int(x), colour] > 200, (key, joint)
            compared[2 * below + right] += 1
    assert (compared > 15).all()


def test_nobody_reaches_over_the_cross(cache):
    """All joints that a person has left are in one quadrant, however far views stray."""
    wild = AugmentSettings(rotate=90.0, scale=(0.8, 2.0), shift=0.4, mosaic=1.0)
    made, people_seen, cut = examples(samples(5), cache, wild), 0, 0
    for key in [(epoch, index) for epoch in range(4) for index in range(5)]:
        (top, left), points = cross(made, key), made[key]["points"]
        for person in points:
            x, y, _ = person[person[:, 2] > 0].T
            assert len(set(zip(x >= left, y >= top))) == 1
            people_seen, cut = people_seen + 1, cut + (len(x) < 3)
    assert people_seen > 20 and cut > 5


def paste_pair(flip=0.0):
    """An empty dark image and one of a person: which of the two lies below is the key's."""
    empty = replace(
        samples(1)[0], image=np.full((64, 64, 3), 20, np.uint8), points=ABSENT, person=np.zeros((64, 64), "u1")
    )
    return [empty, samples(2)[1]], replace(PLAIN, paste=1.0, flip=flip)


@pytest.mark.parametrize("labels", [True, False], ids=["labels", "teacher"])
@pytest.mark.parametrize("flip", [0.0, 1.0], ids=["plain", "mirrored"])
def test_pasted_people_bring_their_joints(tmp_path, labels, flip):
    """By outlines, or by limbs between the teacher's joints: on dark ground each lies on the spot of its colour."""
    photographs, settings = paste_pair(flip)
    made = examples(photographs, teacher_cache(tmp_path / "cache", photographs), settings, labels=labels)
    compared = 0
    for epoch in range(30):
        example = made[epoch, 0]
        assert len(example["points"]) <= 1 and (example["labelled"] == labels)
        for joint, (x, y, visible) in [(k, at) for person in example["points"] for k, at in enumerate(person)]:
            if visible and min(x, y, INPUT_HW[1] - x, INPUT_HW[0] - y) > 10:
                colour = FACE.flip[joint] if flip else joint
                assert example["images"][int(y), int(x), colour] > 200
                cell = int(y / STRIDE), int(x / STRIDE)
                assert example["teacher"][joint][cell] > 0.6 and example["person"][cell] > 200
                compared += 1
    assert compared > 20


def test_crowds_are_not_pasted():
    """Nobody labelled their joints: they would be taught to be no people."""
    (empty, person), settings = paste_pair()
    crowd = replace(person, points=ABSENT, valid=1 - person.person)
    made = examples([empty, crowd], augment=settings)
    for epoch in range(8):
        assert (made[epoch, 0]["images"].max(-1) <= 20).all() and not made[epoch, 0]["person"].any()


@pytest.mark.parametrize("labels", [True, False], ids=["labels", "teacher"])
def test_one_image_mixes_with_itself(cache, labels):
    made = examples(samples(1), cache, replace(PLAIN, mosaic=1.0, paste=1.0), labels=labels)
    example = made[0, 0]
    assert example["images"].shape == (*INPUT_HW, 3) and 1 <= len(example["points"]) <= 5
    assert example["teacher"].shape == (3, *GRID_HW) and example["person"].shape == GRID_HW


def test_masks_that_nobody_asks_for_are_not_made(cache):
    """All else is as with them."""
    settings = replace(PLAIN, mosaic=0.5, paste=1.0)
    asked, bare = (examples(samples(4), cache, settings, person=person) for person in (True, False))
    for epoch in range(6):
        one, other = asked[epoch, 0], bare[epoch, 0]
        assert "person" in one and one.keys() - {"person"} == other.keys()
        assert all(np.array_equal(one[name], other[name]) for name in other)
    assert as_batch(collate([other])).person is None


def test_nobody_anywhere():
    """Images that are labelled as empty, mixed, are one."""
    empty, _ = paste_pair()[0]
    example = examples([empty], augment=replace(PLAIN, mosaic=1.0, paste=1.0))[0, 0]
    assert example["points"].shape == (0, 3, 3) and example["labelled"] and not example["person"].any()
    assert example["valid"].all()


def test_an_image_without_labels_among_others(cache):
    """What it is mixed into is no truth any more."""
    photographs = [replace(samples(1)[0], points=ABSENT, person=None, labelled=False), *samples(5)[1:]]
    made = examples(photographs, cache, replace(PLAIN, mosaic=1.0))
    assert not made[0, 0]["labelled"] and len({bool(made[0, index]["labelled"]) for index in range(5)}) == 2


def test_mixtures_are_what_their_key_drew(cache):
    """Seed, epoch and index; some are mosaics, some pastes, some both, some neither, and all stack to a batch."""
    settings = AugmentSettings(mosaic=0.5, paste=0.5)
    keys = [(epoch, index) for epoch in range(2) for index in range(5)]
    made, again = (examples(samples(5), cache, settings, seed=3) for _ in range(2))
    for key in keys:
        one, other = made[key], again[key]
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    assert not np.array_equal(made[0, 0]["images"], made[1, 0]["images"])
    batch = collate([made[key] for key in keys])
    present = (batch["points"][..., 2] > 0).any(-1).sum(-1)
    assert batch["images"].shape == (10, *INPUT_HW, 3) and len(set(present.tolist())) >= 3


def test_unmixed_views_are_what_they_were():
    """Where nothing is to be mixed, no number is drawn for it: recorded runs can be repeated."""
    photograph, settings = samples(1)[0], AugmentSettings()
    drawn = rng([0, 7, 0])
    view = random_view(photograph.size_hw, INPUT_HW, settings, drawn)
    example = examples([photograph], augment=settings)[7, 0]
    np.testing.assert_array_equal(example["points"], warp_points(photograph.points, view, INPUT_HW, FACE.flip))
    want = photometric(warp(photograph.image, view, INPUT_HW), settings, drawn)
    np.testing.assert_array_equal(example["images"], want)


def test_mixtures_happen_as_often_as_asked():
    """A person a quadrant: four people are a mosaic, two a paste."""
    photograph = sample(1, [(32, 40), (20, 24), (44, 24)])
    still = replace(PLAIN, rotate=0.0, scale=(0.5, 0.5), shift=0.0)
    for settings, most in [(replace(still, mosaic=0.3), 4), (replace(still, paste=0.3), 2)]:
        made = examples([photograph], augment=replace(settings, shift=0.3 * (most == 2)))
        share = np.mean([len(made[epoch, 0]["points"]) == most for epoch in range(200)])
        assert 0.15 < share < 0.4  # .3, four standard deviations of it; a pasted person may cover the other
