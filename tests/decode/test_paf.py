"""People painted as heatmaps and part-affinity fields are read back, each with its own joints."""

import numpy as np
import pytest
from reference import paf as slow

from rtpe.decode.paf import PafSettings, assemble, limb_agreement
from rtpe.geometry import Affine
from rtpe.skeleton import COCO17, OPENPOSE18, Skeleton
from rtpe.structures import PoseMaps

CHAIN = Skeleton("chain", ("head", "hand", "foot"), ((0, 1), (1, 2)), (0.1, 0.1, 0.1))
# nose to ears of a standing person, in its own height
BODY = np.array([
    (.50, .10), (.50, .22), (.35, .22), (.27, .38), (.22, .52), (.65, .22), (.73, .38), (.78, .52), (.41, .52),
    (.40, .73), (.39, .94), (.59, .52), (.60, .73), (.61, .94), (.46, .06), (.54, .06), (.40, .10), (.60, .10),
])  # fmt: skip
SIZE_HW = (48, 150)
PLACES = [Affine.identity(), Affine(np.array([[8.0, 0, -37.5], [0, 8, 4.25]])), Affine.mirror(640) @ Affine.scaling(5)]


def crowd(rng, count, missing=()):
    """(count, 18, 2) people in cells, side by side, each a little different."""
    people = BODY * (40, 44) + rng.uniform(-0.5, 0.5, (count, 18, 2))
    people += np.arange(count)[:, None, None] * (36, 0) + (0, 2)
    people[:, list(missing)] = np.nan
    return people


def maps_of(people, skeleton=OPENPOSE18, to_image=PLACES[0], size_hw=SIZE_HW):
    heatmaps, fields = slow.paint(people, skeleton.limbs, size_hw)
    return PoseMaps(heatmaps, to_image, size_hw, skeleton, others={"pafs": fields})


def read(maps, **settings):
    return assemble(maps, PafSettings(**settings))


def in_order(poses):
    """The people from left to right, as (P, K, 2) with NaN where a joint is missing."""
    points = np.where(poses.scores[..., None] > 0, poses.points, np.nan)
    return points[np.argsort(np.nanmin(points[..., 0], axis=1))] if len(poses) else points


@pytest.mark.parametrize("missing", [(), (0,), (4, 7, 10, 13, 16, 17), (14, 15)], ids=str)
@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_painted_people_come_back(rng, count, missing):
    people = crowd(rng, count, missing)
    found = in_order(read(maps_of(people)))
    # the refinement is exact on a lone Gaussian; a neighbour's flank at the same joint may reach the outermost cell
    np.testing.assert_allclose(found, people, atol=0.02)


@pytest.mark.parametrize("to_image", PLACES, ids=["cells", "letterbox", "mirror"])
def test_points_are_in_the_image(rng, to_image):
    people = crowd(rng, 2)
    there = read(maps_of(people, to_image=to_image))
    here = read(maps_of(people)).moved(to_image)
    np.testing.assert_allclose(there.points, here.points, rtol=1e-5)  # float32
    np.testing.assert_array_equal(there.person_scores, here.person_scores)


def test_crossed_limbs_stay_apart():
    """Two chains form an X: every pairing of ends is possible, only the fields tell which is right."""
    people = np.array([[[4, 4], [24, 24], [24, 30]], [[24, 4], [4, 24], [4, 30]]], float) + 0.5
    found = in_order(read(maps_of(people, CHAIN, size_hw=(36, 30))))
    np.testing.assert_allclose(found[np.argsort(found[:, 0, 0])], people, atol=0.02)


def test_one_joint_is_never_given_to_two_people():
    """Two heads on one body: the second finds no hand of its own."""
    people = np.array([[[4, 4], [14, 14], [14, 24]], [[24, 4], [14, 14], [14, 24]]], float) + 0.5
    poses = read(maps_of(people, CHAIN, size_hw=(30, 30)), min_joints=1)
    assert sorted((poses.scores > 0).sum(axis=1)) == [1, 3]


def test_people_linked_twice_are_one(rng):
    """Neck, shoulder, ear and nose form a ring in the skeleton: it closes, and nothing is counted double."""
    poses = read(maps_of(crowd(rng, 1)))
    assert len(poses) == 1
    assert (poses.scores > 0).all()


def test_a_loop_that_does_not_close_keeps_people_apart():
    """A limb between joints of two people joins nothing if both people have the same joint."""
    ring = Skeleton("ring", CHAIN.joints, ((0, 1), (1, 2), (2, 0)), CHAIN.sigmas)
    people = np.array([[[4, 4], [4, 14], [4, 24]], [[24, 4], [24, 14], [24, 24]]], float) + 0.5
    heatmaps, fields = slow.paint(people, CHAIN.limbs, (30, 30))
    crosswise = np.array([[[24, 4], [0, 0], [4, 24]], [[4, 4], [0, 0], [24, 24]]], float) + 0.5
    _, wrong = slow.paint(crosswise, ring.limbs[2:], (30, 30))
    maps = PoseMaps(heatmaps, PLACES[0], (30, 30), ring, others={"pafs": np.concatenate([fields, wrong])})
    np.testing.assert_allclose(in_order(read(maps)), people, atol=0.02)


def test_matching_gains_most_in_sum():
    """Greedily the best pair (.9) leaves a poor one (.2); the other two (.8, .7) are better together."""
    heads, hands = np.array([[3, 3], [17, 3]]) + 0.5, np.array([[3, 17], [17, 17]]) + 0.5
    wanted = {(0, 0): 0.9, (0, 1): 0.8, (1, 0): 0.7, (1, 1): 0.2}
    pair = Skeleton("pair", ("head", "hand"), ((0, 1),), (0.1, 0.1))
    heatmaps, _ = slow.paint(np.stack([heads, hands], axis=1), pair.limbs, (20, 20))
    field = np.zeros((2, 20, 20), np.float32)
    for (i, j), strength in wanted.items():
        _, limb = slow.paint(np.stack([heads[i], hands[j]])[None], pair.limbs, (20, 20))
        field = np.where(limb != 0, strength * limb, field)
    poses = read(PoseMaps(heatmaps, PLACES[0], (20, 20), pair, others={"pafs": field}), min_joints=2)
    assert {tuple(np.sign(p[1] - p[0]).astype(int)) for p in np.round(poses.points)} == {(1, 1), (-1, 1)}


def test_agreement_equals_the_slow_way(rng):
    field = rng.normal(size=(2, 7, 9))
    starts, ends = rng.uniform(-1, 10, (4, 2)), rng.uniform(-1, 10, (5, 2))
    ends[0] = starts[0]  # no length, no direction
    slowly = [[slow.agreement(field.tolist(), start, end, 6) for end in ends] for start in starts.tolist()]
    np.testing.assert_allclose(limb_agreement(field, starts, ends, 6), slowly, atol=1e-12)


def test_agreement_is_one_along_the_limb_and_turns_with_it():
    field = slow.paint(np.array([[[2.5, 2.5], [9.5, 6.5]]]), [(0, 1)], (10, 14))[1]
    forth = limb_agreement(field, np.array([[2.5, 2.5]]), np.array([[9.5, 6.5]]))
    back = limb_agreement(field, np.array([[9.5, 6.5]]), np.array([[2.5, 2.5]]))
    assert forth == pytest.approx(1, abs=1e-6)  # float32 fields
    assert back == pytest.approx(-1, abs=1e-6)


def test_a_mirrored_image_has_mirrored_people(rng):
    people = crowd(rng, 3)
    maps = maps_of(people)
    there = maps_of((people * [-1, 1] + [SIZE_HW[1], 0])[:, OPENPOSE18.flip], to_image=Affine.mirror(SIZE_HW[1]))
    swapped = in_order(read(there))[:, OPENPOSE18.flip]
    np.testing.assert_allclose(swapped, in_order(read(maps)), atol=1e-4)  # float32


def test_better_people_score_higher_and_come_first(rng):
    """The surer, the more complete and the larger person is more likely to be right."""
    people = crowd(rng, 1)
    whole, part = read(maps_of(people)), read(maps_of(crowd(rng, 1, missing=(4, 7, 9, 10, 12, 13))))
    faint = maps_of(people)
    faint = PoseMaps(faint.heatmaps * 0.5, faint.to_image, faint.image_hw, faint.skeleton, others={"pafs": faint.pafs})
    small = maps_of(people * 0.5)
    for worse in (part, read(faint), read(small)):
        assert 0 < worse.person_scores[0] < whole.person_scores[0] < 1
    both = np.concatenate([people * 0.5, people + np.array([40, 0])])
    poses = read(maps_of(both))
    assert list(poses.person_scores) == sorted(poses.person_scores, reverse=True)
    assert poses.points[0, :, 0].mean() > 40


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_the_score_of_a_straight_person(strength):
    """Full heat, fields of that strength, four joints in a row 10 cells apart: their variance is 125 cells^2."""
    row = Skeleton("row", ("head", "neck", "knee", "toe"), ((0, 1), (2, 3), (1, 2)), (0.1,) * 4)
    heatmaps, fields = slow.paint(np.array([[[5, 5], [15, 5], [25, 5], [35, 5]]]) + 0.5, row.limbs, (10, 40))
    maps = PoseMaps(heatmaps, PLACES[0], (10, 40), row, others={"pafs": strength * fields})
    label_variance = 4 * 125 * (2 * 0.1) ** 2
    assert read(maps).person_scores == pytest.approx(strength * label_variance / (label_variance + 1), rel=1e-5)


def test_filters_drop_people(rng):
    people = crowd(rng, 2)
    people[1, 2:] = np.nan  # nose and neck
    maps = maps_of(people)
    scores = read(maps, min_joints=1).person_scores
    assert [len(read(maps, min_joints=joints)) for joints in (1, 2, 3, 18)] == [2, 2, 1, 1]
    assert len(read(maps, min_joints=1, min_score=float(scores.mean()))) == 1
    assert len(read(maps, threshold=2.0)) == len(read(maps, limb_threshold=2.0)) == 0


@pytest.mark.parametrize(
    "heat, field, size_hw",
    [(0, 0, (6, 8)), (1, 0, (6, 8)), (np.nan, 0, (6, 8)), (np.inf, np.nan, (6, 8)), (1, 1, (1, 1)), (-1, 1, (1, 7))],
)
def test_maps_without_people(heat, field, size_hw):
    maps = PoseMaps(
        np.full((18, *size_hw), heat, np.float32),
        PLACES[0],
        size_hw,
        OPENPOSE18,
        others={"pafs": np.full((38, *size_hw), field, np.float32)},
    )
    assert len(read(maps)) == 0


def test_one_joint_alone_is_nobody_unless_asked_for(rng):
    people = crowd(rng, 1)
    people[0, 1:] = np.nan
    assert len(read(maps_of(people))) == 0
    poses = read(maps_of(people), min_joints=1)
    assert (poses.scores > 0).sum() == 1
    assert poses.person_scores == [0]


def test_cells_that_are_not_finite_are_ignored(rng):
    people = crowd(rng, 2)
    maps = maps_of(people)
    maps.heatmaps[:, 40:, 140:] = maps.pafs[:, 40:, 140:] = np.nan
    np.testing.assert_allclose(in_order(read(maps)), people, atol=0.02)


def test_maps_without_their_fields_are_refused():
    heatmaps = np.zeros((17, 4, 4), np.float32)
    want = "pafs: expected 38, x and y of 19 limbs of coco17, got "
    with pytest.raises(ValueError, match=want + "none"):
        read(PoseMaps(heatmaps, PLACES[0], (4, 4), COCO17))
    with pytest.raises(ValueError, match=want + "2"):
        read(PoseMaps(heatmaps, PLACES[0], (4, 4), COCO17, others={"pafs": np.zeros((2, 4, 4))}))


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"threshold": -1}, "paf.threshold: expected 0 or more, got -1"),
        ({"limb_threshold": -0.1}, "paf.limb_threshold: expected 0 or more, got -0.1"),
        ({"samples": 1}, "paf.samples: expected 2 or more, got 1"),
        ({"kernel": 4}, "paf.kernel: expected odd and 3 or more, got 4"),
        ({"max_people": 0}, "paf.max_people: expected 1 or more, got 0"),
        ({"min_joints": 0}, "paf.min_joints: expected 1 or more, got 0"),
        ({"refine": "guess"}, "unknown refiner 'guess'"),
    ],
)
def test_settings_that_make_no_sense(setting, message):
    with pytest.raises(ValueError, match=message):
        PafSettings(**setting)


@pytest.fixture
def rng():
    return np.random.default_rng(7)
