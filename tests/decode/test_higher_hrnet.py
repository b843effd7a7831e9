"""The published reading: against cell-by-cell loops that try every way to match, and on maps that hold nothing."""

from dataclasses import replace

import numpy as np
import pytest
from reference import published as slow

from rtpe.decode.grouping import GroupingSettings, body_order, group
from rtpe.decode.higher_hrnet import PublishedSettings, order, parse
from rtpe.geometry import Affine
from rtpe.skeleton import COCO17, CROWDPOSE14, OPENPOSE18, Skeleton
from rtpe.structures import PoseMaps

SETTINGS = PublishedSettings()
CHAIN = Skeleton("chain", ("nose", "neck", "pelvis", "tail"), ((0, 1),), (0.1,) * 4)


def maps_of(heatmaps, tags, skeleton=COCO17):
    heatmaps = np.asarray(heatmaps, np.float32)
    return PoseMaps(heatmaps, Affine.identity(), heatmaps.shape[1:], skeleton, {"tags": np.asarray(tags, np.float32)})


def crowd(seed, skeleton, people=3, runs=2, size_hw=(14, 13), noise=0.4, plateaus=0.2):
    """Some peaks and plateaus of each joint over a faint ragged ground; tags near those of a person, or of nobody."""
    rng = np.random.default_rng(seed)
    joints = len(skeleton)
    heat = rng.uniform(-0.05, 0.08, (joints, *size_hw)).astype(np.float32)
    tags = rng.normal(0, 1.5, (runs, *heat.shape)).astype(np.float32)
    means = rng.uniform(-4, 4, (people, runs))
    for joint in range(joints):
        for mean in means[rng.random(people) < 0.75]:
            y, x = (int(rng.integers(side)) for side in size_hw)
            heat[joint, y, x : x + 1 + int(rng.random() < plateaus)] = np.float32(rng.uniform(0.12, 1))
            tags[:, joint, y, x : x + 2] = (mean + rng.normal(0, noise, runs))[:, None]
    return maps_of(heat, tags, skeleton)


def as_rows(poses):
    """(score, {joint: (x, y, heat)}) of each person, best first."""
    return [
        (score, {int(j): (*points[j], scores[j]) for j in np.flatnonzero(scores)})
        for points, scores, score in zip(poses.points, poses.scores, poses.person_scores)
    ]


def alike(rows, others):
    """The same people in the same order; float32 on one side."""
    return len(rows) == len(others) and all(
        score == pytest.approx(other, abs=1e-5)
        and joints.keys() == same.keys()
        and all(joints[j] == pytest.approx(same[j], abs=1e-5) for j in joints)
        for (score, joints), (other, same) in zip(rows, others)
    )


@pytest.mark.parametrize("skeleton", [CHAIN, CROWDPOSE14, COCO17], ids=lambda skeleton: skeleton.name)
@pytest.mark.parametrize("complete", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 3, 5, 6, 7])  # of 2 and 4 thousands of ways are equally cheap
def test_it_reads_what_slow_loops_read(seed, complete, skeleton):
    tame = {} if skeleton is CHAIN else {"noise": 0.12, "plateaus": 0}  # else there are too many such ways
    maps = crowd(seed, skeleton, people=1 + seed % 3, runs=1 + seed % 2, **tame)
    expected = slow.parse(maps.heatmaps.tolist(), maps.tags.tolist(), complete=complete)
    best_first = [sorted(answer, key=lambda person: -person[0]) for answer in expected]
    rows = as_rows(parse(maps, replace(SETTINGS, complete=complete)))
    assert any(alike(rows, answer) for answer in best_first)
    assert rows


@pytest.mark.parametrize("changed", [{"most": 2}, {"threshold": 0.4}, {"tag_threshold": 0.3}, {"kernel": 3}], ids=str)
def test_its_settings_are_those_of_slow_loops(changed):
    names = {"most": "max_people"}
    maps = crowd(4, CHAIN)
    expected = slow.parse(maps.heatmaps.tolist(), maps.tags.tolist(), **changed)
    settings = replace(SETTINGS, **{names.get(name, name): value for name, value in changed.items()})
    rows = as_rows(parse(maps, settings))
    assert any(alike(rows, sorted(answer, key=lambda person: -person[0])) for answer in expected)
    assert not alike(rows, as_rows(parse(maps, SETTINGS)))


def test_joints_are_matched_in_the_published_order():
    """Hips before elbows; the 14 channels of CrowdPose by the same numbers, whatever joints those are."""
    assert order(17) == slow.COCO_ORDER == body_order(COCO17)
    assert order(14) == [0, 1, 2, 3, 4, 5, 6, 11, 12, 7, 8, 9, 10, 13] != body_order(CROWDPOSE14)
    assert order(18) == [*order(17), 17] and sorted(order(16)) == list(range(16))


def test_a_missing_joint_is_sought_in_the_whole_image():
    """Where `grouping` leaves a faint joint out that is nowhere near, the published reading puts it there."""
    heat, tags = np.zeros((17, 40, 40)), np.zeros((1, 17, 40, 40))
    heat[5, 3, 3], heat[6, 3, 6], heat[9, 35, 38] = 0.9, 0.8, 0.06
    heat[9, 20, 20], tags[0, 9, 20, 20] = 0.9, 3.0  # somebody else's
    (person, other) = as_rows(parse(maps_of(heat, tags), SETTINGS))
    assert person[1][9] == pytest.approx((38.25, 35.25, 0.06)) and person[0] == pytest.approx(1.7 / 17)
    assert 9 not in as_rows(group(maps_of(heat, tags), GroupingSettings(fill_threshold=0.05)))[0][1]
    assert other[1].keys() == {5, 6, 9}  # even those of another, if there is nothing nearer; without heat, none


def test_people_beyond_the_limit_begin_and_grow_no_more():
    heat, tags = np.zeros((17, 20, 20)), np.zeros((1, 17, 20, 20))
    for row, y in enumerate((2, 8, 14)):
        heat[:2, y, 4] = 0.9 - row / 10
        tags[0, :2, y, 4] = 3 * row
    heat[1, 2, 4] = 0  # the second joint of the first person
    assert len(parse(maps_of(heat, tags), replace(SETTINGS, max_people=1))) == 2
    both = parse(maps_of(heat, tags), replace(SETTINGS, max_people=2, complete=False))
    assert sorted((both.scores > 0).sum(axis=1).tolist()) == [1, 1, 2]


@pytest.mark.parametrize("size_hw, last", [((2, 2), (1.25, 1.25)), ((6, 7), (1.25, 4.25))])
def test_people_who_begin_with_one_tag_are_one(size_hw, last):
    """If all cells are equal, the first 30 are peaks; all of them begin the one person, of whom the last one stays."""
    maps = maps_of(np.full((1, *size_hw), 0.5), np.zeros((1, 1, *size_hw)), Skeleton("dot", ("nose",), (), (0.1,)))
    poses = parse(maps, SETTINGS)
    assert len(poses) == 1 and tuple(poses.points[0, 0]) == last
    if size_hw == (2, 2):  # the slow way tries 30 factorial ways
        assert alike(as_rows(poses), *slow.parse(maps.heatmaps.tolist(), maps.tags.tolist()))


def test_equal_peaks_everywhere_are_some_people():
    poses = parse(maps_of(np.full((17, 6, 7), 0.5), np.zeros((2, 17, 6, 7))), SETTINGS)
    assert 1 <= len(poses) <= 17 * 30 and np.isfinite(poses.points).all() and poses.scores.max() == 0.5


def test_one_joint_is_a_person():
    heat = np.zeros((17, 1, 1))
    heat[3] = 0.85
    poses = parse(maps_of(heat, np.zeros((2, 17, 1, 1))), SETTINGS)
    assert poses.points[0, 3].tolist() == [0.25, 0.25] and poses.person_scores == pytest.approx([0.85 / 17])
    assert (poses.scores[0] > 0).sum() == 1


@pytest.mark.parametrize(
    "heat, tag",
    [(0.0, 0.0), (0.1, 0.0), (-1.0, 0.0), (np.nan, 0.0), (np.inf, 0.0), (-np.inf, 0.0), (0.9, np.nan), (0.9, np.inf)],
)
@pytest.mark.parametrize("size_hw", [(1, 1), (6, 5)])
def test_nothing_to_see_is_nobody(heat, tag, size_hw):
    heat = np.full((17, *size_hw), np.float32(heat))
    assert len(parse(maps_of(heat, np.full((1, *heat.shape), tag)), SETTINGS)) == 0


def test_cells_that_are_not_finite_leave_the_others_alone():
    maps = crowd(3, COCO17, size_hw=(14, 26))
    half = replace(
        maps, heatmaps=maps.heatmaps[..., :13].copy(), others={"tags": maps.tags[..., :13].copy()}, image_hw=(14, 13)
    )
    broken = replace(maps, heatmaps=maps.heatmaps.copy(), others={"tags": maps.tags.copy()})
    half.heatmaps[..., 10:] = -99  # neither a peak nor a place to put a joint
    broken.heatmaps[..., 10:], broken.tags[..., 12:] = np.nan, np.inf
    assert len(parse(half, SETTINGS)) > 1
    assert alike(as_rows(parse(broken, SETTINGS)), as_rows(parse(half, SETTINGS)))


def test_it_is_placed_in_the_image_and_changes_no_maps():
    maps = crowd(5, OPENPOSE18)
    before = maps.heatmaps.copy(), maps.tags.copy()
    here, there = parse(maps, SETTINGS), parse(replace(maps, to_image=Affine.scaling(4)), SETTINGS)
    np.testing.assert_allclose(there.points, here.points * 4, rtol=1e-6)  # float32
    assert (np.diff(here.person_scores) <= 0).all()
    assert np.array_equal(maps.heatmaps, before[0]) and np.array_equal(maps.tags, before[1])


def test_maps_without_tags_are_refused():
    maps = PoseMaps(np.zeros((17, 4, 4)), Affine.identity(), (4, 4), COCO17)
    with pytest.raises(ValueError) as error:
        parse(maps, SETTINGS)
    assert str(error.value) == "published: the maps have no tags: read them with --decode.grouping tags"


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"threshold": -0.1}, "published.threshold: expected 0 or more, got -0.1"),
        ({"tag_threshold": 0.0}, "published.tag_threshold: expected above 0, got 0.0"),
        ({"max_people": 0}, "published.max_people: expected 1 or more, got 0"),
        ({"kernel": 4}, "published.kernel: expected odd and 3 or more, got 4"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError) as error:
        PublishedSettings(**wrong)
    assert str(error.value) == message
