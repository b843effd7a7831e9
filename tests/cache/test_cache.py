import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

from rtpe.cache import CODECS, STORES, Cache, CorruptEntry, convert
from rtpe.skeleton import COCO17, MPII16
from rtpe.structures import Poses

SHAPES = [((1, 1), 0, 0), ((24, 32), 2, 1), ((33, 7), 1, 2)]  # cells, people, tag dimensions


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("store", STORES)
def test_predictions_come_back(tmp_path, manifest, prediction, store, name):
    given = {10 * i - 3: prediction(i, *shape) for i, shape in enumerate(SHAPES)}
    with Cache.create(tmp_path / "c", manifest(store=store, codec=name)) as cache:
        for image_id, each in given.items():
            cache.add(image_id, f"ü/{image_id}.jpg", each)
            assert np.array_equal(cache.poses(image_id).points, each.poses.points)  # before anything is flushed
    cache = Cache.open(tmp_path / "c")
    assert cache.ids == sorted(given) and len(cache) == 3 and 4 not in cache
    assert cache.bytes_per_image * 3 == cache.nbytes > 0
    bound = CODECS[name].bound
    for image_id, each in given.items():
        got = cache.load(image_id)
        assert got.maps.to_image == each.maps.to_image and got.maps.image_hw == each.maps.image_hw
        assert cache.entry(image_id).file_name == f"ü/{image_id}.jpg"
        for field in ("points", "scores", "person_scores"):
            for poses in (got.poses, cache.poses(image_id)):
                assert np.array_equal(getattr(poses, field), getattr(each.poses, field))
        if CODECS[name].renders:
            assert got.maps.heatmaps.shape == each.maps.heatmaps.shape  # what is drawn is tested with the codecs
            continue
        error = np.abs(got.maps.heatmaps - each.maps.heatmaps)  # spans are below 2 here, of the tags below 40
        assert error.max() <= max(bound.heatmaps + 2 * bound.relative, bound.outside)
        if each.maps.tags is None:
            assert got.maps.tags is None
            continue
        kept = got.maps.tags.any(axis=0) if name == "sparse" else np.ones(error.shape, bool)
        assert (np.abs(got.maps.tags - each.maps.tags)[:, kept] <= bound.tags + 40 * bound.relative).all()


@pytest.mark.parametrize("codec", CODECS)
def test_the_width_of_the_peaks_is_that_of_the_maps_as_given(tmp_path, manifest, prediction, gaussians, codec):
    """Whatever the codec leaves of them; a conversion keeps it, and where no peak is sure there is none."""
    rng = np.random.default_rng(0)
    sure = gaussians(rng, rng.uniform(5, 19, (3, 17, 2)), (24, 24), sigma=1.5, noise=0)
    given = [replace(prediction(0).maps, heatmaps=heatmaps, others={}) for heatmaps in (sure, sure / 4)]
    with Cache.create(tmp_path / "a", manifest(codec=codec)) as cache:
        for image_id, maps in enumerate(given):
            cache.add(image_id, "a.jpg", replace(prediction(0), maps=maps))
    convert(tmp_path / "a", tmp_path / "b", "npz", "uint8")
    for cache in (Cache.open(tmp_path / "a"), Cache.open(tmp_path / "b")):
        assert cache.load(0).maps.peak_sigma == pytest.approx(1.5, rel=0.02)
        assert cache.load(1).maps.peak_sigma is None


def test_tags_are_left_out_on_request(tmp_path, manifest, prediction):
    with Cache.create(tmp_path, manifest(tags=False)) as cache:
        cache.add(1, "a", prediction(0, tags=2))
        assert cache.load(1).maps.tags is None
        with pytest.raises(ValueError, match="holds no tag maps, this run asks for them: build another with --cache"):
            cache.require(tags=True)


def test_an_empty_cache(tmp_path, manifest):
    with Cache.create(tmp_path, manifest()) as cache:
        assert (len(cache), cache.ids, cache.nbytes, cache.bytes_per_image, cache.skipped) == (0, [], 0, 0, {})
    with pytest.raises(ValueError, match=f"^cache {tmp_path}: holds no image 7: build it for these images, or check"):
        Cache.open(tmp_path).load(7)


@pytest.mark.parametrize("store", STORES)
def test_reopening_adds_to_it(tmp_path, manifest, prediction, store):
    for image_id in range(3):
        with Cache.create(tmp_path, manifest(store=store, settings={"run": image_id})) as cache:
            assert len(cache) == image_id and cache.manifest.settings == {"run": 0}
            cache.add(image_id, "a", prediction(image_id))
    assert Cache.open(tmp_path).ids == [0, 1, 2]


def test_a_cache_without_entries_takes_another_manifest(tmp_path, manifest, prediction):
    """The first network gave NaN, say, and the next build brings another: nothing is lost."""
    Cache.create(tmp_path, manifest()).close()
    other = manifest(predictor={**manifest().predictor, "weights_sha256": "cd" * 32}, codec="float32")
    with Cache.create(tmp_path, other) as cache:
        cache.add(1, "1.jpg", prediction(0))
    assert Cache.open(tmp_path).manifest == other and len(Cache.open(tmp_path)) == 1


def test_another_manifest_is_refused_and_leaves_the_cache_free(tmp_path, manifest, prediction):
    with Cache.create(tmp_path, manifest()) as cache:
        cache.add(1, "1.jpg", prediction(0))
    other = manifest(predictor={**manifest().predictor, "weights_sha256": "cd" * 32}, tags=False)
    expected = (
        f"cache {tmp_path}: holds something else than this run makes: predictor.weights_sha256: abababababab..., "
        "not cdcdcdcdcdcd...; tags: true, not false: choose another --cache.path, or the settings it was made with"
    )
    with pytest.raises(ValueError) as info:
        Cache.create(tmp_path, other)
    assert str(info.value) == expected
    Cache.create(tmp_path, manifest()).close()


def test_a_second_writer_is_refused(tmp_path, manifest):
    with (
        Cache.create(tmp_path, manifest()),
        pytest.raises(ValueError, match=r"another run is writing to it: wait for it or choose another --cache.path"),
    ):
        Cache.create(tmp_path, manifest())


def test_a_folder_that_is_no_cache_is_left_alone(tmp_path, manifest):
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"the folder is not empty and no cache: choose another --cache.path"):
        Cache.create(tmp_path, manifest())
    with pytest.raises(ValueError, match=r"cannot be written \(File exists\): choose another --cache.path"):
        Cache.create(tmp_path / "holiday.jpg", manifest())


REQUIREMENTS = [
    ({"skeleton": MPII16}, "holds skeleton coco17, this run asks for mpii16: pass --data.skeleton coco17, or build"),
    ({"skeleton": replace(COCO17, sigmas=(0.1,) * 17)}, "holds skeleton coco17, this run asks for another coco17: pa"),
    (
        {"predictor": {"name": "big", "weights_sha256": "cd" * 32, "settings": {}}},
        r"made by fake \(sha256 abababab...\), not by big \(sha256 cdcdcdcd...\): build another with --cache.path",
    ),
    (
        {"predictor": {"name": "fake", "weights_sha256": "ab" * 32, "settings": {"size": [96, 128], "flip": False}}},
        "made by fake with predictor.settings.flip: true, not false: build another",
    ),
    ({"size": [256, 256]}, r"holds maps of size \[96, 128\], this run asks for \[256, 256\]: build another"),
    ({"stride": 2}, "holds maps of stride 4, this run asks for 2: build another"),
]


@pytest.mark.parametrize("asked, message", REQUIREMENTS)
def test_what_a_run_requires(tmp_path, manifest, asked, message):
    with Cache.create(tmp_path, manifest()) as cache:
        cache.require()
        held = cache.manifest
        cache.require(skeleton=COCO17, predictor=held.predictor, size=(96, 128), stride=4.0, tags=True)
        with pytest.raises(ValueError, match=message) as info:
            cache.require(**asked)
        assert str(info.value).startswith(f"cache {tmp_path}: ") and "\n" not in str(info.value)


def test_what_cannot_be_added(tmp_path, manifest, prediction):
    with Cache.create(tmp_path, manifest()) as cache:
        cache.add(1, "a.jpg", prediction(0))
        with pytest.raises(ValueError, match=r"image 1 \(a.jpg\) is there already: ids must be unique"):
            cache.add(1, "a.jpg", prediction(0))
        with pytest.raises(ValueError, match="holds skeleton coco17, the prediction of image 2 has mpii16 maps and mp"):
            cache.add(2, "b.jpg", prediction(0, skeleton=MPII16))
        broken = prediction(0)
        broken.maps.heatmaps[0, 0, 0] = np.nan
        with pytest.raises(ValueError, match=r"image 3 \(c.jpg\): heatmaps: expected finite values, got NaN"):
            cache.add(3, "c.jpg", broken)
        assert cache.ids == [1]
    with pytest.raises(ValueError, match=r"open for reading only: use Cache.create to add to it"):
        Cache.open(tmp_path).add(9, "d", prediction(0))


def test_skipped_images_are_listed_until_they_are_added(tmp_path, manifest, prediction):
    with Cache.create(tmp_path, manifest()) as cache:
        cache.add_skipped(4, "b\tb.jpg", "two\nlines")
        cache.add_skipped(2, "a.jpg", "torn")
    assert (tmp_path / "skipped.txt").read_text() == "2\ta.jpg\ttorn\n4\tb b.jpg\ttwo lines\n"
    with Cache.create(tmp_path, manifest()) as cache:
        assert cache.skipped == {2: ("a.jpg", "torn"), 4: ("b b.jpg", "two lines")}
        cache.add(4, "b.jpg", prediction(0))
    assert Cache.open(tmp_path).skipped == {2: ("a.jpg", "torn")}


def flip_byte(path: Path, at: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 0x10
    path.write_bytes(raw)


@pytest.mark.parametrize("store", STORES)
def test_every_flipped_byte_of_a_record_is_noticed(tmp_path, manifest, prediction, store):
    with Cache.create(tmp_path, manifest(store=store)) as cache:
        cache.add(5, "a", prediction(0, (3, 4), people=1))
        cache.add(6, "b", prediction(1))
        record = cache.store.read(5)
    cache = Cache.open(tmp_path)
    path = cache.store.where(5)
    start = path.read_bytes().index(record)
    for at in range(start, start + len(record), 13):
        flip_byte(path, at)
        for read in (cache.load, cache.poses):
            with pytest.raises(CorruptEntry, match=f"entry 5 in {path.name} is damaged .*: run `rtpe cache verify"):
                read(5)
        cache.load(6)
        flip_byte(path, at)
    assert len(cache.poses(5)) == 1


@pytest.mark.parametrize("store", STORES)
def test_damage_anywhere_in_a_file_never_gives_other_values(tmp_path, manifest, prediction, store):
    """Bytes of the container may change without harm, or break it; what is read is right or refused."""
    with Cache.create(tmp_path, manifest(store=store)) as cache:
        cache.add(5, "a", prediction(0, (1, 1), people=1))
    path = Cache.open(tmp_path).store.where(5)
    expected = Cache.open(tmp_path).load(5)
    refused = 0
    for at in range(0, path.stat().st_size, 11):
        flip_byte(path, at)
        try:
            cache = Cache.open(tmp_path)
            got = cache.load(5)
        except ValueError:
            refused += 1
        else:
            assert np.array_equal(got.maps.heatmaps, expected.maps.heatmaps)
            assert np.array_equal(got.poses.points, expected.poses.points)
        flip_byte(path, at)
    assert refused > 20


@pytest.mark.parametrize("store", STORES)
def test_a_lost_file_is_a_corrupt_entry(tmp_path, manifest, prediction, store):
    with Cache.create(tmp_path, manifest(store=store)) as cache:
        cache.add(5, "a", prediction(0))
        cache.flush()
        cache.store.where(5).unlink()
        with pytest.raises(CorruptEntry, match=r"entry 5 in .* is damaged"):
            cache.load(5)


def test_an_entry_of_another_image_is_not_taken(tmp_path, manifest, prediction):
    with Cache.create(tmp_path, manifest(store="npz")) as cache:
        cache.add(1, "a", prediction(0))
        cache.store.where(1).rename(cache.store.where(2))
    with pytest.raises(CorruptEntry, match="it holds 17 joints of image 1, not 17 of 2"):
        Cache.open(tmp_path).load(2)


class Loaded:
    """The data set of a training: a cache that was opened once, before the workers were started."""

    def __init__(self, cache):
        self.cache, self.ids = cache, cache.ids

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        maps = self.cache.load(self.ids[index]).maps
        return self.ids[index], maps.heatmaps


@pytest.mark.parametrize("store, start", [("hdf5", "fork"), ("npz", "fork"), ("hdf5", "spawn")])
def test_workers_read_the_same(tmp_path, manifest, prediction, store, start):
    with Cache.create(tmp_path, manifest(store=store), shard=3) as cache:
        for image_id in range(10):
            cache.add(image_id, "a", prediction(image_id))
    cache = Cache.open(tmp_path)
    expected = {image_id: cache.load(image_id).maps.heatmaps for image_id in cache.ids}
    workers = 2 if start == "fork" else 1  # a spawned worker imports torch anew
    loader = DataLoader(Loaded(cache), None, num_workers=workers, multiprocessing_context=start)
    seen = dict(loader)
    assert sorted(seen) == sorted(expected)
    assert all(np.array_equal(seen[image_id], expected[image_id]) for image_id in seen)


def test_a_pickled_cache_reads_the_same_folder(tmp_path, manifest, prediction):
    with Cache.create(tmp_path, manifest()) as cache:
        cache.add(1, "a", prediction(0))
        cache.flush()
        copy = pickle.loads(pickle.dumps(cache))  # noqa: S301
        assert isinstance(copy.poses(1), Poses)
        with pytest.raises(ValueError, match="open for reading only"):
            copy.add(2, "b", prediction(0))
