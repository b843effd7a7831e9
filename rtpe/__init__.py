"""rtpe: distil heavy human-pose networks into light real-time ones, from a small checked cache."""

import os

# before OpenCV is loaded: a PNG of 100 kB may stand for 2^30 pixels, which with a copy are 6 GB
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 28))

__version__ = "0.1.0"
