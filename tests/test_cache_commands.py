"""The cache's commands on a cache of a tiny net, and builds by several processes."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from places import PROJECT

from rtpe.cache import Cache
from rtpe.cache.w48 import w48_input
from rtpe.cli import main
from rtpe.data.load import open_dataset
from rtpe.data.settings import DataSettings
from rtpe.nets.create import create_net
from rtpe.nets.metadata import save_net
from rtpe.skeleton import COCO17

NET = {"width": 16, "stem": 16, "bottlenecks": 1, "modules": [1, 1, 1], "blocks": 1, "head_blocks": 0}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    assert main(["synth", f"--out={root}", "--train=0", "--val=12", "--size=96", "--workers=0"]) == 0
    return root


@pytest.fixture(scope="module")
def build_words(world, tmp_path_factory):
    """The words of a build of all images, but for its place."""
    weights = tmp_path_factory.mktemp("net") / "net.safetensors"
    torch.manual_seed(0)
    save_net(weights, create_net("higher_hrnet", NET, 17), "higher_hrnet", COCO17, 64, {})
    data = [f"--data.root={world}", "--data.split=val2017"]
    return ["cache", "build", *data, f"--teacher.weights={weights}", "--decode.threshold=0.0001", "--teacher.batch=2"]


@pytest.fixture(scope="module")
def cache(build_words, tmp_path_factory):
    path = tmp_path_factory.mktemp("cache") / "whole"
    assert main([*build_words, f"--cache.path={path}"]) == 0
    return path


def records(path):
    held = Cache.open(path)
    return {image_id: held.store.read(image_id) for image_id in held.ids}


LIGHT = """
import sys
from rtpe.cli import main

status = main(sys.argv[1:])
print("imported:", *sorted({"torch", "scipy", "lightning_fabric", "transformers", "onnxruntime"} & sys.modules.keys()))
sys.exit(status)
"""


@pytest.mark.parametrize(
    "words",
    [
        ["cache", "info"],
        ["cache", "verify"],
        ["cache", "merge", "--sources=[{source}]"],
        ["cache", "convert", "--source={source}", "--cache.store=npz", "--cache.codec=float16"],
        ["synth", "--train=0", "--val=0"],
    ],
    ids=" ".join,
)
def test_commands_without_a_net_import_none(words, cache, tmp_path):
    """Torch takes seconds and 200 MB; `info` scores the cached people on their labels without it."""
    made = words[:2] in (["cache", "merge"], ["cache", "convert"])
    where = f"--out={tmp_path}" if words[0] == "synth" else f"--cache.path={tmp_path / 'new' if made else cache}"
    words = [word.format(source=cache) for word in words]
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, *words, where],
        capture_output=True,
        text=True,
        cwd=PROJECT,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split() == ["imported:"]


def test_info_tells_what_a_user_asks(cache, capsys, tmp_path):
    assert main(["cache", "info", f"--cache.path={cache}", f"--out={tmp_path / 'info.json'}"]) == 0
    said = capsys.readouterr().out
    for what in ("teacher", "settings", "error bound", "KB an image", "COCO", "AP of its people"):
        assert what in said
    (row,) = json.loads((tmp_path / "info.json").read_text())
    assert row["images"] == 12 and row["KB an image"] > 0 and -1 <= row["AP of its people"] <= 1


def test_info_without_the_images_it_was_made_of(cache, world, capsys):
    manifest = cache / "manifest.json"
    was = manifest.read_text()
    held = Cache.open(cache).manifest
    held.settings["data"]["root"] = "gone"
    held.write(cache)
    assert main(["cache", "info", f"--cache.path={cache}"]) == 0
    assert "AP" not in capsys.readouterr().out
    assert main(["cache", "info", f"--cache.path={cache}", f"--data.root={world}", "--data.split=val2017"]) == 0
    assert "AP of its people" in capsys.readouterr().out
    manifest.write_text(was)


def test_verify_and_repair(cache, tmp_path, build_words, capsys):
    copy = tmp_path / "copy"
    assert main(["cache", "merge", f"--sources=[{cache}]", f"--cache.path={copy}"]) == 0
    assert main(["cache", "verify", f"--cache.path={copy}"]) == 0
    assert "12 entries, every byte as it was written" in capsys.readouterr().out
    file = next((copy / "entries").glob("*.h5"))
    record = records(copy)[5]
    file.write_bytes(file.read_bytes().replace(record, record[:-3] + b"?" + record[-2:]))
    assert main(["cache", "verify", f"--cache.path={copy}"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: cache ") and "1 damaged files (000000.h5), 1 damaged entries" in said
    assert main(["cache", "verify", f"--cache.path={copy}", "--repair=true"]) == 0
    assert "11 entries are whole" in capsys.readouterr().out
    assert main([*build_words, f"--cache.path={copy}"]) == 0
    assert "1 built, 11 kept" in capsys.readouterr().out
    assert same_content(copy, cache)


def test_parts_built_apart_and_merged_are_the_whole(cache, tmp_path, build_words, capsys):
    parts = [tmp_path / str(number) for number in (1, 2, 3)]
    for number, part in enumerate(parts, 1):
        assert main([*build_words, f"--shard={number}/3", f"--cache.path={part}"]) == 0
    assert main(["cache", "merge", f"--sources=[{','.join(map(str, parts))}]", f"--cache.path={tmp_path / 'all'}"]) == 0
    assert "12 entries added" in capsys.readouterr().out
    assert [len(Cache.open(part)) for part in parts] == [4, 4, 4]
    assert same_content(tmp_path / "all", cache)


def same_content(path, other):
    """Batches of other images may round otherwise: people and maps agree to what float32 arithmetic leaves open."""
    a, b = Cache.open(path), Cache.open(other)
    assert a.ids == b.ids
    for image_id in a.ids:
        one, two = a.load(image_id), b.load(image_id)
        assert np.allclose(one.maps.heatmaps, two.maps.heatmaps, atol=1e-3)
        assert one.maps.to_image == two.maps.to_image and a.entry(image_id).file_name == b.entry(image_id).file_name
    return True


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "a/b", "1/0"])
def test_a_shard_that_is_none(shard, build_words, tmp_path, capsys):
    assert main([*build_words, f"--shard={shard}", f"--cache.path={tmp_path / 'c'}"]) == 2
    assert "shard: expected i/n with 1 <= i <= n" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_under_torchrun_build_one_cache(cache, tmp_path, build_words):
    path = tmp_path / "together"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(PROJECT / "teacher_inference.py"), *build_words[2:], f"--cache.path={path}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    # what a killed run of three processes left
    assert main([*build_words, "--shard=3/3", f"--cache.path={path / '.parts' / '2'}"]) == 0
    done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "(part 1 of 2): 4 built" in done.stdout and "(part 2 of 2): 4 built" in done.stdout
    assert not (path / ".parts").exists() and same_content(path, cache)
    again = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, env=environment)
    assert again.returncode == 0 and again.stdout.count("0 built") == 2


def test_convert_to_another_store_and_codec(cache, tmp_path, capsys):
    plain = tmp_path / "plain"
    words = [f"--source={cache}", f"--cache.path={plain}", "--cache.store=npz", "--cache.codec=float16"]
    assert main(["cache", "convert", *words]) == 0
    assert "12 entries added, 0 were there" in capsys.readouterr().out
    held = Cache.open(plain)
    assert (held.manifest.store, held.manifest.codec) == ("npz", "float16")
    assert held.manifest.bound["outside"] == Cache.open(cache).manifest.bound["outside"]


def test_files_of_the_first_rtpe_become_a_cache(world, tmp_path, capsys):
    images = open_dataset(DataSettings(root=str(world), split="val2017"))
    (input_h, input_w), _ = w48_input((96, 96))
    maps = {
        "pred_heatmaps": np.zeros((17, input_h // 4, input_w // 4), np.float32),
        "embeddings": np.zeros((17, input_h // 4, input_w // 4), np.float32),
        "heatmaps_refined": np.zeros((17, input_h // 2, input_w // 2), np.float32),
    }
    maps["pred_heatmaps"][:, 40, 80] = maps["heatmaps_refined"][:, 80:82, 160:162] = 1
    source = tmp_path / "w48"
    source.mkdir()
    for _, name, _ in images.sources()[:3]:
        np.savez_compressed(source / f"{name}_w48_predictions.npz", **maps)
    third = source / f"{images.sources()[2][1]}_w48_predictions.npz"
    third.write_bytes(third.read_bytes()[:999])
    words = [f"--source={source}", f"--cache.path={tmp_path / 'c'}", f"--data.root={world}", "--data.split=val2017"]
    assert main(["cache", "convert", *words]) == 0
    said = capsys.readouterr().out
    assert "10 images skipped, listed in" in said and "2 entries added" in said
    held = Cache.open(tmp_path / "c")
    people = held.load(held.ids[0]).poses
    # cells 160 and 161 of a grid that lays half a cell each on a pixel of 640 / 96 of the input
    assert len(people) == 1 and np.allclose(people.points[0], people.points[0, 0], atol=0.2)
    assert main(["cache", "convert", *words]) == 0
    assert "0 entries added, 2 were there" in capsys.readouterr().out


MISTAKES = {
    "nothing to merge": (["merge", "--cache.path={out}"], "nothing to merge"),
    "no place to merge into": (["merge", "--sources=[a]"], "no place for the joined cache"),
    "nothing to convert": (["convert", "--cache.path={out}"], "nothing to convert"),
    "no cache": (["info", "--cache.path=nowhere"], "cache nowhere: there is no such folder"),
    "no path": (["verify"], "no cache: pass --cache.path"),
    "another store in its place": (
        ["convert", "--source={cache}", "--cache.path={cache}", "--cache.codec=uint8"],
        "holds something else than this run makes",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line(case, cache, tmp_path, capsys):
    words, expected = MISTAKES[case]
    assert main(["cache", *(word.format(out=tmp_path / "out", cache=cache) for word in words)]) == 2
    said = capsys.readouterr().err
    assert expected in said and len(said.strip().splitlines()) == 1
