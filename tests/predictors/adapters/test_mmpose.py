"""Real models of mmpose with random weights: maps are the model's own, and lie where its own code puts them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rtpe.cache import Cache
from rtpe.cli import main
from rtpe.data.load import open_dataset
from rtpe.data.settings import DataSettings
from rtpe.decode.settings import DecodeSettings
from rtpe.geometry import index_to_point
from rtpe.nets.blocks import normalise
from rtpe.predictors.adapters.mmpose import _plain_numpy, read_model
from rtpe.predictors.adapters.mmpose_model import PosePredictor, TagNet, mmpose_crop_model
from rtpe.predictors.adapters.mmpose_stubs import stand_ins
from rtpe.predictors.adapters.simcc import rebuilt
from rtpe.predictors.load import load_predictor
from rtpe.predictors.load_top_down import of_mmpose
from rtpe.predictors.settings import CropSettings, TeacherSettings
from rtpe.skeleton import COCO17, MPII16, skeleton
from rtpe.structures import Boxes
from rtpe.synthetic import write_world

mmpose = pytest.importorskip("mmpose", reason="mmpose is not installed: make test-mmpose")

CONFIGS = Path(mmpose.__file__).parent / ".mim/configs/body_2d_keypoint"
EXTRA = {"_delete_": True} | {
    f"stage{stage}": {
        "num_modules": 1,
        "num_branches": stage,
        "block": "BASIC" if stage > 1 else "BOTTLENECK",
        "num_blocks": (1,) * stage,
        "num_channels": tuple(8 * 2**branch for branch in range(stage)),
    }
    for stage in (1, 2, 3, 4)
}
SMALL = {"backbone": {"extra": EXTRA}, "head": {"in_channels": 8}}  # a HRNet
# the config of mmpose that each one begins with, and what is made otherwise
KINDS = {
    "heatmaps": ("topdown_heatmap/coco/td-hm_hrnet-w32_8xb64-210e_coco-256x192.py", SMALL),
    "udp": ("topdown_heatmap/coco/td-hm_hrnet-w32_udp-8xb64-210e_coco-256x192.py", SMALL),
    "simcc": ("rtmpose/coco/rtmpose-t_8xb256-420e_coco-256x192.py", {}),
    "tags": ("associative_embedding/coco/ae_hrnet-w32_8xb24-300e_coco-512x512.py", SMALL),
    "poses": (
        "rtmo/coco/rtmo-s_8xb32-600e_coco-640x640.py",
        {"test_cfg": {"score_thr": 0.0, "nms_pre": 20}, "backbone": {"init_cfg": None}},
    ),
}
TOP_DOWN = ("heatmaps", "udp", "simcc")
BOX = (40, 30, 110, 150)


def write_config(path, kind, more=None, tail=""):
    """A config that is that of mmpose but for what is made otherwise, and these settings of the model."""
    base, otherwise = KINDS[kind]
    path.write_text(f"_base_ = [{str(CONFIGS / base)!r}]\nmodel = { ({**otherwise, **(more or {})})!r}\n{tail}")
    return path


def net_of(config):
    """As mmpose itself builds it."""
    with stand_ins():
        from mmengine import Config
        from mmengine.registry import init_default_scope
        from mmpose.models import build_pose_estimator

        init_default_scope("mmpose")
        return build_pose_estimator(Config.fromfile(config).model).eval()


def save_random(config, path):
    """Weights whose maps are about as high as trained ones', and notes of the kinds that mmpose writes beside them."""
    torch.manual_seed(0)
    net = net_of(config)
    if path.stem == "poses":  # its boxes are exponents: only its own beginning is tame
        net.init_weights()
    state = net.state_dict()
    for name, value in state.items():
        if name.endswith("weight") and value.ndim == 4 and path.stem != "poses":
            torch.nn.init.kaiming_normal_(value)
            value *= 0.01 if name == "head.final_layer.weight" else 1
    notes = {"dataset_meta": {"sigmas": np.ones(17, np.float32), "n": np.int64(17), "ids": np.arange(17)}}
    torch.save({"meta": notes, "state_dict": state}, path)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Config and checkpoint of a kind."""
    folder = tmp_path_factory.mktemp("mmpose")

    def of(kind):
        config, weights = folder / f"{kind}.py", folder / f"{kind}.pth"
        if not weights.exists():
            save_random(write_config(config, kind), weights)
        return config, weights

    return of


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    write_world(str(root), "train2017", 6, 1, (96, 96), 0)
    return root


def by_hand(net, images):
    """Images, (B, H, W, 3) uint8 RGB, through mmpose's own preprocessor, which expects BGR, and the net."""
    from mmpose.structures import PoseDataSample

    bgr = [torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1) for image in images]
    data = net.data_preprocessor({"inputs": bgr, "data_samples": [PoseDataSample() for _ in bgr]})
    with torch.no_grad():
        return net(data["inputs"], None, mode="tensor")


def loaded(config, weights):
    net = net_of(config)
    with torch.serialization.safe_globals(_plain_numpy()):
        net.load_state_dict(torch.load(weights, weights_only=True)["state_dict"])
    return net


def noise(count, h, w):
    return np.random.default_rng(0).integers(0, 256, (count, h, w, 3), np.uint8)


def near(got, want):
    """Equal but for the order of float32 sums."""
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * np.abs(np.asarray(want)).max())


# ---- maps are the model's own


@pytest.mark.parametrize("kind", TOP_DOWN)
def test_maps_of_crops_are_the_models_own(made, kind):
    model, crops = read_model(*made(kind), COCO17), noise(2, 256, 192)
    want = by_hand(loaded(*made(kind)), crops)
    if kind == "simcc":
        assert [tuple(each.shape) for each in want] == [(2, 17, 384), (2, 17, 512)]
        want = rebuilt(*want, model.meaning)
    assert model.kind == kind and want.std() > 0
    near(mmpose_crop_model(model)(crops), want)


def test_maps_of_whole_images_are_the_models_own(made):
    images = noise(2, 128, 192)
    want = by_hand(loaded(*made("tags")), images)
    with torch.no_grad():
        got = TagNet(read_model(*made("tags"), COCO17)).maps(normalise(torch.from_numpy(images).permute(0, 3, 1, 2)))
    for ours, theirs in zip(got[:2], want):
        assert theirs.shape == (2, 17, 32, 48) and theirs.std() > 0
        near(ours, theirs)


def test_people_are_the_models_own(made):
    """An image of the input's size: mmpose's way back into it is the identity."""
    from mmpose.structures import PoseDataSample

    (image,) = noise(1, 640, 640)
    net = loaded(*made("poses"))
    where = {"input_size": (640, 640), "input_center": np.array([320, 320]), "input_scale": np.array([640, 640])}
    bgr = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1).float()[None]
    with torch.no_grad():
        (said,) = net(bgr, [PoseDataSample(metainfo=where)], mode="predict")
    want = said.pred_instances
    (found,) = PosePredictor(read_model(*made("poses"), COCO17), "test", max_people=5)([image])
    best = np.argsort(-want.bbox_scores, kind="stable")[:5]
    assert len(found.poses) == 5 and np.ptp(found.poses.points) > 1
    np.testing.assert_allclose(found.poses.points, index_to_point(want.keypoints[best]), atol=0.01)  # float32, of 640
    np.testing.assert_allclose(found.poses.scores, want.keypoint_scores[best], rtol=1e-4)


PREPROCESSORS = {
    "as it is": {},
    "BGR": {"bgr_to_rgb": False},
    "another mean": {"mean": [100.0, 120.0, 140.0]},
    "another spread": {"std": [40.0, 60.0, 80.0]},
    "none": {"mean": None, "std": None},
}


def test_colours_are_those_of_the_config(made, tmp_path):
    """Each model sees what mmpose would show it, and no two of them the same."""
    _, weights = made("heatmaps")
    crops, seen = noise(1, 256, 192), []
    for number, changes in enumerate(PREPROCESSORS.values()):
        config = write_config(tmp_path / f"{number}.py", "heatmaps", {"data_preprocessor": changes})
        seen.append(mmpose_crop_model(read_model(config, weights, COCO17))(crops))
        near(seen[-1], by_hand(loaded(config, weights), crops))
    for number, one in enumerate(seen):
        assert all(np.abs(one - other).max() > 0.01 * np.abs(one).max() for other in seen[:number])


# ---- geometry


def encoded(codec, by_index):
    """What a perfect net says of one person's joints, (K, 2), indices of the crop's pixels: mmpose's own labels."""
    said = codec.encode(by_index[None].astype(np.float32), np.ones((1, len(by_index)), np.float32))
    if "heatmaps" in said:
        return torch.from_numpy(said["heatmaps"])[None]
    return tuple(torch.from_numpy(said[f"keypoint_{axis}_labels"]) for axis in "xy")


@pytest.mark.parametrize("kind", TOP_DOWN)
def test_a_label_of_mmpose_comes_back_to_its_place(made, world, kind):
    """Labels of the first kind are rounded to cells, so these joints are at whole ones; SimCC's to half a pixel."""
    model = read_model(*made(kind), COCO17)
    images = open_dataset(DataSettings(root=str(world)))
    predictor = of_mmpose(model, TeacherSettings(boxes="labels"), DecodeSettings(), "cpu", images, "test")
    by_index = np.random.default_rng(1).uniform((12, 12), (180, 244), (17, 2))
    by_index = by_index // 4 * 4 if kind == "heatmaps" else by_index
    model.net.forward = lambda *_, **__: encoded(model.net.head.decoder, by_index)
    (found,) = predictor([np.zeros((240, 200, 3), np.uint8)], [Boxes(np.array([BOX]), np.ones(1))])
    view = predictor._view(np.array(BOX))
    want = view.inverse()(index_to_point(by_index))
    bound = {"heatmaps": 0.1, "udp": 0.1, "simcc": 0.35}[kind] / view.scale  # a rounding of .25, and DARK's .1
    assert bound < 0.5 and np.abs(found.poses.points[0] - want).max() < bound
    assert found.poses.scores.min() > 0.8 and found.poses.scores.max() <= 1.001


def test_a_peak_of_whole_images_is_where_mmpose_finds_it(made):
    """Its decoder enlarges the maps and gives an index between two pixels to the first, and is .25 off for that."""
    from mmpose.models.utils.tta import aggregate_heatmaps

    config, weights = made("tags")
    settings = TeacherSettings(weights=str(weights), network=str(config), size=128)
    predictor = load_predictor(settings, DecodeSettings(refine="argmax"), COCO17, "cpu")
    cells_yx = np.random.default_rng(2).integers(4, 28, (17, 2))
    ys, xs = np.mgrid[:32, :32]
    heat = np.exp(-((ys - cells_yx[:, :1, None]) ** 2 + (xs - cells_yx[:, 1:, None]) ** 2) / 8).astype(np.float32)
    maps = torch.from_numpy(heat)[None], torch.zeros(1, 17, 32, 32)
    predictor.net.net.forward = lambda *_, **__: maps
    (found,) = predictor([np.zeros((128, 128, 3), np.uint8)])
    (theirs,) = net_of(config).head.decode(tuple(aggregate_heatmaps([each], size=(128, 128)) for each in maps))
    want = index_to_point(theirs.keypoints)
    assert len(found.poses) == len(want) == 1
    np.testing.assert_allclose(found.poses.points, want, atol=0.3)


# ---- joints


def test_channels_are_chosen_by_the_names_of_the_configs_joints(made, tmp_path):
    pair = tmp_path / "pair.json"
    pair.write_text(json.dumps({"name": "pair", "joints": ["right_eye", "left_eye"], "limbs": [], "sigmas": [0.1] * 2}))
    crops = noise(1, 256, 192)
    every = mmpose_crop_model(read_model(*made("heatmaps"), COCO17))(crops)
    model = read_model(*made("heatmaps"), skeleton(str(pair)))
    near(mmpose_crop_model(model)(crops), every[:, [2, 1]])


NAMELESS = "\n".join(f"{part}_dataloader = None" for part in ("train", "val", "test"))


def test_a_config_that_names_no_joints_is_taken_by_their_number(made, tmp_path):
    _, weights = made("heatmaps")
    config = write_config(tmp_path / "nameless.py", "heatmaps", tail=NAMELESS)
    assert read_model(config, weights, COCO17).order == tuple(range(17))
    with pytest.raises(ValueError, match=r"does not predict mpii16, its joints are 17, not 16: pass --data.skeleton"):
        read_model(config, weights, MPII16)


# ---- a teacher


@pytest.mark.parametrize("kind", ["heatmaps", "simcc", "tags", "poses"])
def test_a_model_of_mmpose_builds_a_cache_that_trains_a_student(made, world, tmp_path, capsys, kind):
    (config, weights), path = made(kind), tmp_path / "cache"
    own = {"tags": ["--teacher.size=64", "--teacher.flip=true"], "poses": []}
    crops = ["--teacher.boxes=labels", "--teacher.crop.map_size=96", "--teacher.flip=true"]
    told = [
        f"--data.root={world}",
        f"--teacher.weights={weights}",
        f"--teacher.network={config}",
        f"--cache.path={path}",
    ]
    assert main(["cache", "build", *told, *own.get(kind, crops)]) == 0
    assert "6 built, 0 kept, 0 skipped" in capsys.readouterr().out
    held = Cache.open(path)
    who = held.manifest.predictor
    assert who["name"] == (kind if kind in own else f"{kind}@label_boxes") and len(who["weights_sha256"]) == 64
    assert (held.load(held.ids[0]).maps.tags is not None) == (kind == "tags")
    training = [
        "--net.size=64", "--train.epochs=1", "--train.batch=3", "--train.holdout=0", "--train.workers=0",
        "--train.threads=1", "--train.pictures=0", "--net.numbers={width: 32, stages: 1}", f"--out={tmp_path / 'run'}",
    ]  # fmt: skip
    assert main(["train", f"--data.root={world}", f"--cache.path={path}", *training]) == 0
    row = json.loads((tmp_path / "run/history.jsonl").read_text().splitlines()[-1])
    assert any(held.load(each).maps.heatmaps.max() > 0 for each in held.ids)
    assert row["teacher"] > 0 and (tmp_path / "run/best.safetensors").is_file()


# ---- mistakes


class Evil:
    def __reduce__(self):
        return print, ("it ran",)


def test_a_checkpoint_cannot_run(made, tmp_path, capsys):
    config, _ = made("heatmaps")
    torch.save({"state_dict": net_of(config).state_dict(), "meta": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match=r"evil.pth: cannot be read \(Weights only load failed") as caught:
        read_model(config, tmp_path / "evil.pth", COCO17)
    assert "\n" not in str(caught.value) and "it ran" not in capsys.readouterr().out


CONFIG_MISTAKES = {
    "no config": ("x = 1", "is no config of a pose estimator of mmpose 1 ("),
    "no Python": ("x = ", "is no config of a pose estimator of mmpose 1 ("),
    "another kind": (
        f"_base_ = [{str(CONFIGS / 'topdown_regression/coco/td-reg_res50_8xb64-210e_coco-256x192.py')!r}]",
        "RegressionHead with RegressionLabel is of no kind that can teach: choose a model of HeatmapHead with MSRA",
    ),
}


@pytest.mark.parametrize("text, message", CONFIG_MISTAKES.values(), ids=CONFIG_MISTAKES)
def test_configs_that_are_of_no_use(made, tmp_path, text, message):
    (tmp_path / "wrong.py").write_text(text)
    with pytest.raises(ValueError) as caught:
        read_model(tmp_path / "wrong.py", made("heatmaps")[1], COCO17)
    assert str(caught.value).startswith(f"network {tmp_path / 'wrong.py'}: {message}") and "\n" not in str(caught.value)


OWN = "says itself how a crop and its cells lie: leave out --teacher.crop.size, .by_index, .udp and .shift"
MISTAKES = {
    "no boxes": ("heatmaps", {}, "this net sees one person a crop: pass --teacher.boxes labels"),
    "other weights": ("udp", {"weights": "simcc", "boxes": "labels"}, "not of this TopdownPoseEstimator"),
    "boxes of whole images": ("tags", {"boxes": "labels"}, "sees whole images takes no --teacher.boxes: leave it out"),
    "a kind": ("heatmaps", {"kind": "pose_hrnet"}, "a model of mmpose takes no --teacher.kind: leave it out"),
    "a flip of people": ("poses", {"flip": True}, "that gives people alone takes no --teacher.flip: leave it out"),
    "a crop of its own": ("simcc", {"boxes": "labels", "crop": CropSettings(size=[64, 64])}, OWN),
    "a shift that is not due": ("udp", {"boxes": "labels", "crop": CropSettings(shift=True)}, OWN),
}  # fmt: skip


@pytest.mark.parametrize("kind, settings, message", MISTAKES.values(), ids=MISTAKES)
def test_settings_that_are_wrong(made, world, kind, settings, message):
    weights = made(settings.get("weights", kind))[1]
    told = TeacherSettings(**{**settings, "network": str(made(kind)[0]), "weights": str(weights)})
    images = open_dataset(DataSettings(root=str(world)))
    with pytest.raises(ValueError) as caught:
        load_predictor(told, DecodeSettings(), COCO17, "cpu", images)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_skeleton_that_it_lacks(made):
    with pytest.raises(ValueError, match=r"does not predict mpii16, no pelvis among its 17 joints: pass --data.skelet"):
        read_model(*made("heatmaps"), MPII16)
