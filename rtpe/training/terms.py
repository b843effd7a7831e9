"""The loss terms: one row each, from which weights, `--help`, the checks of a net's heads and charts follow.

`rtpe.training.compute` has a function of the same name for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """A loss term.

    Attributes:
        help: what it compares.
        weight: the default; 0 leaves it out.
        heads: of the net, without which there is no such term.
        chart: the chart that its curve is in.
    """

    help: str
    weight: float = 0.0
    heads: tuple[str, ...] = ()
    chart: str = ""


HEATMAPS, GROUPING, FEATURES = "heatmaps", "tags, centers and mask", "features of the stem"
TERMS: Mapping[str, Term] = {
    "teacher": Term("heatmaps against the teacher's.", 1.0, ("heatmaps",), HEATMAPS),
    "labels": Term("heatmaps against the labels'; 0 trains without any label.", 1.0, ("heatmaps",), HEATMAPS),
    "pull": Term("tags within a person towards their mean.", 0.01, ("tags",), GROUPING),
    "push": Term("mean tags of two people apart.", 0.01, ("tags",), GROUPING),
    "person": Term("the attention maps against the person masks.", 0.0, ("attention",), GROUPING),
    "center": Term("the heatmap of people's centers.", 0.0, ("centers",), GROUPING),
    "offset": Term("the offsets from centers to joints.", 0.0, ("offsets",), GROUPING),
    "shift": Term("the places of joints in their cells.", 0.0, ("shifts",), GROUPING),
    "stem": Term(
        "the features of the net's own stem against those of the stem that --net.distill_stem_from names.",
        0.0,
        (),
        FEATURES,
    ),
}
