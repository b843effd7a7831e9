"""Charts as SVG: lines through points, and bands around them; inline in a report, or a file of their own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np

from rtpe.errors import UserError
from rtpe.files import write_file

COLOURS = ("#0072b2", "#d55e00", "#007a5a", "#b3478f", "#2f94d0", "#8a6400")  # on white paper
_WIDTH, _HEIGHT = 480, 300
_DASHES = ("", "7 4", "2 3", "9 3 2 3", "14 4")
_MARKERS = (  # relative to their center
    "m-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0z",
    "m-3 -3h6v6h-6z",
    "m0 -4.2l4 7h-8z",
    "m0 -4.5l4.5 4.5l-4.5 4.5l-4.5 -4.5z",
)
_ROW, _TITLE, _COLUMN = 19, 30, 240  # of a file: heights of a row of the legend and of the title, width of an entry
_SCALE = 1.5  # pixels of a file's picture over its units
_STYLE = (
    "text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Liberation Sans',sans-serif;font-size:12.5px;"
    "fill:#5b6270}"
    ".title{font-size:14px;font-weight:600;fill:#1c1e22}.grid,.axis,.line{fill:none}.grid{stroke:#dfe2e8}"
    ".axis{stroke:#5b6270}.line{stroke-width:2;stroke-linejoin:round}.mark{stroke:#fff}.band{opacity:.15}"
) + "".join(f".s{n} .line{{stroke:{c}}}.s{n} .mark,.s{n} .band{{fill:{c}}}" for n, c in enumerate(COLOURS))


@dataclass(frozen=True)
class Chart:
    """Lines through points: `series` maps a name to its xs and ys, of equal length; what is not finite is a gap.

    Attributes:
        bands: of some of the series, the lower and upper ends of a band around it, one each for every x.

    Raises:
        UserError: if xs and ys differ in length, or a band is of no series.
    """

    title: str
    x_label: str
    y_label: str
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    note: str = ""
    bands: Mapping[str, tuple[Sequence[float], Sequence[float]]] = field(default_factory=dict)

    def __post_init__(self):
        for name, (xs, ys) in self.series.items():
            for each in (ys, *self.bands.get(name, ())):
                if len(xs) != len(each):
                    raise UserError(
                        f"chart {self.title!r}: expected as many ys as xs of {name!r}, got {len(each)}, {len(xs)}"
                    )
        if unknown := set(self.bands) - set(self.series):
            raise UserError(f"chart {self.title!r}: a band of {min(unknown)!r}, which is no series of it")


def curves(history: Sequence[Mapping], names: Sequence[str], x: str = "step") -> dict[str, tuple[list, list]]:
    """Columns of a history (see `read_history`) as series of a chart; a name that never occurs is left out.

    >>> curves([{"step": 1, "loss": 0.5}, {"step": 2, "loss": None}, {"step": 3, "AP": 0.1}], ["loss", "AP", "AR"])
    {'loss': ([1, 2], [0.5, nan]), 'AP': ([3], [0.1])}
    """
    series = {}
    for name in names:
        rows = [row for row in history if name in row and x in row]
        if rows:
            series[name] = [row[x] for row in rows], [math.nan if row[name] is None else row[name] for row in rows]
    return series


def write_chart(path: str | Path, chart: Chart) -> None:
    """Write a chart as an SVG file that needs nothing else, with title, legend and note, whole or not at all."""
    path, names = Path(path), list(chart.series)
    rows = math.ceil(len(names) / 2)
    height = _TITLE + _ROW * rows + _HEIGHT + (_ROW + 4) * bool(chart.note)
    parts = [f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>']
    parts.append(f'<text class="title" x="12" y="20">{escape(chart.title)}</text>')
    for number, name in enumerate(names):
        left, top = 12 + _COLUMN * (number % 2), _TITLE + _ROW * (number // 2)
        parts.append(f'<g transform="translate({left} {top})">{_swatch(number)}{_words(42, 11, name, "start")}</g>')
    parts.append(f'<g transform="translate(0 {_TITLE + _ROW * rows})">{_drawing(chart)}</g>')
    parts.append(_words(12, height - 8, chart.note, "start") if chart.note else "")
    size = f'width="{_WIDTH * _SCALE:g}" height="{height * _SCALE:g}" viewBox="0 0 {_WIDTH} {height}"'
    page = f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{_STYLE}</style>{"".join(parts)}</svg>\n'
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, page.encode(errors="xmlcharrefreplace"))


def chart_svg(chart: Chart) -> str:
    """A chart as inline SVG, without its title and legend; the page has the styles."""
    label = escape(f"{chart.title}: {chart.y_label} over {chart.x_label}")
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{_drawing(chart)}</svg>'


def chart_legend(chart: Chart) -> str:
    """The legend in HTML, where it can wrap."""
    box = 'class="swatch" viewBox="0 0 36 14"'
    items = [f"<li><svg {box}>{_swatch(i)}</svg>{escape(name)}</li>" for i, name in enumerate(chart.series)]
    return f'<ul class="legend">{"".join(items)}</ul>'


def _drawing(chart: Chart) -> str:
    """Axes, bands and lines, in a frame of _WIDTH x _HEIGHT."""
    lines = [_drawable(xs, ys) for xs, ys in chart.series.values()]
    bands = {name: [_drawable(chart.series[name][0], ends) for ends in both] for name, both in chart.bands.items()}
    drawn = np.concatenate([*lines, *(end for both in bands.values() for end in both), np.zeros((0, 2))])
    drawn = drawn[np.isfinite(drawn[:, 0])]
    (x_range, x_ticks), (y_range, y_ticks) = _axis(drawn[:, 0], tight=True), _axis(drawn[:, 1], tight=False)
    x_names, y_names = _tick_names(x_ticks), _tick_names(y_ticks)
    left, top, right, bottom = 14 + 7 * max(map(len, y_names)), 28, _WIDTH - 16, _HEIGHT - 44
    center = (left + right) / 2
    parts = [_words(2, 14, chart.y_label, "start"), _words(center, _HEIGHT - 6, chart.x_label)]
    for y, name in zip(np.interp(y_ticks, y_range, (bottom, top)), y_names):
        parts += [f'<path class="grid" d="M{left} {y:.1f}H{right}"/>', _words(left - 6, y + 4, name, "end")]
    for x, name in zip(np.interp(x_ticks, x_range, (left, right)), x_names):
        parts += [f'<path class="axis" d="M{x:.1f} {bottom}v5"/>', _words(x, bottom + 19, name)]
    parts.append(f'<path class="axis" d="M{left} {bottom}H{right}"/>')

    def places(xy: np.ndarray) -> np.ndarray:
        return np.column_stack(
            [np.interp(xy[:, 0], x_range, (left, right)), np.interp(xy[:, 1], y_range, (bottom, top))]
        )

    numbers = {name: number for number, name in enumerate(chart.series)}
    parts += [_band(numbers[name], *(places(end) for end in both)) for name, both in bands.items()]
    parts += [_line(number, places(line)) for number, line in enumerate(lines)]
    if not len(drawn):
        parts.append(_words(center, (top + bottom) / 2, "no data"))
    return "".join(parts)


def _words(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _drawable(xs: Sequence[float], ys: Sequence[float]) -> np.ndarray:
    """Points (N, 2) float64, both NaN where either cannot be drawn."""
    xy = np.array([[math.nan if v is None else float(v) for v in pair] for pair in zip(xs, ys)]).reshape(-1, 2)
    xy[~(np.abs(xy) < 1e30).all(1)] = math.nan  # beyond it the arithmetic of the axes would overflow
    return xy


def _axis(values: np.ndarray, tight: bool, about: int = 6) -> tuple[tuple[float, float], np.ndarray]:
    """The range of an axis, and its round ticks; a tight range ends with the values, another with the ticks."""
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    size, least = max(abs(low), abs(high)), 1.0 if high - low >= 1 and (values == values.round()).all() else 0.0
    if high - low <= 1e-9 * size or size < 1e-25:
        pad = 0.1 * size if size > 1e-25 else 1.0
        low, high = low - pad, high + pad
    raw = max((high - low) / about, least if tight else 0.0)  # there is no epoch one and a half
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    first, last = (math.ceil, math.floor) if tight else (math.floor, math.ceil)
    slack = 1e-6 if tight else -1e-6  # a value on a tick, up to rounding, needs no tick more
    ticks = np.arange(first(low / step - slack), last(high / step + slack) + 1) * step
    return (low, high) if tight else (float(ticks[0]), float(ticks[-1])), ticks


def _tick_names(ticks: np.ndarray) -> list[str]:
    step, size = ticks[1] - ticks[0], np.abs(ticks).max()
    if size >= 1e9 or step < 1e-4:
        return [f"{tick:.{math.ceil(math.log10(size / step)) + 1}g}" for tick in ticks]
    for unit, least, letter in ((1e6, 1e6, "M"), (1e3, 1e4, "k")):
        if size >= least and step >= unit / 10:
            return [f"{tick / unit:.6g}{letter}" if tick else "0" for tick in ticks]
    decimals = max(0, math.ceil(-math.log10(step) - 1e-9))
    return [f"{round(tick, decimals) + 0.0:,.{decimals}f}" for tick in ticks]  # + 0.0: never "-0"


def _band(number: int, low: np.ndarray, high: np.ndarray) -> str:
    """What lies between two lines of equal length; not where either has a gap."""
    there = np.isfinite(low[:, 0]) & np.isfinite(high[:, 0])
    around = np.concatenate([low[there], high[there][::-1]])
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in around) + "z" if len(around) else ""
    return f'<g class="s{number % len(COLOURS)}"><path class="band" d="{path}"/></g>' if path else ""


def _line(number: int, xy: np.ndarray) -> str:
    """One series, broken at its gaps; colour, dashes and marker differ together, for print and for the colour-blind."""
    runs = np.split(xy, np.flatnonzero(np.isnan(xy[:, 0])))
    runs = [run[np.isfinite(run[:, 0])] for run in runs]
    paths = "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in run) for run in runs if len(run) > 1)
    dots = [point for run in runs if len(run) == 1 for point in run]
    seen = xy[np.isfinite(xy[:, 0])]
    if len(seen):
        dots += list(seen[np.unique(np.linspace(0, len(seen) - 1, min(len(seen), 10)).round().astype(int))])
    dash = f' stroke-dasharray="{_DASHES[number % len(_DASHES)]}"' if number % len(_DASHES) else ""
    line = f'<path class="line"{dash} d="{paths}"/>' if paths else ""
    marker = _MARKERS[number % len(_MARKERS)]
    marks = "".join(f'<path class="mark" d="M{x:.1f} {y:.1f}{marker}"/>' for x, y in dots)
    return f'<g class="s{number % len(COLOURS)}">{line}{marks}</g>'


def _swatch(number: int) -> str:
    return _line(number, np.array([[5.0, 7.0], [31.0, 7.0]]))
