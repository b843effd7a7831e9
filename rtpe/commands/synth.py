"""Draw the synthetic world.

rtpe synth --out datasets/synthetic --train 4000 --val 500 --seed 0
"""

from __future__ import annotations

from rtpe.config import Synth
from rtpe.data.synthetic import write_world


def synth(settings: Synth) -> None:
    """Write both splits; a finished one with the same settings is kept."""
    size_hw = (settings.size, settings.size)
    for split, count in (("train2017", settings.train), ("val2017", settings.val)):
        written = write_world(settings.out, split, count, settings.seed, size_hw, settings.workers)
        print(f"{written}: {count} images")
