"""An entry belongs to one image: its number alone tells nothing."""

import re
from pathlib import Path

import numpy as np
import pytest

from rtpe.cache import STORES, Cache, absorb, convert, fill_cache, merge, refuse_other_images
from rtpe.cache.entries import Origin
from rtpe.images import file_bytes

DIFFERENCES = {
    "the same": (("a.jpg", 9, (3, 4)), ("a.jpg", 9, (3, 4)), ""),
    "nothing known but the name": (("a.jpg", None, None), ("a.jpg", 9, (3, 4)), ""),
    "a name": (("a.jpg", 9, (3, 4)), ("b.jpg", 9, (3, 4)), "is a.jpg there and b.jpg here"),
    "a folder before the name": (("a.jpg", 9, None), ("x/a.jpg", 9, None), "is a.jpg there and x/a.jpg here"),
    "no name": (("", 9, None), ("a.jpg", 9, None), "is  there and a.jpg here"),
    "bytes": (
        ("a.jpg", 48213, None), ("a.jpg", 51002, None), "was made of a file of 48,213 bytes, a.jpg here has 51,002"
    ),
    "an empty file": (("a.jpg", 0, None), ("a.jpg", 5, None), "was made of a file of 0 bytes, a.jpg here has 5"),
    "sides": (
        ("a.jpg", 9, (640, 427)), ("a.jpg", 9, (427, 640)), "was made of 427 x 640 pixels, a.jpg here has 640 x 427"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DIFFERENCES)
def test_what_tells_two_images_apart(case):
    one, other, said = DIFFERENCES[case]
    assert Origin(*one).difference(Origin(*other)) == said
    assert bool(Origin(*other).difference(Origin(*one))) == bool(said)


class Frame:
    """As a frame of a video, or a part of a photograph: more than its file."""

    def __init__(self, path):
        self.path = path


def test_the_size_of_a_file(tmp_path):
    file = tmp_path / "a.jpg"
    file.write_bytes(b"12345")
    assert file_bytes(file) == file_bytes(str(file)) == file_bytes(Frame(file)) == 5
    assert file_bytes(tmp_path / "none.jpg") is None and file_bytes("a\0.jpg") is None and file_bytes(object()) is None


def filled(path, manifest, prediction, files, **changes):
    """A cache of images (id, name, bytes)."""
    with Cache.create(path, manifest(**changes), shard=2) as cache:
        for image_id, name, size in files:
            cache.add(image_id, name, prediction(abs(image_id), (8, 8)), size)
    return Cache.open(path)


LONG = "/".join(["ü" * 80] * 12) + ".jpg"


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize(
    "name", ["a.jpg", "", "ü/ö.jpg", "\udcfc.jpg", LONG], ids=["plain", "none", "umlauts", "bytes", "long"]
)
def test_a_cache_knows_its_images(tmp_path, manifest, prediction, store, name):
    """Also by names that do not fit into the first bytes of a record, and those that are no text."""
    cache = filled(tmp_path / "c", manifest, prediction, [(7, name, 12), (-8, name, None)], store=store)
    assert cache.origin(7) == cache.entry(7).origin == Origin(name, 12, (97, 131))
    assert cache.origin(-8) == Origin(name, None, (97, 131))
    with pytest.raises(ValueError, match="holds no image 9"):
        cache.origin(9)


@pytest.mark.parametrize("store", STORES)
def test_a_damaged_name_is_no_other_image(tmp_path, manifest, prediction, store):
    cache = filled(tmp_path / "c", manifest, prediction, [(7, "abc.jpg", 12)], store=store)
    file, raw = cache.store.where(7), cache.store.where(7).read_bytes()
    for damaged in (raw.replace(b"abc.jpg", b"abd.jpg"), raw.replace(b'"file"', b'"fil\xff"')):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"entry 7 in .* is damaged"):
            refuse_other_images(Cache.open(tmp_path / "c"), [(7, "abc.jpg", tmp_path / "abc.jpg")])


def images(folder, *files):
    """(id, name, path) of files of so many bytes; None writes none."""
    folder.mkdir(exist_ok=True)
    for _, name, size in files:
        if size is not None:
            (folder / name).write_bytes(b"x" * size)
    return [(image_id, name, folder / name) for image_id, name, _ in files]


A, B = (1, "a.jpg", 5), (2, "b.jpg", 6)
OTHERS = {
    "none": ([], ""),
    "the same": ([A, B], ""),
    "fewer": ([B], ""),
    "more": ([A, B, (3, "c.jpg", 7)], ""),
    "files that are not there": ([(1, "a.jpg", None)], ""),
    "numbered otherwise": ([(2, "a.jpg", 5), (1, "b.jpg", 6)], "image 2 is b.jpg there and a.jpg here"),
    "the last alone": ([A, (2, "c.jpg", 6)], "image 2 is b.jpg there and c.jpg here"),
    "numbered otherwise, not there": ([(1, "b.jpg", None)], "image 1 is a.jpg there and b.jpg here"),
    "other files": ([(1, "a.jpg", 1234)], "image 1 was made of a file of 5 bytes, a.jpg here has 1,234"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_images_that_are_others(tmp_path, manifest, prediction, case):
    files, said = OTHERS[case]
    cache = filled(tmp_path / "c", manifest, prediction, [A, B])
    asked = images(tmp_path / "images", *files)
    if not said:
        refuse_other_images(cache, asked)
        return
    with pytest.raises(ValueError, match=f"^cache .*c: {re.escape(said)}: pass the --cache.path of these images$"):
        refuse_other_images(cache, asked)
    with Cache.create(tmp_path / "c", manifest()) as again, pytest.raises(ValueError, match=re.escape(said)):
        fill_cache(again, refuse_to_predict, asked, progress=False)


def refuse_to_predict(images):
    raise AssertionError("it was asked to")


def test_a_build_keeps_the_sizes_of_files(tmp_path, manifest, prediction):
    """So it finds its own entries again, and refuses a file that was replaced in the meantime."""
    asked = images(tmp_path / "images", A, B)
    for built in (2, 0):
        with Cache.create(tmp_path / "c", manifest()) as cache:
            report = fill_cache(cache, lambda images: [prediction(0)] * len(images), asked, read, progress=False)
        assert (report.built, report.kept) == (built, 2 - built)
    assert [Cache.open(tmp_path / "c").origin(i).file_bytes for i in (1, 2)] == [5, 6]
    (tmp_path / "images/b.jpg").write_bytes(b"another")
    with Cache.create(tmp_path / "c", manifest()) as cache, pytest.raises(ValueError, match="image 2 was made of a fi"):
        fill_cache(cache, refuse_to_predict, asked, read, progress=False)


def read(path: Path):
    return np.zeros((4, 4, 3), np.uint8)


@pytest.mark.parametrize("case", OTHERS)
@pytest.mark.parametrize("there", ["in another source", "in the cache"])
def test_caches_of_other_images_are_not_merged(tmp_path, manifest, prediction, case, there):
    """Nor are the parts of one that several processes build; nothing is added then."""
    files, said = OTHERS[case]
    first = filled(tmp_path / "first", manifest, prediction, [A, B])
    other = filled(tmp_path / "other", manifest, prediction, files, store="npz")
    sources = [first.path, other.path]
    if there == "in the cache":
        merge(tmp_path / "all", sources[:1])
    before = Cache.open(tmp_path / "all").ids if there == "in the cache" else []
    if not said:
        merge(tmp_path / "all", sources)
        return
    with pytest.raises(ValueError, match=r"cache .*other: image .*: merge only caches of the same images"):
        merge(tmp_path / "all", sources)
    with Cache.create(tmp_path / "all", manifest()) as out, pytest.raises(ValueError, match="merge only caches of the"):
        absorb(out, sources)
    assert Cache.open(tmp_path / "all").ids == before


def test_a_merge_names_both_images_and_both_caches(tmp_path, manifest, prediction):
    one = filled(tmp_path / "one", manifest, prediction, [A, B]).path
    for name, files, said in [
        ("two", [(2, "c.jpg", 6)], f"image 2 is c.jpg there and b.jpg in {one}"),
        ("three", [(1, "a.jpg", 7)], f"image 1 was made of a file of 7 bytes, a.jpg in {one} has 5"),
    ]:
        other = filled(tmp_path / name, manifest, prediction, files).path
        with pytest.raises(ValueError, match=re.escape(f"cache {other}: {said}: merge only caches of the same images")):
            merge(tmp_path / "all", [one, other])


def test_a_merge_of_two_data_sets_names_both(tmp_path, manifest, prediction):
    one = filled(tmp_path / "one", manifest, prediction, [A], source="coco/train2017").path
    two = filled(tmp_path / "two", manifest, prediction, [B], source="coco/val2017").path
    merge(tmp_path / "all", [one, two, one])
    assert Cache.open(tmp_path / "all").manifest.source == "coco/train2017, coco/val2017"


@pytest.mark.parametrize("codec", ["sparse", "uint8"])
def test_a_conversion_does_not_keep_entries_of_other_images(tmp_path, manifest, prediction, codec):
    source = filled(tmp_path / "source", manifest, prediction, [A, B]).path
    convert(source, tmp_path / "made", "hdf5", codec)
    assert Cache.open(tmp_path / "made").origin(2) == Origin("b.jpg", 6, (97, 131))
    other = filled(tmp_path / "other", manifest, prediction, [A, (2, "b.jpg", 7), (3, "c.jpg", 7)]).path
    said = f"cache {other}: image 2 was made of a file of 7 bytes, b.jpg in {tmp_path / 'made'} has 6: choose another"
    with pytest.raises(ValueError, match=re.escape(said)):
        convert(other, tmp_path / "made", "hdf5", codec)
    assert Cache.open(tmp_path / "made").ids == [1, 2]
