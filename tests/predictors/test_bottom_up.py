"""Dense predictors: what is lit in an image is found there again, whatever was done to the image on the way."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from reference import protocol as slow
from reference import published as slow_reading
from torch import nn

from rtpe.decode.higher_hrnet import PublishedSettings, parse
from rtpe.errors import UserError
from rtpe.geometry import index_to_point, point_to_index
from rtpe.nets.blocks import IMAGENET_MEAN, IMAGENET_STD
from rtpe.nets.higher_hrnet import HigherHRNet
from rtpe.predictors.bottom_up import BottomUpPredictor
from rtpe.skeleton import COCO17, MPII16, Skeleton
from rtpe.structures import Poses

PAIR = Skeleton("pair", ("nose", "left_eye", "right_eye"), ((1, 2),), (0.1, 0.1, 0.1))
ASPECTS_HW = [(100, 400), (400, 100), (427, 640), (640, 427), (426, 640), (33, 95), (61, 61), (1000, 1300), (7, 28)]


class Brightness(nn.Module):
    """Sees each joint where the image is bright: its cells are means of the pixels they cover."""

    def __init__(self, joints=3, stride=4, tagged=True):
        super().__init__()
        self.joints, self.stride, self.tagged, self.sizes = joints, stride, tagged, []

    def maps(self, images):
        self.sizes.append(tuple(images.shape))
        mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        brightness = (images.permute(0, 2, 3, 1) * std + mean).mean(-1)[:, None]
        heatmaps = F.avg_pool2d(brightness, self.stride).expand(-1, self.joints, -1, -1)
        return {"heatmaps": heatmaps} | ({"tags": heatmaps * 3} if self.tagged else {})


class Lopsided(nn.Module):
    """Random convolutions: nothing about them is the same from left to right or from joint to joint."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.heat, self.tag = (nn.Conv2d(3, 3, 3, stride=4, padding=1) for _ in range(2))

    def maps(self, images):
        return {"heatmaps": self.heat(images), "tags": self.tag(images)}


class WithCenters(Lopsided):
    """The same with centers, offsets and shifts, and without tags."""

    def __init__(self):
        super().__init__()
        self.center, *self.pairs = (nn.Conv2d(3, count, 3, stride=4, padding=1) for count in (1, 6, 6))

    def maps(self, images):
        vectors = (each(images) for each in self.pairs)
        own = {"centers": self.center(images), **dict(zip(("offsets", "shifts"), vectors))}
        return {"heatmaps": self.heat(images), **own}


class Broken(WithCenters):
    """One value of one of its maps is none."""

    def __init__(self, kind, value):
        super().__init__()
        self.kind, self.value = kind, value

    def maps(self, images):
        found = super().maps(images) | {"tags": self.tag(images)}
        found[self.kind][-1, -1, -1, -1] = self.value
        return found


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("scales", [(1,), (1, 2)], ids=str)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["heatmaps", "tags", "centers", "offsets", "shifts"])
def test_maps_that_are_no_numbers_are_an_error(kind, value, scales, flip):
    """Weights of NaN, or an overflow in bfloat16, would be an image without people."""
    message = rf"^test: {kind}: expected finite values, got NaN or infinity: check its weights, or pass --teacher"
    with pytest.raises(UserError, match=message):
        predictor(Broken(kind, value), scales=scales, flip=flip)([np.zeros((60, 80, 3), np.uint8)])


def nobody(maps):
    return Poses.none(maps.skeleton)


def predictor(net, skeleton=PAIR, **settings):
    return BottomUpPredictor(net, skeleton, nobody, "test", "0" * 64, **{"size": 128, **settings})


def small_net(joints=17):
    torch.manual_seed(0)
    return HigherHRNet(joints, width=8, stem=8, bottlenecks=1, modules=(1, 1, 1), blocks=1, head_blocks=1)


def blob(size_hw, share_xy):
    """A grey spot on black, all of it well inside the image, and its center."""
    h, w = size_hw
    x, y = share_xy[0] * w, share_xy[1] * h
    rows, columns = index_to_point(np.mgrid[:h, :w].astype(float))
    spot = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * (min(h, w) / 14) ** 2))
    return np.repeat(np.rint(spot).astype(np.uint8)[..., None], 3, axis=-1), (x, y)


def centroid(maps):
    """The center of gravity of the first heatmap, in image pixels."""
    heat = np.clip(maps.heatmaps[0], 0, None).astype(float)
    rows, columns = index_to_point(np.mgrid[: heat.shape[0], : heat.shape[1]].astype(float))
    return maps.to_image(np.array([(heat * columns).sum(), (heat * rows).sum()]) / heat.sum())


def photographs(sizes_hw, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*size_hw, 3), dtype=np.uint8) for size_hw in sizes_hw]


@pytest.mark.parametrize("size_hw", ASPECTS_HW, ids=str)
@pytest.mark.parametrize("fit", ["short_side", "letterbox"])
@pytest.mark.parametrize("flip, scales", [(False, (1.0,)), (True, (1.0,)), (True, (2.0, 1.0, 0.5))], ids=str)
def test_a_spot_comes_back_to_its_place(size_hw, fit, flip, scales):
    """Within .5 px, and within .06 of the coarsest pixel on the way: what remains are samples and 8-bit rounding."""
    image, place = blob(size_hw, (0.35, 0.6))
    (found,) = predictor(Brightness(), resize=fit, flip=flip, scales=scales)([image])
    coarsest = max(1.0, found.maps.to_image.scale / Brightness().stride / min(scales))
    assert found.maps.image_hw == size_hw
    np.testing.assert_allclose(centroid(found.maps), place, atol=min(0.5, 0.06 * coarsest))


@pytest.mark.parametrize("stride", [2, 4, 8])
def test_maps_of_any_stride_are_placed(stride):
    image, place = blob((90, 130), (0.6, 0.4))
    (found,) = predictor(Brightness(stride=stride))([image])
    np.testing.assert_allclose(centroid(found.maps), place, atol=0.1)


def test_padding_belongs_to_the_affine():
    """480 x 640 at a short side of 640: 854 columns of image in the middle of 896."""
    (found,) = predictor(Brightness(), size=640)([np.zeros((480, 640, 3), np.uint8)])
    assert found.maps.heatmaps.shape == (3, 160, 224)
    scale = 640 / 480
    left = (896 - 640 * scale) / 2
    np.testing.assert_allclose(found.maps.to_image(np.array([[0.0, 0.0], [224.0, 160.0]])),
                               [[-left / scale, 0], [640 + left / scale, 480]], atol=1e-9)  # fmt: skip


def test_letterbox_takes_a_height_and_a_width():
    net = Brightness()
    predictor(net, resize="letterbox", size=(64, 96))(photographs([(50, 50), (20, 90)]))
    assert net.sizes == [(2, 3, 64, 96)]


def test_a_batch_says_the_same_as_its_images_alone():
    images = photographs([(60, 80), (80, 60), (64, 64), (60, 80), (30, 40), (60, 81), (20, 80)])
    together = predictor(small_net(), COCO17, flip=True, batch=2)(images)
    alone = [predictor(small_net(), COCO17, flip=True)([image])[0] for image in images]
    for one, other in zip(together, alone):
        assert one.maps.to_image == other.maps.to_image and one.maps.image_hw == other.maps.image_hw
        np.testing.assert_allclose(one.maps.heatmaps, other.maps.heatmaps, atol=1e-6)  # of maps of about 1e-2
        np.testing.assert_allclose(one.maps.tags, other.maps.tags, atol=1e-6)


def test_images_of_equal_input_size_share_a_run_and_keep_their_order():
    net = Brightness()
    lights = [np.full((50 + i % 2 * 10, 50 + i % 2 * 90, 3), 20 * i, np.uint8) for i in range(7)]
    found = predictor(net, batch=3)(lights)
    assert sorted(size[0] for size in net.sizes) == [1, 3, 3]
    # the middle cell: no border reaches it
    middles = [p.maps.heatmaps[0, p.maps.size_hw[0] // 2, p.maps.size_hw[1] // 2] for p in found]
    np.testing.assert_allclose(middles, [20 * i / 255 for i in range(7)], atol=1e-6)


def test_no_images_no_predictions():
    assert predictor(Brightness())([]) == []


def test_the_net_is_used_as_evaluated():
    net = small_net().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    (found,) = predictor(net, COCO17)(photographs([(40, 40)]))
    expected = predictor(small_net().eval(), COCO17)(photographs([(40, 40)]))[0]
    np.testing.assert_array_equal(found.maps.heatmaps, expected.maps.heatmaps)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_decode_reads_each_images_own_maps():
    def brightest(maps):
        return Poses(np.zeros((1, 3, 2)), np.ones((1, 3)), np.array([maps.heatmaps.max()]), maps.skeleton)

    dark, light = (np.full((40, 40, 3), value, np.uint8) for value in (51, 204))
    found = BottomUpPredictor(Brightness(), PAIR, brightest, "test", "", 64)([dark, light])
    np.testing.assert_allclose([p.poses.person_scores[0] for p in found], [0.2, 0.8], atol=1e-6)


def test_the_flipped_run_by_hand():
    """Left and right eye change channels, the mean is of heatmaps only, and tags become a second run."""
    net, (image,) = Lopsided(), photographs([(64, 64)])
    (found,) = predictor(net, size=64, flip=True)([image])
    mean, std = np.array(IMAGENET_MEAN), np.array(IMAGENET_STD)

    def run(pixels):
        normal = torch.tensor((pixels / 255 - mean) / std, dtype=torch.float32).permute(2, 0, 1)[None]
        return [maps[0].detach().numpy() for maps in net.maps(normal).values()]

    (heat, tags), (flipped_heat, flipped_tags) = run(image), run(image[:, ::-1])
    for joint, other in enumerate([0, 2, 1]):
        expected = (heat[joint] + flipped_heat[other][:, ::-1]) / 2
        np.testing.assert_allclose(found.maps.heatmaps[joint], expected, atol=1e-5)  # float32 of values about 1
        np.testing.assert_allclose(found.maps.tags[0, joint], tags[joint], atol=1e-5)
        np.testing.assert_allclose(found.maps.tags[1, joint], flipped_tags[other][:, ::-1], atol=1e-5)


def test_the_flipped_run_of_centers_by_hand():
    """Offsets and shifts point the other way in x, from the mirrored cell, to the joint of the other side."""
    net, (image,) = WithCenters(), photographs([(64, 64)])
    (found,) = predictor(net, size=64, flip=True)([image])
    (plain,) = predictor(net, size=64)([image])
    (mirrored,) = predictor(net, size=64)([image[:, ::-1]])
    assert (
        found.maps.tags is None and plain.maps.centers.shape == (1, 16, 16) and plain.maps.offsets.shape == (6, 16, 16)
    )
    centers = (plain.maps.centers + mirrored.maps.centers[..., ::-1]) / 2
    np.testing.assert_allclose(found.maps.centers, centers, atol=1e-5)  # float32 of values about 1
    for kind in ("offsets", "shifts"):
        told, plainly, mirroredly = (getattr(each.maps, kind) for each in (found, plain, mirrored))
        for joint, other in enumerate([0, 2, 1]):
            for axis, sign in enumerate([-1, 1]):
                one, flipped = plainly[2 * joint + axis], mirroredly[2 * other + axis][:, ::-1]
                np.testing.assert_allclose(told[2 * joint + axis], (one + sign * flipped) / 2, atol=1e-5)


def test_centers_and_offsets_are_those_of_scale_1():
    (image,) = photographs([(64, 128)])
    (one,), (several,) = (predictor(WithCenters(), scales=scales)([image]) for scales in ((1,), (0.5, 1, 2)))
    np.testing.assert_array_equal(one.maps.centers, several.maps.centers)
    np.testing.assert_array_equal(one.maps.offsets, several.maps.offsets)
    np.testing.assert_array_equal(one.maps.shifts, several.maps.shifts)


def test_a_mirrored_image_gives_mirrored_maps_if_flipped_runs_are_averaged():
    net, images = Lopsided(), photographs([(64, 96)])
    one, other = predictor(net, size=64, flip=True)([images[0], images[0][:, ::-1]])
    mirrored = other.maps.heatmaps[[0, 2, 1], :, ::-1]
    np.testing.assert_allclose(one.maps.heatmaps, mirrored, atol=1e-5)


def test_scales_by_hand():
    """Uniform light needs no interpolation: 1/3 of each scale's own light, tags of scale 1 alone."""

    class Sized(Brightness):
        def maps(self, images):
            level = super().maps(images)["heatmaps"] * 0 + images.shape[-1]
            return {"heatmaps": level, "tags": level}

    net = Sized()
    (found,) = predictor(net, scales=(0.5, 1, 2))(photographs([(60, 90)]))
    assert sorted(size[2:] for size in net.sizes) == [(64, 128), (128, 256), (256, 512)]
    np.testing.assert_allclose(found.maps.heatmaps, np.full((3, 32, 64), (128 + 256 + 512) / 3), rtol=1e-6)
    np.testing.assert_array_equal(found.maps.tags, np.full((1, 3, 32, 64), 256))


def test_a_net_without_tags():
    for flip in (False, True):
        (found,) = predictor(Brightness(tagged=False), flip=flip)(photographs([(30, 30)]))
        assert found.maps.tags is None


def test_bf16_stays_near():
    images = photographs([(40, 60)])
    (exact,), (near,) = (predictor(small_net(), COCO17, precision=precision)(images) for precision in ("fp32", "bf16"))
    assert near.maps.heatmaps.dtype == np.float32
    spread = exact.maps.heatmaps.std()
    assert np.abs(near.maps.heatmaps - exact.maps.heatmaps).mean() < 0.05 * spread  # 8 bits, through some 40 layers
    assert not np.array_equal(near.maps.heatmaps, exact.maps.heatmaps)


@pytest.mark.parametrize(
    "size_hw, map_hw",
    [((1, 1), (32, 32)), ((1, 4), (32, 128)), ((4, 1), (128, 32)), ((1, 3000), (32, 256)), ((3000, 1), (256, 32))],
    ids=str,
)
def test_tiny_and_thin_images(size_hw, map_hw):
    (found,) = predictor(Brightness(), flip=True)([np.full((*size_hw, 3), 255, np.uint8)])
    assert found.maps.size_hw == map_hw and np.isfinite(found.maps.heatmaps).all()
    middle = found.maps.to_image(np.array(map_hw[::-1]) / 2)
    np.testing.assert_allclose(middle, np.array(size_hw[::-1]) / 2)


def test_a_grey_image_is_one_with_three_equal_channels():
    (image,) = photographs([(40, 50)])
    grey = image[..., 0]
    one, other = predictor(small_net(), COCO17)([grey, np.stack([grey] * 3, axis=-1)])
    np.testing.assert_array_equal(one.maps.heatmaps, other.maps.heatmaps)


def test_predictors_describe_themselves_alike_if_alike():
    one, same = (predictor(small_net(), COCO17, resize="letterbox", size=(64, 96), scales=(1,)) for _ in range(2))
    flipped = predictor(small_net(), COCO17, resize="letterbox", size=(64, 96), scales=(1,), flip=True)
    assert one.describe() == same.describe() != flipped.describe()
    assert json.loads(json.dumps(one.describe())) == one.describe()
    assert one.describe() == {
        "name": "test",
        "weights_sha256": "0" * 64,
        "settings": {
            "net": "HigherHRNet", "numbers": small_net().numbers, "size": [64, 96], "resize": "letterbox",
            "flip": False, "scales": [1.0], "precision": "fp32", "decode": {},
        },
    }  # fmt: skip
    assert predictor(Brightness()).describe()["settings"]["numbers"] == {}


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"resize": "stretch"}, "resize: choose from short_side, letterbox, published, got 'stretch'"),
        ({"precision": "fp8"}, "precision: choose from fp32, bf16, got 'fp8'"),
        ({"scales": ()}, r"scales: expected positive numbers and 1 among them, got \(\)"),
        ({"scales": (0.5, 2)}, r"scales: expected positive numbers and 1 among them, got \(0.5, 2\)"),
        ({"size": 100}, r"size: expected a multiple of 64 for the scales \(1.0,\), got 100: choose one, or"),
        ({"size": 192, "scales": (1, 0.5)}, r"size: expected a multiple of 128 for the scales \(1, 0.5\), got 192"),
        ({"size": (64, 64)}, r"size: expected a multiple of 64 .*, got \(64, 64\): choose one, or fit letterbox"),
    ],
    ids=str,
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        predictor(Brightness(), **settings)


@pytest.mark.parametrize(
    "image, got",
    [
        (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\) uint8"),
        (np.zeros((4, 4, 4), np.uint8), r"\(4, 4, 4\) uint8"),
        (np.zeros((4, 4, 3)), r"\(4, 4, 3\) float64"),
    ],
    ids=["empty", "with alpha", "float"],
)
def test_what_is_no_image(image, got):
    with pytest.raises(ValueError, match=rf"image: expected \(H, W, 3\) uint8 RGB, got {got}"):
        predictor(Brightness())([image])


def test_a_net_of_another_skeleton():
    message = "test: expected 16 heatmaps for mpii16, got 17: choose the skeleton that the net was trained with"
    with pytest.raises(ValueError, match=message):
        predictor(small_net(), MPII16)(photographs([(9, 9)]))


def test_sizes_that_scales_or_strides_cannot_divide():
    with pytest.raises(ValueError, match=r"size: \(65, 65\) times scale 0.5 is no whole number of pixels"):
        predictor(Brightness(), resize="letterbox", size=65, scales=(1, 0.5))(photographs([(9, 9)]))
    with pytest.raises(ValueError, match=r"test: \(16, 25\) cells do not divide an input of \(66, 100\)"):
        predictor(Brightness(), resize="letterbox", size=(66, 100))(photographs([(9, 9)]))


# ---- the published test


def swung(joints=3):
    """A small HigherHRNet that says more than nothing, of a skeleton of three joints."""
    net = small_net(joints).eval()
    with torch.no_grad():
        for head in net.final_layers:
            head.weight *= 300
    return net


def levels_of(net):
    def levels(images):
        out = net(images)
        return torch.cat([out.heatmaps[0], out.maps["tags"][0]], dim=1), out.heatmaps[1]

    return levels


@pytest.mark.parametrize("size_hw", [(36, 48), (51, 37), (64, 64), (127, 128)], ids=str)
@pytest.mark.parametrize("flip, scales", [(False, (1,)), (True, (1,)), (True, (0.5, 1, 2))], ids=str)
def test_the_published_test_one_image_at_a_time(size_hw, flip, scales):
    """Inputs, runs, tags and averages of tests/reference/protocol.py, which knows indices of pixels alone."""
    net, (image,) = swung(), photographs([size_hw], seed=2)
    size = 128 if len(scales) > 1 else 64
    (found,) = predictor(net, resize="published", project_to_image=True, flip=flip, scales=scales, size=size)([image])
    heatmaps, tags = slow.aggregated(levels_of(net), image, size, PAIR.flip, scales, flip)
    assert found.maps.heatmaps.shape == heatmaps.shape and found.maps.tags.shape == tags.shape
    # warps of cv2 place pixels to 1/32; a grey level there is some thousandth of the spread of the maps
    np.testing.assert_allclose(found.maps.heatmaps, heatmaps, atol=0.02 * heatmaps.std())
    np.testing.assert_allclose(found.maps.tags, tags, atol=0.02 * tags.std())


@pytest.mark.parametrize("size_hw", [(480, 640), (427, 640), (333, 500), (500, 333), (501, 501), (37, 41)], ids=str)
@pytest.mark.parametrize("least", [1, 0.5])
@pytest.mark.parametrize("project", [True, False])
def test_published_maps_lie_where_the_published_results_say(size_hw, least, project):
    """A cell read as (x + .5, y + .5) of its indices is that pixel index of the image, with nothing added."""
    scales, image_wh = ((0.5, 1) if least < 1 else (1,)), size_hw[::-1]
    made = predictor(Brightness(stride=2), resize="published", project_to_image=project, scales=scales)
    maps = made([np.zeros((*size_hw, 3), np.uint8)])[0].maps
    to_wh = slow.input_wh(image_wh, 128, 1, least)
    assert maps.size_hw == tuple(side // (1 if project else 2) for side in to_wh[::-1])
    points = np.array([[0.5, 0.5], [17.75, 3.25], [40, 60]])
    expected = slow.to_image(points, maps.size_hw[::-1], image_wh, to_wh)
    np.testing.assert_allclose(point_to_index(maps.to_image(points)), expected, atol=1e-9)


class Spots(nn.Module):
    """Two levels that see joint k where the image has colour k; tags that grow from left to right."""

    def levels(self, images):
        mean, std = (torch.tensor(each)[:, None, None] for each in (IMAGENET_MEAN, IMAGENET_STD))
        coarse, fine = (F.avg_pool2d(images * std + mean, stride) for stride in (4, 2))
        tags = torch.linspace(-4, 4, coarse.shape[-1]).expand_as(coarse)
        return torch.cat([coarse, tags], dim=1), fine

    def maps(self, images):
        coarse, fine = self.levels(images)
        coarse = F.interpolate(coarse, fine.shape[-2:], mode="bilinear", align_corners=False)
        return {"heatmaps": (coarse[:, :3] + fine) / 2, "tags": coarse[:, 3:]}


@pytest.mark.parametrize("size_hw", [(60, 41), (48, 97)], ids=str)
@pytest.mark.parametrize("flip, scales", [(False, (1,)), (True, (1,)), (True, (0.5, 1, 2))], ids=str)
def test_published_results_from_the_pixels_on(size_hw, flip, scales):
    """The keypoints of a results file, against a slow test and slow reading that share no line with these."""
    h, w = size_hw
    image, size = np.zeros((h, w, 3), np.uint8), 128 if len(scales) > 1 else 64
    people = np.array([[[0.2, 0.3, 0.9], [0.15, 0.55, 0.7], [0.3, 0.8, 0.8]],
                       [[0.8, 0.2, 0.6], [0.75, 0.5, 0.95], [0.85, 0.9, 0.5]]])  # fmt: skip
    rows, columns = np.mgrid[:h, :w]
    for x, y, height in people.reshape(-1, 3)[[0, 1, 2, 3, 5]]:  # one has no left eye
        joint = np.flatnonzero((people[..., :2] == (x, y)).all(-1).any(0))[0]
        spot = height * 255 * np.exp(-((columns - x * w) ** 2 + (rows - y * h) ** 2) / (2 * 2.5**2))
        image[..., joint] = np.maximum(image[..., joint], spot.astype(np.uint8))
    made = predictor(Spots(), resize="published", project_to_image=True, flip=flip, scales=scales, size=size)
    # a joint that is nowhere would be completed by rounding errors of the dark
    got = parse(made([image])[0].maps, PublishedSettings(complete=False)).to_coco(1)
    heatmaps, tags = slow.aggregated(Spots().levels, image, size, PAIR.flip, scales, flip)
    to_wh = slow.input_wh((w, h), size, 1, min(scales))
    answers = slow_reading.parse(heatmaps.tolist(), tags.tolist(), complete=False)
    places = [
        [{j: slow.to_image(np.array(at[:2]), to_wh, (w, h), to_wh) for j, at in joints.items()} for _, joints in answer]
        for answer in answers
    ]
    found = [np.reshape(row["keypoints"], (3, 3)) for row in got]
    found = [{j: row[j, :2] for j in range(3) if row[j, 2] > 0} for row in found]
    assert len(found) >= 2 and any(_same_people(found, answer) for answer in places)


def _same_people(people, others):
    """Each of these is one of those, to a thousandth of a pixel: points are float32."""
    alike = [
        [one.keys() == other.keys() and all(np.abs(one[j] - other[j]).max() < 1e-3 for j in one) for other in others]
        for one in people
    ]
    return len(people) == len(others) and np.array(alike).any(axis=0).all() and np.array(alike).any(axis=1).all()


@pytest.mark.parametrize("fit, off", [("published", 0.0), ("short_side", -0.5)])
def test_a_net_that_learnt_the_published_targets_is_right_on_average(fit, off):
    """Its peak is in the cell that the index of the joint's pixel, over the stride, falls into; read as that of a net
    that learnt our targets, its joints would lie half a pixel of the input up and left of where they are."""
    rng, image = np.random.default_rng(0), np.zeros((128, 128, 3), np.uint8)  # as large as the input
    maps = predictor(Brightness(stride=2), resize=fit)([image])[0].maps
    indices = rng.uniform(0, 127, (20_000, 2))
    found = maps.to_image(index_to_point(np.floor(indices / 2)))
    errors = (found - index_to_point(indices)).mean(axis=0)
    np.testing.assert_allclose(errors, off, atol=0.02)  # the mean of 20,000 uniform errors, five times its deviation


def test_projected_maps_are_as_large_as_the_input():
    image, place = blob((90, 130), (0.6, 0.4))
    (found,), (plain,) = (predictor(Brightness(), project_to_image=project)([image]) for project in (True, False))
    assert found.maps.size_hw == tuple(4 * side for side in plain.maps.size_hw) == (128, 192)
    np.testing.assert_allclose(centroid(found.maps), place, atol=0.1)
    (found,), (plain,) = (
        predictor(WithCenters(), project_to_image=project)(photographs([(64, 64)])) for project in (True, False)
    )
    for kind in ("offsets", "shifts"):
        told = 4 * slow.enlarged(getattr(plain.maps, kind), (128, 128))  # in cells that are a quarter as large
        np.testing.assert_allclose(getattr(found.maps, kind), told, atol=1e-4)  # float32 of values about 4
    np.testing.assert_allclose(found.maps.centers, slow.enlarged(plain.maps.centers, (128, 128)), atol=1e-5)


def test_only_a_projecting_predictor_says_so():
    said = [predictor(Brightness(), project_to_image=project).describe()["settings"] for project in (False, True)]
    assert "project_to_image" not in said[0] and said[1] == {**said[0], "project_to_image": True}
