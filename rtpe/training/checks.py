"""Whether each head of a net has a loss, and each loss its head."""

from __future__ import annotations

from torch import nn

from rtpe.decode.decoders import make_decoder
from rtpe.errors import UserError
from rtpe.training.settings import Train
from rtpe.training.terms import TERMS

OPTIONAL = ("heatmaps", "tags")  # every net has the first; tags may stay unlearnt where people come from elsewhere


def check_heads_have_losses(settings: Train, net: nn.Module) -> None:
    """Maps without a loss, or a loss without its maps, would only show when all is done.

    Raises:
        UserError: if there are such maps or losses, or people cannot be grouped by the maps of the net.
    """
    make_decoder(settings.decode, net)
    heads = heads_of(net)
    for name, term in TERMS.items():
        weight = getattr(settings.loss, name)
        for head in set(term.heads) - set(OPTIONAL):
            if head in heads and not weight:
                raise UserError(f"loss.{name}: must be above 0 for a net with {head}, got {weight}: pass --loss.{name}")
            if weight and head not in heads:
                raise UserError(f"loss.{name}: the net has no {head}: leave it at 0, or choose a net with that head")


def heads_of(net: nn.Module) -> set[str]:
    """The heads of a net, besides heatmaps."""
    named = set(getattr(net, "heads", ())) - {"heatmaps"}
    return named | ({"attention"} if getattr(net, "attention", None) is not None else set())
