"""ViTPose by transformers, tiny and random: maps and places are the library's own, and faults are named."""

import json
import shutil
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_vitpose import save_vitpose

from rtpe.errors import UserError
from rtpe.geometry import Affine, index_to_point
from rtpe.nets.blocks import IMAGENET_MEAN, IMAGENET_STD
from rtpe.nets.weights import sha256
from rtpe.predictors.adapters.vitpose import from_transformers
from rtpe.predictors.top_down import TopDownSettings
from rtpe.raster import warp
from rtpe.skeleton import COCO17, MPII16
from rtpe.structures import Boxes

KINDS = {"simple": {}, "classic": {"simple": False}, "experts": {"experts": 3}}
HW = (64, 48)
BOX = np.array([70.3, 41.6, 61.0, 75.5])  # well inside an image of 200 x 220, and no larger than two crops


@pytest.fixture(scope="module", params=KINDS)
def vitpose(request, tmp_path_factory):
    """Its folder, and the same net as transformers has it."""
    folder = tmp_path_factory.mktemp("nets") / f"vitpose-{request.param}"
    return folder, save_vitpose(folder, **KINDS[request.param])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("net") / "vitpose"
    save_vitpose(folder)
    return folder


@pytest.fixture(scope="module")
def processor():
    """What transformers puts before and behind the net."""
    pytest.importorskip("PIL", reason="the image processor of transformers needs pillow")
    transformers = pytest.importorskip("transformers", reason="a ViTPose needs pip install rtpe[vitpose]")
    return transformers.VitPoseImageProcessorPil(size={"height": HW[0], "width": HW[1]})


def loaded(folder, joints=COCO17, dataset_index=None, precision="fp32", **settings):
    settings = TopDownSettings(**{"refine": "dark", "nms_oks": 1.0, **settings})
    how = {"dataset_index": dataset_index, "precision": precision}
    return from_transformers(str(folder), joints, settings, {}, {"from": "labels"}, **how)


def random_crops(count=2, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *HW, 3), np.uint8)


def photograph(seed=0):
    """A smooth one: warps that round otherwise still show the same."""
    coarse = np.random.default_rng(seed).integers(0, 256, (20, 22, 3), np.uint8)
    return warp(coarse, Affine.scaling(10), (200, 220))


def assert_equal_maps(got, want):
    """As far as float32 and another order of sums allow."""
    np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())


def by_hand(made, crops, **also):
    pixels = (crops / 255 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    pixels = torch.from_numpy(pixels.transpose(0, 3, 1, 2).astype(np.float32))
    if made.config.backbone_config.num_experts > 1:
        also = {"dataset_index": torch.zeros(len(crops), dtype=torch.long), **also}
    with torch.no_grad():
        return made(pixels, **also).heatmaps.numpy()


def shards(folder, made):
    """Written anew as several files and an index."""
    (folder / "model.safetensors").unlink()
    made.save_pretrained(folder, max_shard_size="20KB")
    return sorted(folder.glob("model-*.safetensors"))


def test_every_shard_is_part_of_the_checksum(tmp_path):
    made = save_vitpose(tmp_path)
    whole, parts = loaded(tmp_path), shards(tmp_path, made)
    assert len(parts) > 2
    told = [loaded(tmp_path).weights_sha256]
    for path in parts:
        state = {name: value + 1 for name, value in load_file(path).items()}
        save_file(state, path, {"format": "pt"})
        told.append(loaded(tmp_path).weights_sha256)
    assert len({*told, whole.weights_sha256}) == len(parts) + 2


def test_a_shard_that_only_stands_for_one_is_named(tmp_path):
    parts = shards(tmp_path, save_vitpose(tmp_path))
    parts[1].write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n")
    with pytest.raises(UserError, match=rf"weights {parts[1]}: is a Git LFS pointer: fetch the file itself"):
        loaded(tmp_path)


# ---- the maps


def test_without_boxes_there_is_nobody(vitpose):
    (nobody,) = loaded(vitpose[0])([photograph()], [Boxes.none()])
    assert len(nobody.poses) == 0 and not nobody.maps.heatmaps.any()


def test_maps_are_the_models_own(vitpose):
    folder, made = vitpose
    crops = random_crops()
    got, want = loaded(folder).look(crops), by_hand(made, crops)
    assert got.shape == (2, 17, 16, 12) and np.ptp(want, axis=(2, 3)).min() > 1e-3
    assert_equal_maps(got, want)


def test_a_persons_maps_are_the_models_of_its_crop(vitpose):
    folder, made = vitpose
    teacher, image = loaded(folder), photograph()
    crop = warp(image, teacher._view(BOX), HW)
    (found,) = teacher([image], [Boxes(BOX[None], np.ones(1))])
    want = by_hand(made, crop[None])[0].max(axis=(1, 2))
    assert_equal_maps(found.poses.scores[0], np.maximum(want, 0))


def test_the_mirrored_crop_counts_with_left_and_right_swapped(vitpose):
    """As transformers itself turns back what a mirrored crop shows, without any shift."""
    folder, made = vitpose
    crops = random_crops()
    pairs = torch.tensor([[left, right] for left, right in enumerate(COCO17.flip) if left < right])
    mirrored = by_hand(made, crops[:, :, ::-1], flip_pairs=pairs)
    want = (by_hand(made, crops) + mirrored) / 2
    assert_equal_maps(loaded(folder, flip=True)._seen(crops), want)


def test_experts_are_asked_by_their_number(tmp_path):
    made, crops = save_vitpose(tmp_path, experts=3), random_crops()
    shown = [loaded(tmp_path, dataset_index=index).look(crops) for index in (None, 0, 2)]
    np.testing.assert_array_equal(shown[0], shown[1])
    assert_equal_maps(shown[2], by_hand(made, crops, dataset_index=torch.full((2,), 2)))
    assert np.abs(shown[2] - shown[0]).max() > 1e-3


def test_half_precision_is_nearly_the_same(folder):
    full, half = (loaded(folder, precision=precision).look(random_crops()) for precision in ("fp32", "bf16"))
    assert half.dtype == np.float32 and 0 < np.abs(full - half).max() < 0.1 * np.ptp(full)  # bf16 has 8 bits


# ---- the places


def test_a_crop_is_the_one_that_transformers_makes(folder, processor):
    image, teacher = photograph(), loaded(folder)
    crop = warp(image, teacher._view(BOX), HW)
    want = processor(image, boxes=[[BOX.tolist()]], return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
    got = (crop / 255 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    assert np.abs(got - want).max() * 255 * max(IMAGENET_STD) < 3  # bytes: rounded, and in 32nds of a pixel


def test_people_stand_where_transformers_puts_them(folder, processor):
    """Of the same maps; its points are indices. The crop's border is where another idea of cells would tell."""
    heat, image = gaussians(), photograph()
    teacher = replace(loaded(folder), look=lambda crops: heat[None])
    (found,) = teacher([image], [Boxes(BOX[None], np.ones(1))])
    outputs = SimpleNamespace(heatmaps=torch.from_numpy(heat[None]))
    ((want,),) = processor.post_process_pose_estimation(outputs, boxes=[[BOX.tolist()]])
    cell_px = 1.25 * BOX[3] / 15
    np.testing.assert_allclose(found.poses.scores[0], want["scores"], atol=1e-6)
    # its blur, cut at the border of the map, moves a summit by some hundredths of a cell
    assert np.abs(found.poses.points[0] - index_to_point(want["keypoints"].numpy())).max() < 0.03 * cell_px


def gaussians(spread=1.0):
    """(17, 16, 12): a spot a joint, in all parts of the crop."""
    ys, xs = np.mgrid[:16, :12]
    places = np.random.default_rng(0).uniform((2.5, 2.5), (8.5, 12.5), (17, 2))
    return np.stack([np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * spread**2)) for x, y in places]).astype(np.float32)


@pytest.mark.parametrize("box", [BOX, (0, 0, 20, 90), (150, 120, 69, 79), (-30, 20, 300, 50)], ids=str)
def test_a_cell_comes_back_to_its_pixels(folder, box):
    """Cell i shows pixel i * 63 / 15 of 64, and as much of the box: to float32 there and back."""
    teacher, box = loaded(folder), np.array(box, float)
    view = teacher._view(box)
    cells = np.array([[0.0, 0.0], [11.0, 15.0], [5.5, 7.5], [3.0, 9.0]])
    in_crop = view((view.inverse() @ teacher._cells)(index_to_point(cells)))
    np.testing.assert_allclose(in_crop, index_to_point(cells * [47 / 11, 63 / 15]), atol=1e-5)
    middle = (view.inverse() @ teacher._cells)(index_to_point(cells[2]))
    np.testing.assert_allclose(middle, index_to_point(box[:2] + box[2:] / 2), atol=1e-5)


# ---- who it is


def test_a_predictor_says_who_it_is(vitpose):
    folder, made = vitpose
    experts = made.config.backbone_config.num_experts
    said = loaded(folder).describe()
    assert json.loads(json.dumps(said)) == said == loaded(folder).describe()
    assert (said["name"], said["weights_sha256"]) == (folder.name, sha256(folder / "model.safetensors"))
    assert (said["settings"]["size"], said["settings"]["stride"], said["settings"]["udp"]) == ([64, 48], 4, True)
    numbers = said["settings"]["net"]["numbers"]
    assert (numbers["num_experts"], numbers["dataset_index"]) == (experts, 0 if experts > 1 else None)


def test_weights_in_several_files_are_the_same_net(tmp_path):
    made = save_vitpose(tmp_path / "one")
    made.save_pretrained(tmp_path / "many", max_shard_size="10KB")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 1
    one, many = (loaded(tmp_path / name) for name in ("one", "many"))
    np.testing.assert_array_equal(one.look(random_crops()), many.look(random_crops()))
    assert len(many.weights_sha256) == 64 and many.weights_sha256 != one.weights_sha256


def test_a_configuration_chooses_no_code(folder, tmp_path):
    """transformers would fetch and run an implementation of attention that it names."""
    copy = shutil.copytree(folder, tmp_path / "copy")
    told = json.loads((copy / "config.json").read_text())
    told["attn_implementation"] = told["backbone_config"]["attn_implementation"] = "someone/attention"
    told["auto_map"] = {"AutoModel": "modeling.Mine"}
    (copy / "modeling.py").write_text("raise SystemExit('it ran')")
    (copy / "config.json").write_text(json.dumps(told))
    np.testing.assert_array_equal(loaded(copy).look(random_crops()), loaded(folder).look(random_crops()))


# ---- the hub


def test_a_name_of_the_hub_is_fetched_once_it_can_be_no_folder(folder, tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    asked = []
    monkeypatch.setattr(hub, "snapshot_download", lambda name, **how: asked.append((name, how)) or str(folder))
    monkeypatch.chdir(tmp_path)
    assert loaded("owner/vitpose-tiny").name == "vitpose-tiny"
    ((name, how),) = asked
    assert name == "owner/vitpose-tiny" and sorted(how) == ["allow_patterns"]
    suffixes = {pattern.partition(".")[2] for pattern in how["allow_patterns"]}
    assert suffixes == {"json", "safetensors", "safetensors.index.json"}
    (tmp_path / "owner").mkdir()
    with pytest.raises(ValueError, match="weights owner/vitpose-tiny: no such folder: give a folder with"):
        loaded("owner/vitpose-tiny")
    assert len(asked) == 1


def test_a_hub_that_does_not_answer_is_one_sentence(tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")

    def offline(name, **how):
        raise OSError("no connection\nand forty more lines")

    monkeypatch.setattr(hub, "snapshot_download", offline)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"^weights a/b: no such folder, and cannot be fetched .* \(no connection\): "):
        loaded("a/b")


# ---- faults


def broken(folder, file, text):
    (folder / file).write_text(text)


def without(folder, name):
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    del state[name]
    save_file(state, folder / "model.safetensors", {"format": "pt"})


def reconfigured(folder, **changes):
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**told, **changes}))


FAULTS = {
    "no configuration": (lambda f: (f / "config.json").unlink(), "no config.json in it, so no ViTPose: give a folder"),
    "torn configuration": (lambda f: broken(f, "config.json", '{"a'), r"config.json cannot be read \(Unterminated"),
    "no object": (lambda f: broken(f, "config.json", "[]"), "config.json cannot be read"),
    "nested deep": (lambda f: broken(f, "config.json", "[" * 100_000), r"config.json cannot be read \(nested too"),
    "another net": (lambda f: reconfigured(f, model_type="vit"), "model_type: expected vitpose, got vit: give a"),
    "another backbone": (
        lambda f: reconfigured(f, backbone_config={"model_type": "timm_backbone", "backbone": "resnet18"}),
        "backbone_config.model_type: expected vitpose_backbone, got timm_backbone",
    ),
    "no weights": (
        lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
        "no model.safetensors in it, and nothing else is read",
    ),
    "torn weights": (lambda f: broken(f, "model.safetensors", "{"), r"cannot be read \("),
    "a weight lacks": (lambda f: without(f, "head.conv.bias"), r"cannot be read \(its weights lack head.conv.bias\)"),
    "weights of another shape": (lambda f: reconfigured(f, use_simple_decoder=False), r"cannot be read \("),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_a_folder_that_is_no_whole_vitpose(case, folder, tmp_path):
    change, message = FAULTS[case]
    copy = shutil.copytree(folder, tmp_path / "copy")
    change(copy)
    with pytest.raises(ValueError, match=f"^weights {copy}: {message}") as wrong:
        loaded(copy)
    assert len(str(wrong.value).splitlines()) == 1


def test_a_file_is_no_folder(folder):
    with pytest.raises(ValueError, match=r"model\.safetensors: a file, not a ViTPose's folder: give a folder with"):
        loaded(folder / "model.safetensors")


def test_another_number_of_joints(folder):
    with pytest.raises(ValueError, match=r"a net of 17 joints, mpii16 has 16: pass --data.skeleton, or choose other"):
        loaded(folder, MPII16)


@pytest.mark.parametrize(
    "experts, index, message",
    [
        (1, 0, "has no experts: leave out --teacher.numbers.dataset_index"),
        (3, 3, r"has experts for 3 data sets, got 3: pass --teacher.numbers.dataset_index from 0 \(COCO\) to 2"),
        (3, -1, "has experts for 3 data sets, got -1"),
        (3, "coco", "has experts for 3 data sets, got 'coco'"),
    ],
)
def test_experts_that_there_are_not(experts, index, message, tmp_path):
    save_vitpose(tmp_path, experts=experts)
    with pytest.raises(ValueError, match=message):
        loaded(tmp_path, dataset_index=index)


def test_what_is_not_installed_is_named(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"transformers is not installed: pip install rtpe\[vitpose\]"):
        loaded(folder)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"^weights a/b: huggingface_hub is not installed: pip install rtpe\[vitpose"):
        loaded("a/b")
