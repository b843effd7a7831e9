"""Run a heavy teacher once over all images and keep what it saw; the same as `rtpe cache build`.

    python teacher_inference.py --config hpe0001 --data.root datasets/coco --data.split train2017 \
        --cache.path caches/hpe0001-train
"""

import sys

from rtpe.cli import run

if __name__ == "__main__":
    sys.exit(run("cache build", None, "teacher_inference.py"))
