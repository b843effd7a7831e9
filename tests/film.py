"""A film that several tests share: no two of its frames are alike."""

import cv2
import numpy as np

COUNT = 80  # frames: more than twice what a reader reads on rather than jumps
KINDS = {"avi": "MJPG", "mp4": "mp4v", "mkv": "VP80", "mov": "mp4v"}  # key frames alone, and with frames between
COLOURS = np.random.default_rng(0).integers(0, 256, (COUNT, 4, 3))


def write_video(path, count=COUNT):
    """Four blocks of random colour a frame, 64 x 48 pixels, 25 frames a second, by the codec of its suffix."""
    code = cv2.VideoWriter_fourcc(*KINDS[path.suffix[1:]])
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, 25, (64, 48))
    for colours in COLOURS[:count].astype(np.uint8):
        writer.write(cv2.resize(colours.reshape(2, 2, 3)[..., ::-1], (64, 48), interpolation=cv2.INTER_NEAREST))
    writer.release()
    return path


def in_order(path):
    """All frames as they come, RGB: the oracle."""
    capture, frames = cv2.VideoCapture(str(path)), []
    while (got := capture.read())[0]:
        frames.append(got[1][..., ::-1])
    return frames
