"""Whether all maps that a net gives are taught, and all that is taught are given."""

from __future__ import annotations

from torch import nn

from rtpe import build
from rtpe.config import Train
from rtpe.skeleton import Skeleton


def refuse_untaught(settings: Train, net: nn.Module, skeleton: Skeleton) -> None:
    """Maps that nobody teaches, or that are taught to a net without them, would only show when all is done.

    Raises:
        ValueError: if there are such maps, or people are to be told apart by some that the net has not.
    """
    build.decoder(settings.decode, net)
    limbs = len(skeleton.limbs)
    if settings.loss.limb and not limbs:
        raise ValueError(f"loss.limb: {skeleton.name} has no limbs to learn: pass --loss.limb 0")
    for name, maps, number in (
        ("centre", "centres", "centres true"),
        ("offset", "centres", "centres true"),
        ("limb", "pafs", f"limbs {limbs}"),
    ):
        weight, has = getattr(settings.loss, name), maps in build.groupings(net)
        if has and not weight:
            raise ValueError(f"loss.{name}: must be above 0 for a net with {maps}, got {weight}: pass --loss.{name}")
        if weight and not has:
            raise ValueError(f"loss.{name}: the net has no {maps}: pass --net.numbers.{number}, or a weight of 0")
    if settings.loss.limb and net.numbers["limbs"] != limbs:
        raise ValueError(
            f"net.numbers.limbs: expected {limbs}, those of {skeleton.name}, or 0, got {net.numbers['limbs']}"
        )
