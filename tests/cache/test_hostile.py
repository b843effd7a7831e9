"""Files whose digests are right and whose contents no run writes: one line that names the entry, and little memory."""

import hashlib
import json
import os
import struct
import tracemalloc

import h5py
import numpy as np
import pytest
import zstandard

from rtpe.cache import CODECS, STORES, Cache, CorruptEntry, Manifest, convert, fill_cache, merge, verify
from rtpe.cache.entries import HEADER_BYTES
from rtpe.cache.sealed import write_sealed

HEAD = HEADER_BYTES + 4


def header(image_id, length):
    start = struct.pack("<4sqI", b"rtpe", image_id, length)
    return start + hashlib.blake2b(start, digest_size=4).digest()


def record_of(image_id, text, rest):
    """A record with digests that fit."""
    length = HEAD + len(text) + len(rest) + 16
    body = header(image_id, length) + struct.pack("<I", len(text)) + text + rest
    return body + hashlib.blake2b(body, digest_size=16).digest()


def parts_of(record):
    (count,) = struct.unpack_from("<I", record, HEADER_BYTES)
    return json.loads(record[HEAD : HEAD + count]), record[HEAD + count : -16]


def heads(**changes):
    return lambda head, rest: (json.dumps({**head, **changes}).encode(), rest)


def without(name):
    return lambda head, rest: (json.dumps({key: head[key] for key in head if key != name}).encode(), rest)


def frame(content, shape=(1, 17, 5, 6)):
    """Maps of that shape, whose frame holds these bytes."""
    return struct.pack("<4I", *shape) + zstandard.ZstdCompressor().compress(content)


def maps(blob):
    def change(head, rest):
        people = 48 + head["people"] * head["joints"] * 12 + head["people"] * 4
        return json.dumps(head).encode(), rest[:people] + blob

    return change


RECORDS = {
    "no text": lambda head, rest: (b"\xff\xfe", rest),
    "no JSON": lambda head, rest: (b"{", rest),
    "a list": lambda head, rest: (b"[]", rest),
    "a number": lambda head, rest: (b"1", rest),
    "deep": lambda head, rest: (b"[" * 100_000, rest),
    **{f"no {name}": without(name) for name in ("file", "bytes", "hw", "people", "joints", "peak_sigma")},
    "file: a number": heads(file=7),
    "bytes: a text": heads(bytes="many"),
    "bytes: negative": heads(bytes=-1),
    "hw: a number": heads(hw=7),
    "hw: one side": heads(hw=[7]),
    "hw: texts": heads(hw=["a", "b"]),
    "hw: zero": heads(hw=[0, 5]),
    "hw: fractions": heads(hw=[1.5, 2.5]),
    "people: negative": heads(people=-1),
    "people: true": heads(people=True),
    "people: 2^62": heads(people=2**62),
    "people: 2^70": heads(people=2**70),
    "people: a list": heads(people=[1]),
    "joints: a list": heads(joints=[17]),
    "peak_sigma: NaN": heads(peak_sigma=float("nan")),
    "peak_sigma: a text": heads(peak_sigma="wide"),
    "nothing behind": lambda head, rest: (json.dumps(head).encode(), b""),
    "an affine of NaN": lambda head, rest: (json.dumps(head).encode(), np.full(6, np.nan).tobytes() + rest[48:]),
    "an affine of 0": lambda head, rest: (json.dumps(head).encode(), bytes(48) + rest[48:]),
    "no maps": maps(b""),
    "maps: half a shape": maps(b"\0" * 7),
    "maps: no frame": maps(struct.pack("<4I", 1, 17, 5, 6) + b"not zstd"),
    "maps: an empty frame": maps(frame(b"")),
    "maps: counts beyond": maps(frame(struct.pack("<5I", 2**31, 2**31, 2**31, 0, 0))),
    "maps: cells beyond": maps(frame(struct.pack("<5I", 4, 1, 1, 0, 0) + b"\xff\xff\xff\0\1\0\0")),
    "maps: other joints": maps(frame(bytes(4000), (0, 16, 5, 6))),
    "maps: no cells": maps(frame(bytes(20), (0, 17, 0, 0))),
    "maps: 2^128 cells": maps(frame(bytes(20), (2**32 - 1,) * 4)),
    "maps: 4 GB": maps(frame(bytes(20), (0, 17, 8000, 8000))),
    "maps: a frame of 8 GB": maps(
        struct.pack("<4I", 0, 17, 5, 6) + b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", 8 << 30) + b"\x01\0\0"
    ),
    "maps: a frame of 20 MB": maps(frame(bytes(20 << 20))),
}


def filled(path, manifest, prediction, count=3, **changes):
    with Cache.create(path, manifest(**changes)) as cache:
        for image_id in range(count):
            cache.add(image_id, f"{image_id}.jpg", prediction(image_id, (5, 6), people=1))
    return path


def with_record(path, image_id, record):
    """The cache anew, with another record of an image."""
    held = Cache.open(path)
    records = {key: record if key == image_id else held.store.read(key) for key in held.ids}
    for file in held.store.files:
        file.unlink()
    store = STORES[held.manifest.store](path / "entries")
    for key, each in records.items():
        store.write(key, each)
    store.flush()


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("name", RECORDS)
def test_a_record_that_no_run_writes_is_a_corrupt_entry(tmp_path, manifest, prediction, name, store):
    path = filled(tmp_path / "c", manifest, prediction, store=store)
    record = Cache.open(path).store.read(1)
    assert record_of(1, json.dumps(parts_of(record)[0], separators=(",", ":")).encode(), parts_of(record)[1]) == record
    with_record(path, 1, record_of(1, *RECORDS[name](*parts_of(record))))
    cache = Cache.open(path)
    assert cache.load(0) and cache.load(2)
    tracemalloc.start()
    with pytest.raises(CorruptEntry, match=r"^cache .*: entry 1 in .* is damaged \(.*\): run `rtpe cache") as caught:
        cache.load(1)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert verify(path).lost == (1,)
    assert verify(path, repair=True).lost == (1,)
    assert not verify(path).damaged and Cache.open(path).ids == [0, 2]


@pytest.mark.parametrize("name", ["no file", "hw: one side", "people: 2^70"])
def test_other_commands_refuse_such_a_record_too(tmp_path, manifest, prediction, name):
    path = filled(tmp_path / "c", manifest, prediction)
    with_record(path, 1, record_of(1, *RECORDS[name](*parts_of(Cache.open(path).store.read(1)))))
    runs = {
        "merge": lambda: merge(tmp_path / "m", [path]),
        "convert": lambda: convert(path, tmp_path / "v", "npz", "float16"),
        "origin": lambda: Cache.open(path).origin(1),
        "poses": lambda: Cache.open(path).poses(1),
    }
    for run in runs.values():
        with pytest.raises(CorruptEntry, match=r"entry 1 in 000000\.h5 is damaged"):
            run()


LEVELS = struct.Struct("<2d")
FRAMES = {
    "float32: NaN": ("float32", np.full(17 * 30, np.nan, "<f4").view(np.uint8).reshape(-1, 4).T.tobytes()),
    "float32: too short": ("float32", bytes(100)),
    "float16: infinity": ("float16", np.full(17 * 30, np.inf, "<f2").view(np.uint8).reshape(-1, 2).T.tobytes()),
    "uint8: steps of NaN": ("uint8", LEVELS.pack(0, np.nan) + bytes(17 * 30)),
    "uint8: steps of 1e308": ("uint8", LEVELS.pack(-1e308, 1e308) + bytes(17 * 30)),
    "uint8: no levels": ("uint8", b""),
    "poses: NaN": ("rendered", struct.pack("<f", np.nan)),
    "poses: 1e30 cells": ("rendered", struct.pack("<f", 1e30)),
    "poses: 1e-30 cells": ("rendered", struct.pack("<f", 1e-30)),
    "poses: negative": ("rendered", struct.pack("<f", -2)),
    "poses: two": ("rendered", bytes(8)),
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_that_its_codec_does_not_write(tmp_path, manifest, prediction, name):
    codec, content = FRAMES[name]
    path = filled(tmp_path / "c", manifest, prediction, codec=codec)
    change = maps(frame(content, (0, 17, 5, 6)))
    with_record(path, 1, record_of(1, *change(*parts_of(Cache.open(path).store.read(1)))))
    with pytest.raises(CorruptEntry, match="entry 1 in"):
        Cache.open(path).load(1)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("size_hw", [(1, 1), (2, 3), (40, 40)], ids=str)
def test_what_a_codec_writes_is_within_the_bound_of_its_frame(tmp_path, manifest, prediction, codec, size_hw):
    """Noise in every cell takes the most bytes, with a peak in every third one of each row and column."""
    rng = np.random.default_rng(0)
    noise = prediction(0, size_hw, tags=2)
    noise.maps.heatmaps[:] = rng.choice([-3.0, 3.0], noise.maps.heatmaps.shape)
    noise.maps.tags[:] = rng.normal(0, 100, noise.maps.tags.shape)
    with Cache.create(tmp_path, manifest(codec=codec)) as cache:
        cache.add(1, "a", noise)
        assert cache.load(1).maps.heatmaps.shape == (17, *size_hw)


def shard(path, **datasets):
    """A shard with a digest that fits, of these datasets in place of its own."""
    held = Cache.open(path)
    records = [held.store.read(key) for key in held.ids]
    whole = {
        "ids": np.array(held.ids, np.int64),
        "offsets": np.cumsum([0, *map(len, records)], dtype=np.int64),
        "records": np.frombuffer(b"".join(records), np.uint8),
    }
    target = path / "entries" / "000000.h5"
    with h5py.File(path / "raw.h5", "w") as file:
        for name, value in {**whole, **datasets}.items():
            if callable(value):
                value(file, name)
            elif value is not None:
                file[name] = value
    write_sealed(target, (path / "raw.h5").read_bytes())
    (path / "raw.h5").unlink()
    return target


def huge(file, name):
    file.create_dataset(name, (2**29,), np.int64, chunks=(2**20,))


def huge_in_one_piece(file, name):
    space = h5py.h5s.create_simple((2**40,))
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
    h5py.h5d.create(file.id, name.encode(), h5py.h5t.NATIVE_INT64, space, properties)


def elsewhere(file, name):
    file[name] = h5py.ExternalLink("other.h5", "/ids")


def external(file, name):
    file.create_dataset(name, (3,), np.int64, external=[("/etc/passwd", 0, 24)])


SHARDS = {
    "no ids": {"ids": None},
    "ids: a group": {"ids": lambda file, name: file.create_group(name)},
    "ids: texts": {"ids": ["a", "b", "c"]},
    "ids: one": {"ids": np.int64(3)},
    "ids: a table": {"ids": np.zeros((3, 1), np.int64)},
    "ids: fractions": {"ids": np.zeros(3)},
    "ids: 4 GB": {"ids": huge},
    "offsets: 8 TB": {"offsets": huge_in_one_piece},
    "ids: elsewhere": {"ids": elsewhere},
    "ids: of another file": {"ids": external},
    "offsets: too few": {"offsets": np.zeros(2, np.int64)},
    "offsets: falling": {"offsets": np.array([0, 9, 5, 7])},
    "offsets: before it": {"offsets": np.array([-9, 0, 1, 2])},
    "offsets: behind it": {"offsets": np.array([0, 1, 2, 2**62])},
    "records: texts": {"records": ["a"]},
    "records: in pieces": {"records": lambda file, name: file.create_dataset(name, (5000,), np.uint8, chunks=(10,))},
}


@pytest.mark.parametrize("name", SHARDS)
def test_a_shard_that_no_run_writes_is_named_and_repaired(tmp_path, manifest, prediction, name):
    path = filled(tmp_path / "c", manifest, prediction)
    file = shard(path, **SHARDS[name])
    tracemalloc.start()
    with pytest.raises(ValueError, match=rf"^cache shard {file}: damaged \(.*\): run `rtpe cache verify") as caught:
        Cache.open(path)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert verify(path).damaged == (file,)
    verify(path, repair=True)
    assert not verify(path).damaged
    whole = name.startswith(("ids", "no ids", "offsets"))
    assert Cache.open(path).ids == ([0, 1, 2] if whole else [])


def test_a_shard_as_a_run_writes_it(tmp_path, manifest, prediction):
    """The forge of these tests is right: with nothing changed it gives a sound cache."""
    path = filled(tmp_path / "c", manifest, prediction)
    shard(path)
    assert verify(path).entries == 3 and not verify(path).damaged


MANIFESTS = {
    "a list": "[]",
    "deep": "[" * 100_000,
    "store: a list": {"store": ["hdf5"]},
    "codec: a number": {"codec": 7},
    "codec: a dict": {"codec": {}},
    "predictor: a list": {"predictor": [1]},
    "predictor: a text": {"predictor": "fake"},
    "settings: a list": {"settings": []},
    "bound: a number": {"bound": 5},
    "bound: texts": {"bound": {"heatmaps": "small"}},
    "source: a number": {"source": 7},
    "tags: a text": {"tags": "yes"},
    "size: a text": {"size": "640"},
    "stride: a list": {"stride": [4]},
    "format: a text": {"format": "two"},
    "skeleton: a list": {"skeleton": []},
    "skeleton: joints": {"skeleton": {"name": "a", "joints": 5, "limbs": [], "sigmas": [], "swap": []}},
    "a field of its own": {"colour": "red"},
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_that_no_run_writes_is_one_line(tmp_path, manifest, prediction, name):
    path = filled(tmp_path / "c", manifest, prediction)
    changes = MANIFESTS[name]
    if not isinstance(changes, str):
        raw = json.loads((path / "manifest.json").read_text())
        raw.pop("checksum")
        raw |= changes
        text = json.dumps(raw, sort_keys=True, separators=(",", ":")).encode()
        changes = json.dumps({**raw, "checksum": hashlib.blake2b(text, digest_size=16).hexdigest()})
    (path / "manifest.json").write_text(changes)
    for read in (Manifest.read, Cache.open, verify):
        with pytest.raises(ValueError, match=rf"^cache {path}: manifest.json is (no JSON|not understood) ") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_a_manifest_that_is_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "manifest.json")
    with pytest.raises(ValueError, match=r"has no manifest\.json"):
        Cache.open(tmp_path)


@pytest.mark.parametrize("line", ["--5\ta\tb", "9" * 5000 + "\ta\tb", "\u0665\ta\tb", "5\ta", "", "-\ta\tb"])
def test_a_list_of_skipped_images_changed_by_hand_harms_nothing(tmp_path, manifest, prediction, line):
    path = filled(tmp_path / "c", manifest, prediction)
    (path / "skipped.txt").write_text(f"{line}\n7\t7.jpg\ttorn\n")
    assert Cache.open(path).skipped == {7: ("7.jpg", "torn")}


class Counts:
    """A predictor that knows how often it ran."""

    def __init__(self, prediction):
        self.prediction, self.calls = prediction, 0

    def __call__(self, images):
        self.calls += 1
        return [self.prediction(0) for _ in images]


IDS = {
    "2^63": ([1, 2, 2**63], r"image 9223372036854775808 \(2.jpg\): its id does not fit 64 bits: renumber"),
    "-2^63 - 1": ([-(2**63) - 1], r"image -9223372036854775809 \(0.jpg\): its id does not fit 64 bits"),
    "10^400": ([10**400], r"its id does not fit 64 bits"),
    "twice": ([4, 5, 4], r"id 4 is that of 0.jpg and of 2.jpg: ids must be unique: correct the labels"),
    "twice, true and 1": ([1, True], r"id True is that of 0.jpg and of 1.jpg"),
}


@pytest.mark.parametrize("name", IDS)
def test_ids_are_refused_before_the_teacher_runs(tmp_path, manifest, prediction, name):
    """Also when it is run again: an image must not go missing uncounted."""
    ids, message = IDS[name]
    predictor = Counts(prediction)
    for _ in range(2):
        with pytest.raises(ValueError, match=message), Cache.create(tmp_path, manifest()) as cache:
            fill_cache(cache, predictor, [(key, f"{i}.jpg", "") for i, key in enumerate(ids)], progress=False)
    assert predictor.calls == 0 and len(Cache.open(tmp_path)) == 0


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("image_id", [2**63 - 1, -(2**63), 0])
def test_the_first_and_the_last_id(tmp_path, manifest, prediction, store, image_id):
    with Cache.create(tmp_path, manifest(store=store)) as cache:
        cache.add(image_id, "a", prediction(0))
        with pytest.raises(ValueError, match="does not fit 64 bits"):
            cache.add(2**63, "a", prediction(0))
    assert Cache.open(tmp_path).load(image_id) and not verify(tmp_path).damaged
