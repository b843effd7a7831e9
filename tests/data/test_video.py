"""Videos: whatever is asked for in whatever order, it is the picture that reading from the start gives."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from film import COLOURS, COUNT, KINDS, in_order, write_video

from rtpe.data import video
from rtpe.data.video import VideoReader, count_frames, read_frame
from rtpe.images import UnreadableImage


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A video of each kind, and its frames."""
    folder = tmp_path_factory.mktemp("videos")
    made = {suffix: write_video(folder / f"clip.{suffix}") for suffix in KINDS}
    return {suffix: (path, in_order(path)) for suffix, path in made.items()}


@pytest.fixture
def restarts(monkeypatch):
    """How often a reader went back to the start."""
    counted, restart = [], VideoReader.restart
    monkeypatch.setattr(VideoReader, "restart", lambda self: (counted.append(1), restart(self))[1])
    return counted


def shuffled(every=1, seed=1):
    return np.random.default_rng(seed).permutation(np.arange(0, COUNT, every)).tolist()


def test_an_empty_or_missing_file_is_unreadable(tmp_path):
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(UnreadableImage, match=r"video .*empty.mp4: cannot be opened"):
        VideoReader(tmp_path / "empty.mp4")
    with pytest.raises(UnreadableImage, match=r"video .*absent.mp4: no such file"):
        read_frame(tmp_path / "absent.mp4", 0)


@pytest.mark.parametrize("suffix", KINDS)
def test_colours_are_red_green_blue(videos, suffix):
    """The blocks of the first frame; codecs are lossy, a swap of channels would be off by up to 255."""
    seen = VideoReader(videos[suffix][0]).read(0)[12::24, 16::32].reshape(4, 3)
    assert np.abs(seen.astype(int) - COLOURS[0]).max() < 25
    assert np.abs(seen[:, ::-1].astype(int) - COLOURS[0]).max() > 50


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("suffix", KINDS)
def test_any_order_gives_the_same_pictures(videos, suffix, every, restarts):
    """First into the unknown, then by jumps: a second round never goes back to the start."""
    path, frames = videos[suffix]
    reader = VideoReader(path, every)
    for number in shuffled(every):
        np.testing.assert_array_equal(reader.read(number), frames[number])
    restarts.clear()
    for number in shuffled(every, seed=2):
        np.testing.assert_array_equal(reader.read(number), frames[number])
    assert not restarts


class Beside:
    """A capture whose seeks land `by` frames off; its times are true, or those of the frame that was asked for."""

    def __init__(self, capture, by, lies):
        self.capture, self.by, self.lies, self.off = capture, by, lies, 0

    def __getattr__(self, name):
        return getattr(self.capture, name)

    def set(self, name, number):
        self.off = min(max(number + self.by, 0), COUNT - 1) - number
        return self.capture.set(name, number + self.off)

    def get(self, name):
        said = self.capture.get(name)
        return round(said - 40 * self.off) if self.lies and name == cv2.CAP_PROP_POS_MSEC else said  # 25 a second


@pytest.mark.parametrize("by", [-20, -1, 1, 7, 30])
@pytest.mark.parametrize("lies", [False, True], ids=["true-times", "false-times"])
def test_a_seek_that_lands_beside_is_not_believed(videos, monkeypatch, restarts, by, lies):
    path, frames = videos["avi"]
    monkeypatch.setattr(video, "_open_video", lambda path: Beside(cv2.VideoCapture(path), by, lies))
    reader = VideoReader(path)
    for number in [*range(COUNT), *shuffled()[:20]]:
        np.testing.assert_array_equal(reader.read(number), frames[number])
    assert (len(restarts) > 1) if lies else by > 20 or len(restarts) < 10  # true times are as good as a good seek


def test_a_torn_video_gives_what_it_has_and_says_the_rest(videos, tmp_path):
    path, frames = videos["avi"]
    torn = tmp_path / "torn.avi"
    torn.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    reader, there = VideoReader(torn), len(in_order(torn))
    assert 0 < there < COUNT == count_frames(torn)  # the header speaks of the whole
    for _ in range(2):
        with pytest.raises(UnreadableImage, match=rf"video .*torn.avi: no frame {COUNT - 1}: it ends after {there}"):
            reader.read(COUNT - 1)
        np.testing.assert_array_equal(reader.read(there - 2), frames[there - 2])  # the last one may be torn itself


def test_frames_are_counted_where_no_header_says(videos, monkeypatch):
    monkeypatch.setattr(VideoReader, "header_count", 0)
    assert count_frames(videos["mkv"][0]) == COUNT


def test_threads_may_ask_out_of_turn(videos):
    path, frames = videos["mp4"]
    with ThreadPoolExecutor(2) as pool:
        seen = list(pool.map(lambda number: read_frame(path, number), range(COUNT)))
    np.testing.assert_array_equal(seen, frames)


def test_a_fork_opens_the_file_for_itself(videos, monkeypatch, restarts):
    """Two processes that read one open file move each other's place in it, whenever its buffer runs out."""
    path, frames = videos["avi"]
    reader = VideoReader(path)
    reader.read(0)
    monkeypatch.setattr(video.os, "getpid", lambda: -1)
    np.testing.assert_array_equal(reader.read(1), frames[1])
    reader.read(2)
    assert len(restarts) == 2


def test_more_videos_than_are_kept_open(tmp_path):
    """Interleaved, each goes on where it was; closed ones are opened again."""
    paths = [write_video(tmp_path / f"{number}.avi", 6) for number in range(video._OPEN_READERS + 2)]
    frames = in_order(paths[0])
    for number in (0, 3, 1, 5):
        for path in paths:
            np.testing.assert_array_equal(read_frame(path, number), frames[number])
    opened = [path for path in paths if video._READERS[path, 1]._capture is not None]
    assert opened == paths[2:]
