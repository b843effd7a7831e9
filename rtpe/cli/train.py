r"""Train a light student on what a teacher cached, or a teacher on labels.

    rtpe train --config student_s --cache.path caches/teacher --out runs/s
    rtpe train --config student_s --loss.labels 0 --train.holdout 0 --out runs/unlabelled
    rtpe train --config student_s --data.root photos --cache.path caches/photos --out runs/photos
    rtpe train --config student_s --data.labels 0.1 --cache.path caches/teacher \
        --more '[{root: photos, cache: caches/photos}]' --out runs/more
    rtpe train --config runs/s/settings.yaml --out runs/again
    torchrun --standalone --nproc-per-node 2 train_student.py --config student_s --out runs/s2

The second one uses no label at all; the third one has none, for it learns from a folder of photographs and videos; the
fourth one uses the labels of a tenth of the images, and what the teacher said of these, of the others and of a folder
of photographs; the fifth one repeats a recorded run; the last one does what `--train.processes 2` does.

A run that was stopped goes on where it stood when it is started again with the same `--out`.
"""

from __future__ import annotations

from rtpe.training.settings import Train


def run(settings: Train) -> None:
    """Train as the settings say."""
    from rtpe.training.run import train

    train(settings)
