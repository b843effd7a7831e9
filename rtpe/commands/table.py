"""Tables: on the terminal for people, as JSON for programs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

TERMINAL_COLUMNS = ("name", "AP", "AP50", "AP75", "APM", "APL", "AR", "PCK@0.1", "images")


def print_table(rows: Sequence[Mapping[str, object]], columns: Sequence[str] = TERMINAL_COLUMNS) -> None:
    """Print the chosen columns that any row has, numbers to three decimals, within 80 characters."""
    columns = [column for column in columns if any(column in row for row in rows)]
    cells = [list(columns)] + [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns))]
    for line in cells:
        print(
            "  ".join(
                text.ljust(w) if place == 0 else text.rjust(w) for place, (text, w) in enumerate(zip(line, widths))
            )
        )


def write_json(rows: object, path: Path) -> None:
    """Write plain values as JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(rows, indent=1))
    os.replace(temporary, path)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)
