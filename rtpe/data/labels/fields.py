"""One field of an annotation file: its value, or one line with file, entry, field, what was wanted and what came."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from rtpe import plain
from rtpe.errors import UserError

FARTHEST = 1e7  # pixels from the corner of an image: what is farther is no place in any image
_IDS = 1 << 63


@dataclass(frozen=True)
class Entry:
    """An image, a category or an annotation of a file, as messages call it.

    Attributes:
        file: of the labels.
        name: such as `annotation 17`.
        fields: what the file has of it.
    """

    file: str
    name: str
    fields: dict[str, Any]

    @classmethod
    def of(cls, file: str, kind: str, place: int, value: Any) -> Entry:
        """The entry of that place in its list; refused if it is no object."""
        if not isinstance(value, dict):
            raise UserError(
                f"annotations {file}: {kind} number {place + 1}: expected an object, got {shown(value)}: correct it"
            )
        known = isinstance(value.get("id"), int | str)
        return cls(file, f"{kind} {value['id']}" if known else f"{kind} number {place + 1}", value)

    def refuse(self, field: str, want: str, remedy: str = "correct or remove it") -> NoReturn:
        got = shown(self.fields[field]) if field in self.fields else "nothing"
        raise UserError(f"annotations {self.file}: {self.name}: {field}: expected {want}, got {got}: {remedy}")

    def id(self, field: str) -> int:
        """The number of an image or a category."""
        number = read_id(self.fields.get(field))
        if number is None:
            self.refuse(field, "a whole number below 2^63", "number them")
        return number

    def number(self, field: str) -> float:
        """A finite number of 0 or more; 0 if the file has none."""
        value = self.fields.get(field)
        if value is None:
            return 0.0
        read = numbers([value]) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
        if read is None or not 0 <= read[0] < np.inf:
            self.refuse(field, "a finite number of 0 or more")
        return float(read[0])

    def numbers(self, field: str, count: int, remedy: str = "correct or remove it") -> np.ndarray | None:
        """So many finite numbers; None if the file has none."""
        value = self.fields.get(field)
        if value is None or value == []:
            return None
        read = numbers(value)
        if read is None or len(read) != count or not (np.abs(read) <= FARTHEST).all():
            self.refuse(field, f"{count} finite numbers within {FARTHEST:.0e} pixels", remedy)
        return read

    def flag(self, field: str) -> bool:
        """0 or 1; 0 if the file has none."""
        value = self.fields.get(field)
        if value is None:
            return False
        if value == "":
            return False
        if isinstance(value, list | dict) or value not in (0, 1, "0", "1"):
            self.refuse(field, "0 or 1")
        return value in (1, "1")


def read_json(path: Path) -> Any:
    """What an annotation file holds, in UTF-8, 16 or 32.

    Raises:
        UserError: if it cannot be read, or is no JSON.
    """
    try:
        return plain.read_json(path)
    except OSError as error:
        raise UserError(f"annotations {path}: {error.strerror or error}: check --data.root and --data.split") from error
    except ValueError as error:  # no JSON, or no text at all
        raise UserError(f"annotations {path}: not JSON ({error}): download it again") from error


def read_id(value: Any) -> int | None:
    """A whole number, also if it is written as text or as 7.0; None for anything else, or what does not fit 64 bits."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and value.strip().lstrip("-").isdecimal() and len(value) < 25:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and -_IDS <= value < _IDS else None


def numbers(value: Any) -> np.ndarray | None:
    """A flat list of numbers, which may be written as text, as float64; None for anything else."""
    if not isinstance(value, list):
        return None
    try:
        read = np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    return read if read.ndim == 1 else None


def shown(value: Any) -> str:
    """A value as messages show it, short."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
