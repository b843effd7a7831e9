"""Reports: one self-contained HTML file with tables, charts and pictures, for a screen, a phone or a printer.

Nothing in it is fetched from elsewhere and nothing in it runs: styles, pictures and charts are all inline.
"""

from __future__ import annotations

import base64
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from rtpe.images import encode_jpeg
from rtpe.log import read_history

__all__ = ["Chart", "Picture", "Table", "curves", "read_history", "write_report"]

MISSING = "–"
_LARGER_IS_BETTER = re.compile(r"(?:^|[^A-Za-z])m?(?:AP|AR|PCK)(?![a-gi-z])")  # AP, AP50, APM, mAP, AR, PCK, PCKh@0.5
_WIDE = 700  # pixels; a wider picture scrolls on a phone rather than shrink until nothing can be read


@dataclass(frozen=True)
class Table:
    """Rows of named values; the columns are all the names, in the order in which they first come."""

    title: str
    rows: Sequence[Mapping[str, object]]
    note: str = ""


@dataclass(frozen=True)
class Chart:
    """Lines through points: `series` maps a name to its xs and ys, of equal length; what is not finite is a gap.

    Raises:
        ValueError: if xs and ys differ in length.
    """

    title: str
    x_label: str
    y_label: str
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    note: str = ""

    def __post_init__(self):
        for name, (xs, ys) in self.series.items():
            if len(xs) != len(ys):
                raise ValueError(
                    f"chart {self.title!r}: expected as many ys as xs of {name!r}, got {len(ys)}, {len(xs)}"
                )


@dataclass(frozen=True)
class Picture:
    """A picture, (H, W, 3) uint8 RGB."""

    title: str
    image: np.ndarray
    note: str = ""


def write_report(
    path: str | Path,
    *,
    title: str,
    tables: Sequence[Table] = (),
    charts: Sequence[Chart] = (),
    pictures: Sequence[Picture] = (),
    facts: Mapping[str, str] | None = None,
) -> None:
    """Write the report as one HTML file, whole or not at all.

    Args:
        facts: what it takes to judge or repeat the numbers: command, commit, seed, machine, time.
    """
    path = Path(path)
    items = "".join(f"<dt>{escape(str(k))}</dt><dd>{escape(str(v))}</dd>" for k, v in (facts or {}).items())
    sections = [
        f"<h1>{escape(title)}</h1>",
        *map(_table, tables),
        f'<div class="charts">{"".join(map(_chart, charts))}</div>',
        *map(_picture, pictures),
        f"<footer><dl>{items}</dl></footer>",
    ]
    page = _PAGE.format(title=escape(title), style=_STYLE, body="\n".join(sections))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(page, encoding="utf-8", errors="xmlcharrefreplace")  # names of files need not be Unicode
    os.replace(temporary, path)


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


def _section(kind: str, title: str, body: str, note: str) -> str:
    note = f'<p class="note">{escape(note)}</p>' if note else ""
    return f'<section class="{kind}"><h2>{escape(title)}</h2>{body}{note}</section>'


def _picture(picture: Picture) -> str:
    height, width = picture.image.shape[:2]
    data = base64.b64encode(encode_jpeg(picture.image)).decode()
    body = f'<img src="data:image/jpeg;base64,{data}" width="{width}" height="{height}" alt="{escape(picture.title)}">'
    kind = "wide" if width > _WIDE else "narrow"
    return _section("picture", picture.title, f'<div class="scroll {kind}">{body}</div>', picture.note)


def _table(table: Table) -> str:
    columns = list(dict.fromkeys(name for row in table.rows for name in row))
    values = [[row.get(name) for row in table.rows] for name in columns]
    kinds = [' class="number"' * all(v is None or _is_number(v) for v in column) for column in values]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for name, kind in zip(columns, kinds))
    cells = [_cells(name, column) for name, column in zip(columns, values)]
    rows = ["".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row)) for row in zip(*cells)]
    body = "".join(f"<tr>{row}</tr>\n" for row in rows) or f"<tr><td>{MISSING}</td></tr>"
    html = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>'
    return _section("table", table.title, html, table.note)


def _cells(name: str, values: list) -> list[str]:
    """A column as HTML; the best are bold where larger is better and there is something to compare."""
    texts = [escape(_text(value)) for value in values]
    finite = [value for value in values if _is_number(value) and math.isfinite(value)]
    if len(finite) < 2 or not _LARGER_IS_BETTER.search(name):
        return texts
    best = escape(_text(max(finite)))  # equal as printed is equal
    return [f"<b>{text}</b>" if text == best else text for text in texts]


def _is_number(value) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _text(value) -> str:
    if value is None or (_is_number(value) and not math.isfinite(value)):
        return MISSING
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    if isinstance(value, (float, np.floating)):
        return f"{value:.2g}" if 0 < abs(value) < 0.001 else f"{value:,.3f}"  # a learning rate is not 0.000
    return str(value)


def _chart(chart: Chart) -> str:
    """A chart as inline SVG, and its legend in HTML, where it can wrap."""
    lines = [_drawable(xs, ys) for xs, ys in chart.series.values()]
    drawn = np.concatenate([*lines, np.zeros((0, 2))])
    drawn = drawn[np.isfinite(drawn[:, 0])]
    (x_range, x_ticks), (y_range, y_ticks) = _axis(drawn[:, 0], tight=True), _axis(drawn[:, 1], tight=False)
    x_names, y_names = _tick_names(x_ticks), _tick_names(y_ticks)
    left, top, right, bottom = 14 + 7 * max(map(len, y_names)), 28, _WIDTH - 16, _HEIGHT - 44
    centre = (left + right) / 2
    parts = [_words(2, 14, chart.y_label, "start"), _words(centre, _HEIGHT - 6, chart.x_label)]
    for y, name in zip(np.interp(y_ticks, y_range, (bottom, top)), y_names):
        parts += [f'<path class="grid" d="M{left} {y:.1f}H{right}"/>', _words(left - 6, y + 4, name, "end")]
    for x, name in zip(np.interp(x_ticks, x_range, (left, right)), x_names):
        parts += [f'<path class="axis" d="M{x:.1f} {bottom}v5"/>', _words(x, bottom + 19, name)]
    parts.append(f'<path class="axis" d="M{left} {bottom}H{right}"/>')
    for number, (x, y) in enumerate(line.T for line in lines):
        places = np.interp(x, x_range, (left, right)), np.interp(y, y_range, (bottom, top))
        parts.append(_line(number, np.column_stack(places)))
    if not len(drawn):
        parts.append(_words(centre, (top + bottom) / 2, "no data"))
    label = escape(f"{chart.title}: {chart.y_label} over {chart.x_label}")
    svg = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
    return _section("chart", chart.title, _legend(list(chart.series)) + svg, chart.note)


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
    size = max(abs(low), abs(high))
    if high - low <= 1e-9 * size or size < 1e-25:
        pad = 0.1 * size if size > 1e-25 else 1.0
        low, high = low - pad, high + pad
    raw = (high - low) / about
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
    return f'<g class="s{number % _COLOURS}">{line}{marks}</g>'


def _legend(names: list[str]) -> str:
    ends, box = np.array([[5.0, 7.0], [31.0, 7.0]]), 'class="swatch" viewBox="0 0 36 14"'
    items = [f"<li><svg {box}>{_line(i, ends)}</svg>{escape(name)}</li>" for i, name in enumerate(names)]
    return f'<ul class="legend">{"".join(items)}</ul>'


_WIDTH, _HEIGHT = 480, 300
_COLOURS = 6
_DASHES = ("", "7 4", "2 3", "9 3 2 3", "14 4")
_MARKERS = (  # relative to their centre
    "m-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0z",
    "m-3 -3h6v6h-6z",
    "m0 -4.2l4 7h-8z",
    "m0 -4.5l4.5 4.5l-4.5 4.5l-4.5 -4.5z",
)

_STYLE = """
:root{color-scheme:light dark;--ink:#1c1e22;--soft:#5b6270;--rule:#dfe2e8;--paper:#fff;--page:#f5f6f8;
--c0:#0072b2;--c1:#d55e00;--c2:#007a5a;--c3:#b3478f;--c4:#2f94d0;--c5:#8a6400}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8ec;--soft:#a2a9b6;--rule:#343943;--paper:#1b1e24;--page:#121418;
--c0:#56b4e9;--c1:#ff8a3d;--c2:#2fc79a;--c3:#e59acb;--c4:#9db7ff;--c5:#e6b422}}
@media print{body{background:none}section{break-inside:avoid}}
*{box-sizing:border-box}.scroll{overflow-x:auto}.note{color:var(--soft);font-size:.9rem;margin:.6rem 0 0}
body{margin:0 auto;padding:1.5rem 1rem 3rem;max-width:72rem;background:var(--page);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif}
h1{font-size:1.7rem;line-height:1.25;margin:0 0 1.25rem}h2{font-size:1.05rem;margin:0 0 .6rem}
section{background:var(--paper);border:1px solid var(--rule);border-radius:.5rem;padding:1rem;margin:0 0 1rem}
table{border-collapse:collapse;font-size:.93rem;font-variant-numeric:tabular-nums}
th,td{padding:.35rem .8rem;text-align:left;white-space:nowrap;border-bottom:1px solid var(--rule)}
th{color:var(--soft);font-weight:600}tbody tr:last-child td{border-bottom:0}.number{text-align:right}
th:first-child,td:first-child{padding-left:.2rem;position:sticky;left:0;background:var(--paper)}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:0 1rem}
svg{display:block;width:100%;height:auto;overflow:visible}svg text{fill:var(--soft);font-size:12.5px}
.grid,.axis,.line{fill:none}.grid{stroke:var(--rule)}.axis{stroke:var(--soft)}
.line{stroke:var(--c);stroke-width:2;stroke-linejoin:round}.mark{fill:var(--c);stroke:var(--paper)}
.s0{--c:var(--c0)}.s1{--c:var(--c1)}.s2{--c:var(--c2)}.s3{--c:var(--c3)}.s4{--c:var(--c4)}.s5{--c:var(--c5)}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;margin:0 0 .4rem;padding:0;font-size:.88rem}
.legend li{display:flex;align-items:center;gap:.4rem}.swatch{width:36px;height:14px;flex:none}
img{display:block;max-width:100%;height:auto;border-radius:.25rem}
@media(max-width:45rem){.wide img{max-width:none;width:44rem}svg text{font-size:14.5px}}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem;margin:0;font-size:.88rem;color:var(--soft)}
dt{font-weight:600}dd{margin:0;overflow-wrap:anywhere;font-family:ui-monospace,Consolas,"Liberation Mono",monospace}
"""

_PAGE = """<!doctype html>
<html lang="en"><head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body></html>
"""
