"""Names of files are bytes: those that are no UTF-8, or hold commands to a terminal, are printed with escapes."""

import io
import os
import sys

import numpy as np
import pytest

from rtpe import cli
from rtpe.cli import main
from rtpe.errors import UserError, printable
from rtpe.images import UnreadableImage, read_image, write_image
from rtpe.nets.create import create_net
from rtpe.nets.metadata import save_net
from rtpe.report.log import Log
from rtpe.skeleton import COCO17

LATIN1 = os.fsdecode(b"b\xfcro")


@pytest.mark.parametrize(
    "name, shown",
    [
        ("", ""),
        ("büro 東京", "büro 東京"),
        (LATIN1, r"b\udcfcro"),
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("a\rb\tc\x9b", r"a\rb\tc\x9b"),
        ("a\u202eb", r"a\u202eb"),
        ("a\n  b\n", "a b"),
    ],
)
def test_what_a_terminal_cannot_show_is_escaped(name, shown):
    assert printable(name) == str(UserError(name)) == shown


def test_an_image_of_any_name_is_named(tmp_path):
    path = tmp_path / f"{LATIN1}\x1b[2J.jpg"
    path.write_bytes(b"\xff\xd8")
    with pytest.raises(UnreadableImage, match=r"b\\udcfcro\\x1b\[2J.jpg: truncated"):
        read_image(path)


def strict(monkeypatch):
    """Both outputs as PYTHONIOENCODING=utf-8:strict makes them, and what was written there."""
    streams = {name: io.TextIOWrapper(io.BytesIO(), "utf-8", "strict") for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    return lambda name: (streams[name].flush(), streams[name].buffer.getvalue().decode())[1]


def test_each_line_is_printed_and_the_status_stays(tmp_path, monkeypatch):
    written = strict(monkeypatch)
    root, out = tmp_path / LATIN1, tmp_path / f"out_{LATIN1}"
    root.mkdir()
    (root / "torn\x1b.jpg").write_bytes(b"\xff\xd8")
    write_image(root / f"{LATIN1}.png", np.zeros((64, 64, 3), np.uint8))
    save_net(
        tmp_path / "net.safetensors", create_net("student", {"width": 32, "stages": 1}, 17), "student", COCO17, 64, {}
    )
    weights = f"--weights={tmp_path / 'net.safetensors'}"
    assert main(["predict", weights, f"--data.root={root}", f"--out={out}", "--draw=true"]) == 0
    assert (out / "pictures" / f"{LATIN1}.png.jpg").exists()
    printed = written("stdout")
    assert r"out_b\udcfcro/results.json" in printed and r"skipped: image" in printed and r"torn\x1b.jpg: " in printed
    assert main(["predict", weights, f"--data.root={root / 'gone'}", f"--out={out}"]) == 2
    assert main([f"predict{LATIN1}"]) == 2
    assert [line.split(":")[0] for line in written("stderr").splitlines()] == ["error", "error"]


def test_an_error_of_the_operating_system_is_escaped_too(monkeypatch):
    written = strict(monkeypatch)

    def work():
        raise FileNotFoundError(2, "No such file or directory", f"/{LATIN1}\x1b[2J")

    assert cli.status(work) == 2
    assert written("stderr") == "error: /b\\udcfcro\\x1b[2J: No such file or directory\n"


def test_a_run_with_such_a_root_is_logged(tmp_path):
    with Log(tmp_path) as log:
        log.text("settings", f"root {LATIN1}")
        log.hyperparameters({"data.root": LATIN1}, {"AP": 0.5})
