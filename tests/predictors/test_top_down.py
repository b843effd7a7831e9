"""Top-down predictors: what is lit in a person is found there again, and lies on one map of the whole image."""

import json

import numpy as np
import pytest
import torch
from miniature import FACE, STRIDE, cell_means, spots
from reference import top_down as published
from torch import nn

from rtpe.decode.peaks import dark, local_maxima
from rtpe.errors import UserError
from rtpe.geometry import Affine, index_to_point
from rtpe.nets.blocks import IMAGENET_MEAN, IMAGENET_STD
from rtpe.predictors.top_down import TopDownPredictor, TopDownSettings, crop_model, paste
from rtpe.skeleton import Skeleton
from rtpe.structures import Boxes

MIDDLE = Skeleton("middle", ("nose", "neck", "pelvis"), (), (0.1, 0.1, 0.1))  # a mirror swaps nobody
SIZE_HW = (128, 96)
SPREAD = 2.0  # of a spot, in cells of the crop
# image, and a box in it: wide, tall, at the border, over it, much smaller and larger than a crop
PLACES = [
    ((200, 300), (40, 30, 150, 120)),
    ((480, 640), (300, 100, 90, 300)),
    ((240, 200), (0, 0, 80, 110)),
    ((240, 200), (120, 150, 80, 110)),
    ((427, 640), (501, 301, 60, 70)),
    ((1000, 1300), (100, 50, 900, 900)),
]


def means(crops):
    """The perfect net: joint k is where colour k is."""
    return np.stack([cell_means(each) for each in crops])


def corners(crops):
    """The same net, that sees pixel stride * i in cell i."""
    return crops[:, ::STRIDE, ::STRIDE].transpose(0, 3, 1, 2).astype(np.float32) / 255


def ends(crops):
    """The same net, whose outermost cells see the outermost pixels, as in unbiased data processing."""
    heat = crops / 255
    for axis in (1, 2):
        side = crops.shape[axis]
        places = np.linspace(0, side - 1, side // STRIDE)
        below = np.minimum(places.astype(int), side - 2)
        share = (places - below).reshape([-1 if dimension == axis else 1 for dimension in range(4)])
        heat = (1 - share) * heat.take(below, axis) + share * heat.take(below + 1, axis)
    return heat.transpose(0, 3, 1, 2).astype(np.float32)


def lopsided(crops):
    """Nothing about it is the same from left to right or from joint to joint."""
    weights = np.random.default_rng(3).normal(size=(3, STRIDE, STRIDE, 3))
    b, h, w, _ = crops.shape
    blocks = crops.reshape(b, h // STRIDE, STRIDE, w // STRIDE, STRIDE, 3)
    return np.einsum("bhywxc,kyxc->bkhw", blocks / 255, weights).astype(np.float32)


def predictor(look=means, skeleton=MIDDLE, batch=8, boxes_from=None, **settings):
    settings = TopDownSettings(**{"size_hw": SIZE_HW, "refine": "dark", **settings})
    source = boxes_from or {"from": "labels"}
    return TopDownPredictor(look, skeleton, settings, STRIDE, "test", "0" * 64, {}, source, {"net": "test"}, batch)


def boxes(*people, scores=None):
    return Boxes(np.array(people, float).reshape(-1, 4), np.ones(len(people)) if scores is None else scores)


def cell_px(box):
    """Pixels of the photograph in a cell of a person's crop."""
    return STRIDE * 1.25 * max(box[2] / SIZE_HW[1], box[3] / SIZE_HW[0])


def person(box, size_hw, seed=0):
    """A photograph of one person, and where the joints are."""
    rng = np.random.default_rng(seed)
    points = np.array(box[:2]) + rng.uniform(0.25, 0.75, (3, 2)) * box[2:]
    return spots(points, size_hw, SPREAD * cell_px(box)), points


# ---- nobody


def test_without_images_there_is_nothing():
    assert predictor()([], []) == []


@pytest.mark.parametrize("others", [0, 1])
def test_an_image_without_boxes_has_no_people_and_empty_maps(others):
    image, _ = person((40, 30, 80, 60), (120, 160))
    nobody, *_ = predictor()([image] * (1 + others), [Boxes.none()] + [boxes((40, 30, 80, 60))] * others)
    assert len(nobody.poses) == 0
    assert nobody.maps.size_hw == (120, 160) and not nobody.maps.heatmaps.any()  # 640 pixels of canvas, 4 a cell


def test_boxes_that_are_not_given_are_asked_for():
    with pytest.raises(ValueError, match=r"^test: sees one person a crop and was given no boxes: call it with"):
        predictor()([np.zeros((9, 9, 3), np.uint8)])


# ---- the circle


# argmax is off by half a cell each way, quarter by a quarter, DARK by .01; a byte's rounding and the warp cost .03 more
@pytest.mark.parametrize("refine, bound", [("argmax", 0.53), ("quarter", 0.28), ("dark", 0.04)])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("look, how", [(means, {}), (corners, {"by_index": True}), (ends, {"udp": True})])
@pytest.mark.parametrize("size_hw, box", PLACES, ids=str)
def test_a_lit_joint_comes_back_to_its_place(size_hw, box, look, how, flip, refine, bound):
    """Image, crop, heat, decode: no shape of box, border or mirror costs half a pixel."""
    image, points = person(box, size_hw)
    (found,) = predictor(look, flip=flip, refine=refine, **how)([image], [boxes(box)])
    assert np.abs(found.poses.points[0] - points).max() <= bound * cell_px(box)
    assert found.poses.scores.min() > 0.8


def test_the_wrong_idea_of_cells_shifts_everything():
    """By (stride - 1) / 2 pixels of the crop, each way: three eighths of a cell."""
    size_hw, box = PLACES[0]
    image, points = person(box, size_hw)
    (found,) = predictor(corners)([image], [boxes(box)])
    np.testing.assert_allclose((found.poses.points[0] - points) / cell_px(box), 0.375, atol=0.03)


def test_by_index_a_crop_is_what_published_code_warps():
    """The middle of the box, taken for the index of a pixel, becomes the index that is half the crop's size."""
    matrix = predictor(by_index=True)._view(np.array([10, 20, 40, 30])).index_matrix()
    scale = 96 / 40 / 1.25
    np.testing.assert_allclose(matrix, [[scale, 0, 48 - scale * 30], [0, scale, 64 - scale * 35]])


def test_in_udp_the_edges_of_the_box_are_the_outermost_indices():
    """Of crop and cells alike, whatever their aspect."""
    made = predictor(udp=True, padding=1.0)
    corner_indices = np.array([[10.0, 20.0], [40.0, 60.0]])  # of a box 30 wide and 40 high, which has the crop's aspect
    view = made._view(np.array([10, 20, 30, 40]))
    h, w = SIZE_HW
    np.testing.assert_allclose(view(index_to_point(corner_indices)), index_to_point(np.array([[0, 0], [w - 1, h - 1]])))
    ends_of_cells = index_to_point(np.array([[0, 0], [w // STRIDE - 1, h // STRIDE - 1]]))
    np.testing.assert_allclose((view.inverse() @ made._cells)(ends_of_cells), index_to_point(corner_indices))


def test_a_whole_cells_shift_is_a_quarter_too_much_for_the_mirrored_half():
    size_hw, box = PLACES[0]
    image, points = person(box, size_hw)
    (found,) = predictor(corners, flip=True, by_index=True, shift=True)([image], [boxes(box)])
    np.testing.assert_allclose((found.poses.points[0] - points) / cell_px(box), [[0.125, 0]] * 3, atol=0.03)


def test_the_flip_test_swaps_left_and_right():
    crops = np.random.default_rng(0).integers(0, 256, (2, *SIZE_HW, 3), np.uint8)
    got = predictor(lopsided, FACE, flip=True)._seen(crops)
    plain, mirrored = lopsided(crops), lopsided(crops[:, :, ::-1])
    for joint, other in enumerate((0, 2, 1)):
        np.testing.assert_allclose(got[:, joint], (plain[:, joint] + mirrored[:, other, :, ::-1]) / 2, rtol=1e-5)


# ---- one map of the whole image


@pytest.mark.parametrize("size_hw, box", PLACES, ids=str)
def test_a_pasted_peak_stands_where_the_joint_is_and_as_high(size_hw, box):
    image, points = person(box, size_hw)
    (found,) = predictor()([image], [boxes(box)])
    maps = found.maps
    peaks = local_maxima(maps.heatmaps, count=1)
    assert peaks.joints.tolist() == [0, 1, 2]
    placed = maps.to_image(dark(maps.heatmaps, *peaks[:3]))
    assert np.abs(placed - points).max() <= 0.2 * max(maps.to_image.scale, cell_px(box))
    assert (peaks.scores >= 0.8 * found.poses.scores[0]).all()


@pytest.mark.parametrize("reduction", [0.3, 0.8, 1.0, 1.2, 1.9, 2.0, 3.7, 8.0])
def test_a_peak_keeps_place_and_height_however_small_the_person(reduction):
    """A Gaussian of 2 cells in a grid whose cells are so many times as large."""
    ys, xs = index_to_point(np.mgrid[:64, :48])
    affine = Affine.scaling(1 / reduction) @ Affine.translation(0.37, 0.11)
    for x, y in np.random.default_rng(0).uniform((10, 10), (38, 54), (20, 2)):
        heat = np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * SPREAD**2))[None].astype(np.float32)
        pasted = paste(heat, affine, tuple(int(side / reduction) + 1 for side in (64, 48)))
        peaks = local_maxima(pasted, count=1, kernel=3)
        (point,) = dark(pasted, *peaks[:3])
        assert np.abs(point - affine(np.array([x, y]))).max() <= 0.15 * max(1, 1 / reduction)
        assert 0.8 <= peaks.scores[0] <= 1.03  # cubic curves overshoot


def test_people_share_one_map_and_the_highest_counts():
    size_hw, left, right = (120, 240), (10, 20, 80, 80), (130, 30, 80, 80)
    images = [person(box, size_hw, seed)[0] for seed, box in enumerate((left, right))]
    both = np.maximum(*images)
    together, first, second = predictor()([both] * 3, [boxes(left, right), boxes(left), boxes(right)])
    np.testing.assert_array_equal(together.maps.heatmaps, np.maximum(first.maps.heatmaps, second.maps.heatmaps))
    assert len(together.poses) == 2 and local_maxima(together.maps.heatmaps).joints.tolist() == [0, 0, 1, 1, 2, 2]
    assert first.maps.heatmaps[:, :, -1].max() == 0  # outside the crop nothing was seen


# ---- scores and doubles


def heights(*joints):
    """A net that says the same of everyone."""
    heat = np.zeros((3, 32, 24), np.float32)
    heat[[0, 1, 2], [10, 15, 20], [8, 12, 16]] = joints
    return lambda crops: np.repeat(heat[None], len(crops), axis=0)


@pytest.mark.parametrize(
    "settings, scores, want",
    [
        ({}, [0.9, 0.6, 0.1], 1.6 / 3),
        ({"rescore": True}, [0.9, 0.6, 0.1], 0.5 * 1.6 / 3),
        ({"vis_threshold": 0.2}, [0.9, 0.6, 0.1], 0.75),
        ({"threshold": 0.2}, [0.9, 0.6, 0.0], 0.75),
        ({"vis_threshold": 0.95}, [0.9, 0.6, 0.1], 0.0),
    ],
)
def test_a_person_scores_by_its_joints(settings, scores, want):
    image = np.zeros((100, 100, 3), np.uint8)
    box = boxes((20, 20, 40, 60), scores=np.array([0.5]))
    (found,) = predictor(heights(0.9, 0.6, 0.1), **settings)([image], [box])
    np.testing.assert_allclose(found.poses.scores[0], scores, rtol=1e-6)
    assert found.poses.person_scores[0] == pytest.approx(want)


@pytest.mark.parametrize("similar, people", [(0.9, 2), (1.0, 3)])
def test_who_is_found_twice_is_kept_once(similar, people):
    image, scores = np.zeros((100, 200, 3), np.uint8), np.array([0.2, 0.9, 0.5])
    twice = boxes((20, 20, 40, 60), (21, 20, 40, 60), (120, 20, 40, 60), scores=scores)
    (found,) = predictor(heights(0.9, 0.9, 0.9), nms_oks=similar, rescore=True)([image], [twice])
    assert len(found.poses) == people
    assert found.poses.person_scores[0] == pytest.approx(0.81)  # the better of the two stays


def as_published(heatmaps, **settings):
    """People of a net that shows these maps, (P, K, 32, 24), in turn."""
    asked = {"by_index": True, "refine": "quarter", "vis_threshold": 0.2, "rescore": True, "padding": 1.25}
    return predictor(lambda crops: heatmaps[: len(crops)], **asked | settings)


@pytest.mark.parametrize("seed", range(20))
def test_by_index_people_are_read_as_by_the_published_code(seed):
    """Peaks anywhere, at the border too, joints without heat, and people who are one and the same or nearly so."""
    rng = np.random.default_rng(seed)
    heatmaps = rng.random((6, 3, 32, 24)).astype(np.float32) * rng.choice([0, 0.3, 1], (6, 3, 1, 1))
    people = np.round(rng.uniform((-5, -5, 1, 1), (90, 60, 60, 50), (6, 4)), 1)
    people[3:] = people[:3] + np.round(rng.normal(0, 0.5, (3, 4)), 1) * [1, 1, 0, 0]
    heatmaps[3:] = heatmaps[:3]
    cleaned = [published.cleaned(box, 1, 100, 80) for box in people.tolist()]
    cleaned = [box for box in cleaned if box and min(box[2:]) > 0]
    heatmaps = heatmaps[: len(cleaned)]
    scores = rng.uniform(0.1, 1, len(cleaned))
    (found,) = as_published(heatmaps)([np.zeros((80, 100, 3), np.uint8)], [boxes(*cleaned, scores=scores)])
    want = published.read(heatmaps.tolist(), cleaned, scores.tolist(), SIZE_HW, 0.2, 0.9, MIDDLE.sigmas)
    assert len(found.poses) == len(want)
    np.testing.assert_allclose(found.poses.person_scores, [person[0] for person in want], rtol=1e-5)  # float32
    np.testing.assert_allclose(found.poses.scores, [np.maximum(person[2], 0) for person in want], rtol=1e-6)
    points = [index_to_point(np.array(person[1])) for person in want]
    np.testing.assert_allclose(found.poses.points, points, atol=1e-4)


# both crops are 50 x 66.7 pixels: a shift is all that tells them apart, and OKS is .9 at 5.3 pixels for sigmas of .1
@pytest.mark.parametrize("shift, people", [(0, 1), (5.25, 1), (5.35, 2), (9, 2)])
@pytest.mark.parametrize("how", [{"by_index": True}, {"udp": True}])
def test_by_index_people_are_compared_on_the_area_of_their_crops(how, shift, people):
    """Not on that of the box around their joints, which is much smaller: 1.7 pixels would tell them apart."""
    image = np.zeros((100, 200, 3), np.uint8)
    twice = boxes((20, 20, 40, 50), (20 + shift, 20, 40, 50), scores=np.array([0.9, 0.5]))
    (found,) = predictor(heights(0.9, 0.6, 0.3), rescore=True, refine="argmax", **how)([image], [twice])
    assert len(found.poses) == people


def test_by_index_joints_without_heat_count_in_the_comparison():
    """Two people of one joint each in one place, whose others lie in the corners of crops far apart, are two."""
    image = np.zeros((100, 200, 3), np.uint8)
    maps = np.zeros((2, 3, 32, 24), np.float32)
    maps[0, 0, 16, 16], maps[1, 0, 16, 8] = 0.9, 0.8
    apart = 8 * 1.25 * 40 / 24  # pixels: so much further right is the second crop, to put its cell 8 where 16 was
    two = boxes((20, 20, 40, 160 / 3), (20 + apart, 20, 40, 160 / 3))
    (found,) = as_published(maps)([image], [two])
    assert len(found.poses) == 2
    np.testing.assert_allclose(found.poses.points[0, 0], found.poses.points[1, 0], atol=1e-4)
    (plain,) = predictor(lambda crops: maps, refine="quarter")([image], [two])
    assert len(plain.poses) == 1


@pytest.mark.parametrize("values", [(0.1, 0.2, np.nan), (np.inf, 0, 0), (0, -np.inf, 0.7)], ids=str)
def test_maps_without_numbers_are_an_error(values):
    """A net that overflows would show no joint: nobody is there, says the score."""
    image, given = np.zeros((100, 100, 3), np.uint8), boxes((20, 20, 40, 60))
    message = r": heatmaps: expected finite values, got NaN or infinity: check its weights, or pass --teacher.prec"
    for flip in (False, True):
        with pytest.raises(UserError, match=message):
            predictor(heights(*values), flip=flip)([image], [given])


# ---- the contract


def test_batches_change_nothing():
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, (*size_hw, 3), np.uint8) for size_hw in [(60, 90), (90, 60), (50, 50)]]
    given = [boxes((5, 5, 30, 30), (20, 10, 30, 40)), Boxes.none(), boxes((0, 0, 50, 50))]
    together = predictor(lopsided, batch=8)(images, given)
    for image, box, want in zip(images, given, together):
        (alone,) = predictor(lopsided, batch=1)([image], [box])
        np.testing.assert_allclose(alone.maps.heatmaps, want.maps.heatmaps, rtol=1e-5)
        np.testing.assert_array_equal(alone.poses.points, want.poses.points)


def test_a_predictor_says_who_it_is():
    said = predictor().describe()
    assert said == predictor(batch=1).describe() and json.loads(json.dumps(said)) == said
    assert said["settings"]["size"] == [128, 96] and said["settings"]["boxes"] == {"from": "labels"}
    assert "udp" not in said["settings"]  # nor was it in caches made before there was a choice
    others = [{"flip": True}, {"refine": "quarter"}, {"map_size": 512}, {"boxes_from": {"from": "found.json"}}]
    others += [{"udp": True}]
    assert all(predictor(**other).describe() != said for other in others)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"size_hw": (256,)}, r"crop.size: expected \[height, width\], got \[256\]"),
        ({"padding": 0}, "crop.padding, crop.map_size: expected above 0, got 0 and 640"),
        ({"shift": True}, "crop.shift: only of nets that were trained so: pass --teacher.crop.by_index as well"),
        ({"udp": True, "by_index": True}, "crop.by_index: not with crop.udp, as which every ViTPose is shown crops"),
        ({"refine": "sharp"}, "unknown refiner 'sharp': choose from argmax, quarter, dark"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(ValueError, match=message):
        TopDownSettings(**settings)


@pytest.mark.parametrize("flip", [False, True])
def test_maps_that_are_other_than_expected(flip):
    image = np.zeros((100, 100, 3), np.uint8)
    message = (
        r"test: expected 2 heatmaps of \(32, 24\) cells for pair in crops of \(128, 96\), got \(3, 32, 24\): choose"
    )
    with pytest.raises(ValueError, match=message):
        pair = Skeleton("pair", ("a", "b"), (), (0.1, 0.1))
        predictor(skeleton=pair, flip=flip)([image], [boxes((20, 20, 40, 60))])
    with pytest.raises(ValueError, match=r"image: expected \(H, W, 3\) uint8 RGB, got \(100, 100\) uint8"):
        predictor()([image[..., 0]], [Boxes.none()])


class First(nn.Module):
    """Shows what it is given."""

    def maps(self, images):
        return {"heatmaps": images}


@pytest.mark.parametrize("color, order", [("rgb", [0, 1, 2]), ("bgr", [2, 1, 0])])
def test_colours_are_in_the_order_that_the_net_was_trained_with(color, order):
    """The means stay in place: so were the published weights of SimpleBaselines trained."""
    crops = np.full((1, 4, 4, 3), (204, 102, 51), np.uint8)
    got = crop_model(First(), color=color)(crops)[0, :, 0, 0]
    want = (np.array([0.8, 0.4, 0.2])[order] - IMAGENET_MEAN) / IMAGENET_STD
    np.testing.assert_allclose(got, want, rtol=1e-5)  # float32


def test_half_precision_is_nearly_the_same():
    torch.manual_seed(0)

    class Net(nn.Conv2d):
        def maps(self, images):
            return {"heatmaps": self(images)}

    net, crops = Net(3, 3, 3), np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    full, half = (crop_model(net, precision=precision)(crops) for precision in ("fp32", "bf16"))
    assert half.dtype == np.float32 and 0 < np.abs(full - half).max() < 0.05  # bf16 has 8 bits
