"""Reports: one self-contained HTML file with tables, charts and pictures, for a screen, a phone or a printer.

Nothing in it is fetched from elsewhere and nothing in it runs: styles, pictures and charts are all inline.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from rtpe.files import write_file
from rtpe.images import encode_jpeg
from rtpe.report.chart import COLOURS, Chart, chart_legend, chart_svg, curves
from rtpe.report.log import read_history

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
    write_file(path, page.encode(errors="xmlcharrefreplace"))  # names of files need not be Unicode


def _chart(chart: Chart) -> str:
    return _section("chart", chart.title, chart_legend(chart) + chart_svg(chart), chart.note)


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


_STYLE = f"""
:root{{{";".join(f"--c{number}:{colour}" for number, colour in enumerate(COLOURS))}}}"""
_STYLE += """
:root{color-scheme:light dark;--ink:#1c1e22;--soft:#5b6270;--rule:#dfe2e8;--paper:#fff;--page:#f5f6f8}
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
.line{stroke:var(--c);stroke-width:2;stroke-linejoin:round}.band{fill:var(--c);opacity:.15}.mark{fill:var(--c);stroke:var(--paper)}
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
