"""Readers beside a writer, and folders that move: a healthy entry is never called damaged."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rtpe.cache import STORES, Cache, CorruptEntry, fill_cache, verify
from rtpe.cache.hdf5 import Hdf5Store

WRITER = """
import sys
sys.path.insert(0, {here!r})
from conftest import predict
from rtpe.cache import Cache, Manifest

prediction = predict(0, (6, 7), people=1)
manifest = Manifest({{"name": "fake"}}, prediction.maps.skeleton, store={store!r})
with Cache.create({path!r}, manifest, shard={shard}) as cache:
    print("begun", flush=True)
    for image_id in range(100_000):
        cache.add(image_id, f"{{image_id}}.jpg", prediction)
"""


@pytest.mark.parametrize("store, shard", [("hdf5", 1), ("hdf5", 2), ("hdf5", 5), ("npz", 1)])
def test_a_cache_is_opened_and_read_while_it_is_written(tmp_path, store, shard):
    """With tiny shards a journal becomes one at any moment: between listing and reading, say."""
    path = tmp_path / "cache"
    code = WRITER.format(here=str(Path(__file__).parent), path=str(path), store=store, shard=shard)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "begun\n"
        early, before = Cache.open(path), set()
        for opens in range(2000):
            if opens >= 40 and len(before) > 20:
                break
            cache = Cache.open(path)
            ids = cache.ids
            assert before <= set(ids)  # what was there once stays, also while its journal becomes a shard
            assert ids == list(range(len(ids)))
            for image_id in ids[-6:]:
                assert cache.load(image_id).maps.heatmaps.shape == (17, 6, 7)
                assert cache.origin(image_id).file_name == f"{image_id}.jpg"
            before = set(ids)
        report = verify(path)
        assert not report.damaged and not report.lost and report.entries >= len(before)
        assert all(early.load(image_id) for image_id in early.ids)
        writer.send_signal(signal.SIGKILL)
    assert len(before) > 20


def journals_vanish(monkeypatch, path, other, changes):
    """Each time a store has listed its files, the next of these changes happens."""
    listed, changes = Hdf5Store._listed, iter(changes)

    def then(store):
        found = listed(store)
        if store.folder == path / "entries" and store is not other:
            next(changes, lambda: None)()
        return found

    monkeypatch.setattr(Hdf5Store, "_listed", then)


def test_a_journal_becomes_a_shard_after_it_was_listed(tmp_path, manifest, prediction, monkeypatch):
    writer = Cache.create(tmp_path, manifest(), shard=2)
    writer.add(1, "1", prediction(1))
    steps = [lambda: writer.add(2, "2", prediction(2)), lambda: None, lambda: writer.add(3, "3", prediction(3))]
    journals_vanish(monkeypatch, tmp_path, writer.store, steps)
    assert Cache.open(tmp_path).ids == [1, 2]
    assert Cache.open(tmp_path).ids == [1, 2, 3]
    writer.close()


@pytest.mark.parametrize("method", ["load", "poses", "origin", "copy"])
def test_an_open_cache_follows_an_entry_from_its_journal_to_its_shard(tmp_path, manifest, prediction, method):
    with Cache.create(tmp_path / "a", manifest(), shard=3) as writer:
        for image_id in range(2):
            writer.add(image_id, str(image_id), prediction(image_id))
        reader = Cache.open(tmp_path / "a")
        for image_id in range(2, 7):
            writer.add(image_id, str(image_id), prediction(image_id))
        if method == "copy":
            with Cache.create(tmp_path / "b", manifest()) as out:
                out.copy(reader, 1)
                assert out.load(1).poses.points.tobytes() == prediction(1).poses.points.tobytes()
        else:
            assert getattr(reader, method)(1)
        assert 6 in Cache.open(tmp_path / "a")


def test_an_open_cache_reads_what_a_repair_left(tmp_path, manifest, prediction):
    """The shard is another file with other places."""
    with Cache.create(tmp_path, manifest(), shard=3) as writer:
        for image_id in range(3):
            writer.add(image_id, str(image_id), prediction(image_id))
    reader = Cache.open(tmp_path)
    file, record = reader.store.where(0), reader.store.read(0)
    raw = bytearray(file.read_bytes())
    raw[raw.index(record) + len(record) // 2] ^= 1
    file.write_bytes(raw)
    assert verify(tmp_path, repair=True).lost == (0,)
    assert reader.load(1).poses.points.tobytes() == prediction(1).poses.points.tobytes()
    with pytest.raises(ValueError, match="holds no image 0"):
        reader.load(0)


def test_a_cache_killed_before_its_folder_of_entries_is_empty(tmp_path, manifest):
    manifest().write(tmp_path)
    assert len(Cache.open(tmp_path)) == 0


def black(_):
    return np.zeros((4, 4, 3), np.uint8)


class Moves:
    """A predictor in whose third call the cache's folder is moved."""

    def __init__(self, path, prediction):
        self.path, self.prediction, self.calls = path, prediction, 0

    def __call__(self, images):
        self.calls += 1
        if self.calls == 3:
            self.path.rename(self.path.with_name("moved"))
        return [self.prediction(0) for _ in images]


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("shard", [1, 3, 256])
def test_a_folder_that_is_moved_while_it_is_built(tmp_path, manifest, prediction, store, shard):
    images = [(i, f"{i}.jpg", str(i)) for i in range(9)]
    path = tmp_path / "cache"
    with (
        pytest.raises(ValueError, match=r"^cache .*cache: the folder has gone: was it moved\? What was finished is"),
        Cache.create(path, manifest(store=store), shard=shard) as cache,
    ):
        fill_cache(cache, Moves(path, prediction), images, read=black, batch=1, progress=False)
    report = verify(tmp_path / "moved")
    assert report.entries >= 1 and not report.damaged and not report.lost
    assert not path.exists()


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("method", ["load", "origin", "poses"])
def test_a_folder_that_is_moved_while_it_is_read(tmp_path, manifest, prediction, store, method):
    path = tmp_path / "cache"
    with Cache.create(path, manifest(store=store)) as cache:
        cache.add(1, "a.jpg", prediction(0))
    reader = Cache.open(path)
    path.rename(tmp_path / "moved")
    with pytest.raises(ValueError, match="the folder has gone") as caught:
        getattr(reader, method)(1)
    assert not isinstance(caught.value, CorruptEntry)
