"""Settings of a study of norms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from rtpe.settings.limits import SEED, SOME_TEXT, Idle, at_least, each, limited
from rtpe.training.settings import Train


@dataclass(frozen=True)
class StudyNorms(Train):
    """Train an HRNet with its batch norms and ReLUs and without, with several seeds, and chart the score of each epoch.

    Attributes:
        variants: of default, no_norm_stem, no_norm_act_stem, no_norm and no_norm_act; empty for all.
        seeds: of the trainings of each variant; they stand in for --train.seed.
        jobs: trainings at once.
        out: folder of the runs, the charts and the table; what was trained there is not trained again.
    """

    variants: list[str] = field(default_factory=list)
    seeds: list[int] = limited([0, 1, 2], each(SEED))
    jobs: int = limited(1, at_least(1))
    out: str = limited("runs/norms", SOME_TEXT)

    def idle(self) -> Iterator[Idle]:
        """A study refuses `train.holdout 0` in words of its own."""
        return (each for each in super().idle() if each[0] != "train.holdout_split")
