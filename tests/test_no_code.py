"""Nothing that is read names code: each reader is given a class whose module marks that it was imported, or called."""

import json
import sys

import pytest
import torch
import yaml

from rtpe.cache.manifest import Manifest
from rtpe.cli import main, settings_class
from rtpe.data.boxes import read_boxes
from rtpe.data.labels import read_labels
from rtpe.decode.settings import DecodeSettings
from rtpe.errors import UserError
from rtpe.nets.weights import load_weights, save_weights
from rtpe.plain import yaml_value
from rtpe.predictors.adapters.description import read_description
from rtpe.predictors.load import load_predictor
from rtpe.predictors.settings import TeacherSettings
from rtpe.report.log import Log
from rtpe.settings.parse import parse_settings
from rtpe.skeleton import COCO17, Skeleton
from rtpe.synthetic import write_world
from rtpe.training.checkpoint import settings_of
from rtpe.training.net import trainable_net
from rtpe.training.settings import NetSettings

SECTIONS = ("data", "cache", "net", "loss", "augment", "train", "decode")
COMMANDS = ("train", "study norms", "cache build", "validate", "predict", "cache info", "cache convert")


@pytest.fixture
def named(tmp_path, monkeypatch):
    """A class by name; when the test is over, nothing has imported its module."""
    mark = tmp_path / "ran"
    (tmp_path / "marking.py").write_text(f"open({str(mark)!r}, 'w').close()\nclass Made:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield {"class_path": "marking.Made", "init_args": {"a": 1}}
    assert not mark.exists() and "marking" not in sys.modules


def parsed(words, command="train"):
    return parse_settings(settings_class(command), words, "rtpe")


def flow(value):
    return yaml.safe_dump(value, default_flow_style=True, width=1000).strip()


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("kind", ["text", "mapping", "joined", "file", "inline recipe", "recipe", "recipe's file"])
def test_a_section_is_no_class(section, kind, named, tmp_path):
    (tmp_path / "part.yaml").write_text(yaml.safe_dump(named))
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(yaml.safe_dump({section: named if kind == "recipe" else "part.yaml"}))
    words = {
        "text": [f"--{section}", "marking.Made"],
        "mapping": [f"--{section}", flow(named)],
        "joined": [f"--{section}={flow(named)}"],
        "file": [f"--{section}", "part.yaml"],
        "inline recipe": ["--config", flow({section: named})],
        "recipe": ["--config", str(recipe)],
        "recipe's file": [f"--config={recipe}"],
    }
    with pytest.raises(UserError, match=r"no such setting|expected settings by name"):
        parsed(words[kind])


@pytest.mark.parametrize(
    "name", ["more", "more+", "more.class_path", "more.init_args.a", "class_path", "data.class_path"]
)
@pytest.mark.parametrize("form", ["marking.Made", "[marking.Made]", "[{}]", "{}", "part.yaml", "[part.yaml]"])
def test_further_data_are_no_class(name, form, named, tmp_path):
    (tmp_path / "part.yaml").write_text(yaml.safe_dump(named))
    form = form.format(flow(named)) if "{" not in form else form.replace("{}", flow(named))
    for words in ([f"--{name}", form], [f"--{name}={form}"]):
        with pytest.raises(UserError, match=r"no such setting|expected (a list of )?settings by name"):
            parsed(words)


@pytest.mark.parametrize("written", [["marking.Made"], "marking.Made", ["part.yaml"], "part.yaml"])
def test_further_data_in_a_recipe_are_settings(written, named, tmp_path):
    (tmp_path / "part.yaml").write_text(yaml.safe_dump(named))
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"more": written}))
    with pytest.raises(UserError, match=r"recipe mine.yaml: more.*: expected (a list of )?settings by name"):
        parsed(["--config=mine.yaml"])


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_takes_a_class(command, named, tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"data": named, "teacher": {"crop": named}}))
    for words in (["--data", "marking.Made"], ["--data.class_path=marking.Made"], ["--config", "mine.yaml"]):
        with pytest.raises(UserError, match=r"no such setting|expected settings by name"):
            parsed(words, command)


@pytest.mark.parametrize("of", ["teacher", "net"])
def test_deep_within_numbers_nothing_is_a_class(of, named):
    command = {"teacher": "cache build", "net": "train"}[of]
    with pytest.raises(UserError, match="no such setting"):
        parsed([f"--{of}.numbers", flow({"a": [{"b": named}]})], command)
    read = parsed([f"--{of}.numbers.a=part.yaml"], command)
    assert getattr(read, of).numbers == {"a": "part.yaml"}


@pytest.mark.parametrize("name", ["conf", "confi"])
def test_a_name_cut_short_is_unknown(name, named, tmp_path):
    """It would be read by jsonargparse alone."""
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"more": [named]}))
    with pytest.raises(UserError, match="unrecognized arguments"):
        parsed([f"--{name}", "mine.yaml"])


def test_jsonargparse_itself_imports_nothing(named, tmp_path, monkeypatch):
    """The second lock, behind the first."""
    monkeypatch.setattr("rtpe.settings.parse.refuse_typed", lambda *_: None)
    for words in (["--data", "marking.Made"], ["--more", flow([named])], ["--more+=marking.Made"]):
        with pytest.raises(UserError):
            parsed(words)


def test_no_environment_names_a_class(named, monkeypatch):
    monkeypatch.setenv("JSONARGPARSE_DEFAULT_ENV", "true")
    monkeypatch.setenv("RTPE_MORE", flow([named]))
    monkeypatch.setenv("RTPE_DATA", "marking.Made")
    parsed([])


def test_metadata_of_weights_name_no_class(named, tmp_path):
    """Neither as the net, nor as its arguments."""
    for kind, numbers in (
        ("marking.Made", "{}"),
        ("student", json.dumps({"stem": named})),
        ("student", json.dumps(named)),
    ):
        save_weights(tmp_path / "net.safetensors", {"a": torch.zeros(1)}, {"kind": kind, "numbers": numbers})
        with pytest.raises(UserError):
            load_predictor(TeacherSettings(weights="net.safetensors"), DecodeSettings(), COCO17, "cpu")
        if kind == "student":
            with pytest.raises(UserError):
                trainable_net(NetSettings(init="net.safetensors"), 17)


def test_torch_files_and_checkpoints_name_no_class(named, tmp_path):
    torch.save({"settings": named, "state_dict": named}, tmp_path / "last.pt")
    for read in (settings_of, load_weights):
        with pytest.raises(UserError):
            read(tmp_path / "last.pt")


def test_other_files_name_no_class(named, tmp_path):
    cases = {
        "manifest.json": lambda _: Manifest.read(tmp_path),
        "skeleton.json": Skeleton.from_json,
        "network.yaml": read_description,
        "labels.json": lambda path: read_labels(path, COCO17),
        "boxes.json": lambda path: read_boxes(path, [1]),
    }
    for name, read in cases.items():
        for value in (named, [named], {"skeleton": named, "images": [named], "name": named}):
            (tmp_path / name).write_text(json.dumps(value))
            with pytest.raises(UserError):
                read(tmp_path / name)


@pytest.mark.parametrize(
    "tag", ["python/name:marking.Made", "python/object/apply:marking.Made []", "python/module:marking"]
)
def test_tags_name_no_class(tag, named, tmp_path):
    with pytest.raises(ValueError, match="could not determine a constructor"):
        yaml_value(f"a: !!{tag}")
    (tmp_path / "mine.yaml").write_text(f"net: {{numbers: {{a: !!{tag}}}}}" if tag[-1] != "]" else f"out: !!{tag}")
    with pytest.raises(UserError, match=r"recipe mine.yaml"):
        parsed(["--config=mine.yaml"])


def test_history_names_no_class(named, tmp_path):
    (tmp_path / "history.jsonl").write_text(json.dumps({"epoch": 1, **named}) + "\n")
    Log(tmp_path).close()


RISKS = {
    "a program": (
        {"network": "evil.py", "weights": "net.pth"},
        "teacher.network evil.py: is a program, and runs",
    ),
    "a program in capitals": ({"network": "evil.PY", "weights": "net.pth"}, "teacher.network evil.PY: is a program"),
    "a ViTPose on the hub": (
        {"kind": "vitpose", "weights": "stranger/net"},
        "teacher.weights stranger/net: is on no disk",
    ),
    "a backbone on the hub": (
        {"kind": "readout", "weights": "net.pth", "numbers": {"backbone": "stranger/sd"}},
        "teacher.numbers.backbone stranger/sd: is on no disk here, and asks the hub",
    ),
}


@pytest.mark.parametrize("command", ["cache build", "validate", "predict"])
@pytest.mark.parametrize("risk", RISKS)
def test_no_file_runs_a_program_or_asks_the_network(command, risk, tmp_path, monkeypatch):
    """What a stranger's recipe names; the same counts where the user types it."""
    monkeypatch.chdir(tmp_path)
    teacher, said = RISKS[risk]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"teacher": teacher}))
    with pytest.raises(UserError, match=f"^{said}.*which no file may ask for: pass it as --teacher"):
        parsed(["--config=mine.yaml"], command)
    words = [f"--teacher.{name}={value if isinstance(value, str) else flow(value)}" for name, value in teacher.items()]
    assert parsed(["--config=mine.yaml", *words], command).teacher == parsed(words, command).teacher


def test_a_training_asks_the_network_for_nothing_that_a_file_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("net: {kind: readout, numbers: {backbone: stranger/sd}}")
    with pytest.raises(UserError, match=r"net.numbers.backbone stranger/sd: is on no disk here"):
        parsed(["--config=mine.yaml"])
    assert parsed(["--config=mine.yaml", "--net.numbers.backbone=stranger/sd"]).net.kind == "readout"


def test_what_is_compared_runs_no_program(tmp_path, monkeypatch, capsys, named):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"teacher": {"network": "marking.py", "weights": "net.pth"}}))
    write_world(str(tmp_path / "world"), "val2017", 1, 0, (64, 64), 0)
    assert main(["validate", "--compare", "mine.yaml", f"--data.root={tmp_path / 'world'}"]) == 2
    assert "teacher.network marking.py: is a program, and runs, which no file may ask for" in capsys.readouterr().out
