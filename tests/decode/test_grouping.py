from dataclasses import replace

import numpy as np
import pytest
from reference import grouping as slow

from rtpe.decode.grouping import GroupingSettings, body_order, group
from rtpe.decode.nms import pose_similarity, suppress
from rtpe.geometry import Affine, cells, index_to_point, letterbox
from rtpe.skeleton import COCO17, LSP14, MPII16, OPENPOSE18, Skeleton
from rtpe.structures import PoseMaps, Poses

SETTINGS = GroupingSettings()


def encode(points, size_hw, to_image=None, tags=None, skeleton=COCO17, sigma=2.0):
    """Maps of (P, K, 2) points in cells: Gaussians at the exact places, each person's tag wherever it is nearest."""
    ys, xs = index_to_point(np.arange(size_hw[0])), index_to_point(np.arange(size_hw[1]))
    squared = (xs - points[..., 0, None]) ** 2, (ys - points[..., 1, None]) ** 2
    heat = np.exp(-(squared[1][..., None] + squared[0][..., None, :]) / (2 * sigma**2))
    tags = np.arange(len(points))[:, None] * 3.0 if tags is None else tags
    return PoseMaps(
        heatmaps=heat.max(axis=0).astype(np.float32),
        to_image=to_image or Affine.identity(),
        image_hw=size_hw,
        skeleton=skeleton,
        others={"tags": np.moveaxis(tags[heat.argmax(axis=0)], -1, 0).astype(np.float32)},
    )


def scatter(rng, people, low, high, apart=8.0, joints=17):
    """(P, K, 2) random points; the same joint of two people lies some cells apart, so that Gaussians do not merge."""
    points = np.zeros((people, joints, 2))
    for person in range(people):
        for joint in range(joints):
            while True:
                points[person, joint] = rng.uniform(low, high)
                if all(np.linalg.norm(points[person, joint] - other[joint]) > apart for other in points[:person]):
                    break
    return points


def lit(cells_at, tags_and_heats, size_hw=(32, 32)):
    """Maps of single lit cells (joint, y, x), each with its (tag vector, heat)."""
    maps = np.zeros((17, *size_hw), np.float32)
    tags = np.zeros((len(tags_and_heats[0][0]) if tags_and_heats else 1, *maps.shape), np.float32)
    for cell, (tag, heat) in zip(cells_at, tags_and_heats):
        maps[cell], tags[(slice(None), *cell)] = heat, tag
    return PoseMaps(maps, Affine.identity(), size_hw, COCO17, {"tags": tags})


@pytest.mark.parametrize("people", [1, 2, 4, 6])
@pytest.mark.parametrize("refine, bound", [("argmax", 0.5), ("quarter", 0.25), ("dark", 0.01)])
@pytest.mark.parametrize("image_hw", [(480, 640), (640, 480), (200, 800), (799, 201), (37, 37)], ids=str)
@pytest.mark.parametrize("mirrored", [False, True], ids=["plain", "mirrored"])
def test_people_come_back_to_their_places(people, refine, bound, image_hw, mirrored):
    """Draw in cells, group, look in the image: nobody moves further than the refiner's bound."""
    rng = np.random.default_rng(people + sum(image_hw))
    to_image = letterbox(image_hw, (256, 256)).inverse() @ cells(4)
    if mirrored:
        to_image = Affine.mirror(image_hw[1]) @ to_image
    corners = to_image.inverse()(np.array([[0.0, 0.0], image_hw[::-1]]))
    points = scatter(rng, people, corners.min(axis=0) + 1, corners.max(axis=0) - 1)
    poses = group(encode(points, (64, 64), to_image), replace(SETTINGS, refine=refine))
    assert len(poses) == people
    found = to_image.inverse()(poses.points.astype(np.float64))
    errors = np.abs(found[:, None] - points[None]).max(axis=(2, 3))
    assert sorted(errors.argmin(axis=1)) == list(range(people))
    assert errors.min(axis=1).max() <= bound + 1e-4  # points are float32 pixels


@pytest.mark.parametrize("skeleton", [OPENPOSE18, MPII16, LSP14], ids=lambda skeleton: skeleton.name)
def test_other_skeletons_are_grouped_too(skeleton):
    points = scatter(np.random.default_rng(1), 3, 4, 60, joints=len(skeleton))
    assert len(group(encode(points, (64, 64), skeleton=skeleton), SETTINGS)) == 3


@pytest.mark.parametrize("seed", range(30))
def test_grouping_equals_brute_force(seed):
    """Up to 4 people with noisy tags, joints that are missing, and joints that are nobody's."""
    rng = np.random.default_rng(seed)
    people, dimensions = rng.integers(1, 5), rng.integers(1, 3)
    means = rng.uniform(-1, 1, (people, dimensions))
    candidates, cells_at, tags_at = {}, [], []
    for joint in range(17):
        tags = means[rng.random(people) < 0.8] + rng.normal(0, 0.3, dimensions)
        tags = np.vstack([tags, rng.uniform(-2, 2, (int(rng.random() < 0.3), dimensions))])
        tags = np.float32(tags[:4]).astype(np.float64)
        heats = np.float32(np.sort(rng.uniform(0.15, 1, len(tags)))[::-1]).astype(np.float64)
        candidates[joint] = list(zip(tags.tolist(), heats.tolist()))
        cells_at += [(joint, 3 + 8 * row, 5) for row in range(len(tags))]
        tags_at += list(zip(tags, heats))
    poses = group(lit(cells_at, tags_at, (40, 8)), replace(SETTINGS, refine="argmax", nms=1.0))
    rows = np.where(poses.scores > 0, (poses.points[..., 1] - 3) // 8, -1).astype(int)
    expected = [
        [person.get(joint, -1) for joint in range(17)] for person in slow.group(candidates, body_order(COCO17), 1.0)
    ]
    assert sorted(rows.tolist()) == sorted(expected)


def test_only_differences_of_tags_count():
    points = scatter(np.random.default_rng(5), 4, 4, 60)
    maps = encode(points, (64, 64))
    moved = group(replace(maps, others={"tags": maps.tags + 40}), SETTINGS)
    turned = group(replace(maps, others={"tags": -maps.tags}), SETTINGS)
    doubled = group(replace(maps, others={"tags": np.concatenate([maps.tags, 7 - maps.tags])}), SETTINGS)
    for poses in (moved, turned, doubled):
        assert np.array_equal(poses.points, group(maps, SETTINGS).points)


def test_the_surer_of_two_like_candidates_wins():
    cells_at = [(0, 5, 5), (1, 5, 9), (1, 20, 20)]
    tags_at = [((0.0,), 0.9), ((0.2,), 0.9), ((0.1,), 0.2)]
    best = group(lit(cells_at, tags_at), SETTINGS).only([0])
    assert best.points[0, 1].tolist() == [9.5, 5.5]


@pytest.mark.parametrize(
    "maps",
    [
        lit([], []),
        lit([(0, 3, 3)], [((0.0,), 0.1)]),
        lit([(0, 3, 3)], [((0.0,), -1.0)]),
        lit([(0, 3, 3)], [((0.0,), np.nan)]),
        lit([(0, 3, 3)], [((0.0,), np.inf)]),
        lit([(0, 3, 3)], [((np.nan,), 0.9)]),
        lit([], [], (1, 1)),
        PoseMaps(
            np.full((17, 4, 4), np.nan), Affine.identity(), (4, 4), COCO17, {"tags": np.full((1, 17, 4, 4), np.nan)}
        ),
        PoseMaps(np.zeros((17, 4, 4)), Affine.identity(), (4, 4), COCO17),
    ],
    ids=["dark", "at the threshold", "negative", "nan", "inf", "nan tag", "1x1", "all nan", "no tags"],
)
@pytest.mark.parametrize("fill", [None, 0.0])
def test_nothing_to_see_is_nobody(maps, fill):
    assert len(group(maps, replace(SETTINGS, fill_threshold=fill))) == 0


def test_cells_that_are_not_finite_leave_the_others_alone():
    points = np.full((1, 17, 2), 10.3)
    maps = encode(points, (32, 32))
    maps.heatmaps[:, 20:], maps.tags[..., 20:] = np.nan, np.inf
    poses = group(maps, replace(SETTINGS, fill_threshold=0.0))
    assert len(poses) == 1
    assert np.abs(poses.points - points).max() < 0.01


def test_one_cell_is_enough_for_a_person():
    poses = group(lit([(0, 0, 0)], [((0.0,), 0.85)], (1, 1)), SETTINGS)
    assert poses.points[0, 0].tolist() == [0.5, 0.5]
    assert poses.person_scores[0] == pytest.approx(hoped(0.85, area=1, joint=0))


def test_without_tags_the_best_peak_of_each_joint_makes_one_person():
    points = scatter(np.random.default_rng(2), 2, 4, 60)
    maps = encode(points, (64, 64))
    maps.heatmaps[:] = np.maximum(encode(points[:1], (64, 64)).heatmaps, maps.heatmaps / 2)
    poses = group(replace(maps, others={}), SETTINGS)
    assert len(poses) == 1
    assert np.abs(poses.points[0] - points[0]).max() < 0.01


def hoped(heat, area, joint):
    """A joint's share of its person's score: what a misplacement by .7 cells leaves of it."""
    variance = area * (2 * COCO17.sigmas[joint]) ** 2
    return heat * variance / (variance + 0.7**2) / 17


def test_the_person_score_is_the_similarity_to_be_hoped_for_and_orders_the_people():
    """Of two with the same heat the larger one comes first: a cell is less beside it."""
    maps = lit(
        [(0, 5, 5), (1, 5, 9), (0, 20, 10), (1, 20, 25)], [((0.0,), 0.9), ((0.0,), 0.9), ((5.0,), 0.9), ((5.0,), 0.9)]
    )
    poses = group(maps, SETTINGS)
    # joints d cells apart vary by d^2 / 4, a quarter of the area
    expected = [hoped(0.9, area, 0) + hoped(0.9, area, 1) for area in (15**2, 4**2)]
    assert poses.person_scores.tolist() == pytest.approx(expected)
    assert poses.points[0, 0].tolist() == [10.5, 20.5]
    assert len(group(maps, replace(SETTINGS, max_people=1))) == 1
    assert len(group(maps, replace(SETTINGS, min_score=sum(expected) / 2))) == 1


@pytest.mark.parametrize(
    "fill, y, x, tag, found",
    [
        (None, 12, 12, 0.1, False),
        (0.05, 12, 12, 0.1, True),
        (0.08, 12, 12, 0.1, False),  # too little heat
        (0.05, 12, 12, 1.1, False),  # another person's tag
        (0.05, 12, 12, np.nan, False),
        (0.05, 30, 12, 0.1, False),  # further away than the person is long
    ],
)
def test_a_missing_joint_is_sought_near_its_person(fill, y, x, tag, found):
    maps = lit([(5, 5, 5), (6, 5, 13), (9, y, x)], [((0.0,), 0.9), ((0.0,), 0.9), ((tag,), 0.07)])
    poses = group(maps, replace(SETTINGS, fill_threshold=fill))
    assert len(poses) == 1
    assert (poses.scores[0] > 0).nonzero()[0].tolist() == [5, 6] + [9] * found
    assert poses.person_scores[0] == pytest.approx(hoped(0.9, 8**2, 5) + hoped(0.9, 8**2, 6))
    if found:
        assert poses.points[0, 9].tolist() == [x + 0.5, y + 0.5]
        assert poses.scores[0, 9] == pytest.approx(0.07)


def test_of_two_faint_places_the_one_with_the_nearer_tag_is_filled_in():
    maps = lit(
        [(5, 5, 5), (6, 5, 13), (9, 9, 5), (9, 12, 12)], [((0,), 0.9), ((0,), 0.9), ((0.9,), 0.09), ((0,), 0.07)]
    )
    poses = group(maps, replace(SETTINGS, fill_threshold=0.05))
    assert poses.points[0, 9].tolist() == [12.5, 12.5]


def test_a_slope_is_no_place_for_a_missing_joint():
    """Its own faint peak is; the way up to another person's joint is not, whatever the tags there."""
    maps = lit([(5, 5, 5), (6, 5, 13), (9, 12, 14)], [((0.0,), 0.9), ((0.0,), 0.9), ((5.0,), 0.9)])
    maps.heatmaps[9, 12, 11:14] = 0.2, 0.4, 0.6
    first = group(maps, replace(SETTINGS, fill_threshold=0.05)).scores[0]
    maps.heatmaps[9, 9, 8] = 0.07
    assert first[9] == 0 and group(maps, replace(SETTINGS, fill_threshold=0.05)).scores[0, 9] == pytest.approx(0.07)


def people(points, person_scores, skeleton=COCO17):
    points = np.asarray(points, float)
    return Poses(points, np.ones(points.shape[:2]), np.asarray(person_scores, float), skeleton)


def test_a_second_copy_of_a_person_vanishes():
    rng = np.random.default_rng(9)
    one, other = rng.uniform(0, 100, (17, 2)), rng.uniform(0, 100, (17, 2)) + 60
    crowd = people([one + 0.5, other, one], [0.3, 0.5, 0.9])
    kept = suppress(crowd, 0.8)
    assert kept.person_scores.tolist() == pytest.approx([0.9, 0.5])
    assert len(suppress(crowd, 1.0)) == 3
    assert len(suppress(crowd.moved(Affine.translation(-500, 9) @ Affine.scaling(40)), 0.8)) == 2
    assert len(suppress(Poses.none(COCO17), 0.8)) == 0


def test_a_part_of_a_person_is_a_copy_and_a_stranger_with_one_shared_joint_is_not():
    rng = np.random.default_rng(4)
    one, other = rng.uniform(0, 100, (17, 2)), rng.uniform(300, 400, (17, 2))
    other[3] = one[3]
    crowd = people([one, one, other], [0.9, 0.1, 0.8])
    crowd.scores[1, 4:] = 0
    assert suppress(crowd, 0.8).person_scores.tolist() == pytest.approx([0.9, 0.8])


def test_similarity_is_cocos():
    """A shift by d costs every joint exp(-d^2 / (2 area (2 sigma)^2))."""
    flat = Skeleton("flat", COCO17.joints, (), (0.1,) * 17)
    one = np.random.default_rng(0).uniform(0, 100, (17, 2))
    area = np.ptp(one, axis=0).prod()
    shift = np.sqrt(-np.log(0.75) * 2 * area * 0.2**2)
    similarity = pose_similarity(people([one, one + np.array([shift, 0])], [1, 1], flat))
    assert similarity == pytest.approx(np.array([[1, 0.75], [0.75, 1]]), abs=1e-5)  # points are float32


def test_single_joints_are_alike_only_in_the_same_place():
    crowd = people(np.array([[5.0, 5.0], [5.0, 5.0], [6.0, 5.0]])[:, None].repeat(17, 1), [3, 2, 1])
    crowd.scores[:, 1:] = 0
    assert pose_similarity(crowd).tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]


def test_bodies_are_read_from_head_to_ankles():
    assert body_order(COCO17) == [0, 1, 2, 3, 4, 5, 6, 11, 12, 7, 8, 9, 10, 13, 14, 15, 16]
    assert [MPII16.joints[joint] for joint in body_order(MPII16)][:4] == [
        "head_top",
        "upper_neck",
        "thorax",
        "right_shoulder",
    ]
    assert body_order(Skeleton("beast", ("tail", "nose", "horn"), (), (1, 1, 1))) == [1, 0, 2]


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"threshold": -0.1}, "grouping.threshold: expected 0 or more, got -0.1"),
        ({"tag_threshold": 0.0}, "grouping.tag_threshold: expected above 0, got 0.0"),
        ({"max_people": 0}, "grouping.max_people: expected 1 or more, got 0"),
        ({"kernel": 4}, "grouping.kernel: expected odd and 3 or more, got 4"),
        ({"kernel": 1}, "grouping.kernel: expected odd and 3 or more, got 1"),
        ({"fill_threshold": -1.0}, "grouping.fill_threshold: expected 0 or more, or null, got -1.0"),
        ({"nms": 0.0}, "grouping.nms: expected above 0, up to 1, got 0.0"),
        ({"refine": "udp"}, "unknown refiner 'udp': choose from argmax, quarter, dark, corner"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError) as error:
        GroupingSettings(**wrong)
    assert str(error.value) == message
