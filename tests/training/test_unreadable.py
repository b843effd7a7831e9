"""Images that cannot be read in a training: left out, counted, said once; the same with loader processes as without."""

import json
import os
import shutil
import signal

import numpy as np
import pytest
import torch
from miniature import samples

from rtpe.cli import main
from rtpe.data.loader import batches, plain_batches
from rtpe.data.settings import AugmentSettings
from rtpe.errors import UserError
from rtpe.images import UnreadableImage
from rtpe.shortages import named_shortages

NET = "--net.numbers={width: 32, stages: 1, dilations: [1, 2]}"


class Torn(list):
    """Photographs of which those at some places cannot be read."""

    def __init__(self, photographs, torn):
        super().__init__(photographs)
        self.torn = torn

    def __getitem__(self, place):
        if place in self.torn:
            raise UnreadableImage(f"image {place}.png: truncated")
        return super().__getitem__(place)


class Raises(list):
    """Photographs that raise an error of that kind in place of the first."""

    def __init__(self, error):
        super().__init__(samples(4))
        self.error = error

    def __getitem__(self, place):
        if place == 0:
            raise self.error
        return super().__getitem__(place)


def kill(_):
    os.kill(os.getpid(), signal.SIGKILL)


def pixels(examples, **options):
    return [batch.images.numpy() for batch in batches(examples, 2, 0, **options)]


@pytest.mark.parametrize(
    "views", [None, AugmentSettings(), AugmentSettings(mosaic=1.0, paste=1.0)], ids=["plain", "one", "mixed"]
)
@pytest.mark.parametrize("torn", [{0}, {3}, {1, 2}, {0, 1, 3}], ids=str)
def test_the_next_image_stands_in_whatever_reads_it(torn, views, examples):
    """Alike with loader processes and in the shares of two processes; each torn image is named once."""
    made, found, others = examples(Torn(samples(4), torn), augment=views), {}, {}
    want = pixels(made, left_out=found)
    assert [len(batch) for batch in want] == [2, 2] and found.keys() == torn
    assert found == {place: f"image {place}.png: truncated" for place in torn}
    assert all(map(np.array_equal, want, pixels(made, workers=2, left_out=others))) and others == found
    shares = [pixels(made, share=(rank, 2)) for rank in (0, 1)]
    assert all(np.array_equal(whole, np.concatenate(parts)) for whole, parts in zip(want, zip(*shares)))


def test_of_an_image_that_stands_in_nothing_is_mixed(examples):
    """Its labels and its teacher's word are its own."""
    photographs = samples(4)
    made = examples(Torn(photographs, {1}), augment=None)
    stands_in, itself = made[0, 1], made[0, 2]
    assert stands_in.keys() == itself.keys()
    assert all(np.array_equal(stands_in[name], itself[name]) for name in itself)


def test_where_all_count_once_none_stands_in(examples):
    made = examples(Torn(samples(4), {1, 3}), augment=None)
    assert sum(len(batch.images) for batch in plain_batches(made, 2)) == 2


@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_readable_is_one_line(workers, examples):
    with pytest.raises(
        UserError, match=r"^none of 4 images can be read \(image \d.png: truncated\): check --data.root$"
    ):
        pixels(examples(Torn(samples(4), {0, 1, 2, 3})), workers=workers)


@pytest.mark.parametrize(
    "error",
    [UserError("image 7: has masks of another size"), OSError(5, "Input/output error", "a"), MemoryError()],
    ids=repr,
)
def test_an_error_of_a_loader_process_is_that_of_this_one(error, examples):
    """torch would give it a traceback for a message."""
    said = []
    for workers in (0, 2):
        with pytest.raises(type(error)) as raised:
            pixels(examples(Raises(error)), workers=workers)
        said.append(str(raised.value))
    assert said == [str(error)] * 2


def test_a_bug_in_a_loader_process_shows_its_traceback(examples):
    with pytest.raises(KeyError, match="Original Traceback"), named_shortages("less"):
        pixels(examples(Raises(KeyError("bug"))), workers=1)
    with pytest.raises(RuntimeError, match="Caught RuntimeError in DataLoader worker"), named_shortages("less"):
        pixels(examples(Raises(RuntimeError("bug"))), workers=1)


def test_a_loader_process_that_is_killed_is_one_line(examples, monkeypatch):
    monkeypatch.setattr("rtpe.data.loader._quiet_worker", kill)
    with (
        pytest.raises(
            UserError, match=r"^a loader process was killed.*: pass fewer --train.workers, or --train.workers 0$"
        ),
        named_shortages("less"),
    ):
        pixels(examples(), workers=1)


SHORT = [
    MemoryError("Unable to allocate 9 TiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
]


@pytest.mark.parametrize("error", SHORT, ids=lambda error: type(error).__name__)
def test_too_little_memory_is_one_line(error):
    said = r"^memory: not enough of it: pass a smaller --train.batch$"
    with pytest.raises(UserError, match=said), named_shortages("a smaller --train.batch"):
        raise error


def test_an_allocation_that_fails_is_recognised():
    with pytest.raises(UserError, match="not enough of it"), named_shortages("less"):
        torch.empty(2**60, dtype=torch.uint8)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("bug"), KeyError("bug")], ids=repr)
def test_other_errors_pass(error):
    with pytest.raises(type(error)) as raised, named_shortages("less"):
        raise error
    assert raised.value is error


@pytest.fixture
def damaged(world, tmp_path):
    """Eight pictures, of which one is torn and one missing."""
    shutil.copytree(world.root, tmp_path / "damaged")
    pictures = tmp_path / "damaged" / "images" / "train2017"
    torn = pictures / "3.png"
    torn.write_bytes(torn.read_bytes()[:40])
    (pictures / "6.png").unlink()
    return tmp_path / "damaged"


def words(world, root, out, *more):
    return [
        "train",
        *[w for w in world.words if "--data.root" not in w],
        f"--data.root={root}",
        NET,
        f"--out={out}",
        *more,
    ]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_training_leaves_them_out_and_says_so_once(workers, world, damaged, tmp_path, capsys):
    more = [
        "--train.epochs=3",
        f"--train.workers={workers}",
        "--train.pictures=8",
        "--augment.mosaic=0.5",
        "--augment.paste=0.5",
    ]
    assert main(words(world, damaged, tmp_path / "run", *more, "--loss.pull=0", "--loss.push=0")) == 0
    said = capsys.readouterr().out
    assert said.count("left out") == 1
    assert f"left out 2 of 8 images, which cannot be read, such as: image {damaged}/images/train2017/3.png: " in said
    assert len((tmp_path / "run" / "history.jsonl").read_text().splitlines()) == 3


def test_held_out_images_that_cannot_be_read_are_not_missed(world, damaged, tmp_path, capsys):
    """Six of eight are scored: with all eight, recall could not exceed three quarters."""
    split = damaged / "images" / "val2017"
    shutil.copytree(damaged / "images" / "train2017", split)
    for picture in split.iterdir():  # of the same name they would be the same photographs
        picture.rename(split / f"held_{picture.name}")
    labels = damaged / "annotations" / "person_keypoints_train2017.json"
    held = labels.read_text().replace('"file_name": "', '"file_name": "held_')
    labels.with_name("person_keypoints_val2017.json").write_text(held)
    more = ["--train.holdout=8", "--train.holdout_split=val2017", "--train.epochs=1", "--train.pictures=2"]
    assert main(words(world, damaged, tmp_path / "run", *more, "--loss.pull=0", "--loss.push=0")) == 0
    assert "left out 2 of 8 held-out images, which cannot be read, such as: " in capsys.readouterr().out
    row = json.loads((tmp_path / "run" / "history.jsonl").read_text())
    assert {"AP", "holdout labels"} <= row.keys()


@pytest.mark.parametrize("part", ["train2017", "val2017"])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_training_without_a_readable_image_is_one_line(part, workers, world, damaged, tmp_path, capsys):
    shutil.copytree(world.root / "images" / "train2017", damaged / "images" / "val2017")
    labels = damaged / "annotations" / "person_keypoints_train2017.json"
    shutil.copy(labels, labels.with_name("person_keypoints_val2017.json"))
    shutil.rmtree(damaged / "images" / part)
    more = ["--train.holdout=8", "--train.holdout_split=val2017", f"--train.workers={workers}"]
    assert main(words(world, damaged, tmp_path / "run", *more)) == 2
    said = capsys.readouterr().err
    assert f"none of 8 {'held-out images' if part == 'val2017' else 'images'} can be read (image " in said
    assert len(said.splitlines()) == 1
