"""Small files that would fill the memory, never end, or be waited for; and what is no plain value."""

import os

import pytest

from rtpe.cache.folder import read_skipped
from rtpe.cli.cache_merge import CacheMerge
from rtpe.data.folder import FolderDataset
from rtpe.data.labels import read_labels
from rtpe.data.video import VideoReader
from rtpe.errors import UserError
from rtpe.images import UnreadableImage, read_image
from rtpe.plain import VALUES, read_regular, yaml_value
from rtpe.predictors.adapters.description import read_description
from rtpe.settings.parse import parse_settings, save_settings
from rtpe.skeleton import COCO17, Skeleton
from rtpe.synthetic.write import _check_settings
from rtpe.training.settings import Train
from rtpe.training.study import Training

TEN = "[" + ",".join(["1"] * 10) + "]"
LAUGHS = "a0: &a0 " + TEN + "\n" + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10))
MERGED = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{l: *a{i - 1}, r: *a{i - 1}}}\n" for i in range(1, 30))
WRONG = {
    "aliases of lists": (LAUGHS, f"stand for more than {VALUES} values"),
    "aliases of mappings": (MERGED, f"stand for more than {VALUES} values"),
    "a list in itself": ("a: &a [*a]", "holds itself"),
    "a mapping in itself": ("a: &a {b: {c: *a}}", "holds itself"),
    "a key that holds itself": ("&a ? *a\n: 1", "."),
    "depth": ("[" * 20_000, "nested too deep"),
    "depth of mappings": ("{a: " * 20_000, "nested too deep"),
    "no date": ("a: 2001-99-99", "month must be in 1..12"),
    "a tag of another form": ("a: !!timestamp x", "."),
    "digits": ("a: " + "9" * 5000, "4300 digits"),
    "a key that is a list": ("? [1]\n: 2", "unhashable"),
}


@pytest.mark.parametrize("case", WRONG)
def test_small_texts_stay_small(case, tmp_path, monkeypatch):
    text, said = WRONG[case]
    with pytest.raises(ValueError, match=said):
        yaml_value(text)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UserError, match=r"network mine.yaml: "):
        read_description("mine.yaml")
    with pytest.raises(UserError, match=r"recipe mine.yaml: "):
        parse_settings(Train, ["--config=mine.yaml"], "rtpe")


@pytest.mark.parametrize("text", ["a: &a [1, 2]\nb: *a", "a: &a {x: 1}\nb: {<<: *a, y: 2}", TEN, "", "a: !!set {x, y}"])
def test_aliases_are_no_fault_in_themselves(text):
    yaml_value(text)


def test_aliases_in_typed_values_are_bounded():
    with pytest.raises(UserError, match=r"net.numbers: not YAML .*stand for more"):
        parse_settings(Train, ["--net.numbers", "{" + LAUGHS.replace("\n", ", ") + "}"], "rtpe")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".mp4", ".json", ".yaml"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_only_regular_files_are_read(kind, suffix, tmp_path):
    """The others hang, or have no end."""
    path = tmp_path / f"odd{suffix}"
    make = {"pipe": os.mkfifo, "device": lambda path: path.symlink_to("/dev/zero"), "folder": os.mkdir}[kind]
    make(path)
    with pytest.raises(OSError, match="not a regular file" if kind != "folder" else "Is a directory"):
        read_regular(path)
    for read, error in (
        (read_image, UnreadableImage),
        (VideoReader, UnreadableImage),
        (Skeleton.from_json, UserError),
        (read_description, UserError),
        (lambda path: read_labels(path, COCO17), UserError),
        (lambda path: parse_settings(Train, [f"--config={path}"], "rtpe"), UserError),
    ):
        with pytest.raises(error, match=r"not a regular file|directory|a folder|no such file"):
            read(path)
    if suffix in (".jpg", ".mp4") and kind == "pipe":
        assert len(FolderDataset(tmp_path)) == 1


def test_a_link_to_a_file_is_that_file(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").symlink_to("a")
    assert read_regular(tmp_path / "b") == b"x"


@pytest.mark.parametrize(
    "name", ["plain", "runs/\U0001f600", "\U00020bb7野家", "a\x7f\x1b\x85", "a'\"\\,[]{}: #", "ü\u2028"]
)
def test_lists_of_names_hold_any_letters(name):
    read = parse_settings(CacheMerge, ["--sources", name, "b", "--cache.path=c"], "rtpe")
    assert read.sources == [name, "b"]


def test_recorded_settings_hold_any_letters(tmp_path):
    settings = parse_settings(CacheMerge, ["--sources", "\U0001f600", "b", "--cache.path=\U0001f600"], "rtpe")
    save_settings(settings, tmp_path / "s.yaml")
    again = parse_settings(CacheMerge, [f"--config={tmp_path / 's.yaml'}"], "rtpe")
    assert again == settings


@pytest.mark.parametrize(
    "line", ["--5\ta\tb", "9" * 5000 + "\ta\tb", "-\ta\tb", "²\ta\tb", "5\ta", "", "9" * 20 + "\ta\tb"]
)
def test_a_list_of_skipped_images_that_was_changed_by_hand_says_nothing(line, tmp_path):
    (tmp_path / "skipped.txt").write_text(f"{line}\n-7\tc\td\n", "utf-8")
    assert read_skipped(tmp_path) == {-7: ("c", "d")}


@pytest.mark.parametrize("text", ["[{}]", "{}", "[]", "[1, 2]", "[3]", "", "[" * 9999])
def test_a_row_of_a_study_that_was_changed_by_hand_is_named(text, tmp_path):
    run = Training("one", {}, tmp_path)
    run.file.write_text(text)
    with pytest.raises(UserError, match=r"one\.json: should be a list of one row"):
        run.kept()


@pytest.mark.parametrize("text", ["[]", "{}", '{"info": 3}', "x", '{"info": {"settings": []}}'])
def test_labels_that_were_not_drawn_here_are_named(text, tmp_path):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=r"a\.json: was not drawn by rtpe synth"):
        _check_settings(tmp_path / "a.json", {"size": 64})
