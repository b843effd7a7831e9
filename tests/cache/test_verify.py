import random
import shutil

import numpy as np
import pytest

from rtpe.cache import STORES, Cache, verify


def flip(path, at, bit=4):
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1 << bit
    path.write_bytes(raw)


def filled(path, manifest, prediction, count=6, shard=3, flush=True):
    """A cache of some entries; those of the last, unfinished shard stay in the journal if it is not closed."""
    cache = Cache.create(path, manifest, shard=shard)
    for image_id in range(count):
        cache.add(image_id, f"{image_id}.jpg", prediction(image_id, (5, 6), people=1))
    if flush:
        cache.close()
    else:
        cache._lock.close()  # as if it had been killed
    return path


@pytest.mark.parametrize("store", STORES)
def test_an_empty_cache_is_sound(tmp_path, manifest, prediction, store):
    report = verify(filled(tmp_path / "c", manifest(store=store), prediction, count=0))
    assert (report.entries, report.damaged, report.lost) == (0, (), ())


def test_a_cache_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="there is no such folder"):
        verify(tmp_path / "c")


@pytest.mark.parametrize("store, flush", [("hdf5", True), ("hdf5", False), ("npz", True)])
def test_every_flipped_byte_of_every_file_is_found(tmp_path, manifest, prediction, store, flush):
    path = filled(tmp_path / "c", manifest(store=store), prediction, count=5, flush=flush)
    assert verify(path).entries == 5 and not verify(path).damaged
    files = sorted((path / "entries").iterdir())
    assert {file.suffix for file in files} == {"hdf5": {".h5"} if flush else {".h5", ".journal"}, "npz": {".npz"}}[
        store
    ]
    for file in (files[0], files[-1]):
        for at in range(0, file.stat().st_size, 41):
            flip(file, at, bit=at % 8)
            assert verify(path).damaged == (file,), at
            flip(file, at, bit=at % 8)
    assert not verify(path).damaged


def test_every_flipped_byte_of_the_manifest_is_found_or_changes_nothing(tmp_path, manifest, prediction):
    path = filled(tmp_path / "c", manifest(), prediction, count=1)
    file, held = path / "manifest.json", Cache.open(path).manifest
    found = 0
    for at in range(0, file.stat().st_size, 3):
        flip(file, at, bit=at % 7)
        try:
            assert Cache.open(path).manifest == held  # a blank that became another blank
        except ValueError as error:
            found += str(error).startswith(f"cache {path}: ")
        flip(file, at, bit=at % 7)
    assert found > 0.8 * file.stat().st_size / 3


@pytest.mark.parametrize("store, flush", [("hdf5", True), ("hdf5", False), ("npz", True)])
@pytest.mark.parametrize("where", ["record", "header of a record", "container"])
def test_repair_drops_the_damaged_entry_alone(tmp_path, manifest, prediction, store, flush, where):
    path = filled(tmp_path / "c", manifest(store=store), prediction, count=5, flush=flush)
    cache = Cache.open(path)
    expected = {image_id: cache.load(image_id).maps.heatmaps for image_id in cache.ids}
    file, record = cache.store.where(4), cache.store.read(4)
    start = file.read_bytes().index(record)
    flip(file, {"record": start + len(record) // 2, "header of a record": start + 6, "container": 1}[where])
    assert verify(path).damaged == (file,)

    report = verify(path, repair=True)
    assert report.damaged == (file,)
    # the first byte of a journal is of its first record, that of the others' files of no record
    gone = {3} if (where, file.suffix) == ("container", ".journal") else {4} if where != "container" else set()
    kept = set(expected) - gone
    assert set(Cache.open(path).ids) == kept
    assert not verify(path).damaged and verify(path).entries == len(kept)
    for image_id in kept:
        assert np.array_equal(Cache.open(path).load(image_id).maps.heatmaps, expected[image_id])
    with Cache.create(path, manifest(store=store)) as cache:  # and the next build remakes what is missing
        for image_id in set(expected) - kept:
            cache.add(image_id, "again.jpg", prediction(image_id))
    assert verify(path).entries == 5


def test_a_repair_waits_for_no_other_writer(tmp_path, manifest, prediction):
    path = filled(tmp_path / "c", manifest(), prediction)
    with Cache.create(path, manifest()), pytest.raises(ValueError, match="another run is writing to it"):
        verify(path, repair=True)


@pytest.mark.parametrize("cut", [1, 19, 25, 300])
def test_a_record_cut_off_by_a_kill_is_no_damage_and_is_made_again(tmp_path, manifest, prediction, cut):
    path = filled(tmp_path / "c", manifest(), prediction, count=5, flush=False)
    journal = next((path / "entries").glob("*.journal"))
    record = Cache.open(path).store.read(4)
    raw = journal.read_bytes()
    journal.write_bytes(raw[: len(raw) - len(record) + cut])
    report = verify(path)
    assert (report.entries, report.damaged, report.lost) == (4, (), ())
    with Cache.create(path, manifest(), shard=3) as cache:
        assert cache.ids == [0, 1, 2, 3]
        cache.add(4, "4.jpg", prediction(4, (5, 6), people=1))
    assert verify(path).entries == 5 and Cache.open(path).store.read(4) == record


def test_killed_between_a_shard_and_the_removal_of_its_journal(tmp_path, manifest, prediction):
    path = filled(tmp_path / "c", manifest(), prediction, count=2, flush=False)
    journal = path / "entries" / "000000.journal"
    copy = journal.read_bytes()
    Cache.create(path, manifest()).close()
    journal.write_bytes(copy)
    assert verify(path).entries == 2 and not verify(path).damaged
    with Cache.create(path, manifest()) as cache:
        assert cache.ids == [0, 1] and not journal.exists()
        cache.add(2, "2.jpg", prediction(2))
    assert verify(path).entries == 3


@pytest.mark.slow
def test_random_damage_in_500_files_is_refused_or_harmless(tmp_path, manifest, prediction):
    """Some bytes of a random file become others: found by `verify`, and what is still read is as it was."""
    rng = random.Random(0)
    whole = {store: filled(tmp_path / store, manifest(store=store), prediction, 7, flush=False) for store in STORES}
    expected = {store: {i: Cache.open(p).load(i) for i in Cache.open(p).ids} for store, p in whole.items()}
    refused = 0
    for number in range(500):
        store = rng.choice(list(whole))
        path = tmp_path / "damaged"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(whole[store], path)
        file = rng.choice(sorted(each for each in path.rglob("*") if each.is_file() and each.name != ".lock"))
        raw = bytearray(file.read_bytes())
        for _ in range(rng.choice([1, 1, 3, 30])):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        changed = bytes(raw) != file.read_bytes()
        file.write_bytes(raw)
        found = False
        try:
            found = bool(verify(path).damaged)
            cache = Cache.open(path)
        except ValueError:
            found = True
        else:
            for image_id in cache.ids:
                try:
                    got, want = cache.load(image_id), expected[store][image_id]
                except ValueError:
                    refused += 1
                    continue
                assert np.array_equal(got.maps.heatmaps, want.maps.heatmaps), number
                assert np.array_equal(got.poses.points, want.poses.points), number
                assert got.maps.to_image == want.maps.to_image, number
        # of the manifest a blank may have become another one, of a journal's end nobody can tell
        assert found or not changed or file.suffix in (".json", ".journal"), (number, file.name)
    assert refused > 50
