"""Two things that each work, together: what is typed beside recipes, nets beside files, results beside data."""

import json
import struct

import cv2
import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from rtpe.cli import main
from rtpe.errors import UserError
from rtpe.images import is_turned, read_image, write_image
from rtpe.nets.create import create_net
from rtpe.nets.metadata import save_net
from rtpe.nets.weights import load_into, load_weights
from rtpe.settings.parse import as_dict, parse_settings, save_settings
from rtpe.skeleton import COCO17
from rtpe.training.net import trainable_net
from rtpe.training.settings import NetSettings, Train

NUMBERS = {"width": 32, "stages": 1}


@pytest.fixture
def recipe(tmp_path):
    def write(text):
        (tmp_path / "r.yaml").write_text(text)
        return str(tmp_path / "r.yaml")

    return write


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "net.safetensors"
    save_net(path, create_net("student", NUMBERS, 17), "student", COCO17, 64, {})
    return path


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_is_typed_counts_wherever_the_recipe_stands(joined, place, recipe):
    path = recipe("train: {lr: 0.5, batch: 3}\nout: runs/a")
    words = [["--config=" + path] if joined else ["--config", path], ["--train.lr", "0.1"], ["--out=runs/b"]]
    words.insert(place, words.pop(0))
    read = parse_settings(Train, [word for each in words for word in each], "rtpe train")
    assert (read.train.lr, read.train.batch, read.out) == (0.1, 3, "runs/b")


def test_of_two_recipes_the_later_one_counts(tmp_path):
    for name, rate in (("a", 0.5), ("b", 0.25)):
        (tmp_path / f"{name}.yaml").write_text(f"train: {{lr: {rate}}}")
    words = [f"--config={tmp_path}/a.yaml", "--train.batch=3", f"--config={tmp_path}/b.yaml"]
    assert parse_settings(Train, words, "rtpe train").train.lr == 0.25


@pytest.mark.parametrize(
    "text, said",
    [
        ("data: {root: }", "data.root: expected a text, got null"),
        ("data: {split: }", "data.split: expected a text, got null"),
        ("data: {skeleton: }", "data.skeleton: expected a text, got null"),
        ("more: [{root: , cache: x}]", "more.0.root: expected a text, got null"),
        ("more: [{root: x, cache: }]", "more.0.cache: expected a text, got null"),
        ("net: {trainable: }", "net.trainable: expected a list, got null"),
        ("net: {init: }", "net.init: expected a text, got null"),
        ("Train: {}", "Train: no such setting: see --help"),
        ("trian: {batch: {}}", "trian: no such setting: see --help"),
        ("train: {bacth: {}}", "train.bacth: no such setting: see --help"),
        ("more: [{rot: {}}]", "more.0.rot: no such setting: see --help"),
        ("out: ''", "out: expected a text that is not empty, got ''"),
    ],
)
def test_an_empty_or_unknown_setting_of_a_recipe_is_named(text, said, recipe, capsys):
    path = recipe(text)
    assert main(["train", f"--config={path}"]) == 2
    assert capsys.readouterr().err == f"error: recipe {path}: {said}\n"


def test_recipes_may_still_merge(recipe):
    read = parse_settings(
        Train, ["--config", recipe("train: &t {lr: 0.5}\naugment: {}\nnet: {numbers: {}}\nmore: []")], "rtpe train"
    )
    assert read.train.lr == 0.5


@pytest.mark.parametrize("command", ["train", "predict", "synth", "demo"])
def test_an_empty_place_is_refused(command, capsys):
    """As of a variable of the shell that is not set."""
    assert main([command, "--out", ""]) == 2
    assert capsys.readouterr().err == "error: out: expected a text that is not empty, got ''\n"


@pytest.mark.parametrize(
    "words, said",
    [
        (
            ["validate", "--cache.path=c", "--teacher.flip=true"],
            "teacher.flip True: has no effect beside --cache.path c",
        ),
        (["validate", "--cache.path=c", "--teacher.size=64"], "teacher.size 64: has no effect beside --cache.path c"),
        (["train", "--net.distill_stem_from=w"], "net.distill_stem_from w: has no effect without --loss.stem above 0"),
        (
            ["synth", "--train=10101010101010101010"],
            "train: expected a whole number, 0 to 10000000, got 10101010",
        ),
    ],
)
def test_further_settings_without_effect_or_sense(words, said, capsys):
    assert main(words) == 2
    assert capsys.readouterr().err.startswith(f"error: {said}")


@pytest.mark.parametrize("kind", [torch.int8, torch.uint8, torch.int32])
def test_quantised_weights_are_no_floats(kind, weights):
    state = load_weights(weights)
    cast = {name: tensor.to(kind) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    with pytest.raises(UserError, match=rf"weights w: .* holds {str(kind)[6:]} where floats are wanted: a quantised"):
        load_into(create_net("student", NUMBERS, 17), cast, "w")


def test_a_beginning_of_which_little_fits_is_said(weights, tmp_path, capsys):
    state = load_file(weights)
    few = tmp_path / "few.safetensors"
    save_file({"heads.heatmaps.bias": state["heads.heatmaps.bias"].clone()}, few)
    for path, said in ((few, True), (weights, False)):
        trainable_net(NetSettings(numbers=NUMBERS, init=str(path)), 17)
        printed = capsys.readouterr().out
        assert (f"net.init {few}: only 1 of {len(state)} tensors fit this student" in printed) == said, printed


def turned_tiff(path, image, orientation):
    """A TIFF of the image's rows as they are, with a tag that asks to turn them."""
    height, width, _ = image.shape
    tags = [
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 8),
        (274, 3, 1, orientation), (277, 3, 1, 3), (278, 3, 1, height), (279, 4, 1, image.nbytes), (284, 3, 1, 1),
    ]  # fmt: skip
    tags[2] = (258, 3, 3, 8 + image.nbytes)
    after = 8 + image.nbytes + 6
    head = struct.pack("<2sHI", b"II", 42, after)
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    path.write_bytes(head + image.tobytes() + struct.pack("<3H", 8, 8, 8) + directory)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_labelled_tiff_stays_as_it_is_stored(orientation, tmp_path):
    """As a JPEG does; cv2 turns it whatever it is told. Unlabelled photographs are turned."""
    image = np.random.default_rng(0).integers(0, 256, (10, 16, 3), np.uint8)
    turned_tiff(tmp_path / "a.tif", image, orientation)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), image)
    upright = read_image(tmp_path / "a.tif", upright=True)
    assert upright.shape == ((16, 10, 3) if orientation > 4 else (10, 16, 3))
    assert np.array_equal(upright, image) == (orientation == 1)
    assert is_turned(tmp_path / "a.tif") == (orientation != 1)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_images_of_more_bits_are_as_bright(bits, suffix, tmp_path):
    """Cameras of 10 and 12 bits leave the upper ones empty: the picture is not black."""
    image = np.random.default_rng(0).integers(0, 256, (10, 16, 3))
    image[0, 0] = 255
    stored = (image << (bits - 8)).astype(np.uint8 if bits == 8 else np.uint16)
    assert cv2.imwrite(str(tmp_path / f"a.{suffix}"), stored[..., ::-1])
    want = image >> 2 if bits == 14 else image  # as 16 bits: the usual numbers of cameras are 10 and 12
    np.testing.assert_array_equal(read_image(tmp_path / f"a.{suffix}"), want)


def test_grey_images_of_more_bits(tmp_path):
    assert cv2.imwrite(str(tmp_path / "a.png"), np.full((4, 5), 4000, np.uint16))
    assert (read_image(tmp_path / "a.png") == 250).all()


def test_float_images_are_named(tmp_path):
    assert cv2.imwrite(str(tmp_path / "a.tif"), np.ones((4, 5, 3), np.float32))
    with pytest.raises(UserError, match="has values of float32: save it with 8 or 16 bits"):
        read_image(tmp_path / "a.tif")


def test_pictures_are_not_drawn_among_the_photographs(weights, tmp_path, capsys):
    photos = tmp_path / "photos"
    write_image(photos / "a.png", np.zeros((20, 30, 3), np.uint8)) if photos.mkdir() is None else None
    words = ["predict", f"--weights={weights}", f"--data.root={photos}"]
    assert main([*words, f"--out={photos / 'found'}", "--draw=true"]) == 2
    assert "lies within --data.root" in capsys.readouterr().err and [*photos.iterdir()] == [photos / "a.png"]
    assert main([*words, f"--out={photos / 'found'}"]) == 0  # results alone are no photographs
    assert main([*words, f"--out={tmp_path / 'found'}", "--draw=true"]) == 0


def test_a_place_that_cannot_be_used_is_named_before_the_work(weights, tmp_path, capsys, monkeypatch):
    (tmp_path / "photos").mkdir()
    write_image(tmp_path / "photos" / "a.png", np.zeros((20, 30, 3), np.uint8))
    monkeypatch.setattr("rtpe.live.images.predicted_people", lambda *_: pytest.fail("worked"))
    (tmp_path / "file").write_text("")
    words = ["predict", f"--weights={weights}", f"--data.root={tmp_path / 'photos'}", f"--out={tmp_path / 'file'}"]
    assert main(words) == 2
    assert f"error: out {tmp_path / 'file'}: cannot be made a folder (File exists)" in capsys.readouterr().err
    assert main(["validate", f"--weights={weights}", f"--out={tmp_path}"]) == 2
    assert f"error: out {tmp_path}: is a folder: pass --out FILE.json" in capsys.readouterr().err


def test_a_run_is_not_taken_on_by_another_teacher(tmp_path, capsys):
    """Of the same images, under the same path or another."""
    world = [f"--data.root={tmp_path / 'w'}"]
    assert main(["synth", f"--out={tmp_path / 'w'}", "--train=6", "--val=0", "--size=64", "--workers=0"]) == 0
    for name in ("one", "other"):
        torch.manual_seed(len(name))
        save_net(tmp_path / f"{name}.safetensors", create_net("student", NUMBERS, 17), "student", COCO17, 64, {})
        teacher = [f"--teacher.weights={tmp_path / name}.safetensors", f"--cache.path={tmp_path / name}"]
        assert main(["cache", "build", *world, *teacher]) == 0
    words = ["train", *world, "--net.size=64", f"--net.numbers={json.dumps(NUMBERS)}", "--train.holdout=0"]
    words += ["--train.workers=0", "--train.batch=3", f"--out={tmp_path / 'run'}"]
    assert main([*words, "--train.epochs=1", f"--cache.path={tmp_path / 'one'}"]) == 0
    capsys.readouterr()
    assert main([*words, "--train.epochs=2", f"--cache.path={tmp_path / 'other'}"]) == 2
    assert "run: was taught by one (" in (said := capsys.readouterr().err) and "), not by other (" in said
    (tmp_path / "one").rename(tmp_path / "moved")
    assert main([*words, "--train.epochs=2", f"--cache.path={tmp_path / 'moved'}"]) == 0


def test_settings_of_a_run_are_a_recipe(tmp_path):
    """Nothing that is recorded is null where a text is wanted."""
    save_settings(Train(), tmp_path / "settings.yaml")
    raw = yaml.safe_load((tmp_path / "settings.yaml").read_text())
    assert as_dict(parse_settings(Train, [f"--config={tmp_path}/settings.yaml"], "rtpe train")) == raw
