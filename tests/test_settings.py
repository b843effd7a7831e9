"""Settings: each is checked by its dotted name and its range before any work, and none is without effect."""

import dataclasses
import math
import typing

import pytest
from every_setting import SETTINGS

from rtpe.cli import COMMANDS, main, settings_class
from rtpe.data.settings import AugmentSettings
from rtpe.device import choose_device
from rtpe.errors import UserError
from rtpe.nets.create import NETS
from rtpe.nets.kinds import KINDS
from rtpe.settings import limits
from rtpe.settings.parse import as_dict, parse_settings, save_settings
from rtpe.training.settings import OptimSettings


def numeric(kind):
    """Whether a number may be in a value of that type."""
    return kind in (int, float) or (kind is not bool and any(map(numeric, typing.get_args(kind))))


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda each: each.__name__)
def test_every_number_has_a_range_and_its_default_is_within(settings):
    types = typing.get_type_hints(settings)
    for field in dataclasses.fields(settings):
        if numeric(types[field.name]) and "numbers" not in field.name:
            assert "limit" in field.metadata, f"{settings.__name__}.{field.name} has no limit"
    assert list(limits.beyond(settings, as_dict(settings()))) == []


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda each: each.__name__)
def test_no_number_may_be_anything(settings):
    """Neither NaN nor infinity is within any limit of a number, in a list or by itself."""
    for field in dataclasses.fields(settings):
        limit = field.metadata.get("limit")
        for value in (math.nan, math.inf, -math.inf):
            assert limit is None or not any(map(limit.holds, (value, [value], [value, value], [[0, value]])))


# value by the name of a setting; of several values each is wrong
TRAIN = {
    "train.batch": [-2, 0, "x", 1.5, "true"],
    "train.threads": [-1],
    "train.processes": [-1, 0],
    "train.workers": [-1],
    "train.lr": [-1, 0, ".nan", ".inf", "fast"],
    "train.ema": [-1, 2, 1, ".nan"],
    "train.pictures": [-1],
    "train.seed": [-1, 2**32],
    "train.epochs": [0, -1],
    "train.passes_per_epoch": [0],
    "train.cycles": [0, 21],
    "train.clip": [0, -1, ".inf"],
    "train.holdout": [-1],
    "train.minutes": [-1, ".nan"],
    "train.weight_decay": [-1],
    "train.schedule": ["line"],
    "train.precision": ["int8"],
    "net.kind": ["huge"],
    "net.size": [0, -64, 65, 33],
    "net.stem_stages": [-1, 4],
    "net.numbers.width": [0, 33, -32, "wide", 32.0, "true"],
    "net.numbers.stages": [0, "x", "[1]"],
    "net.numbers.blocks": [1, "[1, 1]", "[1, -1, 1]", "[a, b, c]"],
    "net.numbers.dilations": ["[]", "[0]", 2],
    "net.numbers.attention": [5, -1, "much"],
    "net.numbers.stride": [2, "x"],
    "net.numbers.heads": ["maybe", "[centers]"],
    "net.numbers.colours": ["bgr", 3],
    "net.numbers.stem": [3, "x"],
    "net.numbers.stem.channels": [0, "x"],
    "net.numbers.stem.depth": [1],
    "net.numbers.trunk": [5],
    "net.numbers.joints": [3],
    "net.numbers.widht": [32],
    "augment.scale": ["[0, 0]", "[2, 1]", "[1]", "[.nan, 1]", "[-1, 1]"],
    "augment.rotate": [-10, 200],
    "augment.shift": [-1, 2],
    "augment.flip": [3, -1],
    "augment.light": [2],
    "augment.noise": [-1],
    "augment.grey": [2],
    "augment.mosaic": [2],
    "augment.paste": [-1],
    "loss.sigmas": ["[]", "[0]", "[-1]", "[2, .inf]"],
    "loss.labels": [
        -1,
        ".nan",
        "[[1, 1], [0, 2]]",
        "[[0, -1]]",
        "[[0, .nan]]",
        "[]",
        "[[0, 1, 2]]",
        "[[0, 1], [2, 1]]",
    ],
    "loss.teacher": [-0.5],
    "loss.foreground": [-5],
    "loss.confidence": [-1],
    "data.limit": [-1],
    "data.frame_stride": [0],
    "data.crops": [-1, 1e-5],
    "data.labels": [-0.1, 1.5],
    "data.person_threshold": [".nan"],
    "decode.threshold": [-1],
    "decode.tag_threshold": [0],
    "decode.max_people": [0],
    "decode.fill_threshold": [-1, "x"],
    "device": ["gpu", "GPU", "mps", "cuda:x", "cpu:0"],
}
VALIDATE = {
    "teacher.batch": [-1, 0],
    "teacher.size": [-64, 16],
    "teacher.scales": ["[]", "[0]", "[2]", "[1, .nan]"],
    "teacher.kind": ["huge"],
    "teacher.crop.size": ["[64]", "[64, 64, 64]", "[0, 64]"],
    "teacher.crop.padding": [0],
    "teacher.crop.nms_oks": [2],
    "teacher.crop.map_size": [0],
    "teacher.crop.vis_threshold": [".inf"],
    "score.engine": ["mine"],
}
OTHERS = {
    "synth": {"train": [-1], "val": [-1], "size": [0, 16], "seed": [-1], "workers": [-1]},
    "demo": {"images": [0], "val": [0], "epochs": [0]},
    "predict": {"min_score": [".nan"], "device": ["tpu"]},
    "cache build": {"device": ["cuda:-1"], "teacher.batch": [0]},
    "study norms": {"seeds": ["[]", "[-1]"], "jobs": [0]},
}
WRONG = [
    (command, name, value)
    for command, settings in {"train": TRAIN, "validate": VALIDATE, **OTHERS}.items()
    for name, values in settings.items()
    for value in values
]


@pytest.mark.parametrize("command, name, value", WRONG, ids=str)
def test_a_setting_beyond_its_range_is_refused_by_name_before_any_work(command, name, value, capsys, tmp_path):
    """There are no data, and nothing has looked for them."""
    where = [] if command in ("synth", "demo") else ["--data.root=nowhere"]
    out = [] if command in ("validate", "cache build") else [f"--out={tmp_path / 'out'}"]
    assert main([*command.split(), *where, *out, f"--{name}={value}"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and len(said.splitlines()) == 1 and f"{name}:" in said and "nowhere" not in said
    assert not (tmp_path / "out").exists()


def test_the_range_of_a_further_data_set_is_its_own(capsys):
    assert main(["train", "--more=[{root: a}, {root: b, labels: 2}]"]) == 2
    assert capsys.readouterr().err == "error: more.1.labels: expected 0 to 1, got 2.0\n"


@pytest.mark.parametrize(
    "words, said",
    [
        (["train", "--train.batch=-2"], "train.batch: expected 1 or more, got -2"),
        (["train", "--train.clip=0"], "train.clip: expected above 0, got 0.0"),
        (
            ["train", "--augment.scale=[2, 1]"],
            "augment.scale: expected [low, high], above 0 and not falling, got [2.0, 1.0]",
        ),
        (["train", "--net.numbers={width: 33}"], "net.numbers.width: expected a multiple of 32, 32 or more, got 33"),
        (
            ["train", "--net.kind=higher_hrnet", "--net.numbers={deconvs: -1}"],
            "net.numbers.deconvs: expected a whole number, 0 or more, got -1",
        ),
        (
            ["train", "--net.numbers={joints: 3}"],
            "net.numbers.joints: follows the skeleton: leave it out, or pass --data.skeleton",
        ),
        (["train", "--train.lr=fast"], "rtpe train: train.lr: expected a number, got fast"),
        (["train", "--decode.fill_threshold=x"], "rtpe train: decode.fill_threshold: expected a number or null, got x"),
        (["train", "--train.schedule=line"], "rtpe train: train.schedule: expected one of cosine, sgdr, got line"),
    ],
    ids=str,
)
def test_a_message_has_name_want_and_got(words, said, capsys):
    assert main(words) == 2
    assert capsys.readouterr().err == f"error: {said}\n"


def test_whoever_makes_settings_in_python_is_held_to_the_same_ranges():
    with pytest.raises(UserError, match=r"^batch: expected 1 or more, got -2$"):
        OptimSettings(batch=-2)
    with pytest.raises(UserError, match=r"^flip: expected 0 to 1, got 3$"):
        AugmentSettings(flip=3)


def test_the_kinds_of_nets_are_those_that_can_be_built():
    assert tuple(NETS) == KINDS


DEVICES = {
    "cuda": "device cuda: torch sees no GPU here: pass --device cpu, or install torch with CUDA",
    "cuda:7": "device cuda:7: torch sees no GPU here: pass --device cpu, or install torch with CUDA",
    "gpu": "device: choose from auto, cpu, cuda (or cuda:N, the N-th GPU from 0), got 'gpu'",
}


@pytest.mark.parametrize("command", ["train", "validate", "predict", "cache build", "study norms"])
@pytest.mark.parametrize("device", DEVICES)
def test_a_device_that_is_not_there(command, device, monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    more = ["--cache.path=caches/none"] if command == "cache build" else []
    assert main([*command.split(), "--data.root=nowhere", *more, f"--device={device}"]) == 2
    assert capsys.readouterr().err == f"error: {DEVICES[device]}\n"


def test_devices_that_are_there(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    said = [choose_device(name, process) for name in ("auto", "cuda", "cuda:1", "cpu") for process in (0, 1, 2)]
    assert said == ["cuda:0", "cuda:1", "cuda:0"] * 2 + ["cuda:1"] * 3 + ["cpu"] * 3
    with pytest.raises(UserError, match="device cuda:2: torch sees 2 GPUs here, numbered from 0: pass another"):
        choose_device("cuda:2")


@pytest.mark.parametrize(
    "words, said",
    [
        ("validate --weights=a --cache.path=b", "weights a: has no effect beside --cache.path b"),
        ("validate --teacher.weights=a --cache.path=b", "teacher.weights a: has no effect beside --cache.path b"),
        ("validate --weights=a --teacher.weights=b", "weights a: has no effect beside --teacher.weights b"),
        ("predict --weights=a --teacher.weights=b", "weights a: has no effect beside --teacher.weights b"),
        ("validate --cache.path=b --cache.codec=uint8", "unrecognized arguments: --cache.codec=uint8"),
        ("train --cache.store=npz", "unrecognized arguments: --cache.store=npz"),
        ("train --train.cycles=5", "train.cycles 5: has no effect with train.schedule cosine"),
        ("train --train.holdout=0 --train.holdout_split=val", "train.holdout_split val: has no effect with"),
        ("train --net.stem=a.pth --net.stem_tensor=t1", "net.stem_tensor t1: has no effect without an .onnx file"),
        ("train --net.stem_network=a.yaml", "net.stem_network a.yaml: has no effect without an .onnx file"),
        ("train --net.stem=a.onnx --net.stem_stages=1", "net.stem_stages 1: has no effect with an .onnx file"),
        ("cache build --data.labels=.5", "unrecognized arguments: --data.labels=.5"),
        ("predict --data.person_threshold=.5", "unrecognized arguments: --data.person_threshold=.5"),
    ],
)
def test_what_has_no_effect_is_refused(words, said, capsys):
    assert main(words.split()) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_recorded_is_valid_input(name, tmp_path):
    """Also the settings that others made meaningless: they are at their defaults."""
    settings = settings_class(name)
    save_settings(settings(), tmp_path / "settings.yaml")
    assert parse_settings(settings, [f"--config={tmp_path / 'settings.yaml'}"], name) == settings()
