"""Videos: whatever is asked for in whatever order, it is the picture that reading from the start gives."""

import struct
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
    assert 0 < there < COUNT and count_frames(torn) == (there, True)  # the header has the number of the whole
    for _ in range(2):
        with pytest.raises(UnreadableImage, match=rf"video .*torn.avi: no frame {COUNT - 1}: it ends after {there}"):
            reader.read(COUNT - 1)
        np.testing.assert_array_equal(reader.read(there - 2), frames[there - 2])  # the last one may be torn itself


def test_frames_are_counted_where_no_header_says(videos, monkeypatch):
    monkeypatch.setattr(VideoReader, "header_count", 0)
    assert count_frames(videos["mkv"][0]) == (COUNT, False)


def patched(path, made, *changes):
    """A copy with other bytes: each change is what stands before them, how far after it they begin, and they."""
    raw = bytearray(path.read_bytes())
    for before, distance, content in changes:
        at = raw.index(before) + distance
        raw[at : at + len(content)] = content
    made.write_bytes(raw)
    return made


def avi_header(frames, scale=1, rate=25):
    """The bytes of an .avi that have its length and rate."""
    length = struct.pack("<I", frames)
    return (b"avih", 24, length), (b"strh", 28, struct.pack("<II", scale, rate)), (b"strh", 40, length)


def default_duration(milliseconds):
    """The bytes of a .mkv that have the distance of its frames."""
    return ((b"\x23\xe3\x83\x84", 4, struct.pack(">I", milliseconds * 10**6)),)


LIES = {
    "a slower rate": ("mkv", default_duration(100), 32),
    "a faster rate": ("mkv", default_duration(20), 160),
    "a recorder that stopped counting": ("avi", avi_header(25), 25),
    "a recorder that never counted": ("avi", avi_header(0), None),
    "one frame too few": ("avi", avi_header(COUNT - 1), COUNT - 1),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_costs_no_frame(videos, tmp_path, lie):
    suffix, changes, says = LIES[lie]
    path = patched(videos[suffix][0], tmp_path / f"lies.{suffix}", *changes)
    reader = VideoReader(path)
    assert says is None or reader.header_count == says
    assert count_frames(path) == (COUNT, False)
    for number in (COUNT - 1, 3, COUNT - 2):
        np.testing.assert_array_equal(reader.read(number), videos[suffix][1][number])


@pytest.mark.parametrize("suffix", KINDS)
def test_an_exact_header_is_believed(videos, suffix, monkeypatch):
    """Decoding hours of film to count them would be the slowest part of each command."""
    monkeypatch.setattr(VideoReader, "count", lambda self: pytest.fail("decoded"))
    assert count_frames(videos[suffix][0]) == (COUNT, False)


def test_a_film_joined_of_two_is_read_to_its_end(videos, tmp_path):
    """Segments of a recording, one after the other in one file: the header speaks of the first."""
    path = videos["mkv"][0]
    joined = tmp_path / "joined.mkv"
    joined.write_bytes(path.read_bytes() * 2)
    there = len(in_order(joined))
    assert there >= COUNT and count_frames(joined)[0] == there


def test_ticks_without_a_frame_are_no_missing_frames(videos, tmp_path):
    """Recorders that write milliseconds: 3,200 ticks, a frame at every fortieth, empty pieces between."""
    raw, pieces, at = videos["avi"][0].read_bytes(), [], 0
    start = raw.index(b"movi") + 4
    while raw[start + at : start + at + 4] == b"00dc":
        size = struct.unpack("<I", raw[start + at + 4 : start + at + 8])[0]
        pieces += [raw[start + at : start + at + 8 + size + size % 2], (b"00dc" + bytes(4)) * 39]
        at += 8 + size + size % 2
    assert len(pieces) == 2 * COUNT
    made, movi = tmp_path / "ticks.avi", b"".join(pieces)
    made.write_bytes(raw[: start - 8] + struct.pack("<I", 4 + len(movi)) + b"movi" + movi)
    path = patched(made, tmp_path / "ticks2.avi", *avi_header(40 * COUNT, 1, 1000), (b"RIFF", 4, b"\xff\xff\xff\x7f"))
    assert VideoReader(path).header_count == 40 * COUNT and len(in_order(path)) == COUNT
    assert count_frames(path) == (COUNT, False)


def test_a_header_of_a_thousand_million_frames_is_counted_at_once(videos, tmp_path):
    path = patched(videos["avi"][0], tmp_path / "bomb.avi", *avi_header(2**31 - 1))
    assert count_frames(path) == (COUNT, True)


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
