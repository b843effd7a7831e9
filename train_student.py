"""Train a light student on what a teacher cached; the same as `rtpe train`.

    python train_student.py --config student_s --data.root datasets/coco \
        --cache.path caches/hpe0001-train --out runs/s
    python train_student.py --config student_s --loss.labels 0 --train.holdout 0 --out runs/unlabelled
    python train_student.py --config runs/s/settings.yaml --out runs/again

The second one uses no label at all; the third repeats a recorded run.
"""

import sys

from rtpe.cli import run

if __name__ == "__main__":
    sys.exit(run("train", None, "train_student.py"))
