"""People from centers and offsets: drawn and read again, against every assignment, and from maps that say nothing."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from reference import centers as slow
from torch import nn

from rtpe.data.targets import gaussian_maps, offset_targets, person_centers
from rtpe.decode.center_offsets import CenterSettings, from_centers
from rtpe.decode.scoring import expected_similarity
from rtpe.geometry import Affine, cells, letterbox
from rtpe.predictors.bottom_up import BottomUpPredictor
from rtpe.skeleton import COCO17, Skeleton
from rtpe.structures import PoseMaps

SETTINGS = CenterSettings()
PAIR = Skeleton("pair", ("nose", "left_eye", "right_eye"), ((1, 2),), (0.1, 0.1, 0.1))
GRID_HW = (64, 64)
JUNK = 31.0  # what cells that were taught nothing say


def encode(people, size_hw=GRID_HW, to_image=None, skeleton=COCO17):
    """Maps of (P, K, 3) joints in cells, as a perfect net that was taught by the targets draws them."""
    points = torch.from_numpy(people)[None].float()
    centers, _ = person_centers(points)
    indices, offsets, counts = offset_targets(points, centers, size_hw)
    told = np.full((len(skeleton), 2, size_hw[0] * size_hw[1]), JUNK, np.float32)
    _, person, cell, joint = counts.nonzero().T.numpy()
    told[joint, :, indices[0, person, cell].numpy()] = offsets[0, person, cell, joint].numpy()
    return PoseMaps(
        heatmaps=gaussian_maps(points, size_hw, 2.0)[0].numpy(),
        to_image=to_image or Affine.identity(),
        image_hw=size_hw,
        skeleton=skeleton,
        others={"centers": gaussian_maps(centers, size_hw, 2.0)[0].numpy(), "offsets": told.reshape(-1, *size_hw)},
    )


def bodies(rng, count, low, high, apart=9.0, joints=17):
    """(P, K, 3) people in a box of cells; centers, and the same joint of two people, lie apart: no Gaussians merge."""
    people = []
    while len(people) < count:
        size = rng.uniform(6, 25)
        points = rng.uniform(low, high) + rng.uniform(-size, size, (joints, 2))
        points = np.concatenate([np.clip(points, low, high), np.full((joints, 1), 2)], 1)
        others = [np.linalg.norm((points - other)[:, :2], axis=1).min() for other in people]
        centers = [np.linalg.norm((points - other)[:, :2].mean(0)) for other in people]
        if min(others + centers, default=99) > apart:
            people.append(points)
    return np.array(people).reshape(count, joints, 3)


def lit(centers, offsets, joints, size_hw=(32, 32), skeleton=PAIR):
    """Maps of single lit cells: centers (y, x, heat) with their (K, 2) offsets, joints (k, y, x, heat)."""
    count = len(skeleton)
    maps = [np.zeros((channels, *size_hw), np.float32) for channels in (count, 1, 2 * count)]
    for (y, x, heat), told in zip(centers, offsets):
        maps[1][0, y, x], maps[2][:, y, x] = heat, np.ravel(told)
    for joint, y, x, heat in joints:
        maps[0][joint, y, x] = heat
    return PoseMaps(maps[0], Affine.identity(), size_hw, skeleton, {"centers": maps[1], "offsets": maps[2]})


@pytest.mark.parametrize("count", [0, 1, 2, 3])
@pytest.mark.parametrize("refine, bound", [("argmax", 0.5), ("quarter", 0.25), ("dark", 0.01)])
@pytest.mark.parametrize("image_hw", [(480, 640), (200, 800), (799, 201), (37, 37)], ids=str)
@pytest.mark.parametrize("mirrored", [False, True], ids=["plain", "mirrored"])
def test_people_come_back_to_their_places(count, refine, bound, image_hw, mirrored):
    """Draw in cells, read, look in the image: nobody moves further than the refiner's bound, to the very border."""
    to_image = letterbox(image_hw, (256, 256)).inverse() @ cells(4)
    to_image = Affine.mirror(image_hw[1]) @ to_image if mirrored else to_image
    corners = to_image.inverse()(np.array([[0.0, 0.0], image_hw[::-1]]))
    margin = 1.01 if refine == "quarter" else 0.01  # it takes no step in a cell at the border
    low, high = corners.min(axis=0) + margin, corners.max(axis=0) - margin
    count = min(count, 2) if min(image_hw) / max(image_hw) < 0.3 else count  # a strip has no room for three
    people = bodies(np.random.default_rng(count + sum(image_hw)), count, low, high)
    poses = from_centers(encode(people, to_image=to_image), replace(SETTINGS, refine=refine))
    assert len(poses) == count and (poses.scores > 0).all()
    found = to_image.inverse()(poses.points.astype(np.float64))
    errors = np.abs(found[:, None] - people[None, ..., :2]).max(axis=(2, 3))
    assert sorted(errors.argmin(axis=1).tolist()) == list(range(count)) if count else not len(found)
    assert errors.min(axis=1, initial=99).max(initial=0) <= bound + 1e-4  # points are float32 pixels


class Perfect(nn.Module):
    """Sees the same people in every image, mirrored ones with left and right confused, as nets do."""

    def __init__(self, people, skeleton):
        super().__init__()
        self.people, self.skeleton = people, skeleton

    def maps(self, images):
        people = self.people.copy()
        if images[0, 0, 0, 0] < images[0, 0, 0, -1]:  # lit from the left, unless it is a mirror image
            people[..., 0] = GRID_HW[1] - people[..., 0]
            people = people[:, self.skeleton.flip]
        seen = encode(people)
        maps = {"heatmaps": seen.heatmaps, **seen.others}
        return {name: torch.from_numpy(each)[None] for name, each in maps.items()}


@pytest.mark.parametrize("flip", [False, True])
def test_people_come_through_a_predictor(flip):
    """Averaged with the mirrored run: joints, sides and offsets back in their places."""
    people = bodies(np.random.default_rng(8), 3, 1, 63)
    image = np.zeros((256, 256, 3), np.uint8)
    image[:, :128] = 200
    made = BottomUpPredictor(
        Perfect(people, COCO17), COCO17, partial(from_centers, settings=SETTINGS), "test", "", 256, flip=flip
    )
    (found,) = made([image])
    errors = np.abs(found.poses.points[:, None] / 4 - people[None, ..., :2]).max(axis=(2, 3))
    assert sorted(errors.argmin(axis=1).tolist()) == [0, 1, 2] and errors.min(axis=1).max() < 0.01


@pytest.mark.parametrize("seed", range(10))
def test_joints_that_were_not_drawn_are_not_found(seed):
    """A joint hidden or out of the view has no peak: it is missing, and the others are where they were."""
    rng = np.random.default_rng(seed)
    people = bodies(rng, 2, 1, 63)
    people[..., 2] = rng.random((2, 17)) < 0.7
    poses = from_centers(encode(people), SETTINGS)
    order = np.abs(poses.points[:, None] - people[None, ..., :2]).max(-1).min(-1).argmin(0)
    seen = people[..., 2] > 0
    assert np.array_equal(poses.scores[order] > 0, seen)
    assert np.abs(poses.points[order] - people[..., :2])[seen].max() < 0.01


@pytest.mark.parametrize("seed", range(20))
def test_matching_equals_brute_force(seed):
    """Up to 3 people whose offsets are off, joints that are missing, and peaks that are nobody's."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 4))
    centers = [(4 + 10 * person, 16, 0.9) for person in range(count)]
    offsets = rng.uniform(-9, 9, (count, 3, 2))
    spots = {
        (joint, *rng.integers(0, 8, 2) * 4): rng.uniform(0.2, 1) for joint in range(3) for _ in range(rng.integers(5))
    }
    maps = lit(centers, offsets, [(*cell, heat) for cell, heat in spots.items()])
    poses = from_centers(maps, replace(SETTINGS, refine="argmax", reach=0.5, nms=1.0))
    guesses = np.array([[x + 0.5, y + 0.5] for y, x, _ in centers])[:, None] + np.float32(offsets)
    reaches = np.maximum(0.5 * np.linalg.norm(np.ptp(guesses, axis=1), axis=-1), 2)
    want = np.zeros((count, 3, 2))
    for joint in range(3):
        there = [((x + 0.5, y + 0.5), float(np.float32(heat))) for (j, y, x), heat in spots.items() if j == joint]
        for person, slot in enumerate(slow.owners(guesses[:, joint], reaches, there)):
            want[person, joint] = (0, 0) if slot is None else there[slot][0]
    want = want[(want > 0).any(axis=(1, 2))]
    assert sorted(poses.points.tolist()) == sorted(np.float32(want).tolist())


def test_the_person_score_is_the_similarity_that_can_be_hoped_for():
    """Of joints alike in heat the larger person's are surer; how hot the center is does not matter."""
    near, far = np.array([[0, 0], [2, 0], [-2, 0]]), np.array([[0, 0], [6, 0], [-6, 0]])
    places = [(5, 9, near), (20, 9, far)]
    joints = [(joint, y, x + each[joint, 0], 0.6) for y, x, each in places for joint in range(3)]
    maps = lit([(5, 9, 0.9), (20, 9, 0.2)], [near, far], joints)
    poses = from_centers(maps, replace(SETTINGS, refine="argmax"))
    assert poses.points[:, 0, 1].tolist() == [20.5, 5.5]
    want = expected_similarity(poses.points.astype(float), poses.scores.astype(float), maps.skeleton, 0.7)
    assert poses.person_scores.tolist() == pytest.approx(want.tolist())
    assert len(from_centers(maps, replace(SETTINGS, max_people=1))) == 1
    between = float(poses.person_scores.mean())
    assert len(from_centers(maps, replace(SETTINGS, min_score=between))) == 1
    assert len(from_centers(maps, replace(SETTINGS, threshold=0.65))) == 0  # the joints lie under the threshold


@pytest.mark.parametrize("distance, found", [(0, True), (2, True), (3, True), (4, False)])
def test_a_peak_is_sought_as_far_as_the_person_is_large(distance, found):
    """A person of 20 cells and a reach of .15: 3 cells and no further; of 0 cells half the kernel."""
    offsets = np.array([[0, 0], [-10, 0], [10 - 1e-3, 0]])  # a cell at exactly the reach would gain nothing
    maps = lit([(16, 16, 0.9)], [offsets * 1.001], [(0, 16 + distance, 16, 0.9), (1, 16, 6, 0.9)])
    settings = replace(SETTINGS, reach=0.15)
    assert (from_centers(maps, settings).scores[0, 0] > 0) == found
    tiny = lit([(16, 16, 0.9)], [np.zeros((3, 2))], [(0, 16 + distance, 16, 0.9), (1, 16, 16, 0.9)])
    assert (from_centers(tiny, settings).scores[0, 0] > 0) == (distance < 2)


def test_of_two_peaks_the_nearer_wins_if_both_are_as_hot_and_the_hotter_if_it_is_much_hotter():
    offsets = np.array([[0, 0], [-10, 0], [10, 0]])
    for heat, column in ((0.5, 17), (1.0, 14)):
        maps = lit([(16, 16, 0.9)], [offsets], [(0, 16, 17, 0.5), (0, 16, 14, heat), (1, 16, 6, 0.9)])
        poses = from_centers(maps, replace(SETTINGS, kernel=3, reach=0.3))
        assert poses.points[0, 0].tolist() == [column + 0.5, 16.5]


def test_a_peak_is_one_persons():
    """Two people hide one joint of one of them: it goes to the nearer, the other one is left without."""
    offsets = np.array([[0, 0], [0, 8], [0, -8]])
    joints = [(0, 16, 11, 0.9), (1, 24, 10, 0.9), (1, 24, 13, 0.9), (2, 8, 10, 0.9), (2, 8, 13, 0.9)]
    poses = from_centers(lit([(16, 10, 0.9), (16, 13, 0.8)], [offsets] * 2, joints), replace(SETTINGS, kernel=3))
    assert len(poses) == 2 and (poses.scores[:, 0] > 0).tolist() == [True, False]
    assert poses.points[:, 1].tolist() == [[10.5, 24.5], [13.5, 24.5]]


@pytest.mark.parametrize("fill, heat, found", [(None, 0.09, False), (0.05, 0.09, True), (0.05, 0.04, False)])
def test_a_joint_without_a_peak_is_put_where_its_offset_points(fill, heat, found):
    offsets = np.array([[0, 0], [6.25, 0.25], [90, 0]])  # the last one points out of the map
    maps = lit([(16, 16, 0.9)], [offsets], [(0, 16, 16, 0.9), (1, 16, 22, heat)])
    poses = from_centers(maps, replace(SETTINGS, fill_threshold=fill))
    assert (poses.scores[0] > 0).tolist() == [True, found, False]
    assert poses.person_scores[0] == from_centers(maps, replace(SETTINGS, fill_threshold=None)).person_scores[0]
    if found:
        assert poses.points[0, 1].tolist() == [22.75, 16.75] and poses.scores[0, 1] == pytest.approx(heat)


def test_a_second_copy_of_a_person_vanishes():
    """Two centers some cells apart that point at one body: joints are the better one's, filled ones repeat them."""
    one, shift = np.array([[0, 0], [-10, 0], [10, 8]]), np.array([3, 0])
    maps = lit([(16, 13, 0.9), (16, 19, 0.6)], [one + shift, one - shift], [(0, 16, 16, 0.9)])
    maps.heatmaps[1, 16, 6], maps.heatmaps[2, 24, 26] = 0.9, 0.9
    assert len(from_centers(maps, SETTINGS)) == 1
    assert len(from_centers(maps, replace(SETTINGS, fill_threshold=0.0))) == 1


@pytest.mark.parametrize(
    "maps",
    [
        lit([], [], []),
        lit([(3, 3, 0.1)], [np.zeros((3, 2))], [(0, 3, 3, 0.9)]),
        lit([(3, 3, 0.9)], [np.zeros((3, 2))], []),
        lit([(3, 3, 0.9)], [np.full((3, 2), np.nan)], [(0, 3, 3, 0.9)]),
        lit([(3, 3, 0.9)], [np.full((3, 2), np.inf)], [(0, 3, 3, 0.9)]),
        lit([(3, 3, np.nan)], [np.zeros((3, 2))], [(0, 3, 3, 0.9)]),
        lit([(3, 3, 0.9)], [np.zeros((3, 2))], [(0, 3, 3, np.nan)]),
        lit([(3, 3, 0.9)], [np.full((3, 2), 1e30)], [(0, 3, 3, 0.9)]),
        lit([], [], [], (1, 1)),
        lit([(3, 3, 0.9)], [np.zeros((3, 2))], [(0, 30, 30, 0.9)]),
    ],
    ids=["dark", "at the threshold", "no joint", "nan", "inf", "nan center", "nan joint", "far", "1x1", "elsewhere"],
)
@pytest.mark.parametrize("fill", [None, 0.0])
def test_nothing_to_see_is_nobody(maps, fill):
    assert len(from_centers(maps, replace(SETTINGS, fill_threshold=fill))) == 0


def test_one_cell_is_enough_for_a_person():
    maps = lit([(0, 0, 0.8)], [np.zeros((3, 2))], [(0, 0, 0, 0.9)], (1, 1))
    poses = from_centers(maps, SETTINGS)
    assert poses.points[0, 0].tolist() == [0.5, 0.5] and 0 < poses.person_scores[0] < 0.9 / 3


@pytest.mark.parametrize("missing", ["centers", "offsets"])
def test_maps_without_centers_are_refused(missing):
    with pytest.raises(ValueError) as error:
        maps = lit([], [], [])
        from_centers(
            replace(maps, others={name: each for name, each in maps.others.items() if name != missing}), SETTINGS
        )
    assert str(error.value) == (
        "centers: the maps have none: read them with --decode.grouping tags, or take a net with centers"
    )


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"threshold": -0.1}, "centers.threshold: expected 0 or more, got -0.1"),
        ({"max_people": 0}, "centers.max_people: expected 1 or more, got 0"),
        ({"kernel": 4}, "centers.kernel: expected odd and 3 or more, got 4"),
        ({"reach": -1.0}, "centers.reach: expected 0 or more, got -1.0"),
        ({"fill_threshold": -1.0}, "centers.fill_threshold: expected 0 or more, or null, got -1.0"),
        ({"nms": 0.0}, "centers.nms: expected above 0, up to 1, got 0.0"),
        ({"refine": "udp"}, "unknown refiner 'udp': choose from argmax, quarter, dark, corner"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError) as error:
        CenterSettings(**wrong)
    assert str(error.value) == message


def test_shifts_put_joints_where_the_net_says():
    """Whatever the heat says of it: it is flat here. Without shifts nobody can be read so."""
    offsets = np.array([[0, 0], [-10, 0], [10, 0]])
    maps = lit([(16, 16, 0.9)], [offsets], [(0, 16, 16, 0.9), (1, 16, 6, 0.9), (2, 16, 26, 0.9)])
    shifts = np.random.default_rng(0).uniform(-0.5, 0.5, (6, 32, 32)).astype(np.float32)
    people = from_centers(replace(maps, others={**maps.others, "shifts": shifts}), CenterSettings(refine="shifts"))
    want = [[x + 0.5 + shifts[2 * k, 16, x], 16.5 + shifts[2 * k + 1, 16, x]] for k, x in enumerate((16, 6, 26))]
    np.testing.assert_allclose(people.points, [want], atol=1e-6)
    with pytest.raises(
        ValueError, match="refine shifts: the maps have none: choose from argmax, quarter, dark, corner"
    ):
        from_centers(maps, CenterSettings(refine="shifts"))
    turned = replace(maps, others={**maps.others, "shifts": shifts}).as_skeleton(
        Skeleton("rip", PAIR.joints[::-1], (), (0.1, 0.1, 0.1))
    )
    np.testing.assert_array_equal(turned.shifts, shifts.reshape(3, 2, 32, 32)[::-1].reshape(6, 32, 32))
