"""Commands on a full disk: one line, status 2, nothing finished lost, nothing left behind; with room they go on."""

import json
import shutil

import numpy as np
import pytest
import torch
from full_disk import grow, small_disk
from safetensors.torch import load

from rtpe.cache import Cache, verify
from rtpe.cli import main
from rtpe.nets.create import create_net
from rtpe.nets.metadata import save_net
from rtpe.report.log import read_history
from rtpe.skeleton import COCO17

NET = {"width": 16, "stem": 16, "bottlenecks": 1, "modules": [1, 1, 1], "blocks": 1, "head_blocks": 0}
COUNT = 24


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    assert main(["synth", f"--out={root}", "--train=0", f"--val={COUNT}", "--size=96", "--workers=0"]) == 0
    return [f"--data.root={root}", "--data.split=val2017"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "net.safetensors"
    torch.manual_seed(0)
    save_net(path, create_net("higher_hrnet", NET, 17), "higher_hrnet", COCO17, 64, {})
    return path


@pytest.fixture(scope="module")
def building(world, weights):
    """The words of a build, but for its place."""
    words = [f"--teacher.weights={weights}", "--decode.threshold=0.0001", "--teacher.batch=2"]
    return ["cache", "build", *world, *words]


@pytest.fixture(scope="module")
def cache(building, tmp_path_factory):
    path = tmp_path_factory.mktemp("cache") / "whole"
    assert main([*building, f"--cache.path={path}", "--cache.codec=float16"]) == 0
    return path


@pytest.fixture(scope="module")
def training(world):
    """The words of a training, but for its place."""
    words = ["train", *world, "--loss.teacher=0", "--net.size=64", "--net.numbers={width: 32, stages: 1}"]
    return [
        *words,
        "--train.epochs=2",
        "--train.holdout=4",
        "--train.batch=4",
        "--train.workers=0",
        "--train.pictures=1",
    ]


@pytest.fixture(scope="module")
def room(training, tmp_path_factory):
    """The same with room."""
    out = tmp_path_factory.mktemp("room") / "run"
    assert main([*training, f"--out={out}"]) == 0
    return out


def size(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def torn(folder):
    """What a failed write may not leave."""
    return [path.name for path in folder.rglob(".*") if path.name != ".lock"]


def fails(words, capsys, *names):
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "No space left on device" in line and all(str(name) in line for name in names), line


@pytest.mark.parametrize(
    "store, share",
    [*(("hdf5", share) for share in (0.2, 0.6, 0.95, 1.2)), *(("npz", share) for share in (0.2, 0.6, 0.95))],
)
def test_a_build(tmp_path, building, cache, capsys, store, share):
    """At 1.2 all records fit, and their shard beside them does not."""
    words = [*building, f"--cache.path={tmp_path / 'disk' / 'c'}", "--cache.codec=float16", f"--cache.store={store}"]
    with small_disk(tmp_path / "disk", int(share * size(cache))) as disk:
        fails(words, capsys, "cache", disk / "c", "what was finished is kept")
        report = verify(disk / "c")
        assert not report.damaged and not report.lost and not torn(disk)
        assert report.entries > 12 * (share > 0.5)
        records = {key: Cache.open(disk / "c").store.read(key) for key in Cache.open(disk / "c").ids}
        grow(disk, 8 * size(cache))
        assert main(words) == 0
        done = Cache.open(disk / "c")
        assert len(done) == COUNT and {key: done.store.read(key) for key in records} == records


@pytest.mark.parametrize("free", [*range(56, 92, 4)])
def test_a_small_shard(tmp_path, cache, capsys, free):
    """HDF5 holds back so little that it fails when it is closed, and took the process with it."""
    few = tmp_path / "few"
    with Cache.open(cache) as held, Cache.create(few, held.manifest) as out:
        for key in held.ids[:2]:
            out.copy(held, key)
    with small_disk(tmp_path / "disk", f"{free}k") as disk:
        words = ["cache", "merge", f"--sources=[{few}]", f"--cache.path={disk / 'c'}"]
        if main(words):
            assert not verify(disk / "c").damaged and not torn(disk)
            grow(disk, "4m")
            assert main(words) == 0
        assert len(Cache.open(disk / "c")) == 2
    capsys.readouterr()


@pytest.mark.parametrize(
    "words", [["merge", "--sources=[{cache}]"], ["convert", "--source={cache}"]], ids=lambda w: w[0]
)
def test_a_merge_and_a_conversion(tmp_path, cache, capsys, words):
    with small_disk(tmp_path / "disk", int(0.6 * size(cache))) as disk:
        path = disk / "c"
        command = ["cache", *(word.format(cache=cache) for word in words), f"--cache.path={path}"]
        command += ["--cache.codec=float32"] if words[0] == "convert" else []
        fails(command, capsys, path, "what was finished is kept")
        report = verify(path)
        assert report.entries > 2 and not report.damaged and not torn(disk)
        grow(disk, 8 * size(cache))
        assert main(command) == 0
        assert len(Cache.open(path)) == COUNT and not verify(path).damaged


def test_a_repair(tmp_path, cache, capsys):
    """A shard is written anew beside the damaged one: nothing of that is lost if there is no room for it."""
    with small_disk(tmp_path / "disk", int(1.5 * size(cache))) as disk:
        path = disk / "c"
        shutil.copytree(cache, path)
        held = Cache.open(path)
        file, record = held.store.where(1), held.store.read(1)
        raw = bytearray(file.read_bytes())
        raw[raw.index(record) + len(record) // 2] ^= 1
        file.write_bytes(raw)
        command = ["cache", "verify", f"--cache.path={path}", "--repair=true"]
        fails(command, capsys, path, "what was finished is kept")
        assert file.read_bytes() == raw and not torn(disk)
        grow(disk, 4 * size(cache))
        assert main(command) == 0
        assert Cache.open(path).ids == held.ids[1:]


def test_files_of_the_first_rtpe_are_not_called_unreadable(tmp_path, world, capsys, cache):
    """A full disk is not the fault of the images: none of them may be listed as skipped."""
    from rtpe.cache.w48 import w48_input

    files = tmp_path / "w48"
    files.mkdir()
    (h, w), _ = w48_input((96, 96))
    rng = np.random.default_rng(0)
    coarse = rng.random((17, h // 4, w // 4), np.float32)
    arrays = {"pred_heatmaps": coarse, "embeddings": coarse, "heatmaps_refined": rng.random((17, h // 2, w // 2))}
    for number in range(1, COUNT + 1):
        np.savez(files / f"{number:012d}.jpg_w48_predictions.npz", **arrays)
    with small_disk(tmp_path / "disk", "600k") as disk:
        path = disk / "c"
        fails(["cache", "convert", *world, f"--source={files}", f"--cache.path={path}"], capsys, path)
        assert Cache.open(path).skipped == {} and not torn(disk)


@pytest.mark.parametrize("draw", ["false", "true"])
def test_predictions(tmp_path, world, weights, capsys, draw):
    words = [*world, f"--weights={weights}", "--decode.threshold=0.0001", "--min_score=0", f"--draw={draw}"]
    with small_disk(tmp_path / "disk", "8k") as disk:
        command = ["predict", *words, f"--out={disk / 'o'}"]
        (disk / "o").mkdir()
        (disk / "o" / "results.json").write_text("[]")
        fails(command, capsys, ".jpg" if draw == "true" else "results.json")
        assert (disk / "o" / "results.json").read_text() == "[]" and not torn(disk)
        grow(disk, "16m")
        assert main(command) == 0
        assert json.loads((disk / "o" / "results.json").read_text())


def test_scores_and_their_report(tmp_path, world, weights, capsys):
    with small_disk(tmp_path / "disk", "4k") as disk:
        words = ["validate", f"--weights={weights}", *world, "--decode.threshold=0.0001", f"--out={disk / 'o'}"]
        fails(words, capsys, disk / "o")
        assert not torn(disk)
        grow(disk, "16m")
        assert main(words) == 0


# where the disk ends: at events, weights, the checkpoint, and at weights and checkpoint of the second epoch
@pytest.mark.parametrize("free", [4, 16, 1000, 2500, 13000, 16000])
def test_a_training(tmp_path, world, training, room, capsys, free):
    with small_disk(tmp_path / "disk", f"{free}k") as disk:
        run = disk / "run"
        fails([*training, f"--out={run}"], capsys, run)
        assert torn(disk) == []
        if free > 2500:  # an epoch is kept
            assert main(["validate", *world, f"--weights={run / 'best.safetensors'}"]) == 0
        grow(disk, "100m")
        assert main([*training, f"--out={run}"]) == 0
        said = capsys.readouterr().out
        assert (f"run {run}: goes on after step 5, in epoch 2" in said) == (free > 2500), said
        ended, want = (load((folder / "best.safetensors").read_bytes()) for folder in (run, room))
        assert all(torch.equal(ended[name], want[name]) for name in want)
        assert [[row["step"] for row in read_history(folder / "history.jsonl")] for folder in (run, room)] == [
            [5, 10]
        ] * 2
