"""Tables: on the terminal for people, as JSON for programs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from rtpe.files import write_file

TERMINAL_COLUMNS = ("name", "AP", "AP50", "AP75", "APM", "APL", "AR", "PCK@0.1 box", "images")
GAP = "  "


def print_table(rows: Sequence[Mapping[str, object]], columns: Sequence[str] = TERMINAL_COLUMNS) -> None:
    """Print the chosen columns that any row has.

    Where they are too many for the terminal, titles are broken into several lines; where that is not enough, the table
    goes on below, each part with the first column.
    """
    columns = [column for column in columns if any(column in row for row in rows)]
    width = shutil.get_terminal_size().columns
    cells = {column: [_cell(row.get(column)) for row in rows] for column in columns}
    for broken in (False, True):
        titles = {column: _broken(column) if broken else [column] for column in columns}
        widths = {column: max(map(len, (*titles[column], *cells[column]))) for column in columns}
        if sum(widths.values()) + len(GAP) * (len(columns) - 1) <= width:
            break
    for number, part in enumerate(_parts(columns, widths, width)):
        print(end="\n" * bool(number))
        height = max(len(titles[column]) for column in part)
        for line in range(-height, len(rows)):
            texts = [cells[c][line] if line >= 0 else [*titles[c], *[""] * height][line + height] for c in part]
            first, *others = (text.rjust(widths[c]) for text, c in zip(texts, part))
            print(GAP.join([texts[0].ljust(len(first)), *others]).rstrip())


def write_json(rows: object, path: Path, indent: int | None = 1) -> None:
    """Write plain values as JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, json.dumps(rows, indent=indent))


def _parts(columns: Sequence[str], widths: Mapping[str, int], width: int) -> list[list[str]]:
    """The columns in as many parts as they need, the first column in each."""
    parts: list[list[str]] = []
    for column in columns[1:]:
        if parts and sum(widths[c] + len(GAP) for c in parts[-1]) + widths[column] <= width:
            parts[-1].append(column)
        else:
            parts.append([columns[0], column])
    return parts or [list(columns)] if columns else []


def _broken(title: str) -> list[str]:
    return title.replace("@", " @").split()


def _cell(value: object) -> str:
    """Numbers to three decimals, or as many as four digits leave."""
    if value is None:
        return ""
    if value == -1.0 and isinstance(value, float):
        return "-"  # COCO's way to write that nothing was there to score
    if isinstance(value, float):
        return f"{value:.{3 if abs(value) < 10 else 2 if abs(value) < 100 else 1}f}"
    return str(value)
