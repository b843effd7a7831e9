from dataclasses import replace

import numpy as np
import pytest

from rtpe.cache import CODECS, STORES, Cache, convert, merge, verify
from rtpe.cache.codecs import codec as codec_of


def filled(path, manifest, prediction, ids):
    with Cache.create(path, manifest, shard=3) as cache:
        for image_id in ids:
            cache.add(image_id, f"{image_id}.jpg", prediction(image_id))
    return path


def records(path):
    cache = Cache.open(path)
    return {image_id: cache.store.read(image_id) for image_id in cache.ids}


@pytest.mark.parametrize("stores", [("hdf5", "hdf5"), ("npz", "hdf5"), ("hdf5", "npz")])
def test_a_merge_copies_every_record_as_it_is(tmp_path, manifest, prediction, stores):
    parts = [range(0), range(5), range(3, 9)]  # none, some, and some of which two are there already
    sources = [
        filled(tmp_path / str(i), manifest(store=store), prediction, ids)
        for i, (store, ids) in enumerate(zip((stores[0], *stores), parts))
    ]
    report = merge(tmp_path / "all", sources)
    assert (report.added, report.kept) == (9, 2)
    assert records(tmp_path / "all") == {**records(sources[1]), **records(sources[2])}
    assert merge(tmp_path / "all", sources) == replace(report, added=0, kept=11)
    assert not verify(tmp_path / "all").damaged


def test_a_merge_keeps_what_is_skipped_everywhere(tmp_path, manifest, prediction):
    for name, image_id in (("a", 1), ("b", 2)):
        with Cache.create(tmp_path / name, manifest()) as cache:
            cache.add(image_id, "x", prediction(0))
            cache.add_skipped(3 - image_id, "x", "torn")
            cache.add_skipped(9, "y", "torn")
    merge(tmp_path / "all", [tmp_path / "a", tmp_path / "b"])
    assert Cache.open(tmp_path / "all").skipped == {9: ("y", "torn")}


def test_what_cannot_be_merged(tmp_path, manifest, prediction):
    a = filled(tmp_path / "a", manifest(), prediction, [1])
    b = filled(tmp_path / "b", manifest(codec="uint8"), prediction, [2])
    with pytest.raises(ValueError, match="nothing to merge: name the caches"):
        merge(tmp_path / "all", [])
    with pytest.raises(ValueError, match=r"cache .*b: holds something else than .*all: .*codec: uint8, not sparse"):
        merge(tmp_path / "all", [a, b])
    with pytest.raises(ValueError, match="there is no such folder"):
        merge(tmp_path / "all", [a, tmp_path / "none"])


@pytest.mark.parametrize("store", STORES)
def test_a_damaged_entry_is_not_merged(tmp_path, manifest, prediction, store):
    source = filled(tmp_path / "a", manifest(store=store), prediction, [1, 2])
    cache = Cache.open(source)
    file, record = cache.store.where(2), cache.store.read(2)
    raw = file.read_bytes()
    file.write_bytes(raw.replace(record, record[:-9] + b"?" + record[-8:]))
    with pytest.raises(ValueError, match=r"entry 2 in .* is damaged"):
        merge(tmp_path / "all", [source])
    assert Cache.open(tmp_path / "all").ids == [1]


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("codec", [name for name in CODECS if name != "rendered"])
def test_a_conversion_stays_within_both_bounds_and_keeps_the_people(tmp_path, manifest, prediction, store, codec):
    source = filled(tmp_path / "a", manifest(codec="float16"), prediction, range(4))
    told = []
    report = convert(source, tmp_path / "b", store, codec, told.append)
    assert (report.added, report.kept) == (4, 0) and len(told) == 4
    old, new = Cache.open(source), Cache.open(tmp_path / "b")
    both = [codec_of("float16").bound, codec_of(codec).bound] if codec != "float16" else [codec_of(codec).bound]
    for name, value in new.manifest.bound.items():
        assert value == sum(getattr(bound, name) for bound in both)
    for image_id in old.ids:
        want, got = old.load(image_id), new.load(image_id)
        span = np.ptp(np.append(want.maps.heatmaps, 0))
        bound = new.manifest.bound
        allowed = max(bound["heatmaps"] + bound["relative"] * span, bound["outside"]) * (1 + 1e-6)
        assert np.abs(got.maps.heatmaps - want.maps.heatmaps).max() <= allowed
        assert np.array_equal(got.poses.points, want.poses.points) and got.maps.to_image == want.maps.to_image
    assert convert(source, tmp_path / "b", store, codec).added == 0


def test_what_has_no_bound_never_gets_one(tmp_path, manifest, prediction):
    source = filled(tmp_path / "a", manifest(codec="rendered"), prediction, range(2))
    convert(source, tmp_path / "b", "hdf5", "float32")
    bound = Cache.open(tmp_path / "b").manifest.bound
    assert bound["heatmaps"] is bound["tags"] is None


def test_another_store_alone_decodes_nothing(tmp_path, manifest, prediction):
    source = filled(tmp_path / "a", manifest(), prediction, range(4))
    convert(source, tmp_path / "b", "npz", "sparse")
    assert records(source) == records(tmp_path / "b")
    assert Cache.open(tmp_path / "b").manifest == replace(Cache.open(source).manifest, store="npz")
