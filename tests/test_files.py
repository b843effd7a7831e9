"""The one way to write a file: whole or not at all, under a name that leads nowhere else, and nothing is left."""

import errno
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from full_disk import short_files, small_disk
from torch import nn

from rtpe.files import remove_hidden, replacing, write_file
from rtpe.images import write_image
from rtpe.nets.weights import load_weights, save_weights
from rtpe.report.chart import Chart, write_chart
from rtpe.report.page import write_report
from rtpe.report.table import write_json
from rtpe.settings.parse import save_settings
from rtpe.synthetic import write_world
from rtpe.training.checkpoint import TrainingState
from rtpe.training.settings import Train

NET = nn.Linear(64, 64)
PICTURE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
WRITERS = {
    "bytes": lambda path: write_file(path, bytes(9000)),
    "text": lambda path: write_file(path, "ä" * 9000),
    "settings.yaml": lambda path: save_settings(Train(out="o" * 9000), path),
    "results.json": lambda path: write_json([{"name": "n" * 9000}], path),
    "chart.svg": lambda path: write_chart(path, Chart("t" * 9000, "x", "y", {"a": ([0, 1], [0, 1])})),
    "report.html": lambda path: write_report(path, title="t" * 9000),
    "a.png": lambda path: write_image(path, PICTURE),
    "a.jpg": lambda path: write_image(path, PICTURE, 100),
}
TORN = """
import sys, time
from rtpe.files import replacing
with replacing(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    print("begun", flush=True)
    time.sleep(1000)
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def begun(path):
    """A process that is writing a file, and has a part of it on the disk."""
    process = subprocess.Popen(
        [sys.executable, "-c", TORN, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        # what a script starts in the background ignores Ctrl-C, and so would this process
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_does_not_fit_leaves_the_old_one_and_names_it(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"old")
    with short_files(1000), pytest.raises(OSError) as caught:
        WRITERS[name](path)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    assert path.read_bytes() == b"old" and names(tmp_path) == [name]
    WRITERS[name](path)
    assert path.stat().st_size > 1000 and names(tmp_path) == [name]


def test_weights_and_a_checkpoint_that_do_not_fit(tmp_path):
    """One line each, the old file stays, and nothing of the new one."""
    state = TrainingState(NET, NET, torch.optim.SGD(NET.parameters(), 0.1))
    writers = {
        "best.safetensors": lambda path: save_weights(path, NET, {}),
        "last.pt": state.save,
    }
    for name, write in writers.items():
        write(tmp_path / name)
        old = (tmp_path / name).read_bytes()
        with short_files(1000), pytest.raises(ValueError, match=rf"^(weights|checkpoint) .*{name}: cannot be written"):
            write(tmp_path / name)
        assert (tmp_path / name).read_bytes() == old
    assert names(tmp_path) == sorted(writers)


@pytest.mark.parametrize("free", ["4k", "12k", "20k", "60k"])
def test_a_full_disk_keeps_the_weights_and_the_checkpoint(tmp_path, free):
    net = nn.Linear(80, 80)
    state = TrainingState(net, net, torch.optim.SGD(net.parameters(), 0.1))
    with small_disk(tmp_path / "disk", free) as disk:
        for name, write in (("best.safetensors", lambda path: save_weights(path, net, {})), ("last.pt", state.save)):
            try:
                write(disk / name)
            except ValueError as error:
                assert "cannot be written (No space left on device)" in str(error) and name in str(error)
        assert set(names(disk)) <= {"best.safetensors", "last.pt"}


def test_a_world_that_does_not_fit_is_drawn_when_there_is_room(tmp_path):
    with small_disk(tmp_path / "disk", "40k") as disk, pytest.raises(OSError) as caught:
        write_world(disk, "val2017", 8, 0, progress=False)
    assert caught.value.errno == errno.ENOSPC and caught.value.filename.endswith(".jpg")


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_file(tmp_path / "text", "a")
        save_weights(tmp_path / "best.safetensors", NET, {})
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o666 & ~umask}


@pytest.mark.parametrize("there", ["file", "nothing", "folder"])
def test_a_link_is_replaced_and_not_followed(tmp_path, there):
    target, link = tmp_path / "target", tmp_path / "link"
    if there == "file":
        target.write_bytes(b"precious")
    elif there == "folder":
        target.mkdir()
    link.symlink_to(target)
    write_file(link, b"new")
    assert not link.is_symlink() and link.read_bytes() == b"new"
    assert names(tmp_path) == (["link"] if there == "nothing" else ["link", "target"])
    assert there != "file" or target.read_bytes() == b"precious"


def test_a_hidden_name_cannot_be_guessed(tmp_path):
    """Two writers of one name have two; neither has the process's number in it."""
    with replacing(tmp_path / "a"), replacing(tmp_path / "a"):
        found = names(tmp_path)
    assert len(found) == 2 and not any(f".{os.getpid()}" in name for name in found)
    assert names(tmp_path) == ["a"]


def test_what_a_killed_writer_left_goes_when_its_name_is_written_again(tmp_path):
    for name in ("a", "b"):
        process = begun(tmp_path / name)
        process.kill()
        process.wait()
    assert len(names(tmp_path)) == 2
    write_file(tmp_path / "a", b"whole")
    assert len(names(tmp_path)) == 2 and (tmp_path / "a").read_bytes() == b"whole"
    assert [name[:3] for name in names(tmp_path)] == [".b.", "a"]


def test_what_a_living_writer_has_begun_stays(tmp_path):
    process = begun(tmp_path / "a")
    try:
        write_file(tmp_path / "a", b"mine")
        assert len(names(tmp_path)) == 2
        process.send_signal(signal.SIGINT)
        process.wait()
        assert names(tmp_path) == ["a"]
    finally:
        process.kill()


def test_names_of_others_are_left_alone(tmp_path):
    hidden = ".a.0123456789abcdef.tmp"
    others = [".a.tmp", ".a.123", "a.0123456789abcdef.tmp", ".a.0123456789ABCDEF.tmp", ".b.0123456789abcdef.tmp"]
    for name in (hidden, *others):
        (tmp_path / name).write_bytes(b"?")
    (tmp_path / ".a.ffffffffffffffff.tmp").symlink_to(tmp_path / ".a.tmp")
    (tmp_path / ".a.eeeeeeeeeeeeeeee.tmp").mkdir()
    remove_hidden(tmp_path, "a".__eq__)
    kept = [*others, ".a.ffffffffffffffff.tmp", ".a.eeeeeeeeeeeeeeee.tmp"]
    assert names(tmp_path) == sorted(kept)


@pytest.mark.parametrize("name", ["a", "a" * 233, "a" * 255, "ä" * 127, "b" + "ä" * 127], ids=len)
def test_a_name_of_any_length_can_be_written(tmp_path, name):
    """File systems take 255 bytes; the hidden name is longer than its own, and a cut letter does no harm."""
    process = begun(tmp_path / name)
    process.kill()
    process.wait()
    write_file(tmp_path / name, b"1")
    assert names(tmp_path) == [name]


def test_an_error_of_another_file_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, replacing(tmp_path / "a"):
        (tmp_path / "other").read_bytes()
    assert caught.value.filename == str(tmp_path / "other") and not names(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        write_file(tmp_path / "no" / "a", b"")
    assert caught.value.filename == str(tmp_path / "no" / "a")


def test_weights_written_twice_are_equal_and_load(tmp_path):
    for name in ("a.safetensors", "b.safetensors"):
        save_weights(tmp_path / name, NET, {"kind": "x"})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert torch.equal(load_weights(tmp_path / "a.safetensors")["weight"], NET.weight)
