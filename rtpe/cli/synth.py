"""rtpe synth --out datasets/synthetic --train 4000 --val 500 --seed 0"""

from __future__ import annotations

from dataclasses import dataclass

from rtpe.settings.limits import SEED, SOME_TEXT, Checked, at_least, limited, whole

MANY = 10_000_000  # images: no world is larger


@dataclass(frozen=True)
class Synth(Checked):
    """Draw the synthetic world: people in poor painters' photographs, as a COCO data set.

    Attributes:
        out: folder to write.
        train: images in train2017.
        val: images in val2017.
        size: side of the square images in pixels.
        seed: the same seed draws the same world.
        workers: processes that draw.
    """

    out: str = limited("datasets/synthetic", SOME_TEXT)
    train: int = limited(2000, whole(0, MANY))
    val: int = limited(200, whole(0, MANY))
    size: int = limited(320, at_least(32))
    seed: int = limited(0, SEED)
    workers: int = limited(2, at_least(0))


def run(settings: Synth) -> None:
    """Write both splits; a finished one with the same settings is kept."""
    from rtpe.synthetic import write_world

    size_hw = (settings.size, settings.size)
    for split, count in (("train2017", settings.train), ("val2017", settings.val)):
        written = write_world(settings.out, split, count, settings.seed, size_hw, settings.workers)
        print(f"{written}: {count} images")
