"""rtpe demo"""

from __future__ import annotations

from dataclasses import dataclass

from rtpe.settings.limits import SOME_TEXT, Checked, at_least, limited
from rtpe.settings.parse import as_dict


@dataclass(frozen=True)
class Demo(Checked):
    """The whole job in small: render a world, build a cache, train a student, score everything, write a report.

    Attributes:
        out: folder of the demo's run.
        data: folder of the synthetic world.
        images: to learn from.
        val: images to score on.
        epochs: of the training.
    """

    out: str = limited("runs/demo", SOME_TEXT)
    data: str = "datasets/demo"
    images: int = limited(2000, at_least(1))
    val: int = limited(200, at_least(1))
    epochs: int = limited(9, at_least(1))


def run(settings: Demo) -> None:
    """Run the whole job."""
    from rtpe.demo import demo

    demo(**as_dict(settings))
