"""Videos by frames: exact at random, quick in order; the only user of cv2's VideoCapture."""

from __future__ import annotations

import os
import threading
import zlib
from pathlib import Path

import cv2
import numpy as np

from rtpe.images import UnreadableImage

# of a torn video they say much, and not which file it was: an UnreadableImage does
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm")


class VideoReader:
    """The frames of a video by number, each of them the picture that reading from the start gives.

    A seek may land beside the frame that was asked for, or decode it from missing parts. So a jump counts only if it
    lands on a known time and meets a picture that was seen there before; otherwise all is read from the start. What
    nobody has seen yet is reached by reading on.

    Args:
        every: frames at multiples of it are the ones that are wanted; in passing, they are kept in mind.

    Raises:
        UnreadableImage: if it cannot be opened.
    """

    NEAR = 32  # frames: reading on is as quick as a jump, which decodes from the key frame before
    BACK = (0, 8, 64)  # frames: where time and number disagree, a jump to one before may do
    RECENT = 4  # pictures kept: several threads may ask a little out of turn

    def __init__(self, path: str | Path, every: int = 1):
        self.path, self.every, self.end = os.path.abspath(path), every, None
        self._numbers: dict[float, int] = {}  # time -> frame, of all frames up to the farthest that was reached
        self._marks: dict[int, int] = {}  # frame -> checksum of its picture
        self._recent: dict[int, np.ndarray] = {}
        self.restart()

    def restart(self) -> None:
        self._capture, self._process = _open_video(self.path), os.getpid()
        self._here, self._from_start = -1, True

    def close(self) -> None:
        """Free the decoder; what is known is kept, and reading opens it again."""
        self._capture = None
        self._recent.clear()

    @property
    def header_count(self) -> int:
        """How many frames the file says it has; 0 if it does not say."""
        return max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def count(self) -> int:
        """How many frames there are, found by decoding them all."""
        self.restart()
        while self._step():
            pass
        return self._here + 1

    def ends_early(self) -> bool:
        """Whether the last frame, which `count` has met, lies before the end by the header's count and rate."""
        rate, last = self._capture.get(cv2.CAP_PROP_FPS), max(self._numbers, default=0.0)
        apart = last / max(1, self._here)  # where the rate varies: the mean
        return rate > 0 and last + 2 * apart < 1000 * self.header_count / rate

    def read(self, number: int) -> np.ndarray:
        """Frame `number`, from 0, as (H, W, 3) uint8 RGB, upright.

        Raises:
            UnreadableImage: if the video ends before.
        """
        if self.end is None or number < self.end:
            if self._capture is None or self._process != os.getpid():  # a fork shares the place in the file
                self.restart()
            if number not in self._recent and not (self._jump(number) and self._walk(number)):
                self.restart()
                self._walk(number)
        if number not in self._recent:
            why = "it cannot be decoded" if self.end is None else f"it ends after {self.end} frames"
            raise UnreadableImage(f"video {self.path}: no frame {number}: {why}")
        return self._recent[number]

    def _jump(self, number: int) -> bool:
        """Be before or at that frame, if possible near; False if no seek led to a place that is known."""
        goal = min(number, len(self._numbers) - 1) // self.every * self.every
        if self._here < number and goal <= self._here + self.NEAR:
            return True
        for back in self.BACK:
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, max(0, goal - back))
            landed = self._numbers.get(self._capture.get(cv2.CAP_PROP_POS_MSEC)) if self._capture.grab() else None
            if landed is not None and landed <= goal:
                self._here, self._from_start = landed, False
                return self._look(number)
        return False

    def _walk(self, number: int) -> bool:
        """Read on to that frame or to the end; False if another picture is met than was there before."""
        while self._here < number:
            if not self._step():
                self.end = self._here + 1
                return True
            if not self._look(number):
                return False
        return True

    def _step(self) -> bool:
        if not self._capture.grab():
            return False
        self._here += 1
        if self._here == len(self._numbers):
            self._numbers.setdefault(self._capture.get(cv2.CAP_PROP_POS_MSEC), self._here)
        return True

    def _look(self, number: int) -> bool:
        """Keep this frame's picture if it is wanted; False if it is not the one that was there before."""
        if self._here % self.every and self._here != number:
            return True
        done, raw = self._capture.retrieve()
        if not done:
            return self._from_start  # there is no better place to read it from
        picture = cv2.cvtColor(raw, cv2.COLOR_BGR2RGB)
        mark = zlib.crc32(picture)
        if not self._from_start and self._marks.get(self._here, mark) != mark:
            return False
        self._marks[self._here] = mark
        self._recent[self._here] = picture
        if len(self._recent) > self.RECENT:
            del self._recent[next(iter(self._recent))]
        return True


def count_frames(path: str | Path) -> tuple[int, bool]:
    """How many frames a video has, and whether it ends before its header says.

    A header's count is often an estimate, of length and rate. It is believed if the file has as many packets; else all
    frames are decoded and counted.

    Raises:
        UnreadableImage: if it cannot be opened.
    """
    reader = VideoReader(path)
    if reader.header_count == _packets(reader.path):
        return reader.header_count, False
    count = reader.count()
    return count, count < reader.header_count and reader.ends_early()


_READERS: dict[tuple[Path, int], VideoReader] = {}  # the one used last is last
_OPEN_READERS = 4  # a decoder of large pictures holds tens of megabytes
_ONE_AT_A_TIME = threading.Lock()


def read_frame(path: Path, number: int, every: int = 1) -> np.ndarray:
    """Frame `number` of a video, as `VideoReader.read` gives it, by a reader that is kept for the next one."""
    key = path, every
    with _ONE_AT_A_TIME:
        _READERS[key] = reader = _READERS.pop(key, None) or VideoReader(path, every)
        for idle in list(_READERS.values())[-1 - _OPEN_READERS : -_OPEN_READERS]:
            idle.close()
        return reader.read(number)


def _packets(path: str) -> int:
    """How many pieces of data the file has for its pictures, mostly one a frame; none of them is decoded."""
    capture, count = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1]), 0
    while capture.grab():
        count += 1
    return count


def _open_video(path: str) -> cv2.VideoCapture:
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe would be waited for
        raise UnreadableImage(f"video {path}: not a regular file")
    # one thread: processes share the cores already, and a decoder's threads would not survive a fork
    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    if not capture.isOpened():
        raise UnreadableImage(f"video {path}: {'cannot be opened' if os.path.exists(path) else 'no such file'}")
    return capture
