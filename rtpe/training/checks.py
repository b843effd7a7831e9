"""Whether all maps that a net gives are taught, and all that is taught are given."""

from __future__ import annotations

from torch import nn

from rtpe.decode.decoders import make_decoder
from rtpe.errors import UserError
from rtpe.training.settings import Train

TAUGHT = {"person": "attention", "centre": "centres", "offset": "centres"}  # the loss terms of what a net may lack


def refuse_untaught(settings: Train, net: nn.Module) -> None:
    """Maps that nobody teaches, or that are taught to a net without them, would only show when all is done.

    Raises:
        UserError: if there are such maps, or people are to be told apart by some that the net has not.
    """
    make_decoder(settings.decode, net)
    numbers = getattr(net, "numbers", {})
    for name, part in TAUGHT.items():
        weight, has = getattr(settings.loss, name), numbers.get(part)
        if has and not weight:
            raise UserError(f"loss.{name}: must be above 0 for a net with {part}, got {weight}: pass --loss.{name}")
        if weight and not has:
            raise UserError(f"loss.{name}: the net has no {part}: pass --net.numbers.{part} true, or a weight of 0")
