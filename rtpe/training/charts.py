"""The curves of a training's loss terms."""

from __future__ import annotations

from collections.abc import Sequence

from rtpe.report.page import Chart, curves
from rtpe.training.terms import TERMS

ALL = {"heatmaps": ("loss", "holdout labels")}  # besides the terms of that chart
TITLES = {"heatmaps": "Loss: all terms and heatmaps"}


def loss_charts(history: Sequence[dict]) -> list[Chart]:
    """The loss terms of a run; those of maps and those of tags and masks differ tenfold, so each kind has its own."""
    charts = []
    for kind in dict.fromkeys(term.chart for term in TERMS.values()):
        names = (*ALL.get(kind, ()), *(name for name, term in TERMS.items() if term.chart == kind))
        if lines := curves(history, names):
            charts.append(Chart(TITLES.get(kind, f"Loss: {kind}"), "step", "mean of an epoch", lines))
    return charts
