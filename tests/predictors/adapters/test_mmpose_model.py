"""A model of mmpose at work, with nets of the test's own in place of mmpose's: geometry, colours, people."""

import importlib
import json
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from miniature import FACE, spots
from torch import nn

from rtpe.decode.peaks import dark, local_maxima
from rtpe.errors import UserError
from rtpe.geometry import index_to_point, letterbox
from rtpe.nets.blocks import normalise
from rtpe.predictors.adapters.mmpose import read_model
from rtpe.predictors.adapters.mmpose_model import Model, PosePredictor, TagNet, mmpose_crop_model
from rtpe.predictors.adapters.mmpose_stubs import MODULES, stand_ins
from rtpe.predictors.top_down import TopDownPredictor, TopDownSettings
from rtpe.skeleton import COCO17, Skeleton
from rtpe.structures import Boxes

MIDDLE = Skeleton("middle", ("nose", "neck", "pelvis"), (), (0.1, 0.1, 0.1))  # a mirror swaps nobody
SIZE_HW = (128, 96)
PLAIN = {"mean": (0.0,), "std": (255.0,), "color": "rgb"}


class Net(nn.Module):
    """mmpose's way to be called, around a function of the inputs."""

    def __init__(self, says):
        super().__init__()
        self.says, self.head, self.test_cfg = says, SimpleNamespace(), {}

    def forward(self, inputs, samples, mode):
        assert samples is None and mode == "tensor"
        return self.says(inputs)


def model(says, kind="heatmaps", joints=FACE, order=(0, 1, 2), **changes):
    known = {"kind": kind, "size_hw": SIZE_HW, "stride": 4, "order": order, "skeleton": joints, **PLAIN, **changes}
    return Model(Net(says), weights_sha256="0" * 64, **known)


def between_corners(inputs):
    """Cell i sees pixel i * (W - 1) / (w - 1), by index."""
    return F.interpolate(inputs, (32, 24), mode="bilinear", align_corners=True)


def every_fourth(inputs):
    return inputs[:, :, ::4, ::4]


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("kind, says", [("heatmaps", every_fourth), ("udp", between_corners)])
def test_a_lit_joint_comes_back_to_its_place(kind, says, flip):
    """At the border too, where one way to lay cells over a crop is 1.5 pixels from the other."""
    box = (30, 20, 100, 90)
    made = model(says, kind, MIDDLE)
    settings = TopDownSettings(SIZE_HW, flip=flip, by_index=made.by_index, udp=made.udp, refine="dark", padding=1.0)
    look = mmpose_crop_model(made)
    predictor = TopDownPredictor(look, MIDDLE, settings, 4, "test", "", {}, {}, {})
    points = np.array([[38.0, 9.0], [80.3, 60.1], [121.0, 119.6]])
    image = spots(points, (140, 160), 9)
    (found,) = predictor([image], [Boxes(np.array([box]), np.ones(1))])
    np.testing.assert_allclose(found.poses.points[0], points, atol=0.2)  # a byte's rounding; cells are 4.2 pixels
    peaks = local_maxima(found.maps.heatmaps, count=1)
    placed = found.maps.to_image(dark(found.maps.heatmaps, *peaks[:3]))
    assert np.abs(placed - points).max() <= 0.2 * 4.2  # what `paste` promises


@pytest.mark.parametrize("color, mean, std", [("rgb", (1.0, 2.0, 3.0), (4.0, 5.0, 6.0)), ("bgr", (7.0,), (2.0,))])
def test_a_net_is_given_its_own_colours(color, mean, std):
    seen = []
    made = model(lambda inputs: seen.append(inputs) or every_fourth(inputs), color=color, mean=mean, std=std)
    mmpose_crop_model(made)(np.full((1, *SIZE_HW, 3), (10, 20, 30), np.uint8))
    want = (np.array([10, 20, 30])[:: -1 if color == "bgr" else 1] - mean) / std
    np.testing.assert_allclose(seen[0][0, :, 5, 5], want, rtol=1e-6)


def test_a_net_of_tags_is_given_the_same_pixels_and_its_channels_are_chosen():
    seen = []

    def says(inputs):
        seen.append(inputs)
        return inputs[:, :, ::4, ::4], -inputs[:, :, ::4, ::4]

    net = TagNet(model(says, "tags", order=(2, 0, 1), mean=(10.0,), std=(2.0,), color="bgr"))
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64), np.uint8))
    heatmaps, tags = net.maps(normalise(images)).values()
    want = (images.flip(1).float() - 10) / 2
    torch.testing.assert_close(seen[0], want, rtol=0, atol=1e-4)  # normalised and back, in float32
    torch.testing.assert_close(heatmaps, seen[0][:, [2, 0, 1], ::4, ::4])
    torch.testing.assert_close(tags, -heatmaps)


def test_who_speaks_is_plain():
    said = model(every_fourth).describe()
    assert json.loads(json.dumps(said)) == said and said["kind"] == "heatmaps"
    assert model(every_fourth, color="bgr").describe() != said != model(every_fourth, order=(0, 2, 1)).describe()


# ---- people without maps

FOUND = np.array([[[10.0, 20], [40, 30], [70.5, 100]], [[60.0, 5], [20, 90], [33, 33]]]) * 1.0


@pytest.fixture
def people(monkeypatch):
    """A predictor whose net finds `FOUND` people, by index of its input's pixels, in any order of joints."""

    def made(found=FOUND, **settings):
        own = model(None, "poses", order=(2, 0, 1))
        own.net.extract_feat = lambda inputs: inputs
        scores = np.array([[0.9, 0.2, 0.6], [0.8, 0.7, 0.5]])[: len(found)]
        person_scores = np.array([0.4, 0.9])[: len(found)]
        each = SimpleNamespace(keypoints=found, keypoint_scores=scores, bbox_scores=person_scores)
        own.net.head.predict = lambda inputs, asked, test_cfg: [each] * len(inputs)
        return PosePredictor(own, "test", **settings)

    structures = ModuleType("mmpose.structures")
    structures.PoseDataSample = lambda metainfo: metainfo
    monkeypatch.setitem(sys.modules, "mmpose", ModuleType("mmpose"))
    monkeypatch.setitem(sys.modules, "mmpose.structures", structures)
    return made


def test_nobody_is_found(people):
    assert people()([]) == []
    (found,) = people(FOUND[:0])([np.zeros((50, 70, 3), np.uint8)])
    assert len(found.poses) == 0 and not found.maps.heatmaps.any()


@pytest.mark.parametrize("size_hw", [(128, 96), (60, 200), (300, 100)])
def test_people_and_the_maps_drawn_of_them_lie_in_the_image(people, size_hw):
    image = np.zeros((*size_hw, 3), np.uint8)
    one, other = people(batch=1)([image, image])
    to_image = letterbox(size_hw, SIZE_HW).inverse()
    np.testing.assert_allclose(one.poses.points, to_image(index_to_point(FOUND))[[1, 0]][:, [2, 0, 1]], rtol=1e-5)
    np.testing.assert_allclose(one.poses.scores, [[0.5, 0.8, 0.7], [0.6, 0.9, 0.2]], rtol=1e-6)
    np.testing.assert_allclose(one.poses.person_scores, [0.9, 0.4], rtol=1e-6)
    np.testing.assert_array_equal(one.maps.heatmaps, other.maps.heatmaps)
    peaks = local_maxima(one.maps.heatmaps, count=2)
    placed = one.maps.to_image(dark(one.maps.heatmaps, *peaks[:3]))
    for joint, point in zip(peaks.joints, placed):
        assert np.abs(one.poses.points[:, joint] - point).max(axis=1).min() < 0.1 * one.maps.to_image.scale
    assert len(placed) == 6


@pytest.mark.parametrize(
    "settings, people_left, joints_left", [({}, 2, 6), ({"threshold": 0.55}, 2, 4), ({"max_people": 1}, 1, 3)]
)
def test_the_doubtful_are_left_out(people, settings, people_left, joints_left):
    (found,) = people(**settings)([np.zeros((50, 70, 3), np.uint8)])
    assert len(found.poses) == people_left and (found.poses.scores > 0).sum() == joints_left
    assert people(**settings).describe() == people(**settings, batch=1).describe()


def test_people_without_numbers_are_nobody(people):
    (found,) = people(np.array([FOUND[0], FOUND[1] * np.nan]))([np.zeros((50, 70, 3), np.uint8)])
    assert len(found.poses) == 1 and np.isfinite(found.maps.heatmaps).all()


def test_nobody_but_people_without_numbers_is_an_error(people):
    with pytest.raises(UserError, match=r"joints: expected finite values, got NaN or infinity: check its weights"):
        people(FOUND * np.nan)([np.zeros((50, 70, 3), np.uint8)])


def test_an_image_that_is_none(people):
    with pytest.raises(ValueError, match=r"^image: expected \(H, W, 3\) uint8 RGB, got \(9, 9\) uint8"):
        people()([np.zeros((9, 9), np.uint8)])


# ---- what is not there


def test_stand_ins_are_there_only_within():
    missing = [name for name in MODULES if name not in sys.modules]
    own = ModuleType("torchvision")
    with stand_ins():
        assert all(name in sys.modules for name in missing)
    assert [name for name in missing if name in sys.modules] == []
    sys.modules["torchvision"] = own
    try:
        with stand_ins():
            assert sys.modules["torchvision"] is own
    finally:
        del sys.modules["torchvision"]


@pytest.mark.parametrize("there", [True, False])
def test_transformers_is_kept_from_mmengine_alone(monkeypatch, there):
    own = ModuleType("transformers")
    monkeypatch.delitem(sys.modules, "transformers", raising=False)
    if there:
        monkeypatch.setitem(sys.modules, "transformers", own)
    with stand_ins(), pytest.raises(ImportError):
        importlib.import_module("transformers")
    assert sys.modules.get("transformers") is (own if there else None)


def test_a_missing_library_says_where_the_recipe_is(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("")
    monkeypatch.setitem(sys.modules, "mmengine", None)
    with pytest.raises(
        ValueError, match=r"mine.py: mmengine is not installed: docs/teachers.md has the recipe"
    ) as caught:
        read_model(tmp_path / "mine.py", tmp_path / "mine.pth", COCO17)
    assert "\n" not in str(caught.value)


def test_a_config_that_is_missing(tmp_path):
    with pytest.raises(ValueError, match=r"gone.py: no such file: pass --teacher.network FILE.py, a config of mmpose"):
        read_model(tmp_path / "gone.py", tmp_path / "mine.pth", COCO17)
