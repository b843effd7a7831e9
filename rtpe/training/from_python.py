"""Train from Python."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rtpe.cache import Cache
from rtpe.data.own import OwnDataset, as_dataset
from rtpe.errors import UserError
from rtpe.report.log import HISTORY, read_history
from rtpe.settings.parse import settings_of
from rtpe.training.resume import WEIGHTS
from rtpe.training.run import train as run
from rtpe.training.settings import Train


@dataclass(frozen=True)
class Run:
    """A training that has ended, in its folder: `settings.yaml`, `report.html`, TensorBoard's files and these.

    Attributes:
        out: the folder.
    """

    out: Path

    @property
    def weights(self) -> Path:
        """Of the best epoch, or the last where no images were held out; `rtpe.load` reads them."""
        return self.out / WEIGHTS

    @property
    def history(self) -> list[dict]:
        """The loss terms and scores of each epoch."""
        return read_history(self.out / HISTORY)

    @property
    def scores(self) -> dict[str, float]:
        """On the images that were held out, after the best epoch; empty if there are none."""
        scored = [row for row in self.history if row.get("AP") is not None]
        return max(scored, key=lambda row: row["AP"], default={})


def train(
    recipe: str = "",
    data: Any = None,
    cache: Cache | str | Path | None = None,
    out: str | Path = "runs/student",
    **settings: Any,
) -> Run:
    """Train a student on what a teacher cached, on labels, or on both; goes on where a run in that folder stopped.

    Args:
        recipe: YAML file, or the name of one that comes with rtpe, such as student_s.
        data: the images, of `rtpe.Dataset`, or what fits `rtpe.protocols.Dataset`; by default those of the recipe.
        cache: what a teacher predicted for them.
        out: folder of the run.
        settings: others by their dotted names, such as `**{"train.lr": 4e-3}`.

    Raises:
        UserError: for a wrong setting, or if there is nothing to learn from.
        Diverged: if the loss is no longer finite.
    """
    images = None if data is None else as_dataset(data)
    where = {} if images is None else {"data.split": images.split, "data.skeleton": images.skeleton.name}
    where |= {} if images is None or isinstance(images, OwnDataset) else {"data.root": str(images.root)}
    held = {} if cache is None else {"cache.path": str(cache.path if isinstance(cache, Cache) else cache)}
    chosen = settings_of(Train, recipe, **{**where, **held, "out": str(out), **settings})
    if chosen.train.processes > 1 and not torch.distributed.is_torchelastic_launched():
        raise UserError(
            f"train.processes {chosen.train.processes}: from Python a training is one process: pass 1, or start the "
            "script with torchrun"
        )
    run(chosen, images)
    return Run(Path(out))
