import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import numpy as np
import pytest

from rtpe.cache import STORES, Cache, fill_cache
from rtpe.geometry import Affine
from rtpe.images import UnreadableImage, write_image
from rtpe.skeleton import COCO17
from rtpe.structures import PoseMaps, Poses, Prediction

STUCK_BUILD = """
import sys, time
sys.path.insert(0, {here!r})
from conftest import predict
from test_build_cache import Seen, items, picture
from rtpe.cache import Cache, Manifest, fill_cache

class Stuck(Seen):
    def __call__(self, images):
        while len(self.shown) >= 20:
            time.sleep(1)  # until it is killed
        return super().__call__(images)

manifest = Manifest({{"name": "slow"}}, predict(0).maps.skeleton, store={store!r})
with Cache.create({path!r}, manifest, shard=4) as cache:
    fill_cache(cache, Stuck(), items({count}), read=picture, batch=2, progress=False)
"""


class Seen:
    """A predictor that marks, in the first cell of its maps and the score of one person, the number it was shown."""

    skeleton = COCO17

    def __init__(self):
        self.shown = []

    def __call__(self, images):
        self.shown += [int(np.max(image)) for image in images]
        return [self._prediction(int(np.max(image))) for image in images]

    def _prediction(self, number):
        heatmaps = np.zeros((17, 4, 4), np.float32)
        heatmaps[0, 0, 0] = number / 256
        poses = Poses(np.zeros((1, 17, 2)), np.ones((1, 17)), np.array([number]), COCO17)
        return Prediction(PoseMaps(heatmaps, Affine.scaling(4), (16, 16), COCO17), poses)


def picture(path, shape=(2, 3, 3)):
    return np.full(shape, int(path))


def items(count):
    return [(i + 1, f"{i}.jpg", str(i)) for i in range(count)]


def check(cache, count):
    """Every entry holds what belongs to its image."""
    assert cache.ids == [image_id for image_id, _, _ in items(count)]
    for image_id, name, path in items(count):
        got = cache.load(image_id)
        assert got.poses.person_scores[0] == int(path) and cache.entry(image_id).file_name == name
        assert got.maps.heatmaps[0, 0, 0] == (int(path) if int(path) > 12 else 0) / 256  # below: under the threshold


@pytest.mark.parametrize("batch", [1, 3, 50])
@pytest.mark.parametrize("count", [0, 1, 20])
def test_everything_is_built_once_in_order(tmp_path, manifest, count, batch):
    predictor = Seen()
    with Cache.create(tmp_path, manifest()) as cache:
        for expected in ((count, 0), (0, count)):
            report = fill_cache(cache, predictor, iter(items(count)), read=picture, batch=batch, progress=False)
            assert (report.built, report.kept) == expected and report.skipped == 0
            assert report.seconds > 0 and report.images_per_s >= 0 and 0 <= report.predictor_share <= 1
    assert predictor.shown == list(range(count))
    check(Cache.open(tmp_path), count)


@pytest.mark.parametrize("count, wide", [(40, 2), (200, 7), (9, 1)])
def test_images_of_one_shape_share_batches_and_none_waits_for_ever(tmp_path, manifest, count, wide):
    """Every `wide`-th image is of one shape, the others of shapes of their own in turn."""
    shapes = []

    class Shown(Seen):
        def __call__(self, images):
            shapes.append([image.shape for image in images])
            return super().__call__(images)

    def read(path):
        return picture(path, (2, 9, 3) if int(path) % wide == 0 else (2, 1 + int(path) % 5, 3))

    with Cache.create(tmp_path, manifest()) as cache:
        fill_cache(cache, Shown(), items(count), read=read, batch=4, progress=False)
    assert all(len(set(batch)) == 1 and len(batch) <= 4 for batch in shapes)
    assert len(shapes) <= count / 4 + 6
    check(Cache.open(tmp_path), count)


def test_what_cannot_be_written_ends_the_build_and_keeps_the_rest(tmp_path, manifest, monkeypatch):
    cache = Cache.create(tmp_path, manifest())
    append = type(cache.store)._append

    def full(store, record):
        if len(store) == 5:
            raise OSError(28, "No space left on device")
        append(store, record)

    monkeypatch.setattr(type(cache.store), "_append", full)
    with pytest.raises(ValueError, match=r"^cache .*: cannot be written \(No space left on device\): what was fin"):
        fill_cache(cache, Seen(), items(20), read=picture, batch=2, progress=False)
    cache.close()
    assert Cache.open(tmp_path).ids == [1, 2, 3, 4, 5]


def test_images_that_cannot_be_read_are_skipped_and_tried_again(tmp_path, manifest):
    images = [(i, f"{i}.png", tmp_path / f"{i}.png") for i in range(6)]
    for i in (0, 1, 4, 5):
        write_image(images[i][2], np.full((5, 4, 3), i + 1, np.uint8))
    images[1][2].write_bytes(images[1][2].read_bytes()[:30])
    images[5][2].write_bytes(b"")
    path = tmp_path / "cache"
    with Cache.create(path, manifest()) as cache:
        report = fill_cache(cache, Seen(), images, batch=2, progress=False)
        assert (report.built, report.kept, report.skipped) == (2, 0, 4) and cache.ids == [0, 4]
    lines = (path / "skipped.txt").read_text().splitlines()
    assert [line.split("\t")[:2] for line in lines] == [[str(i), f"{i}.png"] for i in (1, 2, 3, 5)]
    assert "not an image" in lines[0] and "No such file" in lines[1]
    write_image(images[2][2], np.full((5, 4, 3), 3, np.uint8))
    with Cache.create(path, manifest()) as cache:
        report = fill_cache(cache, Seen(), images, batch=2, progress=False)
    assert (report.built, report.kept, report.skipped) == (1, 2, 3)
    assert sorted(Cache.open(path).skipped) == [1, 3, 5]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_build_keeps_what_was_finished(tmp_path, manifest, error):
    class Interrupted(Seen):
        def __call__(self, images):
            if len(self.shown) >= 6:
                raise error
            return super().__call__(images)

    cache = Cache.create(tmp_path, manifest())
    with pytest.raises(error):
        fill_cache(cache, Interrupted(), items(20), read=picture, batch=3, progress=False)
    assert Cache.open(tmp_path).ids == [1, 2, 3, 4, 5, 6]


def test_only_unreadable_images_are_forgiven(tmp_path, manifest):
    def read(path):
        raise PermissionError(path)

    with Cache.create(tmp_path, manifest()) as cache, pytest.raises(PermissionError):
        fill_cache(cache, Seen(), items(3), read=read, progress=False)


def test_all_unreadable(tmp_path, manifest):
    def read(path):
        raise UnreadableImage("no")

    with Cache.create(tmp_path, manifest()) as cache:
        report = fill_cache(cache, Seen(), items(30), read=read, progress=False)
    assert (report.built, report.skipped, report.images_per_s) == (0, 30, 0)


def test_the_bar_shows_the_whole_and_the_rate(tmp_path, manifest, capfd):
    with Cache.create(tmp_path, manifest()) as cache:
        fill_cache(cache, Seen(), items(3), read=picture)
        fill_cache(cache, Seen(), items(5), read=picture)
    assert "5/5" in capfd.readouterr().err


def entries(path):
    """The finished files."""
    return {each.name: each.read_bytes() for each in (path / "entries").glob("[0-9]*") if each.suffix != ".journal"}


@pytest.mark.parametrize("store", STORES)
def test_a_killed_build_resumes(tmp_path, store):
    """SIGKILL in the middle: what was finished stays as it is, the rest is made, nothing is torn."""
    path, count = tmp_path / "cache", 30
    start = {"here": str(Path(__file__).parent), "store": store, "path": str(path), "count": count}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    first = subprocess.Popen([sys.executable, "-c", STUCK_BUILD.format(**start)], env=environment)
    while not (path / "entries").is_dir() or len(entries(path)) < 2:
        assert first.poll() is None
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.wait()
    (path / "entries" / ".000099.h5.0123456789abcdef.tmp").write_bytes(b"torn")
    finished, done = entries(path), Cache.open(path).ids
    assert 0 < len(done) < count

    predictor = Seen()
    with Cache.create(path, Cache.open(path).manifest, shard=4) as cache:
        report = fill_cache(cache, predictor, items(count), read=picture, batch=2, progress=False)
    assert (report.built, report.kept) == (count - len(done), len(done))
    assert predictor.shown == [int(file) for image_id, _, file in items(count) if image_id not in done]
    assert finished.items() <= entries(path).items()
    assert not list((path / "entries").glob(".*"))
    check(Cache.open(path), count)


@pytest.mark.parametrize("shapes", ["one", "each its own", "small ones first"])
def test_the_images_that_a_build_holds_are_bounded_by_bytes(tmp_path, manifest, prediction, monkeypatch, shapes):
    """Photographs of 24 megapixels are 72 MB each; here they are 3 kB, and the bound that of ten."""
    each, most, held = 3000, 0, []

    def read(path):
        number = int(path)
        width = 10 + (number if shapes == "each its own" else 0)
        image = np.zeros((each // (3 * width), width, 3), np.uint8)
        if shapes == "small ones first" and number < 3:
            image = image[:1].copy()
        held.append(weakref.ref(image))
        return image

    def predictor(images):
        nonlocal most
        most = max(most, sum(image().nbytes for image in held if image() is not None))
        batches.append(len(images))
        return [prediction(0, (4, 4), people=0) for _ in images]

    batches = []
    monkeypatch.setattr("rtpe.running.WINDOW_BYTES", 10 * each)
    with Cache.create(tmp_path, manifest()) as cache:
        report = fill_cache(cache, predictor, items(60), read=read, batch=16, progress=False)
    assert report.built == 60 == len(Cache.open(tmp_path))
    ahead = 2 * 16 if shapes == "small ones first" else 10  # the size of the next ones is unknown until one is read
    # held back, read ahead, and those that two threads and this one have in hand
    assert most <= (10 + ahead + 4) * each
    assert max(batches) <= 13


def test_small_images_come_in_whole_batches(tmp_path, manifest):
    """The bound by bytes costs those nothing that stay below it."""
    seen = []

    class Sizes(Seen):
        def __call__(self, images):
            seen.append(len(images))
            return super().__call__(images)

    with Cache.create(tmp_path, manifest()) as cache:
        fill_cache(cache, Sizes(), items(32), read=picture, batch=8, progress=False)
    assert seen == [8] * 4
