"""Builders that are killed, that run out of room, or that meet another one: nothing is lost, nothing torn is read."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from full_disk import grow, small_disk

from rtpe.cache import Cache, verify

BUILD = """
import os, sys, time
sys.path.insert(0, {here!r})
from conftest import predict
from test_build_cache import items, picture
from rtpe.cache import Cache, Manifest, fill_cache

class Shown:
    skeleton = predict(0).maps.skeleton

    def __call__(self, images):
        while {gate!r} and not os.path.exists({gate!r}):
            time.sleep(0.01)
        numbers = [int(image.flat[0]) for image in images]
        with open({log!r}, "a") as log:
            log.write("".join(f"{{number + 1}}\\n" for number in numbers))
        return [predict(number, (40, 40)) for number in numbers]

def build():
    manifest = Manifest({{"name": "slow"}}, Shown.skeleton, store={store!r}, codec={codec!r})
    with Cache.create({path!r}, manifest, shard=8) as cache:
        fill_cache(cache, Shown(), items({count}), read=picture, batch=2, progress=False)

"""
# a process that has imported everything, and for each line it reads begins a build in a copy of itself
FORKS = """
for _ in sys.stdin:
    number = os.fork()
    if not number:
        build()
        os._exit(0)
    print(number, flush=True)
    print(os.waitpid(number, 0)[1], flush=True)
"""


class Builder:
    """Starts builds of one cache, and knows what they showed to their predictor."""

    def __init__(self, folder, store="hdf5", codec="sparse", count=100_000, gate=""):
        self.path, self.log = folder / "cache", folder / "log"
        self.gate = gate and str(folder / gate)  # nothing is predicted until there is such a file
        said = {"here": str(Path(__file__).parent), "path": str(self.path), "log": str(self.log), "gate": self.gate}
        self.code = BUILD.format(**said, store=store, codec=codec, count=count)
        self.log.touch()

    def start(self) -> subprocess.Popen:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", self.code + "build()"]
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)

    @contextmanager
    def starts(self):
        """A function that starts a build at once, without the second that its imports take."""
        command = [sys.executable, "-c", self.code + FORKS]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, env=environment, **pipes) as forks:

            @contextmanager
            def started():
                print(file=forks.stdin, flush=True)
                number = int(forks.stdout.readline())
                try:
                    yield number
                finally:
                    os.kill(number, signal.SIGKILL)
                assert int(forks.stdout.readline()) == signal.SIGKILL, "the build ended by itself"

            yield started
            forks.stdin.close()

    def shown(self) -> list[int]:
        return [int(line) for line in self.log.read_text().split()]

    def wait_for(self, count, process):
        """Until so many images were shown, however long that takes; ProcessLookupError if the process ends before."""
        while len(self.shown()) < count:
            os.kill(process, 0)
            time.sleep(0.001)


@pytest.mark.slow
@pytest.mark.parametrize("store, kills", [("hdf5", 35), ("npz", 15)])
def test_killed_at_random_moments(tmp_path, store, kills):
    """After a random number of images, or so early that it may be opening what the one before left."""
    builder, rng = Builder(tmp_path, store), random.Random(store)
    done: set[int] = set()
    with builder.starts() as started:
        for kill in range(kills):
            before = len(builder.shown())
            with started() as process:
                if kill % 5 == 4:
                    time.sleep(rng.uniform(0, 0.02))
                else:
                    builder.wait_for(before + rng.randint(10, 30), process)
            report = verify(builder.path)
            assert not report.damaged and not report.lost
            assert not done & set(builder.shown()[before:]), "a finished entry was built again"
            now = set(Cache.open(builder.path).ids)
            assert done <= now and report.entries == len(now)
            # what the predictor was shown and is not there: the batch it was killed in, and the one being written
            assert len(set(builder.shown()) - now) <= 4
            done = now
    assert len(done) > 4 * kills  # of each five, four leave six images or more


@pytest.mark.slow
@pytest.mark.parametrize("store", ["hdf5", "npz"])
def test_a_full_disk(tmp_path, store):
    with small_disk(tmp_path / "disk", "600k") as disk:
        builder = Builder(disk, store, codec="float32")
        process = builder.start()
        said = process.communicate()[1].strip().splitlines()[-1]
        assert f"NotWritten: cache {builder.path}: cannot be written (No space left on device): what was" in said
        report = verify(builder.path)
        assert report.entries > 2 and not report.damaged and not report.lost
        ids, before = Cache.open(builder.path).ids, len(builder.shown())
        grow(disk, "2m")
        process = builder.start()
        assert "No space left on device" in process.communicate()[1]
        assert not set(ids) & set(builder.shown()[before:])
        report = verify(builder.path)
        assert report.entries > len(ids) and not report.damaged and not report.lost


def test_two_builders_of_one_cache(tmp_path):
    builder = Builder(tmp_path, count=30, gate="gate")
    processes = [builder.start(), builder.start()]
    while all(process.poll() is None for process in processes):  # until one is refused
        time.sleep(0.01)
    Path(builder.gate).touch()
    errors = [process.communicate()[1] for process in processes]
    refused = [error for error in errors if "another run is writing to it" in error]
    assert len(refused) == 1 and sorted(process.returncode for process in processes) == [0, 1]
    assert sorted(builder.shown()) == list(range(1, 31))
    report = verify(builder.path)
    assert report.entries == 30 and not report.damaged
