"""Recipes: what is wrong with one names the file, and nothing in it is imported or run."""

import sys

import pytest
import yaml

from rtpe.cli import main
from rtpe.cli.predict import Predict
from rtpe.errors import UserError
from rtpe.settings.parse import parse_settings
from rtpe.training.settings import Train

RECIPES = {
    "empty": (b"", "expected settings by name, such as train: {batch: 32}, got nothing"),
    "comments": (b"# nothing\n", "got nothing"),
    "a list": (b"[1, 2]", "got a list"),
    "a text": (b"hello", "got hello"),
    "UTF-16": ("train: {batch: 4}".encode("utf-16"), "not UTF-8 text: save it as UTF-8"),
    "Latin-1": ("out: caf\u00e9".encode("latin-1"), "not UTF-8 text: save it as UTF-8"),
    "torn": (b"train: {batch: [", "not YAML"),
    "a part twice": (b"train: {batch: 4}\ntrain: {lr: 1}", "train is there twice: keep one of them"),
    "a name twice": (b"train:\n  batch: 4\n  batch: 5", "train.batch is there twice: keep one of them"),
    "a name in two spellings": (b"train: {batch: 4}\ntrain.batch: 5", "train.batch is there twice"),
    "a number twice": (b"net: {numbers: {width: 32, width: 64}}", "net.numbers.width is there twice"),
    "further data twice": (b"more: [{root: a, root: b}]", "more.0.root is there twice"),
    "an empty part": (b"train:\nnet: {size: 64}", "train: expected settings by name, got nothing"),
    "a part that is a number": (b"train: 3", "train: expected settings by name, got 3"),
    "another type": (b"train: {batch: x}", "train.batch: expected a whole number, got x"),
    "an unknown name": (b"train: {batches: 3}", "train.batches: no such setting"),
    "beyond its range": (b"train: {batch: -3}", "train.batch: expected 1 or more, got -3"),
    "a program": (b"train: !!python/object/apply:os.getcwd []", "train: expected settings by name"),
    "an import": (b"more: [{class_path: this.X}]", "more.0.class_path: no such setting"),
    "a key that is a list": (b"? [1]\n: 2", "expected names of settings, got a list for one"),
}


@pytest.mark.parametrize("case", RECIPES)
def test_what_is_wrong_with_a_recipe_names_it(case, tmp_path, capsys):
    recipe = tmp_path / "mine.yaml"
    written, said = RECIPES[case]
    recipe.write_bytes(written)
    assert main(["train", "--config", str(recipe)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: recipe {recipe}: ") and said in error and len(error.splitlines()) == 1
    assert "this" not in sys.modules


@pytest.mark.parametrize("name, what", [("nowhere.yaml", "no such file"), ("", "no such file"), (".", "a folder")])
def test_a_recipe_that_is_not_there(name, what, capsys):
    assert main(["train", f"--config={name}"]) == 2
    assert capsys.readouterr().err == f"error: recipe {name}: {what}: pass --config FILE.yaml\n"


def test_what_the_command_line_corrects_is_no_mistake(tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("\ufefftrain: &common {batch: -3}\ndecode: {<<: {threshold: 0.3}, threshold: 0.2}", "utf-8")
    read = parse_settings(Train, [f"--config={recipe}", "--train.batch=4"], "rtpe train")
    assert (read.train.batch, read.decode.threshold) == (4, 0.2)


@pytest.mark.parametrize("how", ["typed", "recipe"])
def test_numbers_are_plain_values_and_nothing_is_imported_or_run(how, tmp_path, capsys):
    mark = tmp_path / "ran"
    numbers = {"class_path": "antigravity.geohash", "init_args": {"command": f"touch {mark}"}}
    if how == "typed":
        words = [f"--net.numbers={yaml.safe_dump(numbers, default_flow_style=True).strip()}"]
    else:
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"net": {"numbers": {"stem": numbers}}}))
        words = [f"--config={tmp_path / 'mine.yaml'}"]
    assert main(["train", "--data.root=nowhere", *words]) == 2
    assert "no such" in capsys.readouterr().err and not mark.exists() and "antigravity" not in sys.modules


def test_numbers_keep_their_types():
    words = [
        "--net.numbers={width: 64, direct: false, heads: [], stem: {channels: 32}, blocks: [1, 2, 3], context: plain, "
        "trunk: null}"
    ]
    numbers = parse_settings(Train, [*words, "--net.numbers.attention=1"], "rtpe train").net.numbers
    assert numbers == {
        "width": 64, "direct": False, "heads": [],
        "stem": {"channels": 32}, "blocks": [1, 2, 3], "context": "plain", "trunk": None,
        "attention": 1,
    }  # fmt: skip
    assert type(numbers["attention"]) is int and type(numbers["direct"]) is bool


@pytest.mark.parametrize(
    "words, draws",
    [
        (["--draw"], True),
        (["--draw", "--out=a"], True),
        (["--draw", "true"], True),
        (["--draw=false"], False),
        (["--draw", "false"], False),
        ([], False),
    ],
    ids=str,
)
def test_a_yes_or_no_needs_no_value(words, draws):
    assert parse_settings(Predict, words, "rtpe predict").draw == draws


def test_a_nested_yes_or_no_needs_no_value_and_takes_no_other_setting_for_one():
    read = parse_settings(Predict, ["--teacher.flip", "--out", "a"], "rtpe predict")
    assert read.teacher.flip and read.out == "a"
    with pytest.raises(UserError, match="out"):
        parse_settings(Predict, ["--out", "--draw"], "rtpe predict")
