"""Settings of decoding, from maps to people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rtpe.settings.limits import NULL, Checked, above, at_least, limited


@dataclass(frozen=True)
class DecodeSettings(Checked):
    """From maps to people; of these a top-down net knows `threshold` and `refine`, a network in a file none.

    Attributes:
        grouping: what tells people apart, centers (with offsets) or tags, for which the net must have been trained; or
            higher_hrnet: tags, read as the authors of HigherHRNet do (the next three count, and their own constants);
            auto is the first of them that the net has.
        threshold: least height of a peak.
        tag_threshold: tags closer than this belong to one person.
        max_people: at most so many an image.
        refine: argmax, quarter or dark; corner is argmax as the published readout head has it, half a cell off; shifts,
            with centers alone, is what the net says of the place in the cell.
        fill_threshold: minimum score of a peak that may fill a missing joint; with centers, minimum heatmap value where
            the offset points; null disables filling.
    """

    grouping: Literal["auto", "centers", "tags", "higher_hrnet"] = "auto"
    threshold: float = limited(0.1, at_least(0))
    tag_threshold: float = limited(1.0, above(0))
    max_people: int = limited(30, at_least(1))
    refine: Literal["argmax", "quarter", "dark", "corner", "shifts"] = "dark"
    fill_threshold: float | None = limited(0.05, at_least(0) | NULL)
