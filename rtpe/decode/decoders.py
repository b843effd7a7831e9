"""From settings to what reads people from maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any

from torch import nn

from rtpe.decode.center_offsets import CenterSettings, from_centers
from rtpe.decode.grouping import GroupingSettings, group
from rtpe.decode.higher_hrnet import PublishedSettings, parse
from rtpe.decode.settings import DecodeSettings
from rtpe.errors import UserError
from rtpe.structures import PoseMaps, Poses


@dataclass(frozen=True)
class Decoder:
    """A way to read people from maps.

    Attributes:
        read: from the maps of an image to its people.
        settings: its own, whose fields it takes from `DecodeSettings`.
        heads: the maps that it needs besides heatmaps.
    """

    read: Callable[[PoseMaps, Any], Poses]
    settings: type
    heads: frozenset[str]


DECODERS = {  # the first one whose heads a net has is `auto`
    "centers": Decoder(from_centers, CenterSettings, frozenset({"centers", "offsets"})),
    "tags": Decoder(group, GroupingSettings, frozenset({"tags"})),
    "higher_hrnet": Decoder(parse, PublishedSettings, frozenset({"tags"})),
}


def make_decoder(settings: DecodeSettings, of: nn.Module | None = None) -> Callable[[PoseMaps], Poses]:
    """From the maps of an image to its people.

    Args:
        of: the net that is to give the maps.

    Raises:
        UserError: for an unknown grouping, one that the net has no maps for, or a setting that makes no sense.
    """
    settings = with_grouping(settings, of)
    if settings.grouping not in DECODERS:
        raise UserError(f"unknown grouping {settings.grouping!r}: choose from auto, {', '.join(DECODERS)}")
    given, chosen = [] if of is None else groupings_of(of), DECODERS[settings.grouping]
    if given and settings.grouping not in given:
        lacking = min(chosen.heads)
        raise UserError(f"the net has no {lacking}: pass --decode.grouping {given[0]}")
    names = {each.name for each in fields(chosen.settings)}
    own = {name: each for name, each in asdict(settings).items() if name in names}
    return partial(chosen.read, settings=chosen.settings(**own))


def with_grouping(settings: DecodeSettings, of: nn.Module | None = None) -> DecodeSettings:
    """The settings with a grouping in place of `auto`: the best that the net has, tags where there is no net to ask."""
    given = [] if of is None else groupings_of(of)
    return replace(settings, grouping=next(iter(given), "tags")) if settings.grouping == "auto" else settings


def groupings_of(of: nn.Module) -> list[str]:
    """How the people of a net's maps can be grouped, the best way first."""
    heads = set(getattr(of, "heads", ["tags"]))
    return [name for name, each in DECODERS.items() if each.heads <= heads]


def reading(settings: DecodeSettings) -> dict[str, Any]:
    """What a predictor says of how it reads people; tags go unsaid, as before there was a choice: old caches go on."""
    said = asdict(settings)
    return said if said["grouping"] != "tags" else {name: each for name, each in said.items() if name != "grouping"}
