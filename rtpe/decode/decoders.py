"""From settings to what reads people from maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields, replace
from functools import partial
from typing import Any

from torch import nn

from rtpe.decode.center_offsets import CentreSettings, from_centres
from rtpe.decode.grouping import GroupingSettings, group
from rtpe.decode.higher_hrnet import PublishedSettings, parse
from rtpe.decode.settings import DecodeSettings
from rtpe.errors import UserError
from rtpe.structures import PoseMaps, Poses

GROUPINGS = {
    "centres": (from_centres, CentreSettings),
    "tags": (group, GroupingSettings),
    "published": (parse, PublishedSettings),
}
READ = {"published": "tags"}  # what a grouping reads, where it is not called after that


def make_decoder(settings: DecodeSettings, of: nn.Module | None = None) -> Callable[[PoseMaps], Poses]:
    """From the maps of an image to its people.

    Args:
        of: the net that is to give the maps.

    Raises:
        UserError: for an unknown grouping, one that the net has no maps for, or a setting that makes no sense.
    """
    settings = with_grouping(settings, of)
    if settings.grouping not in GROUPINGS:
        raise UserError(f"unknown grouping {settings.grouping!r}: choose from auto, {', '.join(GROUPINGS)}")
    given = [] if of is None else groupings_of(of)
    if given and settings.grouping not in given:
        raise UserError(
            f"the net has no {READ.get(settings.grouping, settings.grouping)}: pass --decode.grouping {given[0]}"
        )
    read, own = GROUPINGS[settings.grouping]
    names = {each.name for each in fields(own)}
    return partial(read, settings=own(**{name: each for name, each in asdict(settings).items() if name in names}))


def with_grouping(settings: DecodeSettings, of: nn.Module | None = None) -> DecodeSettings:
    """The settings with a grouping in place of `auto`: the best that the net has, tags where there is no net to ask."""
    given = [] if of is None else groupings_of(of)
    return replace(settings, grouping=next(iter(given), "tags")) if settings.grouping == "auto" else settings


def groupings_of(of: nn.Module) -> list[str]:
    """What a net tells people apart by, the best first: tags unless it says otherwise, others if it says so."""
    numbers = getattr(of, "numbers", {})
    has = {"tags": numbers.get("tags", True), "centres": numbers.get("centres", False)}
    return [name for name in GROUPINGS if has[READ.get(name, name)]]


def reading(settings: DecodeSettings) -> dict[str, Any]:
    """What a predictor says of how it reads people; tags go unsaid, as before there was a choice: old caches go on."""
    said = asdict(settings)
    return said if said["grouping"] != "tags" else {name: each for name, each in said.items() if name != "grouping"}
