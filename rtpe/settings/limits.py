"""What settings may be: the limit of a field stands beside its default, and one place checks all of them by name."""

from __future__ import annotations

import dataclasses
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

from rtpe.errors import UserError

# values of which nothing is instantiated or imported
Plain = bool | int | float | str | list | dict | None
Idle = tuple[str, Any, str]  # a setting without effect: its name, its value, and the remedy
Risk = tuple[str, Any, str]  # a setting that runs a program or asks the network: its name, its value, and what it does
_KEY = "limit"  # of a field's metadata


@dataclasses.dataclass(frozen=True)
class Limit:
    """What a value may be.

    Attributes:
        want: in words.
        holds: whether a value, of any type, is within it.
        verb: that goes before the words in a message.
    """

    want: str
    holds: Callable[[Any], bool]
    verb: str = "expected"

    def __or__(self, other: Limit) -> Limit:
        """Within the one or the other."""
        return Limit(f"{self.want}, or {other.want}", lambda value: self.holds(value) or other.holds(value))

    def refusal(self, name: str, value: Any) -> str:
        """What is wrong with a value that is beyond it, in one line."""
        return f"{name}: {self.verb} {self.want}, got {'null' if value is None else repr(value)}"


def at_least(low: float) -> Limit:
    return Limit(f"{low:g} or more", lambda value: _is_number(value) and value >= low)


def above(low: float) -> Limit:
    return Limit(f"above {low:g}", lambda value: _is_number(value) and value > low)


def between(low: float, high: float) -> Limit:
    """Both ends included."""
    return Limit(f"{low:g} to {high:g}", lambda value: _is_number(value) and low <= value <= high)


def whole(low: int, high: float = math.inf) -> Limit:
    """A whole number, both ends included; for values whose type nothing else checks."""
    want = f"a whole number, {low} or more" if high == math.inf else f"a whole number, {low} to {high}"
    return Limit(want, lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high)


def multiple(of: int) -> Limit:
    """A whole multiple, itself the least."""
    return Limit(f"a multiple of {of}, {of} or more", lambda value: whole(of).holds(value) and value % of == 0)


def choice(*values: Any) -> Limit:
    """One of these values, of their types."""
    shown = ", ".join(str(value) for value in values if value != "")
    return Limit(shown, lambda value: any(type(value) is type(one) and value == one for one in values), "choose from")


def each(limit: Limit, least: int = 1, most: int | None = None, count: int | None = None) -> Limit:
    """A list of so many values, all within a limit."""
    least, most = (least, most) if count is None else (count, count)
    many = f"{least} or more" if most is None else f"{least}" if least == most else f"{least} to {most}"

    def holds(values: Any) -> bool:
        enough = isinstance(values, list | tuple) and least <= len(values) and (most is None or len(values) <= most)
        return enough and all(map(limit.holds, values))

    return Limit(f"a list of {many} values, each {limit.want}", holds)


def _is_number(value: Any) -> bool:
    """Whether it is finite as a float, too: a whole number may have more digits than one holds."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _are_knots(value: Any) -> bool:
    """Whether it is [[progress, weight], ...] of rising progress within 0 to 1."""
    if not (isinstance(value, Sequence) and value and all(isinstance(k, Sequence) and len(k) == 2 for k in value)):
        return False
    if not all(_is_number(number) for knot in value for number in knot):
        return False
    places = [knot[0] for knot in value]
    return places == sorted(set(places)) and 0 <= places[0] <= places[-1] <= 1 and min(k[1] for k in value) >= 0


FINITE = Limit("a finite number", _is_number)
SHARE = between(0, 1)
BELOW_ONE = Limit("0 or more and below 1", lambda value: _is_number(value) and 0 <= value < 1)
SEED = whole(0, 2**32 - 1)  # as torch and numpy take one
NONE = Limit("0", lambda value: _is_number(value) and value == 0)
NULL = Limit("null", lambda value: value is None)
FLAG = Limit("true or false", lambda value: isinstance(value, bool))
MAPPING = Limit("settings by name", lambda value: isinstance(value, Mapping))
SOME_TEXT = Limit("a text that is not empty", lambda value: isinstance(value, str) and value.strip() != "")
KERNEL = Limit("odd and 3 or more", lambda value: whole(3).holds(value) and value % 2 == 1)
OVERLAP = Limit("above 0, up to 1", lambda value: _is_number(value) and 0 < value <= 1)
EMPTY = Limit("an empty list", lambda value: value == [])
KNOTS = Limit("[[progress, weight], ...], progress rising from 0 to 1", _are_knots)
WEIGHT = at_least(0) | KNOTS
SIDE = multiple(32)  # of an input: the coarsest stride of the nets
RANGE = Limit(
    "[low, high], above 0 and not falling", lambda value: each(above(0), count=2).holds(value) and value[0] <= value[1]
)

DEVICE = Limit(
    "auto, cpu, cuda (or cuda:N, the N-th GPU from 0)",
    lambda value: re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", str(value), re.ASCII) is not None,
    "choose from",
)


def limited(default: Any, limit: Limit) -> Any:
    """A field of a dataclass with a default and a limit."""
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata={_KEY: limit})
    return dataclasses.field(default=default, metadata={_KEY: limit})


@dataclasses.dataclass(frozen=True)
class Checked:
    """A dataclass whose fields are within their limits, or it is not made.

    Raises:
        UserError: for the first field beyond its limit, by its name.
    """

    def __post_init__(self):
        refuse_own(self)

    def idle(self) -> Iterator[Idle]:
        """Settings that differ from their defaults and would change nothing."""
        return iter(())

    def risks(self) -> Iterator[Risk]:
        """Settings that run a program or ask the network: they count where the user types them, never in a file."""
        return iter(())


def refuse_own(made: Any, prefix: str = "") -> None:
    """Hold the fields of a dataclass's instance to their limits.

    Raises:
        UserError: for the first one beyond its limit, by its name behind the prefix.
    """
    for refusal in beyond(
        type(made), {each.name: getattr(made, each.name) for each in dataclasses.fields(made)}, prefix
    ):
        raise UserError(refusal)


def refuse_others(values: Mapping[str, Any], limits: Mapping[str, Limit]) -> None:
    """Hold arguments that have limits to them.

    Raises:
        UserError: for the first one beyond its limit, by its name.
    """
    for name, limit in limits.items():
        if not limit.holds(values[name]):
            raise UserError(limit.refusal(name, values[name]))


def refuse_unknown(values: Mapping[str, Any], known: Iterable[str], prefix: str) -> None:
    """Raise UserError for the first name that is not known, as prefix.name."""
    known = list(known)
    for name in values:
        if name not in known:
            raise UserError(f"{prefix}.{name}: no such number: choose from {', '.join(known)}")


def beyond(kind: type, values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """A message for every value of a dataclass's fields, and of those within, that is beyond its limit."""
    types = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        name, value = f"{prefix}{field.name}", values.get(field.name)
        limit, kind_of = field.metadata.get(_KEY), types[field.name]
        if field.name in values and value is None and not limit and not _takes_null(kind_of):
            yield f"{name}: expected {_PLAIN.get(get_origin(kind_of) or kind_of, 'settings by name')}, got null"
        if field.name in values and limit and not limit.holds(value):
            yield limit.refusal(name, value)
        for place, inner in _within(types[field.name], name, value):
            of = next(
                each for each in (types[field.name], *get_args(types[field.name])) if dataclasses.is_dataclass(each)
            )
            yield from beyond(of, inner, place)


_PLAIN = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "a mapping",
}


def _takes_null(kind: Any) -> bool:
    return type(None) in get_args(kind) or (get_origin(kind) is Literal and None in get_args(kind))


def _within(kind: Any, name: str, value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The values of the dataclasses in a field, one or a list, that are plain and so unchecked, by dotted prefixes."""
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        yield f"{name}.", value
    elif any(map(dataclasses.is_dataclass, get_args(kind))) and isinstance(value, list):
        yield from ((f"{name}.{place}.", each) for place, each in enumerate(value) if isinstance(each, Mapping))
