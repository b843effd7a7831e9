"""A cache that came from elsewhere: nothing outside its folder is written, emptied or removed."""

import os
import shutil

import pytest

from rtpe.cache import STORES, Cache, convert, merge, remove_parts, verify
from rtpe.cache.stores import remove_unfinished

PRECIOUS = b"what nobody may touch\n" * 50
RUNS = {
    "build": lambda path, source: Cache.create(path, Cache.open(path).manifest).close(),
    "repair": lambda path, source: verify(path, repair=True),
    "merge": lambda path, source: merge(path, [source]),
    "convert": lambda path, source: convert(source, path, "hdf5", "sparse"),
}


def filled(path, manifest, prediction, ids=(1, 2), closed=True, **changes):
    cache = Cache.create(path, manifest(**changes))
    for image_id in ids:
        cache.add(image_id, f"{image_id}.jpg", prediction(image_id, (5, 6), people=1))
    cache.close() if closed else cache._lock.close()
    return path


def lock(path, elsewhere):
    (path / ".lock").unlink()
    (path / ".lock").symlink_to(elsewhere / "photograph.npz")
    return ".lock"


def journal(path, elsewhere):
    (path / "entries" / "000001.journal").symlink_to(elsewhere / "photograph.npz")
    return "entries/000001.journal"


def missing_journal(path, elsewhere):
    (path / "entries" / "000001.journal").symlink_to(elsewhere / "new")
    return "entries/000001.journal"


def journal_of_two_names(path, elsewhere):
    os.link(elsewhere / "photograph.npz", path / "entries" / "000001.journal")
    return "entries/000001.journal"


def entries(path, elsewhere):
    shutil.rmtree(path / "entries")
    (path / "entries").symlink_to(elsewhere)
    return "entries"


def parts(path, elsewhere):
    (path / ".parts").symlink_to(elsewhere)
    return ".parts"


def one_part(path, elsewhere):
    (path / ".parts").mkdir()
    (path / ".parts" / "0").symlink_to(elsewhere)
    return ".parts/0"


def joined_parts(path, elsewhere):
    (path / ".parts.joined").symlink_to(elsewhere)
    return ".parts.joined"


@pytest.fixture
def elsewhere(tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for name in ("photograph.npz", "000000000017.npz", "17.npz", ".000000.h5.0123456789abcdef.tmp", ".a.tmp"):
        (folder / name).write_bytes(PRECIOUS)
    return folder


def unharmed(folder):
    return len(list(folder.iterdir())) == 5 and all(each.read_bytes() == PRECIOUS for each in folder.iterdir())


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize(
    "link", [lock, journal, missing_journal, journal_of_two_names, entries, parts, one_part, joined_parts]
)
def test_a_link_is_refused_by_every_run_that_writes(tmp_path, manifest, prediction, elsewhere, link, run):
    path = filled(tmp_path / "cache", manifest, prediction)
    source = filled(tmp_path / "source", manifest, prediction, ids=(3,))
    name = link(path, elsewhere)
    with pytest.raises(ValueError) as caught:
        RUNS[run](path, source)
    assert str(caught.value) == (
        f"cache {path}: {name} is a link, and what it leads to would be written to: put a copy in its place, or "
        "choose another --cache.path"
    )
    assert unharmed(elsewhere)


@pytest.mark.parametrize("name", ["manifest.json", "skipped.txt"])
def test_a_link_that_a_run_replaces_is_not_followed(tmp_path, manifest, prediction, elsewhere, name):
    path = filled(tmp_path / "cache", manifest, prediction, ids=())
    target = elsewhere / "photograph.npz"
    if name == "manifest.json":
        shutil.copy(path / name, tmp_path / "held.json")
        target = tmp_path / "held.json"
    (path / name).unlink(missing_ok=True)
    (path / name).symlink_to(target)
    before = target.read_bytes()
    with Cache.create(path, manifest(codec="float32")) as cache:
        cache.add_skipped(9, "9.jpg", "torn")
    assert target.read_bytes() == before and not (path / name).is_symlink() and unharmed(elsewhere)
    assert Cache.open(path).skipped == {9: ("9.jpg", "torn")} and Cache.open(path).manifest.codec == "float32"


@pytest.mark.parametrize("store", STORES)
def test_a_link_to_a_finished_file_is_read_and_a_repair_writes_beside_it(tmp_path, manifest, prediction, store):
    """A large shard may lie on another disk; what it leads to stays as it is."""
    path = filled(tmp_path / "cache", manifest, prediction, store=store)
    file = Cache.open(path).store.where(1)
    target = tmp_path / file.name
    shutil.move(file, target)
    file.symlink_to(target)
    assert Cache.open(path).load(1)
    raw = bytearray(target.read_bytes())
    raw[-1] ^= 1
    target.write_bytes(raw)
    assert verify(path, repair=True).damaged == (file,)
    assert target.read_bytes() == raw and not file.is_symlink() and not verify(path).damaged


@pytest.mark.parametrize("store", STORES)
def test_only_names_of_its_own_are_read_and_removed(tmp_path, manifest, prediction, store):
    path = filled(tmp_path / "cache", manifest, prediction, store=store)
    others = [
        "17.npz", "0000000000017.npz", "photograph.npz", "\u0661\u0662.npz", "1.h5", "000009.h5~", "0000001.journal",
        ".a.tmp", ".17.npz.0123456789abcdef.tmp", ".photograph.npz.0123456789abcdef.tmp",
    ]  # fmt: skip
    for name in others:
        (path / "entries" / name).write_bytes(PRECIOUS)
    (path / "entries" / "000000000018.npz").mkdir()
    os.mkfifo(path / "entries" / "000000000019.npz")
    (path / "entries" / "000002.journal").mkdir()
    own = [".000007.h5.0123456789abcdef.tmp", ".000000000017.npz.0123456789abcdef.tmp"]
    for name in own:
        (path / "entries" / name).write_bytes(b"torn")
    assert verify(path, repair=True).entries == 2
    assert all((path / "entries" / name).read_bytes() == PRECIOUS for name in others)
    assert not any((path / "entries" / name).exists() for name in own)


def test_removing_what_is_unfinished_follows_no_link(tmp_path, elsewhere):
    folder = tmp_path / "cache" / "entries"
    folder.mkdir(parents=True)
    (folder / ".000000.h5.0123456789abcdef.tmp").symlink_to(elsewhere / "photograph.npz")
    remove_unfinished(folder)
    assert unharmed(elsewhere)


def test_a_lock_is_not_emptied(tmp_path, manifest, prediction):
    path = filled(tmp_path / "cache", manifest, prediction)
    (path / ".lock").write_bytes(PRECIOUS)
    filled(path, manifest, prediction, ids=(3,))
    assert (path / ".lock").read_bytes() == PRECIOUS


def half_removed(folder):
    """As `rmtree` leaves it when it is killed: it takes manifests first here."""
    for file in sorted(folder.rglob("manifest.json")):
        file.unlink()
    raise KeyboardInterrupt


@pytest.mark.parametrize("again", [False, True], ids=["removed by a build", "removed with new parts"])
def test_parts_whose_removal_was_killed_stop_nothing(tmp_path, manifest, prediction, monkeypatch, again):
    path = filled(tmp_path / "cache", manifest, prediction)
    filled(path / ".parts" / "0", manifest, prediction, ids=(3,))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "rmtree", half_removed)
        remove_parts(path)
    assert not (path / ".parts").exists()
    if again:
        filled(path / ".parts" / "0", manifest, prediction, ids=(4,))
        remove_parts(path)
    filled(path, manifest, prediction, ids=(5,))
    assert sorted(each.name for each in path.iterdir()) == [".lock", "entries", "manifest.json"]
    assert Cache.open(path).ids == [1, 2, 5]
