"""Images that a training cannot read: left out, counted over all processes, and said once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from lightning_fabric import Fabric

from rtpe.data.load import Images
from rtpe.errors import UserError
from rtpe.images import UnreadableImage, read_image


class LeftOut:
    """What was left out so far.

    Attributes:
        found: why, by the indices of images that this process met in training.
    """

    def __init__(self):
        self.found: dict[int, str] = {}
        self._said: dict[str, int] = {}

    def of_training(self, fabric: Fabric, count: int) -> None:
        """Count over all processes, which all must come here; the first one says it, if there are more than before."""
        self._say(fabric, "images", _everywhere(fabric, self.found).values(), count)

    def of_holdout(self, fabric: Fabric, reasons: Sequence[str], count: int) -> None:
        """Say, in the first process alone, which held-out images are not scored."""
        self._say(fabric, "held-out images", reasons, count)

    def _say(self, fabric: Fabric, what: str, reasons: Sequence[str], count: int) -> None:
        reasons = sorted(reasons)
        if fabric.global_rank == 0 and len(reasons) > self._said.get(what, 0):
            print(f"left out {len(reasons)} of {count} {what}, which cannot be read, such as: {reasons[0]}", flush=True)
            self._said[what] = len(reasons)


def _everywhere(fabric: Fabric, found: Mapping[int, str]) -> dict[int, str]:
    if fabric.world_size == 1:
        return dict(found)
    each: list[dict[int, str]] = [{}] * fabric.world_size
    torch.distributed.all_gather_object(each, dict(found))
    return {place: why for one in each for place, why in one.items()}


def refuse_unreadable(images: Images) -> None:
    """Look before hours have passed whether there is an image that can be read.

    Raises:
        UserError: if there is none, of one or more.
    """
    why = None
    for _, _, source in images.sources():
        try:
            read_image(source)
            return
        except UnreadableImage as error:
            why = why or error
    if why:
        raise UserError(f"none of {len(images)} held-out images can be read ({why}): check --data.root") from why
