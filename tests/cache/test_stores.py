import h5py
import numpy as np
import pytest

from rtpe.cache.stores import STORES, Hdf5Store

RECORDS = {5: b"abc", -2: b"", 139: bytes(range(256)) * 3, 2**40: b"\0"}


@pytest.mark.parametrize("shard", [1, 3, 256])
@pytest.mark.parametrize("name", STORES)
def test_records_come_back_before_and_after_reopening(tmp_path, name, shard):
    store = STORES[name](tmp_path, shard)
    assert len(store) == 0 and list(store) == [] and store.nbytes == 0
    for image_id, record in RECORDS.items():
        store.write(image_id, record)
        assert store.read(image_id) == record and image_id in store
    store.flush()
    for each in (store, STORES[name](tmp_path, shard)):
        assert {image_id: each.read(image_id) for image_id in each} == RECORDS
        assert len(each) == len(RECORDS) and 6 not in each and each.nbytes >= sum(map(len, RECORDS.values()))
        assert all(each.where(image_id).is_file() for image_id in each)


def test_full_shards_are_written_and_the_rest_on_flush(tmp_path):
    store = Hdf5Store(tmp_path, shard=2)
    for image_id in range(5):
        store.write(image_id, b"x" * image_id)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000.h5", "000001.h5", "000002.journal"]
    store.flush()
    store.flush()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000.h5", "000001.h5", "000002.h5"]
    assert len(Hdf5Store(tmp_path)) == 5


def test_a_shard_is_plain_hdf5(tmp_path):
    store = Hdf5Store(tmp_path)
    for image_id, record in RECORDS.items():
        store.write(image_id, record)
    store.flush()
    with h5py.File(tmp_path / "000000.h5") as file:
        ends = file["offsets"][:]
        found = {int(i): file["records"][a:b].tobytes() for i, a, b in zip(file["ids"][:], ends, ends[1:])}
    assert found == RECORDS


def test_a_new_shard_never_replaces_an_old_one(tmp_path):
    for image_id in range(3):
        store = Hdf5Store(tmp_path)
        store.write(image_id, bytes([image_id]))
        store.flush()
    (tmp_path / "000000.h5").unlink()
    store = Hdf5Store(tmp_path)
    store.write(7, b"7")
    store.flush()
    assert sorted(store) == [1, 2, 7] and store.where(7).name == "000003.h5"


@pytest.mark.parametrize("damage", ["empty", "truncated", "no HDF5", "other offsets"])
def test_a_damaged_shard_is_named_with_the_remedy(tmp_path, damage):
    store = Hdf5Store(tmp_path)
    store.write(1, b"x" * 5000)
    store.flush()
    path = tmp_path / "000000.h5"
    raw = path.read_bytes()
    if damage == "other offsets":
        with h5py.File(path, "r+") as file:
            file["offsets"][1] = 10**9
    else:
        path.write_bytes({"empty": b"", "truncated": raw[:3000], "no HDF5": b"x" * 9000}[damage])
    with pytest.raises(
        ValueError,
        match=r"^cache shard .*000000.h5: damaged \(.*\): run `rtpe cache verify .* --repair`",
    ):
        Hdf5Store(tmp_path)


@pytest.mark.parametrize("name", STORES)
def test_other_files_are_left_alone(tmp_path, name):
    for other in ("notes.npz", "old.h5", ".7.npz.tmp", ".000000.h5.tmp"):
        (tmp_path / other).write_bytes(b"?")
    assert len(STORES[name](tmp_path)) == 0


def test_a_pickled_object_is_not_unpickled(tmp_path):
    np.savez(tmp_path / "000000000001.npz", record=np.array([{"a": 1}], object))
    with pytest.raises(ValueError, match="not a whole npz file"):
        STORES["npz"](tmp_path).read(1)
